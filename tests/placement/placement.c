/* How long batches take under each strategy: a simulation that drives the real pick and quota code
 * on a simulated clock. Four deployments with limits of 20, 5, 5 and 1 million enqueued tokens,
 * which they work off in 4, 4, 12 and 2 hours, first come first served; log-normal jobs arrive at
 * random (Poisson) at a share of what all four can do together.
 *
 * quota-aware sees the ledger: it reserves before it creates, learns limits and rates from answers
 * and ends, and waits as long as the verdict says when there is no room. The others choose as
 * LiteLLM does; a create that is refused (token_limit_exceeded) moves to another deployment, its
 * file uploaded again, and starts anew a minute later when all refused.
 *
 * Fails (exit 1) unless, at a load of 0.8, the p95 of quota-aware is at most a tenth of that of
 * uniform random and it uploads nothing twice.
 *
 *   placement [load] [days] [seed] */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/pick.h"
#include "balancer/quota.h"
#include "common/model.h"

#define DEPLOYMENTS 4
#define MINUTE_MS   60000u
#define HOUR_MS     3600000u
#define DAY_MS      (24u * HOUR_MS)
#define WARM_UP_MS  (3u * (uint64_t)DAY_MS) /* not measured: queues fill, rates are learned */

#define MEDIAN_TOKENS 60000.0
#define SIGMA         1.1
#define LEAST_TOKENS  100.0
#define MOST_TOKENS   15e6 /* fits the largest only */

struct deployment {
    uint64_t limit;
    double hours; /* to work off a full limit */
};

static const struct deployment deployments[DEPLOYMENTS] = {
    {20000000, 4}, {5000000, 4}, {5000000, 12}, {1000000, 2}};

struct job {
    uint64_t tokens;
    uint64_t arrived_ms, begun_ms, done_ms;
    uint32_t place;
};

enum event_kind { EVENT_ARRIVAL, EVENT_RETRY, EVENT_DONE, EVENT_PROBE };

struct event {
    uint64_t at_ms;
    uint32_t job;
    enum event_kind kind;
};

struct upstream {
    uint64_t enqueued;
    double free_ms; /* when its queue will be empty */
    uint64_t minute, tokens_minute;
};

struct world {
    const struct pick_policy *policy;
    bool uses_ledger;
    struct quota *quota; /* owned */
    struct job *jobs;    /* owned */
    uint32_t num_jobs;
    struct event *heap; /* owned */
    size_t num_events;
    struct upstream upstreams[DEPLOYMENTS];
    uint64_t now_ms, random;
    uint64_t moves, waits;
};

static double rate_of(uint32_t d)
{
    return (double)deployments[d].limit / deployments[d].hours / HOUR_MS; /* tokens per ms */
}

