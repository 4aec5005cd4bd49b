/* See lost_accounts.h. */
#include "lost_accounts.h"

#include <inttypes.h>
#include <stdlib.h>

#include "crypto/account_map.h"
#include "common/log.h"

#define COUNT_PLACES 65536 /* of the ledger, in one call; the master has no loop to hold up */

/* Unfinished batches by column; NULL: out of memory. */
static struct quota_tally *count_batches(const struct quota *quota)
{
    struct quota_tally *tallies = calloc(quota_max_columns(quota) + 1u, sizeof(*tallies));
    uint32_t cursor = 0;

    while (tallies != NULL && quota_count(quota, &cursor, COUNT_PLACES, tallies))
        ;
    return tallies;
}

static uint32_t batches_of(const struct generation *gen, const struct account_map *map,
                           uint32_t account, const struct quota_tally *tallies)
{
    const struct inherited *inherited = &gen->inherited;
    uint32_t num = 0;

    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        const struct table_deployment *d = table_deployment(inherited->table, i);

        if (map->same_resource[d->account] == account && d->real == d->fingerprint)
            num += tallies[inherited->columns[i]].reservations;
    }
    return num;
}

static void tell(const struct generation *previous, const struct account_map *was, uint32_t account,
                 const struct quota_tally *tallies, bool looked_for)
{
    const struct model_account *a = &previous->inherited.config->models.accounts[account];

    log_warn("account %s (%s, %s) is not configured any more, and %" PRIu32
             " of its batches had not ended: ids that name it %s",
             a->name, provider_name(a->provider), a->base,
             batches_of(previous, was, account, tallies),
             looked_for ? "are looked for at the other OpenAI accounts"
                        : "are answered 404 until it is configured again");
}

static void compare(const struct generation *previous, const struct account_map *was,
                    const struct account_map *is, const struct quota_tally *tallies)
{
    uint32_t *accounts = calloc(is->num + 1u, sizeof(*accounts)), num;
    bool sure;

    for (uint32_t i = 0; accounts != NULL && i < was->num; i++) {
        if (was->same_resource[i] != i || !was->balanced[i])
            continue;
        num = account_map_candidates(is, was->fingerprint[i], accounts, &sure);
        if (num == 0 || !sure)
            tell(previous, was, i, tallies,
                 num > 0 && was->models->accounts[i].provider == PROVIDER_OPENAI);
    }
    free(accounts);
}

void lost_accounts_tell(const struct generation *previous, const struct generation *next)
{
    const struct config *before = previous->inherited.config, *now = next->inherited.config;
    struct quota_tally *tallies = count_batches(previous->inherited.quota);
    struct account_map was = {0}, is = {0};

    if (tallies != NULL && account_map_init(&was, &before->models, before->balance_batches) == 0 &&
        account_map_init(&is, &now->models, now->balance_batches) == 0)
        compare(previous, &was, &is, tallies);
    account_map_deinit(&was);
    account_map_deinit(&is);
    free(tallies);
}
