/* The breaker's word and its moves. All decisions are pure functions of a word; breaker_enter() and
 * breaker_record() only put them into a compare-and-swap loop, so any process may be killed at any
 * point: the word is always a whole state, and a prober that dies lets its time run out.
 *
 *        failures > allowed,             `until` passed:
 *        or a rest was asked for         the first to enter
 *   UP ────────────────────────► COOLING ─────────────────► PROBING
 *   ▲                            │     ▲                    │     │
 *   ├──── success of an older try┘     └─ failure: rounds+1 ┘     │
 *   └──────────────────────── success ────────────────────────────┘
 *
 * Failures of tries that began before a rest do not prolong it, and a success of one does not end a
 * rest that follows a 429. */
#include "balancer/breaker.h"

#include <assert.h>

#define PROBE_MS 60000u /* a prober that has not come back by then is taken for dead */

/* bits 0..1 state, 2..5 reason, 6..13 failures, 14..19 rounds, 20..63 until_ms; UP without failures
 * is 0 */
#define REASON_SHIFT   2
#define FAILURES_SHIFT 6
#define ROUNDS_SHIFT   14
#define UNTIL_SHIFT    20
#define STATE_MASK     0x3u
#define REASON_MASK    0xfu
#define FAILURES_MAX   0xffu
#define ROUNDS_MAX     0x3fu
#define UNTIL_MAX      ((UINT64_C(1) << (64 - UNTIL_SHIFT)) - 1) /* ms: 557 years */

static_assert(BREAKER_PROBING <= STATE_MASK, "two bits hold the state");
static_assert(OUTCOME_COUNT <= REASON_MASK + 1, "four bits hold the reason");
static_assert(FAILURES_MAX << FAILURES_SHIFT < 1u << ROUNDS_SHIFT,
              "failures end where rounds begin");
static_assert(ROUNDS_MAX << ROUNDS_SHIFT < 1u << UNTIL_SHIFT, "rounds end where the time begins");
static_assert(BREAKER_UP == 0 && OUTCOME_OK == 0, "fresh shared memory says: up, never failed");

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Any bits of the seed and the round to 32 good ones (the finisher of MurmurHash3, public domain).
 */
static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* The n-th rest in a row, n >= 1: doubled each time, -20 % to +20 %, so that deployments that
 * failed together do not come back together. */
static uint64_t rest_ms(const struct breaker_policy *policy, uint32_t round, uint32_t seed)
{
    uint64_t ms = policy->cooldown_ms;

    for (uint32_t i = 1; i < round && ms < policy->max_ms; i++)
        ms *= 2;
    if (ms > policy->max_ms)
        ms = policy->max_ms;
    ms = ms * (800 + mix(seed + round * 0x9e3779b9u) % 401) / 1000;
    return ms < policy->max_ms ? ms : policy->max_ms;
}

/* Whether the provider named a time to stay away for. A wait of 0 is none. */
static bool asks_for_rest(enum outcome outcome, int64_t retry_after_ms)
{
    return (outcome == OUTCOME_RATE_LIMIT || outcome == OUTCOME_SERVER_ERROR) && retry_after_ms > 0;
}

static uint64_t asked_ms(const struct breaker_policy *policy, int64_t retry_after_ms)
{
    return (uint64_t)retry_after_ms < policy->max_ms ? (uint64_t)retry_after_ms : policy->max_ms;
}

static void on_success(struct breaker_view *v, uint64_t now_ms)
{
    if (v->state == BREAKER_COOLING && v->reason == OUTCOME_RATE_LIMIT && now_ms < v->until_ms)
        return;
    *v = (struct breaker_view){.state = BREAKER_UP, .reason = v->reason};
}

static void on_failure(struct breaker_view *v, const struct breaker_policy *policy,
                       enum outcome outcome, int64_t retry_after_ms, uint32_t seed, uint64_t now_ms)
{
    bool asked = asks_for_rest(outcome, retry_after_ms);
    bool resting = v->state == BREAKER_COOLING && now_ms < v->until_ms;

