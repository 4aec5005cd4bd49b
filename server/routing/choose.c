/* See choose.h. The decision itself is pure and lives in balancer/pick.c. */
#include "routing/choose.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/sample.h"
#include "core/account_token.h"

#define FEW 32 /* candidates that need no allocation */

void choose_describe(struct runtime *rt, enum op_class op, uint32_t deployment, uint64_t now_ms,
                     struct pick_candidate *c)
{
    const struct table_deployment *d = table_deployment(rt->table, deployment);
    uint32_t column = rt->inherited->columns[deployment];
    struct state_sum sum;

    assert(deployment < table_num_deployments(rt->table));
    state_read(rt->inherited->state, column, now_ms, &sum);
    memset(c, 0, sizeof(*c));
    c->deployment = deployment;
    c->weight = d->weight;
    c->rpm = d->rpm;
    c->tpm = d->tpm;
    c->order = d->order;
    c->admitted =
        breaker_admits(atomic_load_explicit(state_health(rt->inherited->state, column, op),
                                            memory_order_relaxed),
                       now_ms) &&
        !account_token_rests(rt, deployment, now_ms);
    c->requests_minute = sum.requests_minute;
    c->tokens_minute = sum.tokens_minute;
    c->latency_us = sum.latency_us;
    c->in_flight = sum.in_flight[OP_UPLOAD] + sum.in_flight[OP_CREATE]; /* reads are not placed */
    quota_describe(rt->inherited->quota, column, now_ms, c);
    if (op == OP_UPLOAD) {
        struct quota_sum quota;

        quota_read(rt->inherited->quota, column, now_ms, &quota);
        c->enqueued += quota.expected; /* its batch will come after those */
    }
}

/* What is true of it for this question only. */
static void take_question(struct pick_candidate *c, const struct choose_question *q)
{
    c->room_later = false;
    c->unsure = q->unsure_from != 0 && c->limit >= q->unsure_from;
}

uint64_t choose_unsure_from(struct runtime *rt, const uint32_t *candidates, uint32_t num,
                            uint64_t tokens, uint64_t least)
{
    uint64_t now_ms = loop_now_ms(rt->loop), largest = 0;

    for (uint32_t i = 0; i < num; i++) {
        uint64_t limit =
            quota_limit(rt->inherited->quota, rt->inherited->columns[candidates[i]], now_ms);

        if (limit == 0 || tokens <= limit)
            return 0;
        largest = limit > largest ? limit : largest;
    }
    return least <= largest ? largest : 0;
}

static bool enter(struct runtime *rt, enum op_class op, uint32_t deployment)
{
    return breaker_enter(state_health(rt->inherited->state, rt->inherited->columns[deployment], op),
                         loop_now_ms(rt->loop));
}

/* Another worker won the right to probe this one: for us it is still in cooldown. @return false: we
 * knew that already */
static bool withdraw(struct pick_candidate *all, uint32_t num, uint32_t deployment)
{
    for (uint32_t i = 0; i < num; i++) {
        if (all[i].deployment != deployment || !all[i].admitted)
            continue;
        all[i].admitted = false;
        return true;
    }
    return false;
}

/* Batches are bounded by tokens, not by requests: where the operator says that a group is for them
 * and names no strategy, the quota decides; but shares that he gave in weights are what he wants.
 */
const struct pick_policy *choose_policy(const struct runtime *rt, const uint32_t *candidates,
                                        uint32_t num)
{
    bool is_batch = false, is_weighted = false;

    if (rt->policy != NULL)
        return rt->policy;
    for (uint32_t i = 0; i < num; i++) {
        const struct table_deployment *d = table_deployment(rt->table, candidates[i]);

        is_batch |= d->batch != 0;
        is_weighted |= d->weight != 0;
    }
    return pick_policy_find(is_batch && !is_weighted ? "quota-aware" : "simple-shuffle");
}

/* All candidates as they are now, in `few` when they fit there. NULL: out of memory. */
static struct pick_candidate *describe_all(struct runtime *rt, const struct choose_question *q,
                                           struct pick_candidate few[FEW])
{
    struct pick_candidate *all = few;
    uint64_t now_ms = loop_now_ms(rt->loop);

    if (q->num > FEW && (all = calloc(q->num, sizeof(*all))) == NULL)
        return NULL;
    for (uint32_t i = 0; i < q->num; i++) {
        if (q->tried == NULL || !q->tried[i]) {
            choose_describe(rt, q->op, q->candidates[i], now_ms, &all[i]);
            take_question(&all[i], q);
        } else { /* nobody looks at the rest of it, and of a long chain of fallbacks most are tried */
            all[i] = (struct pick_candidate){.deployment = q->candidates[i], .tried = true};
        }
    }
    return all;
}

