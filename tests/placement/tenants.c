/* Whether one client's jobs make others wait: tenants whose files are text, images, sound, token
 * ids, and text that counts four times more or less than it is taken for, on a simulated clock and
 * with the real estimate, ledger, choice and memory of refusals; once without and once with one
 * client who retries a job that fits nowhere, every minute, for ever. Four deployments as in
 * placement.c, 0.8 of what they can do.
 *
 * The same is run under the rules of version 0.1.0, which are written down here: bytes times one
 * ratio for all kinds, and a refusal that is held against everybody.
 *
 * Fails (exit 1) unless the p95 of each tenant with that client is at most 1.2 of what it is without
 * it, and no job that fits somewhere is refused for ever.
 *
 *   tenants [days] [seed] */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/pick.h"
#include "balancer/quota.h"
#include "balancer/table.h"
#include "common/model.h"
#include "objects/ledger.h"
#include "objects/refusals.h"

#define DEPLOYMENTS 4
#define MODEL       7
#define MINUTE_MS   60000u
#define HOUR_MS     3600000u
#define DAY_MS      (24u * HOUR_MS)
#define WARM_UP_MS  (2u * (uint64_t)DAY_MS)
#define LOAD        0.8

#define MEDIAN_TOKENS 60000.0
#define SIGMA         1.1
#define LEAST_TOKENS  100.0
#define MOST_TOKENS   15e6 /* fits the largest only */
#define IMPOSSIBLE    UINT64_C(30000000)

static const struct {
    uint64_t limit;
    double hours; /* to work off a full limit */
} deployments[DEPLOYMENTS] = {{20000000, 4}, {5000000, 4}, {5000000, 12}, {1000000, 2}};

enum tenant { TEXT, IMAGES, AUDIO, IDS, DENSE, THIN, TENANTS, NUISANCE = TENANTS };

static const struct {
    const char *name;
    double share;
} tenants[TENANTS] = {{"text", 0.4},       {"images", 0.15},        {"sound", 0.1},
                      {"token ids", 0.15}, {"text, 4 x more", 0.1}, {"text, 1/4", 0.1}};

struct job {
    struct features prompt;
    uint64_t old_bytes; /* what version 0.1.0 counted */
    uint64_t tokens;    /* as the provider counts */
    uint64_t arrived_ms, done_ms;
    uint64_t counted; /* of its reservation */
    uint32_t place;
    enum tenant tenant;
    bool lost; /* it was told that it never fits */
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
};

/* What version 0.1.0 knew besides the ledger. */
struct old_rules {
    double ratio;
    uint64_t full_until[DEPLOYMENTS], full_tokens[DEPLOYMENTS], refusals[DEPLOYMENTS];
    bool raised[DEPLOYMENTS]; /* the last header is our own guess */
};

struct world {
    bool old;
    struct old_rules rules;
    struct inherited inherited; /* what it points to is owned, but `columns` */
    struct job *jobs;           /* owned; the last one is the nuisance's */
    uint32_t num_jobs;          /* without that one */
    struct event *heap;         /* owned */
    size_t num_events;
    struct upstream upstreams[DEPLOYMENTS];
    uint64_t now_ms, end_ms, random;
    uint64_t refused, waits;
    uint32_t open;
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

/* --- files --- */

static void set_text(struct job *j, double bytes_per_token)
{
    j->prompt.units[FEATURE_TEXT] = (uint64_t)((double)j->tokens * bytes_per_token);
    j->old_bytes = j->prompt.units[FEATURE_TEXT];
}

/* 1,100 tokens each, as the case of 200 small ones; 20 bytes of text beside each. */
static void set_images(struct job *j)
{
    uint64_t images = j->tokens / 1100 + 1;

    j->tokens = images * 1100 + images * 5;
    j->prompt.units[FEATURE_IMAGES] = images * FEATURES_IMAGE;
    j->prompt.units[FEATURE_TEXT] = images * 20;
    j->old_bytes = images * (1024 + 20); /* a data: string was 1,024 bytes of text at most */
}

/* Speech as MP3 of some 40 kbit/s: 10 tokens and 6.5 KiB of base64 a second. */
static void set_audio(struct job *j)
{
    j->prompt.units[FEATURE_AUDIO] = (uint64_t)((double)j->tokens * 0.65) + 1;
    j->old_bytes = j->prompt.units[FEATURE_AUDIO] * FEATURES_BASE64_UNIT;
}

static enum tenant draw_tenant(uint64_t *state)
{
    double left = uniform(state);
    int t = 0;

