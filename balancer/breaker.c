/* The breaker's word and its moves. All decisions are pure functions of a word; breaker_enter() and
 * breaker_record() only put them into a compare-and-swap loop, so any process may be killed at any
 * point: the word is always a whole state, and a prober that dies lets its time run out.
 *
 *          more than is forgiven,        `until` passed:
 *          or a wait was asked for       the first to enter
 *   CLOSED ──────────────────────► OPEN ─────────────────► HALF_OPEN
 *   ▲                              │  ▲                    │       │
 *   ├──── success of an older try ─┘  └─ failure: rounds+1 ┘       │
 *   └──────────────────────── success ─────────────────────────────┘
 *
 * Failures of tries that began before a cooldown do not prolong it, and a success of one does not
 * end a cooldown that follows a 429, or a share of failures: successes were to be expected then. */
#include "balancer/breaker.h"

#include <assert.h>

#include "common/shm_words.h"

#define PROBE_MS  60000u /* a prober that has not come back by then is taken for dead */
#define MINUTE_MS 60000u
#define MAX_MS    300000u

/* LiteLLM's DEFAULT_FAILURE_THRESHOLD_PERCENT and DEFAULT_FAILURE_THRESHOLD_MINIMUM_REQUESTS. */
#define DEFAULT_RATE_PERCENT 50
#define DEFAULT_RATE_MIN     5

/* bits 0..1 state, 2..5 reason, 6..13 failures, 14..19 rounds, 20 firm, 21..63 until_ms, in whose
 * place a CLOSED word has: 21..34 failures of the minute, 35..48 its tries, 49..63 the minute. A
 * stale minute is taken for this one after 22 days of silence exactly. */
#define REASON_SHIFT          2
#define FAILURES_SHIFT        6
#define ROUNDS_SHIFT          14
#define FIRM_SHIFT            20
#define UNTIL_SHIFT           21
#define MINUTE_FAILURES_SHIFT 21
#define MINUTE_TRIES_SHIFT    35
#define MINUTE_SHIFT          49
#define STATE_MASK            0x3u
#define REASON_MASK           0xfu
#define FAILURES_MAX          0xffu
#define ROUNDS_MAX            0x3fu
#define MINUTE_COUNT_MAX      0x3fffu
#define MINUTE_MASK           0x7fffu
#define UNTIL_MAX             ((UINT64_C(1) << (64 - UNTIL_SHIFT)) - 1) /* ms: 278 years */

static_assert(BREAKER_HALF_OPEN <= STATE_MASK, "two bits hold the state");
static_assert(OUTCOME_COUNT <= REASON_MASK + 1, "four bits hold the reason");
static_assert(FAILURES_MAX << FAILURES_SHIFT < 1u << ROUNDS_SHIFT,
              "failures end where rounds begin");
static_assert(ROUNDS_MAX << ROUNDS_SHIFT < 1u << FIRM_SHIFT, "rounds end where firm begins");
static_assert(FIRM_SHIFT < UNTIL_SHIFT && FIRM_SHIFT < MINUTE_FAILURES_SHIFT,
              "firm ends where the time begins");
static_assert(MINUTE_FAILURES_SHIFT + 14 == MINUTE_TRIES_SHIFT &&
                  MINUTE_TRIES_SHIFT + 14 == MINUTE_SHIFT && MINUTE_SHIFT + 15 == 64,
              "the minute fills the place of the time");
static_assert(BREAKER_CLOSED == 0 && OUTCOME_OK == 0, "fresh shared memory says: up, never failed");

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

/* The n-th cooldown in a row, n >= 1: doubled each time, -20 % to +20 %, so that deployments that
 * failed together do not come back together. */