    v->failures = min_u32(v->failures + 1, FAILURES_MAX);
    if (resting && !asked)
        return; /* from before the rest; its reason stays with the rest */
    v->reason = outcome;
    if (resting) {
        v->until_ms = max_u64(v->until_ms, now_ms + asked_ms(policy, retry_after_ms));
        return;
    }
    if (v->state == BREAKER_UP && !asked && v->failures <= policy->allowed_fails)
        return;
    v->state = BREAKER_COOLING;
    v->rounds = min_u32(v->rounds + 1, ROUNDS_MAX);
    v->until_ms =
        now_ms + (asked ? asked_ms(policy, retry_after_ms) : rest_ms(policy, v->rounds, seed));
}

const char *breaker_state_name(enum breaker_state s)
{
    static const char *const names[] = {"up", "cooling", "probing"};

    return (unsigned int)s <= BREAKER_PROBING ? names[s] : "unknown";
}

void breaker_unpack(uint64_t word, struct breaker_view *view)
{
    view->state = (enum breaker_state)(word & STATE_MASK);
    view->reason = (enum outcome)(word >> REASON_SHIFT & REASON_MASK);
    view->failures = (uint32_t)(word >> FAILURES_SHIFT & FAILURES_MAX);
    view->rounds = (uint32_t)(word >> ROUNDS_SHIFT & ROUNDS_MAX);
    view->until_ms = word >> UNTIL_SHIFT;
}

uint64_t breaker_pack(const struct breaker_view *view)
{
    uint64_t until_ms = view->until_ms < UNTIL_MAX ? view->until_ms : UNTIL_MAX;

    return (uint64_t)view->state | (uint64_t)view->reason << REASON_SHIFT |
           (uint64_t)min_u32(view->failures, FAILURES_MAX) << FAILURES_SHIFT |
           (uint64_t)min_u32(view->rounds, ROUNDS_MAX) << ROUNDS_SHIFT | until_ms << UNTIL_SHIFT;
}

bool breaker_admits(uint64_t word, uint64_t now_ms)
{
    return (word & STATE_MASK) == BREAKER_UP || now_ms >= word >> UNTIL_SHIFT;
}

bool breaker_enter(_Atomic uint64_t *word, uint64_t now_ms)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    struct breaker_view v;

    do {
        if (!breaker_admits(old, now_ms))
            return false;
        breaker_unpack(old, &v);
        if (v.state == BREAKER_UP)
            return true;
        v.state = BREAKER_PROBING;
        v.until_ms = now_ms + PROBE_MS;
    } while (!atomic_compare_exchange_weak_explicit(word, &old, breaker_pack(&v),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

uint64_t breaker_next(uint64_t word, const struct breaker_policy *policy, enum outcome outcome,
                      int64_t retry_after_ms, uint32_t seed, uint64_t now_ms)
{
    struct breaker_view v;

    breaker_unpack(word, &v);
    if (outcome == OUTCOME_OK) {
        on_success(&v, now_ms);
    } else if (outcome != OUTCOME_CANCELLED) {
        on_failure(&v, policy, outcome, retry_after_ms, seed, now_ms);
    } else if (v.state == BREAKER_PROBING) {
        /* It proved nothing: the next one may probe at once. */
        v.state = BREAKER_COOLING;
        v.until_ms = now_ms;
    }
    return breaker_pack(&v);
}

bool breaker_record(_Atomic uint64_t *word, const struct breaker_policy *policy,
                    enum outcome outcome, int64_t retry_after_ms, uint32_t seed, uint64_t now_ms,
                    struct breaker_view *before, struct breaker_view *after)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed), new;

    do {
        new = breaker_next(old, policy, outcome, retry_after_ms, seed, now_ms);
    } while (new != old && !atomic_compare_exchange_weak_explicit(
                               word, &old, new, memory_order_relaxed, memory_order_relaxed));
    breaker_unpack(old, before);
    breaker_unpack(new, after);
    return before->state != after->state;
}