    while (t + 1 < TENANTS && (left -= tenants[t].share) >= 0)
        t++;
    return (enum tenant)t;
}

static void draw_job(struct job *j, uint64_t *state)
{
    double tokens = MEDIAN_TOKENS * exp(SIGMA * normal(state));

    j->tokens = (uint64_t)fmin(fmax(tokens, LEAST_TOKENS), MOST_TOKENS);
    j->tenant = draw_tenant(state);
    if (j->tenant == IMAGES)
        set_images(j);
    else if (j->tenant == AUDIO)
        set_audio(j);
    else if (j->tenant == IDS)
        j->prompt.units[FEATURE_IDS] = j->tokens;
    else
        set_text(j, j->tenant == DENSE ? 1 : j->tenant == THIN ? 16 : 4);
}

static uint64_t estimate(const struct world *w, const struct job *j)
{
    if (w->old)
        return (uint64_t)fmax(1, ceil((double)j->old_bytes * w->rules.ratio));
    return quota_tokens(w->inherited.quota, MODEL, &j->prompt);
}

static void learn(struct world *w, const struct job *j, uint64_t counted)
{
    double ratio = j->old_bytes > 0 ? (double)counted / (double)j->old_bytes : 0;

    if (!w->old)
        quota_learn_rate(w->inherited.quota, MODEL, &j->prompt, counted);
    else if (ratio >= 1.0 / 64 && ratio <= 4)
        w->rules.ratio += (ratio - w->rules.ratio) / 4;
}

/* --- the clock: a heap of events --- */

static void push(struct world *w, uint64_t at_ms, enum event_kind kind, uint32_t job)
{
    size_t i = w->num_events++;
    struct event event = {at_ms, job, kind};

    for (; i > 0 && event.at_ms < w->heap[(i - 1) / 2].at_ms; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = event;
}

static struct event pop(struct world *w)
{
    struct event first = w->heap[0], last = w->heap[--w->num_events];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < w->num_events && w->heap[child + 1].at_ms < w->heap[child].at_ms)
            child++;
        if (child >= w->num_events || last.at_ms <= w->heap[child].at_ms)
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

    if (p->enqueued + j->tokens > deployments[d].limit)
        return false;
    p->enqueued += j->tokens;
    p->free_ms = fmax((double)w->now_ms, p->free_ms) + (double)j->tokens / rate_of(d);
    j->place = d;
    j->done_ms = (uint64_t)ceil(p->free_ms);
    push(w, j->done_ms, EVENT_DONE, job);
    return true;
}

/* --- refusals --- */

static uint64_t old_rest_ms(uint64_t refusals)
{
    return (uint64_t)MINUTE_MS << (refusals < 5 ? refusals - 1 : 4);
}

/* Whoever was refused, the deployment is full for all of that size. */
static void old_full(struct world *w, uint32_t d, uint64_t tokens)
{
    struct old_rules *r = &w->rules;
    uint64_t limit = deployments[d].limit, least = limit >= tokens ? limit - tokens + 1 : 0;
    struct quota_sum sum;

    quota_read(w->inherited.quota, d, w->now_ms, &sum);
    if (sum.reserved + sum.foreign < least) {
        quota_learn_enqueued(w->inherited.quota, d, least, w->now_ms);
        r->raised[d] = true;
    }
    if (w->now_ms < r->full_until[d]) {
        r->full_tokens[d] = tokens < r->full_tokens[d] ? tokens : r->full_tokens[d];
        return;
    }
    if (r->refusals[d] != 0 && w->now_ms > r->full_until[d] + 2 * old_rest_ms(r->refusals[d]))
        r->refusals[d] = 0;
    r->refusals[d]++;
    r->full_tokens[d] = tokens;
    r->full_until[d] = w->now_ms + old_rest_ms(r->refusals[d]);
}

/* The same file again is the same job. */
static uint64_t id_of(const struct world *w, uint32_t job)
{
    uint64_t words[MEMO_WORDS] = {job, w->jobs[job].tokens};

    return refusals_job(words, 0);
}

static void note_refusal(struct world *w, uint32_t d, uint32_t job, uint64_t tokens)
{
    w->refused++;
    if (w->old)
        old_full(w, d, tokens);
    else
        ledger_note_refused(&w->inherited, d, id_of(w, job), tokens, w->now_ms);
}

/* --- the gateway --- */

static size_t name_of(uint32_t job, char *id, size_t size)
{
    return (size_t)snprintf(id, size, "batch_%" PRIu32, job);
}

static void describe(const struct world *w, uint32_t d, uint32_t job, uint64_t tokens,
                     struct pick_candidate *c)
{
    uint64_t least = features_least(&w->jobs[job].prompt);
    struct refusal refusal;

