/* What no text may quote, whichever account it is of. */
#include "config/config.h"

#include <stdlib.h>

struct mask *config_mask(const struct config *config, const struct secret *more, size_t num_more)
{
    const struct model_list *models = &config->models;
    size_t n = 0;
    const struct secret **secrets =
        calloc(models->num_accounts * (1 + MODEL_MAX_HEADERS) + models->num_credentials +
                   config->num_seal_keys + config->num_webhooks + num_more + 4,
               sizeof(const struct secret *));
    struct mask *mask;

    if (secrets == NULL)
        return NULL;
    secrets[n++] = &config->master_key;
    secrets[n++] = &config->proxy_credential;
    secrets[n++] = &config->database_passwords[0];
    secrets[n++] = &config->database_passwords[1];
    for (size_t i = 0; i < config->num_seal_keys; i++)
        secrets[n++] = &config->seal_keys[i];
    for (size_t i = 0; i < config->num_webhooks; i++)
        secrets[n++] = &config->webhooks[i].secret;
    for (size_t i = 0; i < models->num_accounts; i++) {
        secrets[n++] = &models->accounts[i].key;
        for (size_t k = 0; k < models->accounts[i].num_headers; k++)
            secrets[n++] = &models->accounts[i].headers[k].value;
    }
    for (size_t i = 0; i < models->num_credentials; i++)
        secrets[n++] = &models->credentials[i].secret;
    for (size_t i = 0; i < num_more; i++)
        secrets[n++] = &more[i];
    mask = mask_new(secrets, n);
    free(secrets);
    return mask;
}
