/* The keeper's side of the socket: who asks, and how he is answered. What serves a kind of question
 * is registered once; it may answer at once or whenever it is done.
 *
 *   static void on_lookup(void *arg, struct call *call)
 *   {
 *       ... call->bytes, call->len ...
 *       call_answer(&call, KEEPER_KEY_UNKNOWN, NULL, 0);      now or later, exactly once
 *   }
 *   calls_serve(calls, KEEPER_KEY_LOOKUP, on_lookup, arg);
 *
 * A worker has at most CALLS_EACH questions here at a time; what it sends beyond waits in its
 * socket. A question whose deadline is over before it is looked at is dropped: nobody waits for it,
 * and its asker was told that nothing is known. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "core/keeper_door.h"

#define CALLS_EACH 32 /* of a worker at a time */

struct calls; /* all connections of a keeper */

/* One question. */
struct call {
    enum keeper_kind kind;
    uint64_t deadline_ms; /* monotonic; nobody waits after that */
    const char *bytes;    /* its own, as long as it lives; not ended by a NUL */
    size_t len;
};

/* Takes the call over: call_answer() ends it. */
typedef void (*calls_cb)(void *arg, struct call *call);

/** @param loop, door  borrowed; outlive it. Serves KEEPER_ECHO by itself
 *  @return 0, ERR_NOMEM, ERR_IO (errno) */
MUST_USE int calls_new(struct loop *loop, const struct keeper_door *door, struct calls **out);
/** Everybody sees EOF. The calls that are not answered yet go with call_answer(), later. */
void calls_free(struct calls *calls);

/** Who serves a kind from now on; one that nobody serves is answered KEEPER_NO_SUCH_KIND. */
void calls_serve(struct calls *calls, enum keeper_kind kind, calls_cb cb, void *arg);

/** Answer, and let go of the call; the pointer becomes NULL. Somebody who has gone meanwhile is
 * not answered, and it is not told.
 *  @param bytes  copied; more than KEEPER_MESSAGE: the answer is KEEPER_TOO_LONG; may be NULL */
void call_answer(struct call **call, unsigned status, const void *bytes, size_t len);

/** Whether the asker is still connected and its deadline not over: else long work is in vain. */
bool call_is_wanted(const struct call *call, uint64_t now_ms);

/** Take nobody new, and ask the others to ask nothing new; what was asked will be answered. */
void calls_drain(struct calls *calls);
/** Whether all have said that nothing comes any more, and were answered. */
bool calls_are_done(const struct calls *calls);