    memset(c, 0, sizeof(*c));
    c->deployment = d;
    c->admitted = true;
    quota_describe(w->inherited.quota, d, w->now_ms, c);
    if (w->old) {
        c->full_tokens = w->rules.full_tokens[d];
        c->full_for_ms =
            w->rules.full_until[d] > w->now_ms ? w->rules.full_until[d] - w->now_ms : 0;
        return;
    }
    /* choose_unsure_from(): the first one is the largest */
    c->unsure = d == 0 && tokens > c->limit && least <= c->limit;
    (void)refusals_find(w->inherited.memo, id_of(w, job), 1 + d, w->now_ms, &refusal);
    c->tried = refusal.for_ms > 0;
}

static void on_made(struct world *w, uint32_t d, uint32_t job, const struct quota_claim *claim)
{
    struct job *j = &w->jobs[job];
    uint64_t counted;
    char id[24];

    if (quota_commit(w->inherited.quota, claim, id, name_of(job, id, sizeof(id))) != 0)
        abort();
    counted = quota_learn_enqueued(w->inherited.quota, d, w->upstreams[d].enqueued, w->now_ms);
    if (counted != 0 && !w->rules.raised[d])
        learn(w, j, counted);
    w->rules.raised[d] = false;
    if (w->old && j->counted >= w->rules.full_tokens[d])
        w->rules.refusals[d] = w->rules.full_until[d] = 0;
    refusals_forget(w->inherited.memo, id_of(w, job), 1 + d);
}

/* @return whether the batch runs now */
static bool create(struct world *w, const struct pick_candidate *c, uint32_t job, uint64_t tokens)
{
    struct quota *quota = w->inherited.quota;
    struct quota_claim claim;

    w->jobs[job].counted = pick_tokens(c, tokens);
    if (quota_reserve(quota, 0, c->deployment, w->jobs[job].counted, 0, w->now_ms, &claim) != 0)
        return false;
    if (upstream_create(w, c->deployment, job)) {
        on_made(w, c->deployment, job, &claim);
        return true;
    }
    quota_cancel(quota, 0, &claim, w->now_ms);
    note_refusal(w, c->deployment, job, tokens);
    return false;
}

/* Who is told to wait comes again when SDKs do, which is after a minute at most (README,
 * "Placement"); who is told that it never fits gives up; the nuisance never does. */
static void wait_for_room(struct world *w, struct pick_candidate *candidates, uint32_t job,
                          uint64_t tokens)
{
    uint64_t wait_ms;
    enum quota_fit fit = quota_verdict(candidates, DEPLOYMENTS, tokens, &wait_ms);

    if (job == w->num_jobs) {
        push(w, w->now_ms + MINUTE_MS, EVENT_RETRY, job);
    } else if (fit == QUOTA_NEVER_FITS) {
        w->jobs[job].lost = true;
        w->open--;
    } else {
        w->waits++;
        push(w, w->now_ms + (fit == QUOTA_NOT_NOW && wait_ms < MINUTE_MS ? wait_ms : MINUTE_MS),
             EVENT_RETRY, job);
    }
}

static void place(struct world *w, uint32_t job)
{
    uint64_t tokens = estimate(w, &w->jobs[job]);
    const struct pick_policy *policy = pick_policy_find("quota-aware");
    struct pick_candidate candidates[DEPLOYMENTS];

    for (uint32_t d = 0; d < DEPLOYMENTS; d++)
        describe(w, d, job, tokens, &candidates[d]);
    for (;;) {
        uint32_t d = pick_next(policy, candidates, DEPLOYMENTS, tokens, uniform(&w->random));

        if (d == MODEL_NO_INDEX)
            break;
        if (create(w, &candidates[d], job, tokens))
            return;
        candidates[d].tried = true;
    }
    wait_for_room(w, candidates, job, tokens);
}

static void on_done(struct world *w, uint32_t job)
{
    const struct job *j = &w->jobs[job];
    char id[24];

    w->upstreams[j->place].enqueued -= j->tokens;
    if (!quota_release(w->inherited.quota, 0, j->place, id, name_of(job, id, sizeof(id)),
                       QUOTA_FINISHED, w->now_ms))
        abort(); /* a reservation was lost */
    w->open--;
}

/* The prober's round: whatever is due is asked about. */
static void on_probe(struct world *w)
{
    struct quota_view view;
    uint32_t cursor = 0;

    while (quota_watch(w->inherited.quota, &cursor, w->now_ms, &view)) {
        const struct job *j = &w->jobs[strtoul(view.id + strlen("batch_"), NULL, 10)];
        double took_ms = (double)j->tokens / rate_of(j->place);
        double left_ms = (double)j->done_ms - (double)w->now_ms;
        uint64_t done = left_ms >= took_ms ? 0 : (uint64_t)(1000 * (1 - left_ms / took_ms));

        quota_progress(w->inherited.quota, view.column, view.id, strlen(view.id), done, 1000,
                       w->now_ms);
    }
}

/* --- a run --- */

struct result {
    double p95[TENANTS + 1]; /* hours from arrival to completion; the last one of all */
    uint64_t lost, refused;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* @param tenant  TENANTS: all */
static double p95_of(const struct world *w, int tenant)
{
    double *hours = calloc(w->num_jobs, sizeof(*hours)), p95;
    size_t n = 0;

    if (hours == NULL)
        abort();
    for (uint32_t i = 0; i < w->num_jobs; i++) {
        const struct job *j = &w->jobs[i];

        if (j->arrived_ms >= WARM_UP_MS && !j->lost &&
            (tenant == TENANTS || (int)j->tenant == tenant))
            hours[n++] = (double)(j->done_ms - j->arrived_ms) / HOUR_MS;
    }
    qsort(hours, n, sizeof(*hours), compare);
    p95 = n > 0 ? hours[n * 95 / 100] : NAN;
    free(hours);
    return p95;
}

static struct result measure(const struct world *w)
{
    struct result r = {.refused = w->refused};

