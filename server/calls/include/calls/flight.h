/* Calls that several clients' requests share: those who ask for one object while a call that asks for
 * it is under way wait for its answer, each for itself, and no second call is made (single flight).
 *
 *   flight_enter() ─► no such call, or it began before the object changed ─► a call begins ─┐
 *                └──► one is under way ─────────────────────────────────────► waits for it ─┤
 *   flight_leave() ◄─ its client is gone; the call goes on for the others, without any it   │
 *                     is cancelled                                                          │
 *   on_done()      ◄─ each one that waits gets the answer, or the failure, as it is ────────┘
 *
 * Shared is what the provider said, never what a client is shown: whoever enters has shown its
 * rights before, and writes its own answer. The first one is told in the turn of the loop in which the
 * answer came, the others in the turns behind it. What "before it changed" means is
 * poll_cache_change()'s matter: a cancel or delete by any worker of this node is seen by who asks
 * after its answer.
 *
 * Who waits for another one's call counts as a call itself (runtime.calls_shared): the limits of
 * calls are as if each had its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "calls/attempt.h"

#define FLIGHT_MOST_USERS 32 /* of one call: so many turns of the loop it takes at most */

struct flight_user; /* one that waits */

/* Of the call that is waited for. */
struct flight_entered {
    bool joined;     /* it was under way for another one */
    uint64_t moment; /* poll_cache_moment() from before it began */
};

/** Wait for the answer to a call that reads one object.
 *  @param spec     of the call, if one has to begin: deployment, call and id say what is asked for, and
 *                  nothing else may change what is answered; its on_done and arg are those of the user.
 *                  The answer may come without its headers
 *  @param entered  written
 *  @return valid until on_done() begins; NULL: out of memory, it will not run */
MUST_USE struct flight_user *flight_enter(struct runtime *rt, const struct attempt_spec *spec,
                                          struct flight_entered *entered);

/** Wait no more; NULL is fine. */
void flight_leave(struct flight_user *user);
