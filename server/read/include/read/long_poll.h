/* Polls that are held until their batch changes ("long polling", RFC 7240 section 4.3). All who wait
 * for one batch at a worker share one question to its provider each
 * `tranche_settings.timeouts.long_poll_ms`. What it is answered is read once; who knows another state
 * is woken, one a slice of the loop (core/slices.h), so that thousands of them hold nobody up. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/runtime.h"
#include "core/share.h"
#include "json/json.h"

#define LONG_POLLS_MOST 16384 /* held by a worker; a preference beyond is passed over */

struct long_poll_batch;

/* A batch as its provider sent it. */
struct long_poll_view {
    const char *text; /* borrowed */
    size_t len;
    uint64_t moment; /* polls_moment() from before it was asked for */
};

/* The wait is over, and `long_poll_end()` was called. It may free what the long_poll is part of.
 * @param view  what was seen last, readable until the callback returns; NULL: the last question was
 *              not answered well, or the batch was changed since: ask */
typedef void (*long_poll_cb)(void *arg, const struct long_poll_view *view);

/* Embedded in who waits; all zero but the first three before. */
struct long_poll {
    long_poll_cb on_over; /* once, on a later turn, unless ended before */
    void *arg;
    struct share *share;           /* borrowed; of the tenant that waits; may be NULL */
    struct long_poll_batch *batch; /* borrowed; NULL: it does not wait */
    uint64_t state;                /* that its client is taken to know */
    struct slice slice;
    struct loop_timer timer;
    TAILQ_ENTRY(long_poll) link;
};

/** A number for what is waited for: the batch's status and the counts of its requests. Equal states
 * give equal numbers. Pure. @param batch  as the provider sent it */
uint64_t long_poll_state(const struct json *batch);

/** What was seen last of a batch that somebody waits for here, one interval and one call ago at most.
 *  @param out  readable until the loop's next turn
 *  @return false: nobody waits, it was not answered well, or the batch was changed since */
bool long_poll_seen(const struct runtime *rt, uint32_t deployment, const char *native,
                    struct long_poll_view *out);

/** Wait until the batch's state is another one than in `view`, the time is over or the worker
 * drains.
 *  @param view  as the provider has just sent it, or of long_poll_seen()
 *  @return 0; ERR_FULL: too many wait, or the worker drains; ERR_NOMEM; ERR_SYNTAX: `view` is no
 *          batch. Then nobody waits */
MUST_USE int long_poll_begin(struct runtime *rt, uint32_t deployment, const char *native,
                             const struct long_poll_view *view, uint64_t wait_ms,
                             struct long_poll *poll);

/** Wait no longer. One that does not wait is fine. */
void long_poll_end(struct runtime *rt, struct long_poll *poll);

/** The worker drains: all waits are over. */
void long_poll_drain(struct runtime *rt);
