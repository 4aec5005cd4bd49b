/* How many requests each of the last minutes had, and how long they took: for the plots of the
 * page. A row for each worker, which alone writes it; whoever reads adds the rows up. Times are
 * counted in buckets, two for each doubling, so a quantile is right to a fifth of itself.
 *
 * A minute is one of the monotonic clock. A reader may see a minute that is being emptied for a new
 * one: it takes that for empty. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MINUTES_KEPT    64 /* a power of two, above those that are shown */
#define MINUTES_SHOWN   61 /* the current one, and an hour */
#define MINUTES_BUCKETS 48 /* from 64 us to 12 minutes */

struct minute {
    _Atomic uint32_t stamp;  /* which minute, from 1; 0: none yet */
    _Atomic uint32_t failed; /* of the requests: those that were answered 500 and above */
    _Atomic uint32_t times[MINUTES_BUCKETS];
};

struct minutes_row {
    struct minute minutes[MINUTES_KEPT];
};

/* A minute of all rows. */
struct minutes_sum {
    uint64_t requests, failed;
    uint64_t times[MINUTES_BUCKETS];
};

/** A request has ended: the row's own process tells it.
 *  @param us  that it took */
void minutes_note(struct minutes_row *row, uint64_t us, bool failed, uint64_t now_ms);

/** Add a row to what was added up so far.
 *  @param sums  [MINUTES_SHOWN], zeroes at first; sums[i] is i minutes ago, the first one goes on */
void minutes_add(const struct minutes_row *row, uint64_t now_ms, struct minutes_sum *sums);

/** The time below which so many of a thousand requests stayed, in microseconds; 0: there were none. */
uint64_t minutes_quantile_us(const struct minutes_sum *sum, unsigned permille);
