/* How far a provider's clock is ahead of ours, learned from the `Date` of its answers (RFC 9110
 * section 6.6.1). What a provider says of times (`created_at`, `expires_at`) is by its own clock;
 * who compares that with our time adds this first.
 *
 * An answer was made at some moment between the first byte of its request and the first byte that
 * came back, so it tells two bounds and no number. What is believed moves only as far as a bound
 * proves it: a slow answer teaches little, and a clock that is right is never suspected.
 *
 * A clock may also jump, and what was stamped before it did carries the other time. So the lowest
 * that was believed within SKEW_KEEP_MS is kept beside it: who asks "is this too old to be mine?"
 * uses that one, because for him to be wrong costs a second batch. At first it is not above 0, our
 * own clock, for nobody knows what was before.
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