static bool any_has_room(const struct pick_candidate *all, uint32_t num, uint64_t tokens)
{
    for (uint32_t i = 0; i < num; i++)
        if (!all[i].tried && pick_fits(&all[i], tokens))
            return true;
    return false;
}

/* An upload that fits nowhere now: those that will have room some day are asked as if they had. */
static void look_beyond_now(struct pick_candidate *all, uint32_t num, uint64_t tokens)
{
    for (uint32_t i = 0; i < num; i++) {
        all[i].tried |= all[i].limit != 0 && pick_tokens(&all[i], tokens) > all[i].limit;
        all[i].room_later = true;
    }
}

/* The policy's choice, with the right to try there; or the last resort that is never ejected. */
static uint32_t take(struct runtime *rt, const struct choose_question *q,
                     const struct pick_policy *policy, struct pick_candidate *all, uint32_t num)
{
    for (;;) {
        uint32_t chosen = pick_next(policy, all, num, q->tokens, runtime_random(rt));

        if (chosen == MODEL_NO_INDEX || enter(rt, q->op, chosen) || !withdraw(all, num, chosen))
            return chosen;
    }
}

static uint32_t choose_of_few(struct runtime *rt, const struct choose_question *q,
                              const struct pick_policy *policy)
{
    struct pick_candidate few[FEW], *all = describe_all(rt, q, few);
    uint32_t chosen;

    if (all == NULL)
        return MODEL_NO_INDEX;
    if (q->op == OP_UPLOAD && !any_has_room(all, q->num, q->tokens))
        look_beyond_now(all, q->num, q->tokens);
    chosen = take(rt, q, policy, all, q->num);
    if (all != few)
        free(all);
    return chosen;
}

/* --- very large groups --- */

static double on_random(void *arg)
{
    return runtime_random(arg);
}

static bool any_is_ready(const struct pick_candidate *seen, uint32_t num, uint64_t tokens)
{
    for (uint32_t i = 0; i < num; i++)
        if (seen[i].admitted && pick_is_open(&seen[i], tokens))
            return true;
    return false;
}

/* Among a sample, as long as any of it is up and has room: what to do otherwise depends on all.
 * Measured (bench_balancer): 0.13 ms among 10,000 rows, most of it for counters that are in no
 * cache.
 */
static uint32_t choose_of_sample(struct runtime *rt, const struct choose_question *q,
                                 const struct pick_policy *policy)
{
    struct sample_question sample = {.table = rt->table,
                                     .candidates = q->candidates,
                                     .num = q->num,
                                     .tried = q->tried,
                                     .by_share = policy->by_share,
                                     .random = on_random,
                                     .arg = rt};
    uint32_t drawn[SAMPLE_SIZE], num = sample_draw(&sample, drawn, SAMPLE_SIZE);
    struct pick_candidate seen[SAMPLE_SIZE];
    uint64_t now_ms = loop_now_ms(rt->loop);

    for (uint32_t i = 0; i < num; i++) {
        choose_describe(rt, q->op, q->candidates[drawn[i]], now_ms, &seen[i]);
        take_question(&seen[i], q);
    }
    while (any_is_ready(seen, num, q->tokens)) {
        uint32_t chosen = pick_next(policy->by_share ? &pick_even : policy, seen, num, q->tokens,
                                    runtime_random(rt));

        if (enter(rt, q->op, chosen))
            return chosen;
        withdraw(seen, num, chosen);
    }
    return MODEL_NO_INDEX;
}

/* What all rows of one very large group were like a moment ago. To look at all takes 3.6 ms for
 * 10,000 rows whose counters are in no cache (bench_balancer), and a group without room is asked by
 * everybody: so the last look serves for CACHE_MS, at 0.1 ms a choice. This is the one place that
 * holds a loop for longer than 1 ms: ten times a second at most, and only while hardly any row of a
 * group of thousands is up and has room. */
struct choose_cache {
    enum op_class op;
    uint32_t num, room;
    uint64_t sum; /* of the candidates, each with its place: they are the same ones */
    uint64_t at_ms;
    bool just_now;              /* by the call under way */
    struct pick_candidate *all; /* owned [room] */
};

#define CACHE_MS 100
/* Rows that were not any more what they had been, before all are looked at again */
#define MAX_OLD  8

static uint64_t sum_of(const struct choose_question *q)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < q->num; i++)
        sum = (sum ^ q->candidates[i]) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
    return sum;
}

/* The worker's cache with room for so many rows; what is in it does not hold when it had less.
 * NULL: out of memory. */
static struct choose_cache *cache_of(struct runtime *rt, uint32_t num)
{
    struct choose_cache *cache = rt->choose_cache;
    struct pick_candidate *all;

