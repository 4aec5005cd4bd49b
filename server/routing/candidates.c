/* See candidates.h. */
#include "routing/candidates.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int candidates_init(const struct runtime *rt, struct candidates *out)
{
    size_t room = table_num_deployments(rt->table) + 1u;

    memset(out, 0, sizeof(*out));
    /* Not zeroed: most groups fill little of it. */
    out->deployments = malloc(room * sizeof(*out->deployments));
    out->tiers = malloc(room * sizeof(*out->tiers));
    out->has_group = calloc(table_num_groups(rt->table) + 1u, sizeof(*out->has_group));
    if (out->deployments != NULL && out->tiers != NULL && out->has_group != NULL)
        return 0;
    candidates_deinit(out);
    return ERR_NOMEM;
}

void candidates_deinit(struct candidates *candidates)
{
    free(candidates->deployments);
    free(candidates->tiers);
    free(candidates->has_group);
    memset(candidates, 0, sizeof(*candidates));
}

static bool is_of(const struct runtime *rt, uint32_t deployment, int provider)
{
    return provider == CANDIDATES_ANY ||
           table_deployment(rt->table, deployment)->provider == (uint32_t)provider;
}

void candidates_add_group(const struct runtime *rt, uint32_t group, uint32_t tier, int provider,
                          struct candidates *out)
{
    uint32_t num;
    const uint32_t *members = table_group_members(rt->table, group, &num);

    assert(out->has_group != NULL);
    for (uint32_t i = out->has_group[group] ? num : 0; i < num; i++) {
        if (!is_of(rt, members[i], provider))
            continue;
        out->deployments[out->num] = members[i];
        out->tiers[out->num++] = tier;
    }
    assert(out->num <= table_num_deployments(rt->table));
    out->has_group[group] = true; /* all of its rows that may be: each belongs to one group */
    out->grouped |= out->num > 0;
    out->num_tiers = tier + 1;
}

void candidates_add_row(const struct runtime *rt, uint32_t row, int provider,
                        struct candidates *out)
{
    assert(row < table_num_deployments(rt->table));
    if (!is_of(rt, row, provider))
        return;
    assert(out->num <= table_num_deployments(rt->table)); /* there is room for one more */
    out->deployments[out->num] = row;
    out->tiers[out->num++] = 0;
    out->grouped = true;
    out->num_tiers = 1;
}

#define MAX_CHAIN 64 /* groups that one request may go through, whatever is configured */

void candidates_add_fallbacks(const struct runtime *rt, uint32_t group, int provider,
                              struct candidates *out)
{
    uint32_t chain[MAX_CHAIN + 1], max = rt->config->max_fallbacks, num;

    num = fallback_chain(rt->fallbacks, rt->config->num_fallbacks, group,
                         max < MAX_CHAIN ? max : MAX_CHAIN, chain);
    for (uint32_t i = 1; i < num; i++)
        candidates_add_group(rt, chain[i], out->num_tiers, provider, out);
}

int candidates_of_group(const struct runtime *rt, uint32_t group, struct candidates *out)
{
    if (candidates_init(rt, out) != 0)
        return ERR_NOMEM;
    candidates_add_group(rt, group, 0, CANDIDATES_ANY, out);
    candidates_add_fallbacks(rt, group, CANDIDATES_ANY, out);
    return 0;
}

int candidates_around(const struct runtime *rt, const bool *accounts, struct candidates *out)
{
    bool *done = calloc(table_num_groups(rt->table) + 1u, sizeof(*done));
    int rc = done != NULL ? candidates_init(rt, out) : ERR_NOMEM;

    for (uint32_t i = 0; rc == 0 && i < table_num_deployments(rt->table); i++) {
        const struct table_deployment *d = table_deployment(rt->table, i);

        if (d->group == MODEL_NO_INDEX || done[d->group] ||
            !accounts[rt->account_same_resource[d->account]])
            continue;
        done[d->group] = true; /* beside has_group: it may be there as another one's fallback */
        candidates_add_group(rt, d->group, 0, CANDIDATES_ANY, out);
        candidates_add_fallbacks(rt, d->group, CANDIDATES_ANY, out);
    }
    free(done);
    return rc;
}
