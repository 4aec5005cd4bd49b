/* How far a provider's clock is ahead of ours, learned from the `Date` of its answers (RFC 9110
 * section 6.6.1). Times in a provider's objects (`created_at`, `expires_at`) are by its own clock;
 * add this before comparing them with our time.
 *
 * An answer was made between the first byte of its request and the first byte that came back, so it
 * gives two bounds and no exact value. The estimate moves only as far as a bound proves: a slow
 * answer teaches little, and a correct clock is never suspected.
 *
 * A clock may also jump, and older timestamps then carry the previous time. So the lowest estimate
 * of the last SKEW_KEEP_MS is kept as well: the question "is this too old to be mine?" uses it,
 * because a wrong answer to that costs a second batch. It starts at most at 0, our own clock, since
 * nothing is known of the time before.
 *
 * Two words in shared memory that any process may change by compare-and-swap; all zero at first.
 * Decisions are pure. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SKEW_WARN_S  60                  /* more than this is told */
#define SKEW_CALM_S  30                  /* less than this is told when more was told before */
#define SKEW_MAX_S   (400 * 86400)       /* more than this is no clock, but a machine without one */
#define SKEW_KEEP_MS (26u * 3600 * 1000) /* longer than a create is looked for by its key */

struct skew {
    _Atomic uint64_t now; /* seconds believed (32 bits), and the last that were told (32) */
    _Atomic uint64_t low; /* the lowest (32), and the minute in which it was last so (32) */
};

/* One answer. Unix milliseconds, by one reading of our own clock. */
struct skew_sample {
    int64_t date_s;           /* Unix seconds: its `Date` */
    int64_t sent_ms, came_ms; /* it was made between these */
};

/** What to believe after this sample.
 *  @param before_s  seconds believed so far
 *  @return the same, or the nearest that the sample allows; `before_s` for a sample that proves
 *         nothing */
int64_t skew_after(int64_t before_s, const struct skew_sample *sample);

/** Learn from an answer.
 *  @param now_ms  monotonic
 *  @return whether it is news: SKEW_WARN_S were passed, or the skew was told and has changed by as
 *         much since, or it was told and is gone. One of all processes gets true */
bool skew_learn(struct skew *skew, const struct skew_sample *sample, uint64_t now_ms);

/** Seconds that the provider's clock is ahead; below 0: behind. */
int64_t skew_now_s(const struct skew *skew);

/** The lowest of the last SKEW_KEEP_MS; at most 0 in the first such time. */
int64_t skew_low_s(const struct skew *skew);

/** Nothing is known. */
void skew_forget(struct skew *skew);
