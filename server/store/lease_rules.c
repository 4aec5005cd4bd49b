/* See lease_rules.h. */
#include "lease_rules.h"

#include <assert.h>

static int64_t add(int64_t sum, int64_t more)
{
    if (more == INT64_MAX || more <= 0)
        return sum;
    return sum < INT64_MAX - more ? sum + more : INT64_MAX;
}

void lease_add(struct lease_worth *sum, const struct lease_worth *more)
{
    sum->tokens = add(sum->tokens, more->tokens);
    sum->batches = add(sum->batches, more->batches);
    sum->nano = add(sum->nano, more->nano);
}

static int64_t less(int64_t number, int64_t by)
{
    if (number == INT64_MAX || by <= 0)
        return number;
    return number > by ? number - by : 0;
}

void lease_spend(struct lease_worth *lease, int64_t tokens, int64_t nano)
{
    lease->tokens = less(lease->tokens, tokens);
    lease->batches = less(lease->batches, 1);
    lease->nano = less(lease->nano, nano);
}

static int64_t free_of(int64_t limit, int64_t used)
{
    return limit > used ? limit - (used > 0 ? used : 0) : 0;
}

int64_t lease_share(int64_t limit, int64_t used, int64_t nodes)
{
    assert(nodes > 0);
    return limit != INT64_MAX ? free_of(limit, used) / nodes : INT64_MAX;
}

int64_t lease_counted_share(int64_t limit, int64_t used, int64_t others, int64_t nodes)
{
    int64_t share = lease_share(limit, used, nodes);
    int64_t left = free_of(free_of(limit, used), others);

    if (share == INT64_MAX)
        return INT64_MAX;
    return share < left ? share : left;
}

int64_t lease_row(int64_t share, int64_t held)
{
    if (share == INT64_MAX || held == INT64_MAX)
        return share;
    return share > held ? share : held;
}
