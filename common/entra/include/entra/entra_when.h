/* When a credential is asked for its next token, and until when the one that is there is used (entra
 * statements 11 to 15). Pure: a state, what happened, monotonic milliseconds, and random bits from
 * which jitter is made, so that tests may fix them and many credentials do not ask in one second.
 *
 *     obtained            renew            fresh_until        ends
 *        |------- FRESH -----|------ FRESH ------|---- OLD -----|---- NONE
 *                            asked again: as soon as it can be, then by the wait of the last refusal
 *
 * Calls go out with a token to its real end: OLD tells that renewals have failed for a while, which
 * is worth a warning and no more. A renewal that fails changes nothing of the token. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "entra/entra_answer.h"

#define ENTRA_FRESH_S     300  /* before its end a token is no longer fresh */
#define ENTRA_HALF_S      7200 /* longer lives are renewed at half of them */
#define ENTRA_FINAL_S     60   /* between two calls that are refused for good */
#define ENTRA_THROTTLED_S 5    /* the least wait after a 429 that names none */
#define ENTRA_BACKOFF_S   60   /* the longest of a back-off, jitter included */

/* Plain words, for shared memory; zeroed: nothing is there and nothing was asked. */
struct entra_state {
    uint64_t obtained_ms; /* when the token came; 0: there is none */
    uint64_t renew_ms;    /* from then on a new one is asked for */
    uint64_t fresh_until_ms, ends_ms;
    uint64_t wait_ms;  /* nobody calls before; 0: no wait */
    uint32_t failures; /* calls in a row that brought no token */
    uint32_t last;     /* enum entra_outcome of the last call */
    /* The last failure was ENTRA_OUT_OF_TIME and was tried again at once: the next one waits */
    bool tried_again;
};

enum entra_use {
    ENTRA_USE_NONE, /* there is no token, or it has ended */
    ENTRA_USE_OLD,  /* it lives, and should have been renewed */
    ENTRA_USE_FRESH
};

/** A token came. @param lives_s, refresh_s  as entra_answer has them
 *  @param random  any bits */
void entra_when_obtained(struct entra_state *state, uint32_t lives_s, uint32_t refresh_s,
                         uint64_t now_ms, uint64_t random);

/** A call brought none. Challenges are no failures: they are answered at once.
 *  @param retry_after_s  as entra_answer has it; -1: none */
void entra_when_failed(struct entra_state *state, enum entra_outcome outcome, int64_t retry_after_s,
                       uint64_t now_ms, uint64_t random);

/** Azure refused the token (entra statement 16): it is gone, and a new one is due as soon as no wait
 * stands in the way. */
void entra_when_dropped(struct entra_state *state);

/** What the token is good for now. */
enum entra_use entra_when_use(const struct entra_state *state, uint64_t now_ms);

/** When the next call is due, in monotonic milliseconds; not after `now_ms`: now. */
uint64_t entra_when_next(const struct entra_state *state, uint64_t now_ms);

/** For the answer to somebody who gets no token: seconds until it is worth to come again, 1 to
 * ENTRA_MAX_RETRY_S. */
uint32_t entra_when_retry_after_s(const struct entra_state *state, uint64_t now_ms);
