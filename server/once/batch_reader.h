/* Reads the newest batches of one account, for all searches of a worker that wait for that: one
 * call at a time goes to an account, and each batch that arrives is passed to every search that
 * waits.
 *
 *   batch_query ──► waiting ──► round: page, page, ... ──► read back to its time: on_end()
 *                      ▲           │
 *                      │           └─► shown what it wants, or the list could not be read: on_end()
 *                      └─ a query during a round waits for the next one
 *
 * Rounds begin READER_GAP_MS apart, whatever is asked. While a long one is under way (a day of
 * batches, after a restart), short ones run between its pages.
 *
 * What was read is kept in a read_log: an account of which a day was read is asked only for what is
 * newer.
 *
 * A batch's age is by its provider's clock, which may be far from ours and may jump meanwhile. So
 * limits are kept as moments of our monotonic clock and converted into the provider's time when a
 * page has come, whose own `Date` is known by then (core/provider_clock.h). */
#pragma once

#include "json/json.h"
#include "read_log.h"
#include "once/wanted.h"
#include "core/runtime.h"

#define READER_GAP_MS 200

/* One batch that came by. */
struct batch_seen {
    const struct json *batch;
    const struct marker *marker; /* that it carries, sealed or not; NULL: none */
    int64_t created_s;           /* Unix seconds; 0: not told */
    const char *text;            /* of the batch, as the provider sent it */
    size_t len;
};

enum batch_read {
    BATCH_READ_ALL,    /* back to `limit_ms`, or to what is known */
    BATCH_READ_ENOUGH, /* on_batch() said so */
    BATCH_READ_FAILED  /* a provider did not list its batches */
};

/* Who wants an account's batches; embedded in its owner. The first part is the owner's. */
struct batch_query {
    uint32_t deployment;         /* one of the account */
    const struct wanted *wanted; /* borrowed; what need not be looked for twice */
    int64_t limit_ms;            /* monotonic; what was made before is of no interest */
    /* Monotonic; the caller knows every create since then, so an account that was read later needs
     * no new read. 0: it knows nothing */
    uint64_t known_since_ms;
    /* One that is young enough; everything is valid during the call. May start or forget nothing.
     * @return true: enough */
    bool (*on_batch)(struct batch_query *query, const struct batch_seen *seen);
    /* Once, unless forgotten; never from inside batch_reader_ask(). May do anything. */
    void (*on_end)(struct batch_query *query, enum batch_read end);
    void *arg; /* borrowed */
    /* The reader's: */
    struct batch_reader *reader; /* NULL: it waits for nothing */
    struct batch_query *next, **link;
    int64_t from_ms; /* in a round: as far back as it wants */
    bool enough, failed;
};

/** Wait for the next round. @return false: there is no memory, and on_end() will not run */
MUST_USE bool batch_reader_ask(struct runtime *rt, struct batch_query *query);

/** Forget it; no callback. Safe on one that waits for nothing. */
void batch_reader_forget(struct batch_query *query);

/** Let go of all of a worker's readers. Nobody waits for one any more. */
void batch_readers_free(struct runtime *rt);
