/* See runtime.h. */
#include "core/runtime.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/* xoshiro256+: the top 53 bits are the fraction. */
double worker_random(struct worker *w)
{
    uint64_t *s = w->random_state;
    uint64_t result = s[0] + s[3], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return (double)(result >> 11) * 0x1.0p-53;
}

uint32_t worker_find_account(const struct worker *w, uint32_t fingerprint)
{
    uint32_t account = account_map_find(&w->account_map, fingerprint), deployment;

    if (account != MODEL_NO_INDEX)
        return account;
    deployment = table_find_fingerprint(w->table, fingerprint);
    return deployment == MODEL_NO_INDEX ? MODEL_NO_INDEX
                                        : table_deployment(w->table, deployment)->account;
}

static int index_accounts(struct worker *w)
{
    struct account_map *map = &w->account_map;
    int rc = account_map_init(map, &w->config->models, w->config->balance_batches);

    w->account_first = map->first;
    w->account_fingerprint = map->fingerprint;
    w->account_twin = map->twin;
    w->account_grouped = map->grouped;
    w->account_balanced = map->balanced;
    return rc;
}

/* The configured names as indexes of this table. What names no group was refused when the
 * configuration was read; here it is passed over. */
static int index_fallbacks(struct worker *w)
{
    const struct config *config = w->config;

    w->fallbacks = calloc(config->num_fallbacks + 1, sizeof(*w->fallbacks));
    if (w->fallbacks == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < config->num_fallbacks; i++) {
        const struct config_fallback *from = &config->fallbacks[i];
        struct fallback_rule *rule = &w->fallbacks[i];
        uint32_t *to = calloc(from->num_to + 1, sizeof(*to));

        if (to == NULL)
            return ERR_NOMEM;
        for (size_t n = 0; n < from->num_to; n++) {
            to[rule->num_to] = table_find_group(w->table, from->to[n], strlen(from->to[n]));
            rule->num_to += to[rule->num_to] != MODEL_NO_INDEX;
        }
        rule->to = to;
        rule->group = strcmp(from->group, "*") == 0
                          ? MODEL_NO_INDEX
                          : table_find_group(w->table, from->group, strlen(from->group));
    }
    return 0;
}

int worker_prepare(struct worker *w)
{
    int rc = index_accounts(w);

    if (rc == 0)
        rc = index_fallbacks(w);
    if (rc == 0 && RAND_bytes((unsigned char *)w->random_state, sizeof(w->random_state)) != 1)
        rc = ERR_IO;
    TAILQ_INIT(&w->downloads_waiting);
    return rc;
}