    if (cache == NULL && (cache = rt->choose_cache = calloc(1, sizeof(*cache))) == NULL)
        return NULL;
    assert(cache->num <= cache->room);
    if (cache->room >= num)
        return cache;
    all = realloc(cache->all, num * sizeof(*all));
    if (all == NULL)
        return NULL;
    cache->all = all;
    cache->room = num;
    cache->num = 0;
    return cache;
}

static bool is_fresh(const struct choose_cache *cache, const struct choose_question *q,
                     uint64_t sum, uint64_t now_ms)
{
    return cache->num == q->num && cache->op == q->op && cache->sum == sum &&
           now_ms - cache->at_ms < CACHE_MS;
}

/* @param fresh  not what they were like a moment ago */
static struct choose_cache *look_at_all(struct runtime *rt, const struct choose_question *q,
                                        bool fresh)
{
    struct choose_cache *cache = cache_of(rt, q->num);
    uint64_t now_ms = loop_now_ms(rt->loop), sum = sum_of(q);

    if (cache == NULL)
        return NULL;
    cache->just_now = fresh || !is_fresh(cache, q, sum, now_ms);
    if (cache->just_now) {
        for (uint32_t i = 0; i < q->num; i++)
            choose_describe(rt, q->op, q->candidates[i], now_ms, &cache->all[i]);
        cache->op = q->op;
        cache->num = q->num;
        cache->sum = sum;
        cache->at_ms = now_ms;
    }
    for (uint32_t i = 0; i < q->num; i++) {
        cache->all[i].tried = q->tried != NULL && q->tried[i];
        take_question(&cache->all[i], q);
    }
    return cache;
}

/* Whether a row still is what the choice took it for; what it is now is written down. */
static bool is_still_so(struct runtime *rt, const struct choose_question *q,
                        struct choose_cache *cache, uint32_t deployment)
{
    uint32_t i = 0;
    struct pick_candidate was;

    while (q->candidates[i] != deployment)
        i++;
    assert(i < q->num); /* it was chosen among them */
    was = cache->all[i];
    choose_describe(rt, q->op, deployment, loop_now_ms(rt->loop), &cache->all[i]);
    take_question(&cache->all[i], q);
    cache->all[i].room_later = was.room_later;
    return pick_is_open(&cache->all[i], q->tokens) && cache->all[i].admitted == was.admitted;
}

static uint32_t choose_of_all(struct runtime *rt, const struct choose_question *q,
                              const struct pick_policy *policy)
{
    for (uint32_t old = 0;; old++) {
        struct choose_cache *cache = look_at_all(rt, q, old == MAX_OLD);
        uint32_t chosen;

        if (cache == NULL)
            return MODEL_NO_INDEX;
        if (q->op == OP_UPLOAD && !any_has_room(cache->all, q->num, q->tokens))
            look_beyond_now(cache->all, q->num, q->tokens);
        chosen = pick_next(policy, cache->all, q->num, q->tokens, runtime_random(rt));
        if (chosen == MODEL_NO_INDEX)
            return MODEL_NO_INDEX;
        if (!cache->just_now && old < MAX_OLD && !is_still_so(rt, q, cache, chosen))
            continue;
        if (enter(rt, q->op, chosen) || !withdraw(cache->all, q->num, chosen))
            return chosen;
    }
}

uint32_t choose_deployment(struct runtime *rt, const struct choose_question *q)
{
    const struct pick_policy *policy = choose_policy(rt, q->candidates, q->num);
    uint32_t chosen;

    if (q->num <= SAMPLE_EXACT)
        return choose_of_few(rt, q, policy);
    chosen = choose_of_sample(rt, q, policy);
    return chosen != MODEL_NO_INDEX ? chosen : choose_of_all(rt, q, policy);
}

uint32_t choose_in_tiers(struct runtime *rt, enum op_class op, const struct candidates *candidates,
                         const bool *tried, uint32_t *tier, uint64_t tokens, uint64_t unsure_from)
{
    uint32_t first = 0, end;

    assert(candidates->num == 0 || tried != NULL);
    for (; first < candidates->num; first = end) {
        struct choose_question q = {.op = op,
                                    .candidates = candidates->deployments + first,
                                    .tried = tried + first,
                                    .tokens = tokens,
                                    .unsure_from = unsure_from};
        uint32_t chosen;

        for (end = first;
             end < candidates->num && candidates->tiers[end] == candidates->tiers[first]; end++)
            q.num++;
        if (candidates->tiers[first] < *tier)
            continue;
        *tier = candidates->tiers[first];
        chosen = choose_deployment(rt, &q);
        if (chosen != MODEL_NO_INDEX)
            return chosen;
    }
    *tier = candidates->num_tiers;
    return MODEL_NO_INDEX;
}

