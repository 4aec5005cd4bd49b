/* Which deployment of a group. pick_next() marks who may be chosen, the policy chooses among the
 * marked. Policies only see numbers: no clock, no shared memory, no random source of their own.
 *
 * Sources of the rules: LiteLLM's litellm/router_strategy/ (simple_shuffle.py, least_busy.py,
 * lowest_latency.py, lowest_tpm_rpm.py, lowest_tpm_rpm_v2.py) and, for `order`,
 * _get_order_filtered_deployments in litellm/utils.py. */
#include "balancer/pick.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "common/model.h"

typedef double (*share_cb)(const struct pick_candidate *candidate);
typedef uint64_t (*cost_cb)(const struct pick_candidate *candidate);

/* A loop over candidates that takes what it looks at as a function: inlined, so that each use
 * becomes a loop of its own without calls in it (measured: a third of the time of a choice among
 * 32). */
#define INLINED static inline __attribute__((always_inline))

static double weight_of(const struct pick_candidate *c)
{
    return c->weight;
}

static double rpm_of(const struct pick_candidate *c)
{
    return (double)c->rpm;
}

static double tpm_of(const struct pick_candidate *c)
{
    return (double)c->tpm;
}

static double one_of(const struct pick_candidate *c)
{
    (void)c;
    return 1;
}

static uint64_t in_flight_of(const struct pick_candidate *c)
{
    return c->in_flight;
}

static uint64_t latency_of(const struct pick_candidate *c)
{
    return c->latency_us;
}

static uint64_t tokens_of(const struct pick_candidate *c)
{
    return c->tokens_minute;
}

static uint32_t first_eligible(const struct pick_candidate *c, uint32_t n)
{
    uint32_t i = 0;

    while (i + 1 < n && !c[i].eligible)
        i++;
    return i;
}

/* A random candidate, each as likely as its share; MODEL_NO_INDEX when no share is positive. */
INLINED uint32_t draw(const struct pick_candidate *c, uint32_t n, share_cb share_of, double random)
{
    uint32_t last = MODEL_NO_INDEX;
    double total = 0, left;

    for (uint32_t i = 0; i < n; i++) {
        if (c[i].eligible && share_of(&c[i]) > 0)
            total += share_of(&c[i]);
    }
    left = random * total;
    for (uint32_t i = 0; i < n; i++) {
        if (!c[i].eligible || !(share_of(&c[i]) > 0))
            continue;
        left -= share_of(&c[i]);
        if (left < 0)
            return i;
        last = i; /* rounding may leave a crumb over: it is the last one's */
    }
    return last;
}

/* A random one of those with the lowest cost. */
INLINED uint32_t draw_cheapest(const struct pick_candidate *c, uint32_t n, cost_cb cost_of,
                               double random)
{
    uint64_t lowest = UINT64_MAX;
    uint32_t ties = 0, nth;

    for (uint32_t i = 0; i < n; i++) {
        if (!c[i].eligible || cost_of(&c[i]) > lowest)
            continue;
        ties = cost_of(&c[i]) < lowest ? 1 : ties + 1;
        lowest = cost_of(&c[i]);
    }
    nth = (uint32_t)(random * ties);
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].eligible && cost_of(&c[i]) == lowest && nth-- == 0)
            return i;
    }
    return first_eligible(c, n); /* random was not below 1 */
}

/* What the first candidate has decides for all; those that lack it then get nothing. */
static uint32_t choose_shuffle(const struct pick_candidate *c, uint32_t n,
                               const struct pick_job *job)
{
    const struct pick_candidate *first = &c[first_eligible(c, n)];
    uint32_t drawn = MODEL_NO_INDEX;

    if (first->weight != 0)
        drawn = draw(c, n, weight_of, job->random);
    else if (first->rpm > 0)
        drawn = draw(c, n, rpm_of, job->random);
    else if (first->tpm > 0)
        drawn = draw(c, n, tpm_of, job->random);
    return drawn != MODEL_NO_INDEX ? drawn : draw(c, n, one_of, job->random);
}

static uint32_t choose_even(const struct pick_candidate *c, uint32_t n, const struct pick_job *job)
{
    return draw(c, n, one_of, job->random);
}

static uint32_t choose_least_busy(const struct pick_candidate *c, uint32_t n,
                                  const struct pick_job *job)
{
    return draw_cheapest(c, n, in_flight_of, job->random);
}