/* SplitMix64 (public domain). */
static double uniform(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

static double normal(uint64_t *state)
{
    double u = 1 - uniform(state), v = uniform(state);

    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

static uint64_t draw_tokens(uint64_t *state)
{
    double tokens = MEDIAN_TOKENS * exp(SIGMA * normal(state));

    return (uint64_t)fmin(fmax(tokens, LEAST_TOKENS), MOST_TOKENS);
}

/* --- the clock: a heap of events --- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ms < b->at_ms;
}

static void push(struct world *w, uint64_t at_ms, enum event_kind kind, uint32_t job)
{
    size_t i = w->num_events++;
    struct event event = {at_ms, job, kind};

    for (; i > 0 && is_before(&event, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = event;
}

static struct event pop(struct world *w)
{
    struct event first = w->heap[0], last = w->heap[--w->num_events];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < w->num_events && is_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (child >= w->num_events || !is_before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

/* --- the providers --- */

static bool upstream_create(struct world *w, uint32_t d, uint32_t job)
{
    struct upstream *p = &w->upstreams[d];
    struct job *j = &w->jobs[job];
    double start_ms = fmax((double)w->now_ms, p->free_ms);

    if (p->enqueued + j->tokens > deployments[d].limit)
        return false;
    p->enqueued += j->tokens;
    p->free_ms = start_ms + (double)j->tokens / rate_of(d);
    if (p->minute != w->now_ms / MINUTE_MS)
        p->tokens_minute = 0;
    p->minute = w->now_ms / MINUTE_MS;
    p->tokens_minute += j->tokens;
    j->place = d;
    j->begun_ms = w->now_ms;
    j->done_ms = (uint64_t)ceil(p->free_ms);
    push(w, j->done_ms, EVENT_DONE, job);
    return true;
}

/* Per mille of its lines that are done. */
static uint64_t upstream_progress(const struct world *w, const struct job *j)
{
    double took_ms = (double)j->tokens / rate_of(j->place);
    double left_ms = (double)j->done_ms - (double)w->now_ms;

    return left_ms >= took_ms ? 0 : (uint64_t)(1000 * (1 - left_ms / took_ms));
}

/* --- the gateway --- */

static size_t id_of(uint32_t job, char *id, size_t size)
{
    return (size_t)snprintf(id, size, "batch_%" PRIu32, job);
}

static void describe(const struct world *w, uint32_t d, struct pick_candidate *c)
{
    memset(c, 0, sizeof(*c));
    c->deployment = d;
    c->admitted = true;
    if (w->upstreams[d].minute == w->now_ms / MINUTE_MS)
        c->tokens_minute = w->upstreams[d].tokens_minute;
    if (w->uses_ledger)
        quota_describe(w->quota, d, w->now_ms, c);
}

/* @return whether the batch runs now */
static bool create_with_ledger(struct world *w, uint32_t d, uint32_t job)
{
    struct quota_claim claim;
    struct quota_sum sum;
    char id[24];

    if (quota_reserve(w->quota, 0, d, w->jobs[job].tokens, 0, w->now_ms, &claim) != 0)
        return false;
    if (!upstream_create(w, d, job)) {
        quota_cancel(w->quota, 0, &claim, w->now_ms);
        quota_full(w->quota, d, w->jobs[job].tokens, w->now_ms);
        return false;
    }
    if (quota_commit(w->quota, &claim, id, id_of(job, id, sizeof(id))) != 0)
        abort();
    quota_learn_limit(w->quota, d, deployments[d].limit);
    quota_learn_enqueued(w->quota, d, w->upstreams[d].enqueued, w->now_ms);
    quota_read(w->quota, d, w->now_ms, &sum);
    if (sum.reserved != w->upstreams[d].enqueued || sum.foreign != 0)
        abort(); /* the ledger and the provider disagree */
    return true;
}

static void wait_for_room(struct world *w, const struct pick_candidate *candidates, uint32_t job)
{
    uint64_t wait_ms = MINUTE_MS;

    if (w->uses_ledger &&
        quota_verdict(candidates, DEPLOYMENTS, w->jobs[job].tokens, &wait_ms) != QUOTA_NOT_NOW)
        abort(); /* there was room, or never will be */
    w->waits++;
    push(w, w->now_ms + wait_ms, EVENT_RETRY, job);
}

static void place(struct world *w, uint32_t job)
{
    struct pick_candidate candidates[DEPLOYMENTS];
    uint64_t tokens = w->jobs[job].tokens;

    for (uint32_t d = 0; d < DEPLOYMENTS; d++)
        describe(w, d, &candidates[d]);
    for (uint32_t tries = 0;; tries++) {
        uint32_t d = pick_next(w->policy, candidates, DEPLOYMENTS, tokens, uniform(&w->random));

        if (d == MODEL_NO_INDEX)
            break;
        w->moves += tries > 0; /* the first upload is no move */
        if (w->uses_ledger ? create_with_ledger(w, d, job) : upstream_create(w, d, job))
            return;
        candidates[d].tried = true;
    }
    wait_for_room(w, candidates, job);
}

static void on_done(struct world *w, uint32_t job)
{
    const struct job *j = &w->jobs[job];
    char id[24];

    w->upstreams[j->place].enqueued -= j->tokens;
    if (w->uses_ledger && !quota_release(w->quota, 0, j->place, id, id_of(job, id, sizeof(id)),
                                         QUOTA_FINISHED, w->now_ms))
        abort(); /* a reservation was lost */
}

/* The prober's round: whatever is due is asked about. */
static void on_probe(struct world *w)
{
    struct quota_view view;
    uint32_t cursor = 0;

    while (quota_watch(w->quota, &cursor, w->now_ms, &view)) {
        const struct job *j = &w->jobs[strtoul(view.id + strlen("batch_"), NULL, 10)];

        quota_progress(w->quota, view.column, view.id, strlen(view.id), upstream_progress(w, j),
                       1000, w->now_ms);
    }
}

/* --- a run --- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct result {
    double mean, p95, p99; /* hours from arrival to completion */
    double moved;          /* uploads after the first, per job */
};

static struct result measure(const struct world *w)
{
    double *hours = calloc(w->num_jobs, sizeof(*hours)), sum = 0;
    struct result result = {0};
    size_t n = 0;

    if (hours == NULL)
        abort();
    for (uint32_t i = 0; i < w->num_jobs; i++) {
        if (w->jobs[i].arrived_ms < WARM_UP_MS)
            continue;
        hours[n] = (double)(w->jobs[i].done_ms - w->jobs[i].arrived_ms) / HOUR_MS;
        sum += hours[n++];
    }
    qsort(hours, n, sizeof(*hours), compare);
    result.mean = sum / (double)n;
    result.p95 = hours[n * 95 / 100];
    result.p99 = hours[n * 99 / 100];
    result.moved = (double)w->moves / w->num_jobs;
    free(hours);
    return result;
}

static double mean_tokens(void)
{
    uint64_t state = 1;
    double sum = 0;

    for (int i = 0; i < 1000000; i++)
        sum += (double)draw_tokens(&state);
    return sum / 1000000;
}

static void make_jobs(struct world *w, double load, uint64_t days, uint64_t seed)
{
    uint64_t state = seed;
    double capacity = 0, gap_ms, at_ms = 0;
    size_t most;

    for (uint32_t d = 0; d < DEPLOYMENTS; d++)
        capacity += rate_of(d);
    gap_ms = mean_tokens() / (capacity * load);
    most = (size_t)((double)(days * DAY_MS) / gap_ms * 1.2) + 1000;
    w->jobs = calloc(most, sizeof(*w->jobs));
    w->heap = calloc(2 * most + 2, sizeof(*w->heap));
    if (w->jobs == NULL || w->heap == NULL)
        abort();
    for (; w->num_jobs < most; w->num_jobs++) {
        at_ms += -log(1 - uniform(&state)) * gap_ms;
        if (at_ms >= (double)(days * DAY_MS))
            break;
        w->jobs[w->num_jobs].arrived_ms = (uint64_t)at_ms;
        w->jobs[w->num_jobs].tokens = draw_tokens(&state);
    }
}

/* One arrival at a time is in the heap, and one event for each job that came. */
static void run_events(struct world *w)
{
    uint32_t open = w->num_jobs;

    push(w, w->jobs[0].arrived_ms, EVENT_ARRIVAL, 0);
    if (w->uses_ledger)
        push(w, 0, EVENT_PROBE, 0);
    while (open > 0) {
        struct event event = pop(w);

        w->now_ms = event.at_ms;
        if (event.kind == EVENT_PROBE) {
            on_probe(w);
            push(w, w->now_ms + MINUTE_MS, EVENT_PROBE, 0);
            continue;
        }
        if (event.kind == EVENT_DONE) {
            on_done(w, event.job);
            open--;
            continue;
        }
        if (event.kind == EVENT_ARRIVAL && event.job + 1 < w->num_jobs)
            push(w, w->jobs[event.job + 1].arrived_ms, EVENT_ARRIVAL, event.job + 1);
        place(w, event.job);
    }
}

static struct result simulate(const char *strategy, double load, uint64_t days, uint64_t seed)
{
    struct world w = {.policy = pick_policy_find(strategy), .random = seed + 1};
    struct result result;

    assert(w.policy != NULL);
    w.uses_ledger = strcmp(strategy, "quota-aware") == 0;
    if (quota_new(DEPLOYMENTS, 65536, &w.quota) != 0)
        abort();
    for (uint32_t d = 0; d < DEPLOYMENTS; d++)
        quota_bind(w.quota, d,
                   &(struct quota_terms){.fingerprint = 1 + d,
                                         .limit = deployments[d].limit,
                                         .lease_ms = 100 * (uint64_t)DAY_MS});
    make_jobs(&w, load, days, seed);
    run_events(&w);
    result = measure(&w);
    printf("%-24s %9.2f %9.2f %9.2f %10.1f %% %8" PRIu64 "\n", strategy, result.mean, result.p95,
           result.p99, 100 * result.moved, w.waits);
    quota_free(w.quota);
    free(w.jobs);
    free(w.heap);
    return result;
}

int main(int argc, char **argv)
{
    static const char *const others[] = {"least-busy", "latency-based-routing",
                                         "usage-based-routing", "usage-based-routing-v2"};
    double load = argc > 1 ? strtod(argv[1], NULL) : 0.8;
    uint64_t days = argc > 2 ? strtoull(argv[2], NULL, 10) : 30;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    struct result ours, random;

    if (!(load > 0 && load <= 2) || days <= WARM_UP_MS / DAY_MS || days > 1000) {
        fprintf(stderr, "usage: %s [load 0..2] [days 4..1000] [seed]\n", argv[0]);
        return 2;
    }
    printf("load %.2f, %" PRIu64 " days, seed %" PRIu64 "; hours from arrival to completion\n",
           load, days, seed);
    printf("%-24s %9s %9s %9s %12s %8s\n", "strategy", "mean", "p95", "p99", "re-uploaded",
           "waits");
    ours = simulate("quota-aware", load, days, seed);
    random = simulate("simple-shuffle", load, days, seed);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        simulate(others[i], load, days, seed);
    printf("p95 of quota-aware: %.3f of uniform random\n", ours.p95 / random.p95);
    if (ours.p95 > 0.1 * random.p95 || ours.moved > 0) {
        printf("FAILED: at most 0.1 and nothing re-uploaded was wanted\n");
        return 1;
    }
    return 0;
}