    for (int t = 0; t <= TENANTS; t++)
        r.p95[t] = p95_of(w, t);
    for (uint32_t i = 0; i < w->num_jobs; i++)
        r.lost += w->jobs[i].lost;
    return r;
}

static double mean_tokens(void)
{
    uint64_t state = 1;
    double sum = 0;

    for (int i = 0; i < 1000000; i++) {
        struct job job = {0};

        draw_job(&job, &state);
        sum += (double)job.tokens;
    }
    return sum / 1000000;
}

static void make_jobs(struct world *w, uint64_t seed)
{
    double capacity = 0, gap_ms, at_ms = 0;
    uint64_t state = seed;
    size_t most;

    for (uint32_t d = 0; d < DEPLOYMENTS; d++)
        capacity += rate_of(d);
    gap_ms = mean_tokens() / (capacity * LOAD);
    most = (size_t)((double)w->end_ms / gap_ms * 1.2) + 1000;
    w->jobs = calloc(most + 1, sizeof(*w->jobs));
    w->heap = calloc(2 * most + 3, sizeof(*w->heap));
    if (w->jobs == NULL || w->heap == NULL)
        abort();
    for (; w->num_jobs < most; w->num_jobs++) {
        at_ms += -log(1 - uniform(&state)) * gap_ms;
        if (at_ms >= (double)w->end_ms)
            break;
        w->jobs[w->num_jobs].arrived_ms = (uint64_t)at_ms;
        draw_job(&w->jobs[w->num_jobs], &state);
    }
    w->open = w->num_jobs;
    w->jobs[w->num_jobs] = (struct job){
        .prompt = {{4000}}, .old_bytes = 4000, .tokens = IMPOSSIBLE, .tenant = NUISANCE};
}

/* One arrival at a time is in the heap, and one event for each job that came. */
static void run_events(struct world *w)
{
    push(w, w->jobs[0].arrived_ms, EVENT_ARRIVAL, 0);
    push(w, 0, EVENT_PROBE, 0);
    while (w->open > 0) {
        struct event event = pop(w);

        w->now_ms = event.at_ms;
        if (event.kind == EVENT_PROBE) {
            on_probe(w);
            push(w, w->now_ms + MINUTE_MS, EVENT_PROBE, 0);
        } else if (event.kind == EVENT_DONE) {
            on_done(w, event.job);
        } else if (event.job != w->num_jobs || w->now_ms < w->end_ms) {
            if (event.kind == EVENT_ARRIVAL && event.job + 1 < w->num_jobs)
                push(w, w->jobs[event.job + 1].arrived_ms, EVENT_ARRIVAL, event.job + 1);
            place(w, event.job);
        }
    }
}

static void build(struct world *w)
{
    static const uint32_t columns[DEPLOYMENTS] = {0, 1, 2, 3};
    static struct model_account account = {
        .provider = PROVIDER_AZURE, .base = (char *)"http://a", .name = (char *)"a"};
    static struct model_deployment rows[DEPLOYMENTS];
    static const struct model_list models = {.accounts = &account,
                                             .num_accounts = 1,
                                             .deployments = rows,
                                             .num_deployments = DEPLOYMENTS};
    static struct table *table;
    static char ids[DEPLOYMENTS][2];

    for (uint32_t d = 0; d < DEPLOYMENTS; d++) {
        ids[d][0] = (char)('1' + d);
        rows[d] = (struct model_deployment){.group = (char *)"m",
                                            .id = ids[d],
                                            .upstream_model = ids[d],
                                            .litellm_model = (char *)"azure/m",
                                            .fingerprint = 1 + d};
    }
    if (quota_new(DEPLOYMENTS, 65536, &w->inherited.quota) != 0 ||
        memo_new(65536, &w->inherited.memo) != 0 || table_build(&models, 1, &table) != 0)
        abort();
    w->inherited.table = table;
    w->inherited.columns = columns;
    for (uint32_t d = 0; d < DEPLOYMENTS; d++)
        quota_bind(w->inherited.quota, d,
                   &(struct quota_terms){.fingerprint = 1 + d,
                                         .limit = deployments[d].limit,
                                         .lease_ms = 100 * (uint64_t)DAY_MS});
}

static struct result simulate(bool old, bool nuisance, uint64_t days, uint64_t seed)
{
    struct world w = {
        .old = old, .rules = {.ratio = 0.25}, .end_ms = days * DAY_MS, .random = seed + 1};
    struct result result;

