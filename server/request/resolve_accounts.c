/* See resolve_accounts.h. */
#include "resolve_accounts.h"

#include <stdlib.h>
#include <string.h>

#include "request/errors.h"

static const char *const missing_key[PROVIDER_COUNT] = {
    [PROVIDER_OPENAI] = "set OPENAI_API_KEY, or list it in model_list or files_settings",
    [PROVIDER_AZURE] =
        "set AZURE_API_KEY and AZURE_API_BASE, or list it in model_list or files_settings",
};

bool resolve_provider_is_usable(const struct relay *relay, struct failure *why)
{
    if (relay->hints.unknown_provider) {
        error_fill(why, UNKNOWN_PROVIDER, "custom_llm_provider", relay->hints.provider_text);
        return false;
    }
    if (relay->hints.has_provider &&
        relay->rt->config->models.default_deployment[relay->hints.provider] == MODEL_NO_INDEX) {
        error_fill(why, NO_CREDENTIALS, "custom_llm_provider", provider_name(relay->hints.provider),
                   missing_key[relay->hints.provider]);
        return false;
    }
    return true;
}

bool resolve_provider_matches(const struct relay *relay, uint32_t deployment)
{
    return !relay->hints.has_provider || table_deployment(relay->rt->table, deployment)->provider ==
                                             (uint32_t)relay->hints.provider;
}

uint32_t resolve_default(const struct relay *relay)
{
    const uint32_t *by_provider = relay->rt->config->models.default_deployment;

    if (relay->hints.has_provider)
        return by_provider[relay->hints.provider];
    if (relay->hints.azure_shape && by_provider[PROVIDER_AZURE] != MODEL_NO_INDEX)
        return by_provider[PROVIDER_AZURE];
    return by_provider[PROVIDER_OPENAI] != MODEL_NO_INDEX ? by_provider[PROVIDER_OPENAI]
                                                          : by_provider[PROVIDER_AZURE];
}

bool resolve_hinted(const struct relay *relay, struct table_name *name)
{
    const struct table *table = relay->rt->table;
    const char *names[] = {relay->hints.model, relay->hints.deployment};

    for (int i = 0; i < 2; i++)
        if (names[i][0] != '\0' && table_find_name(table, names[i], strlen(names[i]), name))
            return true;
    return false;
}

/* Behind the deployments a byte for each account: whether it is in the list. A group may have an
 * account of its own for each of its thousands of rows. */
uint32_t *resolve_list_new(const struct runtime *rt)
{
    size_t room = (table_num_deployments(rt->table) + 1u) * sizeof(uint32_t);
    uint32_t *list = malloc(room + rt->config->models.num_accounts);

    if (list != NULL)
        memset((char *)list + room, 0, rt->config->models.num_accounts);
    return list;
}

static bool *listed_accounts(const struct runtime *rt, uint32_t *list)
{
    return (bool *)(list + table_num_deployments(rt->table) + 1u);
}

void resolve_list_add(const struct runtime *rt, uint32_t deployment, uint32_t *list, uint32_t *num)
{
    uint32_t account = rt->account_same_resource[table_deployment(rt->table, deployment)->account];
    bool *listed = listed_accounts(rt, list);

    if (listed[account])
        return;
    listed[account] = true;
    list[(*num)++] = rt->account_first[account];
}

const uint32_t *resolve_members(const struct runtime *rt, const struct table_name *name,
                                uint32_t *num)
{
    *num = 1;
    return name->row != MODEL_NO_INDEX ? &name->row
                                       : table_group_members(rt->table, name->group, num);
}

uint32_t resolve_all_accounts(const struct relay *relay, const bool *among, uint32_t *list)
{
    const struct runtime *rt = relay->rt;
    uint32_t first = resolve_default(relay), num = 0, members;
    struct table_name name;
    const uint32_t *rows;

    if (resolve_hinted(relay, &name)) {
        rows = resolve_members(rt, &name, &members);
        for (uint32_t i = 0; i < members; i++)
            if (resolve_provider_matches(relay, rows[i]))
                resolve_list_add(rt, rows[i], list, &num);
        if (num > 0)
            return num;
    }
    if (first != MODEL_NO_INDEX)
        resolve_list_add(rt, first, list, &num);
    first = num > 0 ? list[0] : MODEL_NO_INDEX;
    for (size_t i = 0; i < rt->config->models.num_accounts; i++)
        if ((among == NULL || among[i]) && rt->account_same_resource[i] == i &&
            rt->account_first[i] != first && rt->account_first[i] != MODEL_NO_INDEX &&
            resolve_provider_matches(relay, rt->account_first[i]))
            list[num++] = rt->account_first[i];
    return num;
}
