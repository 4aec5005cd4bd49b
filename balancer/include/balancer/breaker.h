/* Circuit breaker per deployment and operation class, in one 64-bit word changed by
 * compare-and-swap: state, reason, consecutive failures, cooldowns in a row, and the end of the
 * cooldown or what this minute brought. Pure over (word, outcome, now_ms); breaker_record() is the
 * loop around it.
 *
 * CLOSED admits all. OPEN admits nothing until `until`, then one probe (HALF_OPEN) decides.
 * LiteLLM's `allowed_fails`, `allowed_fails_policy` and `cooldown_time` set the
 * numbers; the time doubles with each round up to 300 s with +-20 % jitter derived from the
 * fingerprint; Retry-After is honoured as it is, but capped at 300 s, except where the row has a
 * cooldown_time of its own.
 *
 * Failures are looked at in three ways, because batch traffic is a few uploads an hour as well as
 * hundreds of polls a second: in a row, whatever the time between them; in one minute, whatever
 * succeeded between them (LiteLLM's meaning of an allowed_fails that is given); and as a share of
 * what the minute brought (LiteLLM's rule when it is not given: more than half of 5 or more). A key
 * that is refused gets no second try then either.
 *
 * Rules of use: reads that follow an id go to their owner whatever the breaker says; a deployment
 * that pick_next() chose although it was not admitted (nothing else was left) is tried without
 * breaker_enter(). All of them record how they ended. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/state.h"

#define DEFAULT_ALLOWED_FAILS 3 /* LiteLLM's */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker_policy {
    /* Failures in a row that are still forgiven when the last one is of this kind; 255 or more: any
     * number */
    uint32_t allowed[OUTCOME_COUNT];
    bool per_minute;       /* as many in one minute are, too, and no more, successes or not */
    uint32_t rate_percent; /* a greater share of a minute's tries is not forgiven; 0: no matter */
    uint32_t rate_min;     /* tries in that minute before the share says anything */
    uint32_t cooldown_ms;  /* first cooldown; 0: none but those that the provider asks for */
    uint32_t max_ms;       /* longest cooldown; a longer cooldown_ms stays as it is */
    /* cooldown_ms is the row's own: it is used even when the provider names a time, which overrides
     * only the router's; 0: no cooldowns. Source: deployment_callback_on_failure in
     * litellm/router.py */
    bool own_time;
    bool never_rests; /* LiteLLM's disable_cooldowns: not even when the provider asks for it */
};

struct breaker_view {
    enum breaker_state state;
    /* Of the last failure, or of the cooldown; kept after recovery; OUTCOME_OK: never failed */
    enum outcome reason;
    uint32_t failures; /* in a row; at most 255 */
    uint32_t rounds;   /* cooldowns in a row; at most 63 */
    bool firm;         /* successes of requests sent before the cooldown do not shorten it */
    uint64_t until_ms; /* monotonic; when OPEN or HALF_OPEN ends; CLOSED: 0 */
    /* CLOSED only, else 0: what a minute brought, as far as the policy asks for it */
    uint32_t minute;       /* of the monotonic clock, modulo 2^15 */
    uint32_t minute_tries; /* at most 16,383; then both are halved */
    uint32_t minute_failures;
};

/** "closed", "open" or "half-open", for the log; "unknown" for another number. */
const char *breaker_state_name(enum breaker_state s);
/** What a word says, and the word that says it. Pure; a packed view unpacks to itself. */
void breaker_unpack(uint64_t word, struct breaker_view *view);
uint64_t breaker_pack(const struct breaker_view *view);

/** Whether a new try may go there now: CLOSED, or OPEN/HALF_OPEN past its time. Pure. */
bool breaker_admits(uint64_t word, uint64_t now_ms);

/** Take the right to try: for a word past its time exactly one caller becomes the prober (HALF_OPEN
 * for 60 s), the others get false. CLOSED is always true. Whoever entered must record an outcome
 * (CANCELLED gives the probe back). */
bool breaker_enter(_Atomic uint64_t *word, uint64_t now_ms);

/** The policy that forgives `allowed_fails` failures in a row of any kind; its cooldowns take
 * `cooldown_ms` at first and 300 s at most. */
struct breaker_policy breaker_policy(uint32_t allowed_fails, uint32_t cooldown_ms);

/** LiteLLM's policy when the operator gives neither allowed_fails nor an allowed_fails_policy: a
 * cooldown after more than 3 failures in a row, for more than half of 5 or more in a minute, and at
 * once after a failure that no retry can mend (AUTH). A 429 without Retry-After starts a cooldown
 * at once in LiteLLM; here it counts like the others, since files would have to be copied for it.
 *
 * Source: _should_cooldown_deployment in litellm/router_utils/cooldown_handlers.py, should_retry in
 * litellm/utils.py, and the constants of litellm/constants.py that are named in breaker.c. */
struct breaker_policy breaker_policy_default(uint32_t cooldown_ms);

/** The word after one ended try. Pure. OUTCOME_OK closes (but a cooldown after a 429, or for a
 * share of failures, is not shortened); AUTH, CONNECT, SERVER_ERROR, TIMEOUT, BROKEN, BAD_ANSWER
 * and RATE_LIMIT count, and more than the policy forgives start a cooldown, as does a failed probe;
 * RATE_LIMIT and SERVER_ERROR (503) with a Retry-After start one at once, for as long as that says.
 * Failures during a cooldown do not prolong it unless they name a later end. CANCELLED changes
 * nothing but gives a probe back.
 *  @param retry_after_ms  what upstream asked for; -1: nothing
 *  @param seed            any per-deployment number, for jitter */
uint64_t breaker_next(uint64_t word, const struct breaker_policy *policy, enum outcome outcome,
                      int64_t retry_after_ms, uint32_t seed, uint64_t now_ms);

/** By hand: nothing new goes there until then, whatever succeeds meanwhile. Its reason is
 * OUTCOME_CANCELLED, which no failure ever is; a cooldown that ends later keeps its end and its
 * reason. A policy that `never_rests` ends it with the next try that ends. */
void breaker_rest_by_hand(_Atomic uint64_t *word, uint64_t until_ms);

/** Whether it is breaker_rest_by_hand() that keeps it out, or lets one probe in after that. */
bool breaker_rests_by_hand(const struct breaker_view *view);

/** By hand: it is admitted at once, as if it had never failed. */
void breaker_mend_by_hand(_Atomic uint64_t *word);

/** Record an ended try. @return true when the state changed, so that the caller logs it exactly
 * once; `before`/`after` are set */
bool breaker_record(_Atomic uint64_t *word, const struct breaker_policy *policy,
                    enum outcome outcome, int64_t retry_after_ms, uint32_t seed, uint64_t now_ms,
                    struct breaker_view *before, struct breaker_view *after);
