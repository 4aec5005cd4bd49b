/* See account_token.h. */
#include "core/account_token.h"

#include <assert.h>
#include <stdlib.h>

int account_token_prepare(struct runtime *rt)
{
    const struct model_list *models = &rt->config->models;

    assert(rt->credentials == NULL);
    if (models->num_credentials == 0)
        return 0;
    rt->credentials = calloc(models->num_credentials, sizeof(*rt->credentials));
    if (rt->credentials == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < models->num_credentials; i++)
        rt->credentials[i].cell =
            entra_tokens_find(rt->inherited->entra_tokens, models->credentials[i].fingerprint);
    return 0;
}

bool account_token_is_needed(const struct runtime *rt, uint32_t deployment)
{
    return runtime_account(rt, deployment)->auth == ACCOUNT_AUTH_ENTRA;
}

static struct runtime_credential *credential_of(const struct runtime *rt, uint32_t deployment)
{
    const struct model_account *account = runtime_account(rt, deployment);

    assert(account->auth == ACCOUNT_AUTH_ENTRA &&
           account->entra < rt->config->models.num_credentials);
    return rt->credentials != NULL ? &rt->credentials[account->entra] : NULL;
}

struct entra_tokens_cell *account_token_cell(const struct runtime *rt, uint32_t deployment)
{
    const struct runtime_credential *credential = credential_of(rt, deployment);

    return credential != NULL ? credential->cell : NULL;
}

static bool has_none(const struct entra_tokens_cell *cell, uint64_t now_ms)
{
    struct entra_tokens_view token;

    if (cell == NULL)
        return true;
    return entra_tokens_failures(cell) > 0 && !entra_tokens_read(cell, now_ms, NULL, &token);
}

/* Many rows have one credential, and a choice looks at all of them. */
bool account_token_rests(struct runtime *rt, uint32_t deployment, uint64_t now_ms)
{
    struct runtime_credential *credential;

    if (rt->credentials == NULL || !account_token_is_needed(rt, deployment))
        return false;
    credential = credential_of(rt, deployment);
    if (credential->looked_ms != now_ms) {
        credential->looked_ms = now_ms;
        credential->rests = has_none(credential->cell, now_ms);
    }
    return credential->rests;
}