    build(&w);
    make_jobs(&w, seed);
    if (nuisance)
        push(&w, MINUTE_MS, EVENT_RETRY, w.num_jobs);
    run_events(&w);
    result = measure(&w);
    quota_free(w.inherited.quota);
    memo_free(w.inherited.memo);
    table_free((struct table *)w.inherited.table);
    free(w.jobs);
    free(w.heap);
    return result;
}

/* @return the largest ratio of with to without */
static double show(const char *title, const struct result *without, const struct result *with)
{
    double worst = 0;

    printf("\n%-24s %12s %12s %8s\n", title, "p95 without", "p95 with", "ratio");
    for (int t = 0; t <= TENANTS; t++) {
        double ratio = with->p95[t] / without->p95[t];

        printf("%-24s %10.2f h %10.2f h %8.2f\n", t < TENANTS ? tenants[t].name : "all",
               without->p95[t], with->p95[t], ratio);
        worst = ratio > worst || isnan(ratio) ? ratio : worst;
    }
    printf("%-24s %12" PRIu64 " %12" PRIu64 "\n%-24s %12" PRIu64 " %12" PRIu64 "\n",
           "refused for ever", without->lost, with->lost, "creates refused upstream",
           without->refused, with->refused);
    return worst;
}

int main(int argc, char **argv)
{
    uint64_t days = argc > 1 ? strtoull(argv[1], NULL, 10) : 12;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct result runs[2][2];
    double worst;

    if (days <= WARM_UP_MS / DAY_MS || days > 1000) {
        fprintf(stderr, "usage: %s [days 3..1000] [seed]\n", argv[0]);
        return 2;
    }
    for (int old = 0; old < 2; old++)
        for (int nuisance = 0; nuisance < 2; nuisance++)
            runs[old][nuisance] = simulate(old != 0, nuisance != 0, days, seed);
    printf("%" PRIu64 " days, load %.1f, seed %" PRIu64 "; without and with a client that retries "
           "an impossible job every minute\n",
           days, LOAD, seed);
    (void)show("rules of version 0.1.0", &runs[1][0], &runs[1][1]);
    worst = show("now", &runs[0][0], &runs[0][1]);
    if (!(worst <= 1.2) || runs[0][0].lost + runs[0][1].lost > 0) {
        printf("FAILED: at most 1.2 and nothing refused for ever was wanted\n");
        return 1;
    }
    return 0;
}
