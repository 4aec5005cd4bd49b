/* Bounds on what clients make a worker hold at providers: calls in flight and downloads, per worker
 * and per client connection (limits.max_*). A request above them is answered 503 with Retry-After:
 * nothing was done, and SDKs retry. A download waits a moment for its slot first: a client may well
 * ask for a hundred small files at a time on one HTTP/2 connection. */
#pragma once

#include <sys/queue.h>
#include <stdbool.h>

#include "common/err.h"
#include "request/relay.h"

/** Have a tenant's request begin on a coming turn of the loop: relay->turn, which has its callback
 * and its flow. Answers 503 when too many wait. */
void admit_turn(struct relay *relay);

/** Its turn has come, or it is gone: it waits no more. */
void admit_end_turn(struct relay *relay);

/** Take a place for a request that may call providers, until its answer has ended or its client has
 * left. Answers 503 when there is none. */
MUST_USE enum answered admit_call(struct relay *relay);

/** @param granted  false: nobody made room in time, or the queue is full; see admit_refuse() */
typedef void (*admit_cb)(void *arg, bool granted);

/* One that waits for a download's place; its owner's. */
struct admit_place {
    TAILQ_ENTRY(admit_place) link; /* in worker.downloads_waiting while `queued` */
    struct relay *relay;           /* borrowed */
    bool queued, granted;
    struct loop_timer timer; /* the end of the wait, or the coming turn */
    admit_cb on_place;
    void *arg; /* borrowed */
};

/** Take a place for the download that an admitted request is, as long as admit_call().
 *  @param place  zeroed; to be given to admit_cancel() when its owner goes
 *  @return true: it has one; false: `on_place` will be called once, from the loop, unless cancelled
 */
bool admit_download(struct relay *relay, struct admit_place *place, admit_cb on_place, void *arg);
void admit_cancel(struct admit_place *place);

/** Answer 503 to a download that got no place. */
void admit_refuse(struct relay *relay);

/** Give back what a request took. For the relay's end. */
void admit_release(struct relay *relay);
