/* See runtime.h. */
#include "core/runtime.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "core/account_token.h"
#include "upstream/provider.h"

/* xoshiro256+: the top 53 bits are the fraction. */
double runtime_random(struct runtime *rt)
{
    uint64_t *s = rt->random_state;
    uint64_t result = s[0] + s[3], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return (double)(result >> 11) * 0x1.0p-53;
}

uint32_t runtime_find_account(const struct runtime *rt, uint32_t fingerprint)
{
    uint32_t account = account_map_find(&rt->account_map, fingerprint), deployment;

    if (account != MODEL_NO_INDEX)
        return account;
    deployment = table_find_fingerprint(rt->table, fingerprint);
    return deployment == MODEL_NO_INDEX ? MODEL_NO_INDEX
                                        : table_deployment(rt->table, deployment)->account;
}

enum provider runtime_rules(const struct runtime *rt, uint32_t deployment)
{
    return provider_rules(runtime_account(rt, deployment));
}

static int index_accounts(struct runtime *rt)
{
    struct account_map *map = &rt->account_map;
    int rc = account_map_init(map, &rt->config->models, rt->config->balance_batches);

    rt->account_first = map->first;
    rt->account_fingerprint = map->fingerprint;
    rt->account_same_resource = map->same_resource;
    rt->account_grouped = map->grouped;
    rt->account_balanced = map->balanced;
    return rc;
}

/* The configured names as indexes of this table. What names no group was refused when the
 * configuration was read; here it is passed over. */
static int index_fallbacks(struct runtime *rt)
{
    const struct config *config = rt->config;

    rt->fallbacks = calloc(config->num_fallbacks + 1, sizeof(*rt->fallbacks));
    if (rt->fallbacks == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < config->num_fallbacks; i++) {
        const struct config_fallback *from = &config->fallbacks[i];
        struct fallback_rule *rule = &rt->fallbacks[i];
        uint32_t *to = calloc(from->num_to + 1, sizeof(*to));

        if (to == NULL)
            return ERR_NOMEM;
        for (size_t n = 0; n < from->num_to; n++) {
            to[rule->num_to] = table_find_group(rt->table, from->to[n], strlen(from->to[n]));
            rule->num_to += to[rule->num_to] != MODEL_NO_INDEX;
        }
        rule->to = to;
        rule->group = strcmp(from->group, "*") == 0
                          ? MODEL_NO_INDEX
                          : table_find_group(rt->table, from->group, strlen(from->group));
    }
    return 0;
}

int runtime_prepare(struct runtime *rt)
{
    int rc = index_accounts(rt);

    if (rc == 0)
        rc = index_fallbacks(rt);
    if (rc == 0)
        rc = account_token_prepare(rt);
    if (rc == 0 && RAND_bytes((unsigned char *)rt->random_state, sizeof(rt->random_state)) != 1)
        rc = ERR_IO;
    TAILQ_INIT(&rt->downloads_waiting);
    return rc;
}
