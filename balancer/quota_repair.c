/* The master's look at the whole table: every sum of the ledger is what its reservations add up to.
 * Also how many there are. */
#include <stdlib.h>

#include "quota_scopes.h"
#include "quota_table.h"

#define REPAIR_ROUNDS 4

/* What a repair works with, the process's own: during an upgrade two masters repair. Kept for the
 * next time. */
struct scratch {
    uint64_t *before, *sums;   /* [columns] */
    struct scope_sums *scopes; /* [num_scopes] */
    bool scoped;               /* some scope has a name */
};

static void add_to_scopes(struct scope_sums *sums, uint64_t scopes, uint64_t tokens)
{
    for (unsigned i = 0; i < QUOTA_SCOPES; i++) {
        if (scope_row(scopes, i) == 0)
            continue;
        sums[scope_row(scopes, i) - 1].tokens += tokens;
        sums[scope_row(scopes, i) - 1].batches++;
    }
}

/* Add up the table. Returns false when something in it is neither in nor out. */
static bool add_up(const struct quota *quota, struct scratch *scratch)
{
    for (uint64_t i = 0; i < num_entries(quota); i++) {
        const struct reservation *r = entry_at(quota, i);
        uint64_t word = load_acquire(&r->word), tokens = load_acquire_part(&r->tokens);
        uint64_t scopes = load_acquire_part(&r->scopes);
        uint32_t column = quota_canonical(quota, column_of(r));

        if (state_of(word) == QUOTA_FREE)
            continue;
        if (!is_counted(word) || entry_claim(load_acquire(&r->word)) != entry_claim(word))
            return false;
        if (scopes != 0 && !scratch->scoped)
            return false; /* the first one of all, just now */
        scratch->sums[column] += tokens;
        add_to_scopes(scratch->scopes, scopes, tokens);
    }
    return true;
}

/* Each sum is read before the table and changed only if nobody did meanwhile: who comes in or goes
 * out changes it while his entry is in RESERVING, RELEASING or REFUNDING, so that either we saw that
 * state, or the sum's version tells. */
static bool repair_round(struct quota *quota, struct scratch *scratch, uint32_t *repaired)
{
    uint64_t *before = scratch->before, *sums = scratch->sums;
    bool all = true;

    for (uint32_t c = 0; c < quota->max_columns; c++) {
        before[c] = load_acquire(&quota_column_of(quota, c)->shared.enqueued);
        sums[c] = 0;
    }
    scratch->scoped = quota_scopes_before(quota, scratch->scopes);
    if (!add_up(quota, scratch))
        return false;
    for (uint32_t c = 0; c < quota->max_columns; c++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): written above for every column */
        if (quota_canonical(quota, c) != c || sums[c] == enqueued_of(before[c]))
            continue;
        if (cas_acq_rel(&quota_column_of(quota, c)->shared.enqueued, &before[c],
                        enqueued_next(before[c], sums[c] < ENQUEUED_MAX ? sums[c] : ENQUEUED_MAX)))
            ++*repaired;
        else
            all = false;
    }
    return (!scratch->scoped || quota_scopes_correct(quota, scratch->scopes)) && all;
}

/* NULL: out of memory. */
static struct scratch *scratch_for(const struct quota *quota)
{
    static struct scratch scratch;
    static uint32_t columns;
    static uint64_t scopes;

    if (columns < quota->max_columns) {
        uint64_t *more = realloc(scratch.before, (size_t)quota->max_columns * 2 * sizeof(*more));

        if (more == NULL)
            return NULL;
        scratch.before = more;
        scratch.sums = more + quota->max_columns;
        columns = quota->max_columns;
    }
    if (scopes < quota->num_scopes) {
        struct scope_sums *more =
            realloc(scratch.scopes, (size_t)quota->num_scopes * sizeof(*more));

        if (more == NULL)
            return NULL;
        scratch.scopes = more;
        scopes = quota->num_scopes;
    }
    return &scratch;
}

bool quota_repair(struct quota *quota, uint32_t *repaired)
{
    struct scratch *scratch = scratch_for(quota);
    uint32_t n = 0;
    bool all = false;

    quota_table_mend_index(quota);
    for (int i = 0; i < REPAIR_ROUNDS && !all && scratch != NULL; i++)
        all = repair_round(quota, scratch, &n);
    if (repaired != NULL)
        *repaired = n;
    return all;
}

static void tally(const struct quota *quota, const struct reservation *r,
                  struct quota_tally *tallies)
{
    uint64_t word = load_acquire(&r->word), begun_ms = load_acquire_part(&r->begun_ms);
    struct quota_tally *t = &tallies[quota_canonical(quota, column_of(r))];

    if (!is_counted(word) || entry_claim(load_acquire(&r->word)) != entry_claim(word))
        return; /* another one has the entry by now */
    t->reservations++;
    t->orphans += state_of(word) == QUOTA_ORPHAN;
    if (t->oldest_ms == 0 || begun_ms < t->oldest_ms)
        t->oldest_ms = begun_ms;
}

bool quota_count(const struct quota *quota, uint32_t *cursor, uint32_t entries,
                 struct quota_tally *tallies)
{
    uint64_t high = num_entries(quota), end = *cursor + (uint64_t)entries;

    for (; *cursor < high && *cursor < end; ++*cursor)
        tally(quota, entry_at(quota, *cursor), tallies);
    return *cursor < high;
}

uint32_t quota_max_columns(const struct quota *quota)
{
    return quota->max_columns;
}
