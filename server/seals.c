/* See seals.h. */
#include "server/seals.h"

#define SEAL_CONTEXT "tranche id seal"

int seals_derive(const struct config *config, const struct secret *fallback, struct ids_seals *out)
{
    const struct secret *text = secret_is_set(&config->master_key) ? &config->master_key : fallback;
    int ret = 0;

    for (size_t i = 0; i < config->num_seal_keys && ret == 0; i++)
        ret = ids_seals_add(out, config->seal_keys[i].data, config->seal_keys[i].len, SEAL_CONTEXT);
    if (config->num_seal_keys == 0 && secret_is_set(text))
        ret = ids_seals_add(out, text->data, text->len, SEAL_CONTEXT);
    return ret;
}