static uint32_t tier_of(const struct candidates *candidates, uint32_t deployment)
{
    for (uint32_t i = 0; i < candidates->num; i++)
        if (candidates->deployments[i] == deployment)
            return candidates->tiers[i];
    return 0;
}

uint32_t choose_leave_tier(const struct candidates *candidates, bool *tried, uint32_t deployment)
{
    uint32_t left = 0, tier = tier_of(candidates, deployment);

    for (uint32_t i = 0; i < candidates->num; i++) {
        tried[i] |= candidates->tiers[i] <= tier;
        left += !tried[i];
    }
    return left;
}

void choose_give_back(struct runtime *rt, enum op_class op, uint32_t deployment)
{
    struct breaker_view before, after;

    assert(deployment < table_num_deployments(rt->table));
    (void)breaker_record(state_health(rt->inherited->state, rt->inherited->columns[deployment], op),
                         &rt->inherited->breaker, OUTCOME_CANCELLED, -1,
                         table_deployment(rt->table, deployment)->fingerprint,
                         loop_now_ms(rt->loop), &before, &after);
}

static bool is_at_limit_of_minute(const struct pick_candidate *c)
{
    return (c->rpm > 0 && c->requests_minute >= (uint64_t)c->rpm) ||
           (c->tpm > 0 && c->tokens_minute >= (uint64_t)c->tpm);
}

static void set_failure(struct failure *out, int status, const char *type, const char *code,
                        uint64_t wait_ms)
{
    *out = (struct failure){.status = status, .retry_after_ms = (int64_t)wait_ms};
    snprintf(out->type, sizeof(out->type), "%s", type);
    snprintf(out->code, sizeof(out->code), "%s", code);
}

/* The tokens are the reason. */
static void explain_tokens(struct runtime *rt, const struct choose_question *q,
                           const struct pick_candidate *all, enum quota_fit fit, uint64_t wait_ms,
                           struct failure *out)
{
    const char *names[FEW];
    uint32_t num = q->num < FEW ? q->num : FEW;

    if (fit == QUOTA_NEVER_FITS) {
        set_failure(out, 400, "invalid_request_error", "token_limit_exceeded", 0);
        out->retry_after_ms = -1;
    } else {
        set_failure(out, 429, "rate_limit_error", "token_limit_exceeded", wait_ms);
    }
    if (q->discreet) {
        snprintf(out->message, sizeof(out->message),
                 fit == QUOTA_NEVER_FITS
                     ? "This batch is about %llu enqueued tokens, which is more than the limit of "
                       "every deployment of its model. Split its input file."
                     : "This batch is about %llu enqueued tokens. No deployment of its model has "
                       "room for it now.",
                 (unsigned long long)q->tokens);
        return;
    }
    for (uint32_t i = 0; i < num; i++)
        names[i] = table_str(rt->table, table_deployment(rt->table, q->candidates[i])->id);
    quota_explain(all, q->num, names, num, q->tokens, out->message, sizeof(out->message));
}

struct pick_candidate *choose_look_at_all(struct runtime *rt, const struct choose_question *q)
{
    struct choose_cache *cache = look_at_all(rt, q, false);

    return cache != NULL ? cache->all : NULL;
}

/* As describe_all(), but of very many those of a moment ago, which stay the cache's. */
static struct pick_candidate *describe_for_answer(struct runtime *rt,
                                                  const struct choose_question *q,
                                                  struct pick_candidate few[FEW])
{
    return q->num <= SAMPLE_EXACT ? describe_all(rt, q, few) : choose_look_at_all(rt, q);
}

void choose_nowhere(struct runtime *rt, const struct choose_question *q, struct failure *out)
{
    struct pick_candidate few[FEW], *all = describe_for_answer(rt, q, few);
    uint64_t wait_ms = 60000 - loop_now_ms(rt->loop) % 60000, quota_wait_ms = 0;
    enum quota_fit fit = QUOTA_FITS;
    bool limited = false;

    for (uint32_t i = 0; all != NULL && i < q->num; i++)
        limited |= is_at_limit_of_minute(&all[i]);
    if (all != NULL && q->tokens > 0)
        fit = quota_verdict(all, q->num, q->tokens, &quota_wait_ms);
    if (fit != QUOTA_FITS) {
        explain_tokens(rt, q, all, fit, quota_wait_ms, out);
    } else if (limited) {
        set_failure(out, 429, "rate_limit_error", "rate_limit_exceeded", wait_ms);
        snprintf(out->message, sizeof(out->message),
                 "All deployments of this model are at their rpm or tpm limit for this minute.");
    } else {
        set_failure(out, 503, "server_error", "no_deployment_available", 5000);
        snprintf(out->message, sizeof(out->message),
                 "No deployment of this model can take the request now.");
    }
    if (all != few && q->num <= SAMPLE_EXACT)
        free(all);
}