/* Not measured counts as 0 and so comes first, as in LiteLLM: each one gets its first sample. Who
 * is slower than the fastest by no more than the buffer is as good as that one. */
static uint32_t choose_latency(const struct pick_candidate *c, uint32_t n,
                               const struct pick_job *job)
{
    uint64_t lowest = UINT64_MAX, most;
    uint32_t num = 0, nth, i;

    if (job->latency_buffer <= 0)
        return draw_cheapest(c, n, latency_of, job->random);
    for (i = 0; i < n; i++)
        if (c[i].eligible && c[i].latency_us < lowest)
            lowest = c[i].latency_us;
    most = lowest + (uint64_t)((double)lowest * job->latency_buffer);
    for (i = 0; i < n; i++)
        num += c[i].eligible && c[i].latency_us <= most;
    nth = (uint32_t)(job->random * num);
    for (i = 0; i < n; i++)
        if (c[i].eligible && c[i].latency_us <= most && nth-- == 0)
            return i;
    return first_eligible(c, n); /* random was not below 1 */
}

/* The first one, in file order, of those with the fewest tokens in this minute. */
static uint32_t choose_usage(const struct pick_candidate *c, uint32_t n, const struct pick_job *job)
{
    (void)job;
    return draw_cheapest(c, n, tokens_of, 0);
}

/* The same, with ties drawn by lot: many gateways at once do not all run to the first. */
static uint32_t choose_usage_v2(const struct pick_candidate *c, uint32_t n,
                                const struct pick_job *job)
{
    return draw_cheapest(c, n, tokens_of, job->random);
}

/* When the job would be done there, in seconds: work / rate, kept apart because a division costs
 * more than everything else here. Where jobs fail it takes longer. */
struct completion {
    double work, rate;
};

static struct completion completion_of(const struct pick_candidate *c, uint64_t tokens)
{
    double rate = pick_drain_rate(c);

    return (struct completion){(double)c->enqueued + (double)tokens,
                               c->health > 0 ? rate * c->health : rate};
}

static bool is_sooner(struct completion a, struct completion b)
{
    return a.work * b.rate < b.work * a.rate;
}

/* To nine digits: rates are measured, and a rounding error must not decide. */
static bool is_as_soon(struct completion a, struct completion b)
{
    return a.work * b.rate <= b.work * a.rate * (1 + 1e-9);
}

/* Smooth weighted round robin: what had the fewest jobs for its size is next. */
static double turn_of(const struct pick_candidate *c)
{
    return ((double)c->placed + 1) / (double)(c->limit > 0 ? c->limit : PICK_PRIOR_LIMIT);
}

/* Of those that are as soon as `best` the one with the least turn; `random` of several. */
static uint32_t choose_turn(const struct pick_candidate *c, uint32_t n, uint64_t tokens,
                            struct completion best, double random)
{
    double least = INFINITY;
    uint32_t ties = 0, nth;

    for (uint32_t i = 0; i < n; i++) {
        if (!c[i].eligible || turn_of(&c[i]) > least ||
            !is_as_soon(completion_of(&c[i], tokens), best))
            continue;
        ties = turn_of(&c[i]) < least ? 1 : ties + 1;
        least = turn_of(&c[i]);
    }
    nth = (uint32_t)(random * ties);
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].eligible && turn_of(&c[i]) <= least &&
            is_as_soon(completion_of(&c[i], tokens), best) && nth-- == 0)
            return i;
    }
    return first_eligible(c, n); /* random was not below 1 */
}

static uint32_t choose_quota_aware(const struct pick_candidate *c, uint32_t n,
                                   const struct pick_job *job)
{
    uint32_t chosen = first_eligible(c, n);
    struct completion best = completion_of(&c[chosen], job->tokens);
    bool is_tied = false;

    for (uint32_t i = chosen + 1; i < n; i++) {
        struct completion completion;

        if (!c[i].eligible)
            continue;
        completion = completion_of(&c[i], job->tokens);
        if (!is_as_soon(completion, best))
            continue;
        is_tied = is_as_soon(best, completion);
        if (is_sooner(completion, best)) {
            best = completion;
            chosen = i;
        }
    }
    return is_tied ? choose_turn(c, n, job->tokens, best, job->random) : chosen;
}