static uint64_t rest_ms(const struct breaker_policy *policy, uint32_t round, uint32_t seed)
{
    uint64_t ms = policy->cooldown_ms, max_ms = max_u64(ms, policy->max_ms);

    for (uint32_t i = 1; i < round && ms < max_ms; i++)
        ms *= 2;
    if (ms > max_ms)
        ms = max_ms;
    ms = ms * (800 + mix(seed + round * 0x9e3779b9u) % 401) / 1000;
    return ms < max_ms ? ms : max_ms;
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

/* Successes are only written down where somebody asks for their share: a word that nobody writes
 * stays in every worker's cache. */
static void count_in_minute(struct breaker_view *v, const struct breaker_policy *policy,
                            bool failed, uint64_t now_ms)
{
    uint32_t minute = (uint32_t)(now_ms / MINUTE_MS) & MINUTE_MASK;

    if (policy->rate_percent == 0 && !(policy->per_minute && failed))
        return;
    if (v->minute != minute) {
        v->minute = minute;
        v->minute_tries = v->minute_failures = 0;
    }
    if (v->minute_tries == MINUTE_COUNT_MAX) {
        v->minute_tries /= 2;
        v->minute_failures /= 2;
    }
    v->minute_tries++;
    v->minute_failures += failed;
}

static bool is_share_too_great(const struct breaker_view *v, const struct breaker_policy *policy)
{
    return policy->rate_percent > 0 && v->minute_tries >= policy->rate_min &&
           (uint64_t)v->minute_failures * 100 > (uint64_t)v->minute_tries * policy->rate_percent;
}

static bool is_number_too_great(const struct breaker_view *v, const struct breaker_policy *policy,
                                enum outcome outcome)
{
    uint32_t allowed = policy->allowed[outcome];

    return v->failures > allowed || (policy->per_minute && v->minute_failures > allowed);
}

static void on_success(struct breaker_view *v, const struct breaker_policy *policy, uint64_t now_ms)
{
    if (v->state == BREAKER_OPEN && v->firm && now_ms < v->until_ms && !policy->never_rests)
        return;
    if (v->state != BREAKER_CLOSED)
        *v = (struct breaker_view){.state = BREAKER_CLOSED, .reason = v->reason};
    v->failures = 0;
    count_in_minute(v, policy, false, now_ms);
}

/* The operator wants no cooldowns: one that the provider had asked for is over now, too. */
static void stay_up(struct breaker_view *v)
{
    if (v->state != BREAKER_CLOSED)
        *v = (struct breaker_view){.reason = v->reason, .failures = v->failures};
}

static void begin_rest(struct breaker_view *v, uint64_t until_ms, bool firm)
{
    v->state = BREAKER_OPEN;
    v->rounds = min_u32(v->rounds + 1, ROUNDS_MAX);
    v->firm = firm;
    v->until_ms = until_ms;
    v->minute = v->minute_tries = v->minute_failures = 0;
}

bool breaker_rests_by_hand(const struct breaker_view *view)
{
    return view->state != BREAKER_CLOSED && view->reason == OUTCOME_CANCELLED;
}

static void on_failure(struct breaker_view *v, const struct breaker_policy *policy,
                       enum outcome outcome, int64_t retry_after_ms, uint32_t seed, uint64_t now_ms)
{
    bool asked = asks_for_rest(outcome, retry_after_ms);
    bool cooling_down = v->state == BREAKER_OPEN && now_ms < v->until_ms;
    bool share;

    v->failures = min_u32(v->failures + 1, FAILURES_MAX);
    if (policy->never_rests) {
        v->reason = outcome;
        stay_up(v);
        return;
    }
    if (cooling_down && (!asked || policy->own_time))
        return; /* from before the cooldown, whose reason stays */
    if (cooling_down && breaker_rests_by_hand(v) &&
        now_ms + asked_ms(policy, retry_after_ms) <= v->until_ms)
        return; /* it rests for longer anyway */
    v->reason = outcome;
    if (cooling_down) {
        v->until_ms = max_u64(v->until_ms, now_ms + asked_ms(policy, retry_after_ms));
        v->firm |= outcome == OUTCOME_RATE_LIMIT;
        return;
    }
    if (asked && !policy->own_time) {
        begin_rest(v, now_ms + asked_ms(policy, retry_after_ms), outcome == OUTCOME_RATE_LIMIT);
        return;
    }
    if (v->state == BREAKER_CLOSED)
        count_in_minute(v, policy, true, now_ms);
    share = is_share_too_great(v, policy);
    if (policy->cooldown_ms == 0)
        stay_up(v);
    else if (asked || v->state != BREAKER_CLOSED || share ||
             is_number_too_great(v, policy, outcome))
        begin_rest(v, now_ms + rest_ms(policy, v->rounds + 1, seed),
                   share || outcome == OUTCOME_RATE_LIMIT);
}

const char *breaker_state_name(enum breaker_state s)
{
    static const char *const names[] = {"closed", "open", "half-open"};

    return (unsigned int)s <= BREAKER_HALF_OPEN ? names[s] : "unknown";
}

void breaker_unpack(uint64_t word, struct breaker_view *view)
{
    view->state = (enum breaker_state)(word & STATE_MASK);
    view->reason = (enum outcome)(word >> REASON_SHIFT & REASON_MASK);
    view->failures = (uint32_t)(word >> FAILURES_SHIFT & FAILURES_MAX);
    view->rounds = (uint32_t)(word >> ROUNDS_SHIFT & ROUNDS_MAX);
    view->firm = (word >> FIRM_SHIFT & 1) != 0;
    view->until_ms = 0;
    view->minute = view->minute_tries = view->minute_failures = 0;
    if (view->state != BREAKER_CLOSED) {
        view->until_ms = word >> UNTIL_SHIFT;
        return;
    }
    view->minute = (uint32_t)(word >> MINUTE_SHIFT);
    view->minute_tries = (uint32_t)(word >> MINUTE_TRIES_SHIFT & MINUTE_COUNT_MAX);
    view->minute_failures = (uint32_t)(word >> MINUTE_FAILURES_SHIFT & MINUTE_COUNT_MAX);
}

/* What a CLOSED word has in the place of the time. */
static uint64_t pack_minute(const struct breaker_view *view)
{
    return (uint64_t)(view->minute & MINUTE_MASK) << MINUTE_SHIFT |
           (uint64_t)min_u32(view->minute_tries, MINUTE_COUNT_MAX) << MINUTE_TRIES_SHIFT |
           (uint64_t)min_u32(view->minute_failures, MINUTE_COUNT_MAX) << MINUTE_FAILURES_SHIFT;
}

uint64_t breaker_pack(const struct breaker_view *view)
{
    uint64_t until_ms = view->until_ms < UNTIL_MAX ? view->until_ms : UNTIL_MAX;

    assert(view->state <= BREAKER_HALF_OPEN && (unsigned)view->reason < OUTCOME_COUNT);
    return (uint64_t)view->state | (uint64_t)view->reason << REASON_SHIFT |
           (uint64_t)min_u32(view->failures, FAILURES_MAX) << FAILURES_SHIFT |
           (uint64_t)min_u32(view->rounds, ROUNDS_MAX) << ROUNDS_SHIFT |
           (uint64_t)view->firm << FIRM_SHIFT |
           (view->state == BREAKER_CLOSED ? pack_minute(view) : until_ms << UNTIL_SHIFT);
}

void breaker_rest_by_hand(_Atomic uint64_t *word, uint64_t until_ms)
{
    uint64_t old = load_relaxed(word);
    struct breaker_view v;

    do {
        breaker_unpack(old, &v);
        if (v.state == BREAKER_OPEN && v.until_ms > until_ms)
            v.firm = true;
        else
            v = (struct breaker_view){.state = BREAKER_OPEN,
                                      .reason = OUTCOME_CANCELLED,
                                      .firm = true,
                                      .until_ms = until_ms};
    } while (!cas_weak_relaxed(word, &old, breaker_pack(&v)));
}

void breaker_mend_by_hand(_Atomic uint64_t *word)
{
    store_relaxed(word, 0);
}

bool breaker_admits(uint64_t word, uint64_t now_ms)
{
    return (word & STATE_MASK) == BREAKER_CLOSED || now_ms >= word >> UNTIL_SHIFT;
}

bool breaker_enter(_Atomic uint64_t *word, uint64_t now_ms)
{
    uint64_t old = load_relaxed(word);
    struct breaker_view v;

    do {
        if (!breaker_admits(old, now_ms))
            return false;
        breaker_unpack(old, &v);
        if (v.state == BREAKER_CLOSED)
            return true;
        v.state = BREAKER_HALF_OPEN;
        v.until_ms = now_ms + PROBE_MS;
    } while (!cas_weak_relaxed(word, &old, breaker_pack(&v)));
    return true;
}

struct breaker_policy breaker_policy(uint32_t allowed_fails, uint32_t cooldown_ms)
{
    struct breaker_policy policy = {.cooldown_ms = cooldown_ms, .max_ms = MAX_MS};

    for (int i = 0; i < OUTCOME_COUNT; i++)
        policy.allowed[i] = allowed_fails;
    return policy;
}

struct breaker_policy breaker_policy_default(uint32_t cooldown_ms)
{
    struct breaker_policy policy = breaker_policy(DEFAULT_ALLOWED_FAILS, cooldown_ms);

    policy.allowed[OUTCOME_AUTH] = 0;
    policy.rate_percent = DEFAULT_RATE_PERCENT;
    policy.rate_min = DEFAULT_RATE_MIN;
    return policy;
}

uint64_t breaker_next(uint64_t word, const struct breaker_policy *policy, enum outcome outcome,
                      int64_t retry_after_ms, uint32_t seed, uint64_t now_ms)
{
    struct breaker_view v;

    breaker_unpack(word, &v);
    if (outcome == OUTCOME_OK) {
        on_success(&v, policy, now_ms);
    } else if (outcome != OUTCOME_CANCELLED) {
        on_failure(&v, policy, outcome, retry_after_ms, seed, now_ms);
    } else if (v.state == BREAKER_HALF_OPEN) {
        /* It proved nothing: the next one may probe at once. */
        v.state = BREAKER_OPEN;
        v.until_ms = now_ms;
    }
    return breaker_pack(&v);
}

bool breaker_record(_Atomic uint64_t *word, const struct breaker_policy *policy,
                    enum outcome outcome, int64_t retry_after_ms, uint32_t seed, uint64_t now_ms,
                    struct breaker_view *before, struct breaker_view *after)
{
    uint64_t old = load_relaxed(word), new;

    do {
        new = breaker_next(old, policy, outcome, retry_after_ms, seed, now_ms);
    } while (new != old && !cas_weak_relaxed(word, &old, new));
    breaker_unpack(old, before);
    breaker_unpack(new, after);
    return before->state != after->state;
}
