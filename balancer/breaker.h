/* Circuit breaker per deployment and operation class, in one 64-bit word changed by
 * compare-and-swap: state, reason, consecutive failures, cooling rounds, until. Pure over (word,
 * outcome, now_ms); breaker_record() is the loop around it.
 *
 * UP: admits all. COOLING: admits nothing until `until`, then one probe (PROBING) decides.
 * LiteLLM's `allowed_fails` (default 3 per minute) and `cooldown_time` (default 5 s, LiteLLM's
 * DEFAULT_COOLDOWN_TIME_SECONDS) set the numbers; the time doubles with each round up to 300 s with
 * +-20 % jitter derived from the fingerprint; Retry-After is honoured as it is, but capped at 300
 * s.
 *
 * Rules of use: reads that follow an id go to their owner whatever the breaker says; a deployment
 * that pick_next() chose although it was not admitted (nothing else was left) is tried without
 * breaker_enter(). All of them record how they ended. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/state.h"

enum breaker_state { BREAKER_UP, BREAKER_COOLING, BREAKER_PROBING };

struct breaker_policy {
    uint32_t allowed_fails; /* failures in a row that are still forgiven; default 3 */
    uint32_t cooldown_ms;   /* first rest; default 5,000 */
    uint32_t max_ms;        /* longest rest; default 300,000 */
};

struct breaker_view {
    enum breaker_state state;
    enum outcome reason; /* of the last failure, or of the rest; kept after recovery; OUTCOME_OK:
                            never failed */
    uint32_t failures;   /* in a row; at most 255 */
    uint32_t rounds;     /* rests in a row; at most 63 */
    uint64_t until_ms;   /* monotonic; when COOLING or PROBING ends; UP: 0 */
};

const char *breaker_state_name(enum breaker_state s);
void breaker_unpack(uint64_t word, struct breaker_view *view);
uint64_t breaker_pack(const struct breaker_view *view);

/** Whether a new try may go there now: UP, or COOLING/PROBING past its time. Pure. */
bool breaker_admits(uint64_t word, uint64_t now_ms);

/** Take the right to try: for a word past its time exactly one caller becomes the prober (PROBING
 * for 60 s), the others get false. UP is always true. Whoever entered must record an outcome
 * (CANCELLED gives the probe back). */
bool breaker_enter(_Atomic uint64_t *word, uint64_t now_ms);

/** The word after one ended try. Pure. OUTCOME_OK closes (but a rest that the provider asked for by
 * a 429 is sat out); AUTH, CONNECT, SERVER_ERROR, TIMEOUT, BROKEN, BAD_ANSWER and RATE_LIMIT count,
 * and more than `allowed_fails` in a row begin a rest, as does a failed probe; RATE_LIMIT and
 *  SERVER_ERROR (503) with a Retry-After rest at once, for as long as that says. Failures that come
 * in during a rest do not prolong it unless they name a later end. CANCELLED changes nothing but
 * gives a probe back.
 *  @param retry_after_ms  what upstream asked for; -1: nothing
 *  @param seed            any per-deployment number, for jitter */
uint64_t breaker_next(uint64_t word, const struct breaker_policy *policy, enum outcome outcome,
                      int64_t retry_after_ms, uint32_t seed, uint64_t now_ms);

/** Record an ended try. @return true when the state changed, so that the caller logs it exactly
 * once; `before`/`after` are set */
bool breaker_record(_Atomic uint64_t *word, const struct breaker_policy *policy,
                    enum outcome outcome, int64_t retry_after_ms, uint32_t seed, uint64_t now_ms,
                    struct breaker_view *before, struct breaker_view *after);
