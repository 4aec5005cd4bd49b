/* See counts.h. */
#include "counts.h"

#include <assert.h>

/* Numbers of SERIES_POLLS: see admin/metrics_usage.c. */
enum { POLLED, PROCESSED, UNPRICED, LAST_RUN };

static const struct series_name polls = {.family = SERIES_POLLS};

void counts_made(struct series *series, const struct counts_labels *of)
{
    const struct series_name name = {SERIES_BATCHES,
                                     {of->group, of->provider, of->alias, of->team}};

    series_add(series, &name, 0, 1);
}

void counts_polled(struct series *series, size_t num, int64_t now_unix_s)
{
    assert(now_unix_s >= 0);
    series_add(series, &polls, POLLED, num);
    series_set(series, &polls, LAST_RUN, (uint64_t)now_unix_s);
}

void counts_ended(struct series *series, const struct counts_labels *of, const char *status,
                  int64_t seconds)
{
    static const uint64_t bounds[] = SERIES_DURATION_BOUNDS;
    const struct series_name name = {SERIES_DURATION, {of->group, of->provider, status, NULL}};

    series_observe(series, &name, seconds > 0 ? (uint64_t)seconds : 0, bounds,
                   sizeof(bounds) / sizeof(bounds[0]));
}

void counts_moves(struct series *series, const struct counts_labels *of, const char *reason)
{
    const struct series_name name = {SERIES_MOVES, {of->group, of->provider, reason, NULL}};

    series_add(series, &name, 0, 1);
}

void counts_used(struct series *series, const struct counts_labels *of,
                 const struct store_usage *rows, size_t num)
{
    const struct series_name spend = {SERIES_SPEND, {of->alias, of->group, of->team, NULL}};

    series_add(series, &polls, PROCESSED, 1);
    for (size_t i = 0; i < num; i++) {
        assert(rows[i].nano >= 0); /* a counter never goes down */
        series_add(series, &spend, 0, (uint64_t)rows[i].nano);
        series_add(series, &polls, UNPRICED, rows[i].unpriced);
    }
}

void counts_budget(struct series *series, const char *team, int64_t left_nano)
{
    const struct series_name name = {SERIES_BUDGET, {team, NULL, NULL, NULL}};

    series_set(series, &name, 0, left_nano > 0 ? (uint64_t)left_nano : 0);
}