static const struct pick_policy policies[] = {
    {"simple-shuffle", true, 0, choose_shuffle},
    {"least-busy", false, 0, choose_least_busy},
    {"latency-based-routing", false, 0, choose_latency},
    {"usage-based-routing", false, 0, choose_usage},
    {"usage-based-routing-v2", false, 0, choose_usage_v2},
    {"quota-aware", false, 0, choose_quota_aware},
};

const struct pick_policy pick_even = {"", false, 0, choose_even};

/* Whether one more request with these tokens would pass a limit. A job that alone is larger than
 * tpm may go when the minute is still untouched: it would otherwise never run, and a batch is not
 * worked off within a minute anyway. */
static bool is_over_limits(const struct pick_candidate *c, uint64_t tokens)
{
    if (c->rpm > 0 && c->requests_minute >= (uint64_t)c->rpm)
        return true;
    if (c->tpm <= 0 || c->tokens_minute == 0)
        return false;
    return c->tokens_minute >= (uint64_t)c->tpm || tokens > (uint64_t)c->tpm - c->tokens_minute;
}

/* What there is among the eligible. */
struct findings {
    bool any, any_admitted, any_cooling_down, any_order;
};

/* Mark what was not tried and is within its limits. */
static struct findings mark_open(struct pick_candidate *c, uint32_t n, uint64_t tokens)
{
    struct findings found = {0};

    for (uint32_t i = 0; i < n; i++) {
        bool eligible = pick_is_open(&c[i], tokens);

        c[i].eligible = eligible;
        found.any |= eligible;
        found.any_admitted |= eligible && c[i].admitted;
        found.any_cooling_down |= eligible && !c[i].admitted;
        found.any_order |= eligible && c[i].order != 0;
    }
    return found;
}

static void drop_cooling_down(struct pick_candidate *c, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        c[i].eligible = c[i].eligible && c[i].admitted;
}

/* Unmark all but the lowest order. When one has an order, those without are dropped too. */
static void drop_later_orders(struct pick_candidate *c, uint32_t n)
{
    int32_t lowest = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (c[i].eligible && c[i].order != 0 && (lowest == 0 || c[i].order < lowest))
            lowest = c[i].order;
    }
    for (uint32_t i = 0; i < n && lowest != 0; i++)
        c[i].eligible = c[i].eligible && c[i].order == lowest;
}

double pick_drain_rate(const struct pick_candidate *candidate)
{
    uint64_t limit = candidate->limit > 0 ? candidate->limit : PICK_PRIOR_LIMIT;

    return candidate->drain_rate > 0 ? candidate->drain_rate : (double)limit / PICK_PRIOR_DRAIN_S;
}

uint64_t pick_tokens(const struct pick_candidate *candidate, uint64_t tokens)
{
    bool all = candidate->unsure && candidate->limit > 0 && tokens > candidate->limit;

    return all ? candidate->limit : tokens;
}

bool pick_fits(const struct pick_candidate *candidate, uint64_t tokens)
{
    if (candidate->room_later)
        return true;
    if (candidate->full_for_ms > 0 && tokens >= candidate->full_tokens)
        return false;
    if (candidate->limit == 0)
        return true;
    if (tokens > candidate->limit) /* it would take all: pick_tokens() */
        return candidate->unsure && candidate->enqueued == 0;
    return candidate->enqueued <= candidate->limit - tokens;
}

bool pick_is_open(const struct pick_candidate *candidate, uint64_t tokens)
{
    return !candidate->tried && !is_over_limits(candidate, tokens) && pick_fits(candidate, tokens);
}

const struct pick_policy *pick_policy_find(const char *name)
{
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        if (strcmp(policies[i].name, name) == 0)
            return &policies[i];
    }
    return NULL;
}

uint32_t pick_next(const struct pick_policy *policy, struct pick_candidate *candidates, uint32_t n,
                   uint64_t tokens, double random)
{
    struct findings found = mark_open(candidates, n, tokens);
    struct pick_job job = {tokens, random, policy->latency_buffer};
    uint32_t chosen;

    if (!found.any)
        return MODEL_NO_INDEX;
    if (found.any_cooling_down && found.any_admitted) /* else they are the last ones */
        drop_cooling_down(candidates, n);
    if (found.any_order)
        drop_later_orders(candidates, n);
    chosen = policy->choose(candidates, n, &job);
    assert(chosen < n); /* of those that are open there is one */
    return candidates[chosen].deployment;
}
