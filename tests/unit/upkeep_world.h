/* What the tests of the prober's upkeep stand on: a loop whose clock is moved by hand, and an
 * upstream that plays three providers: lists of batches and files, and batches by their id. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "crypto/marker.h"
#include "upkeep/upkeep.h"

#define ACCOUNTS    4 /* a0, a1: Azure; a2: OpenAI; a3: another key of a1's resource */
#define DEPLOYMENTS 5 /* two at a0, then one at each */
#define MAX_THINGS  3000
#define MAX_TIMERS  64
#define MAX_CALLS   4096
#define ROW         5
#define START_MS    (UINT64_C(40) * 3600 * 1000)
#define SECOND      1000u
#define MINUTE      60000u
#define HOUR        3600000u

/* --- a loop with a clock of ours --- */

struct fake_loop {
    struct loop base;
    uint64_t now_ms;
    struct loop_timer *timers[MAX_TIMERS];
    size_t num;
};

static uint64_t fake_now_ms(struct loop *loop)
{
    return ((struct fake_loop *)loop)->now_ms;
}

static void fake_stop(struct loop *loop, struct loop_timer *timer)
{
    struct fake_loop *f = (struct fake_loop *)loop;

    for (size_t i = 0; i < f->num; i++)
        if (f->timers[i] == timer) {
            memmove(f->timers + i, f->timers + i + 1, (f->num - i - 1) * sizeof(f->timers[0]));
            f->num--;
            return;
        }
}

static int fake_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    struct fake_loop *f = (struct fake_loop *)loop;

    fake_stop(loop, timer);
    assert_true(f->num < MAX_TIMERS);
    timer->due_ms = f->now_ms + delay_ms;
    f->timers[f->num++] = timer;
    return 0;
}

static const struct loop_ops fake_ops = {
    .now_ms = fake_now_ms, .timer_start = fake_start, .timer_stop = fake_stop};

/* Everything that is due within that time happens, in order. */
static inline void pass(struct fake_loop *f, uint64_t ms)
{
    uint64_t end_ms = f->now_ms + ms;

    for (;;) {
        struct loop_timer *first = NULL;

        for (size_t i = 0; i < f->num; i++)
            if (f->timers[i]->due_ms <= end_ms &&
                (first == NULL || f->timers[i]->due_ms < first->due_ms))
                first = f->timers[i];
        if (first == NULL)
            break;
        if (first->due_ms > f->now_ms)
            f->now_ms = first->due_ms;
        fake_stop(&f->base, first);
        first->cb(first);
    }
    f->now_ms = end_ms;
}

/* --- the providers --- */

struct thing { /* a batch, or a file */
    bool file;
    unsigned account;
    char id[64];
    const char *status; /* of a batch; NULL: the provider does not know it (any more) */
    const char *error;  /* code in errors.data */
    uint64_t age_s;
    unsigned total, completed;
    char marker[MARKER_MAX + 1];
    const char *purpose, *expires; /* of a file */
    const char *output;            /* id of a batch's output file; NULL: there is none */
};

struct call {
    unsigned account;
    bool list, content, upkeep;
    bool file; /* it has the limits of files, and as a whole ... */
    uint32_t total_ms;
    char id[64];
    uint64_t at_ms;
};

struct world {
    struct fake_loop loop;
    struct model_account accounts[ACCOUNTS];
    struct model_deployment deployments[DEPLOYMENTS];
    struct config config;
    struct table *table;
    struct state *state;
    struct quota *quota;
    struct slots *slots;
    struct poll_cache *poll_cache;
    struct memo *memo;
    uint32_t columns[DEPLOYMENTS];
    struct ids_seals seals;
    struct inherited inherited;
    struct upkeep upkeep;
    struct thing *things; /* newest first, per account */
    size_t num_things;
    struct call *calls;
    size_t num_calls;
    unsigned in_flight[ACCOUNTS], most_in_flight[ACCOUNTS];
    int fail_status; /* of the next fail_times calls; 0: cannot be reached */
    unsigned fail_times;
    const char *content;     /* of every file */
    bool stalls;             /* no byte of a content comes, until this ends ... */
    unsigned flows;          /* ... but at these accounts, a bit for each */
    unsigned cancelled;      /* calls */
    unsigned deletes;        /* the same */
    const char *retry_after; /* header of these */
    int64_t skew_s;          /* their clocks are so far ahead */
    bool inclusive;          /* their lists begin with the object that `after` names */
    struct world *before;
};

/* The test's; and through it the ones before: what the prober keeps has no end, and stays within
 * reach of the leak checker's eye. */
static struct world *w;

struct upstream {
    int unused;
};

struct upstream_call {
    struct loop_timer timer;
    struct upstream_request request;
    char url[512];
    unsigned account;
};

static inline void add_batch(struct strbuf *out, const struct thing *t)
{
    strbuf_addf(out,
                "{\"id\":\"%s\",\"object\":\"batch\",\"status\":\"%s\",\"created_at\":%lld,"
                "\"request_counts\":{\"total\":%u,\"completed\":%u,\"failed\":0}",
                t->id, t->status, (long long)(time(NULL) + w->skew_s) - (long long)t->age_s,
                t->total, t->completed);
    if (t->marker[0] != '\0')
        strbuf_addf(out, ",\"metadata\":{\"team\":\"x\",\"tranche\":\"%s\"}", t->marker);
    if (t->output != NULL)
        strbuf_addf(out, ",\"output_file_id\":\"%s\"", t->output);
    if (strcmp(t->status, "completed") == 0)
        strbuf_addf(out, ",\"completed_at\":%lld", (long long)(time(NULL) + w->skew_s));
    if (t->error != NULL)
        strbuf_addf(out, ",\"errors\":{\"object\":\"list\",\"data\":[{\"code\":\"%s\"}]}",
                    t->error);
    strbuf_adds(out, "}");
}

static inline void add_thing(struct strbuf *out, const struct thing *t)
{
    if (!t->file)
        add_batch(out, t);
    else
        strbuf_addf(out, "{\"id\":\"%s\",\"purpose\":\"%s\",\"created_at\":%lld,\"expires_at\":%s}",
                    t->id, t->purpose, (long long)(time(NULL) + w->skew_s) - (long long)t->age_s,
                    t->expires != NULL ? t->expires : "null");
}

/* Whether the piece of a URL is this id. */
static inline bool is_named(const char *piece, const char *id)
{
    return strcspn(piece, "?&") == strlen(id) && strncmp(piece, id, strlen(id)) == 0;
}

static inline bool is_listed(const struct thing *t, const struct upstream_call *call)
{
    bool files = strstr(call->url, "/files") != NULL;
    bool same = t->account == call->account || (t->account == 1 && call->account == 3);

    return same && t->file == files && (files || t->status != NULL);
}

static inline void write_list(const struct upstream_call *call, struct strbuf *out)
{
    const char *after = strstr(call->url, "after="), *limit = strstr(call->url, "limit=");
    size_t room = limit != NULL ? (size_t)atoi(limit + 6) : MAX_THINGS, num = 0;
    bool behind = after == NULL, more = false, named = false;

    strbuf_adds(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < w->num_things; i++) {
        const struct thing *t = &w->things[i];

        if (!is_listed(t, call))
            continue;
        named = after != NULL && is_named(after + 6, t->id);
        behind = behind || (named && w->inclusive);
        if (behind && num < room) {
            strbuf_adds(out, num++ > 0 ? "," : "");
            add_thing(out, t);
        } else if (behind) {
            more = true;
        }
        behind = behind || named;
    }
    strbuf_addf(out, "],\"has_more\":%s}", more ? "true" : "false");
}

/* @return the status */
static inline int write_answer(const struct upstream_call *call, struct strbuf *out)
{
    const char *item = strstr(call->url, "/batches/");

    if (strcmp(call->request.method, "DELETE") == 0) {
        strbuf_adds(out, "{\"id\":\"file-1\",\"object\":\"file\",\"deleted\":true}");
        return 200;
    }
    if (item == NULL) {
        write_list(call, out);
        return 200;
    }
    for (size_t i = 0; i < w->num_things; i++)
        if (is_listed(&w->things[i], call) && is_named(item + 9, w->things[i].id)) {
            add_batch(out, &w->things[i]);
            return 200;
        }
    strbuf_adds(out, "{\"error\":{\"code\":\"notFound\",\"message\":\"no such batch\"}}");
    return 404;
}

/* A file's content comes in pieces. @return whether it was asked for */
static inline bool stream_content(const struct upstream_call *call, struct upstream_result *result)
{
    size_t len = w->content != NULL ? strlen(w->content) : 0;

    if (strstr(call->url, "/content") == NULL || w->content == NULL)
        return false;
    result->head.status = 200;
    assert_true(call->request.on_head(call->request.arg, &result->head));
    for (size_t at = 0; at < len; at += 7)
        (void)call->request.on_data(call->request.arg, w->content + at,
                                    len - at < 7 ? len - at : 7);
    return true;
}

static void answer(struct loop_timer *timer)
{
    struct upstream_call *call = timer->arg;
    time_t now = time(NULL) + w->skew_s;
    char date[40];
    struct upstream_header headers[] = {{"date", date}, {"retry-after", w->retry_after}};
    struct strbuf body = STRBUF_INIT;
    struct upstream_result result = {.end = UPSTREAM_ANSWERED, .head.content_length = -1};

    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    result.head.headers = headers;
    result.head.num_headers = 1;
    if (w->stalls && (w->flows >> call->account & 1) == 0 &&
        strstr(call->url, "/content") != NULL) {
        assert_int_equal(loop_timer_start(&w->loop.base, timer, SECOND), 0);
        return;
    }
    w->in_flight[call->account]--;
    if (w->fail_times > 0) {
        w->fail_times--;
        result.head.status = w->fail_status;
        result.end = w->fail_status != 0 ? UPSTREAM_ANSWERED : UPSTREAM_CONNECT_FAILED;
        result.head.num_headers += w->retry_after != NULL;
    } else if (!stream_content(call, &result)) {
        result.head.status = write_answer(call, &body);
    }
    result.body = strbuf_str(&body);
    result.body_len = body.len;
    call->request.on_done(call->request.arg, &result);
    strbuf_deinit(&body);
    free(call);
}

static inline void note_call(const struct upstream_call *call)
{
    const char *item = strstr(call->url, "/batches/");
    struct call *c = &w->calls[w->num_calls++];

    assert_true(w->num_calls < MAX_CALLS);
    *c = (struct call){.account = call->account,
                       .list = item == NULL && strstr(call->url, "/content") == NULL,
                       .content = strstr(call->url, "/content") != NULL,
                       .file = call->request.file,
                       .total_ms = call->request.total_ms,
                       .at_ms = w->loop.now_ms};
    if (item != NULL)
        snprintf(c->id, sizeof(c->id), "%.*s", (int)strcspn(item + 9, "?"), item + 9);
    for (size_t i = 0; i < call->request.num_headers; i++)
        if (strcmp(call->request.headers[i].name, "User-Agent") == 0)
            c->upkeep = strcmp(call->request.headers[i].value, UPKEEP_AGENT) == 0;
    if (++w->in_flight[c->account] > w->most_in_flight[c->account])
        w->most_in_flight[c->account] = w->in_flight[c->account];
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = calloc(1, sizeof(*call));
    const char *number = strstr(request->url, "//a");

    (void)up;
    assert_non_null(number);
    if (strcmp(request->method, "DELETE") == 0)
        w->deletes++;
    else
        assert_string_equal(request->method, "GET");
    call->request = *request;
    snprintf(call->url, sizeof(call->url), "%s", request->url);
    /* The second key of a1's resource is known by its header. */
    call->account = (unsigned)atoi(number + 3);
    for (size_t i = 0; i < request->num_headers; i++)
        if (strcmp(request->headers[i].value, "key-3") == 0)
            call->account = 3;
    call->timer = (struct loop_timer){.cb = answer, .arg = call};
    note_call(call);
    assert_int_equal(loop_timer_start(&w->loop.base, &call->timer, 20), 0);
    return call;
}

int upstream_new(struct loop *loop, const struct upstream_options *options, struct upstream **out)
{
    (void)loop;
    (void)options;
    *out = NULL;
    return ERR_NOMEM;
}

void upstream_free(struct upstream *up)
{
    (void)up;
}

size_t upstream_active(const struct upstream *up)
{
    (void)up;
    return 0;
}

void upstream_cancel(struct upstream_call *call)
{
    w->in_flight[call->account]--;
    w->cancelled++;
    loop_timer_stop(&w->loop.base, &call->timer);
    free(call);
}

void upstream_resume(struct upstream_call *call)
{
    (void)call;
}

const char *upstream_header_find(const struct upstream_head *head, const char *name)
{
    for (size_t i = 0; i < head->num_headers; i++)
        if (strcmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}

/* --- what a prober inherits --- */

static inline void fill_models(void)
{
    static const char *const bases[ACCOUNTS] = {"https://a0.example", "https://a1.example",
                                                "https://a2.example/v1", "https://a1.example"};
    static const char *const keys[ACCOUNTS] = {"key-0", "key-1", "key-2", "key-3"};
    static const uint32_t places[DEPLOYMENTS] = {0, 0, 1, 2, 3};

    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        w->accounts[i] =
            (struct model_account){.provider = i == 2 ? PROVIDER_OPENAI : PROVIDER_AZURE,
                                   .base = (char *)bases[i],
                                   .name = (char *)keys[i],
                                   .api_version = i == 0 ? (char *)"2024-10-21" : NULL};
        assert_int_equal(secret_set(&w->accounts[i].key, keys[i], strlen(keys[i])), 0);
    }
    for (uint32_t i = 0; i < DEPLOYMENTS; i++)
        w->deployments[i] = (struct model_deployment){.group = (char *)"g",
                                                      .id = (char *)"d",
                                                      .upstream_model = (char *)"m",
                                                      .litellm_model = (char *)"azure/m",
                                                      .mode = (char *)"batch",
                                                      .account = places[i],
                                                      .fingerprint = 1000 + i};
    w->config.models = (struct model_list){.accounts = w->accounts,
                                           .num_accounts = ACCOUNTS,
                                           .deployments = w->deployments,
                                           .num_deployments = DEPLOYMENTS};
    w->config.balance_batches = true;
    w->config.timeouts.json_total_ms = 60000;
    w->config.timeouts.watch_ms = MINUTE;
    w->config.timeouts.count_files_ms = 10 * MINUTE;
    w->config.limits.max_files[PROVIDER_AZURE] = 500;
    w->config.limits.max_expiring_files[PROVIDER_AZURE] = 10000;
}

static inline int world_begin(void **state)
{
    struct world *before = w;

    w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->before = before;
    w->things = calloc(MAX_THINGS, sizeof(*w->things));
    w->calls = calloc(MAX_CALLS, sizeof(*w->calls));
    w->loop = (struct fake_loop){.base.ops = &fake_ops, .now_ms = START_MS};
    fill_models();
    assert_int_equal(ids_seals_add(&w->seals, "a seal key", 10, "test"), 0);
    assert_int_equal(table_build(&w->config.models, 1, &w->table), 0);
    assert_int_equal(state_new(CHILD_ROWS, 64, &w->state), 0);
    assert_int_equal(state_bind(w->state, w->table, w->columns), 0);
    assert_int_equal(quota_new(64, 8192, &w->quota), 0);
    assert_int_equal(slots_new(64, &w->slots), 0);
    assert_int_equal(poll_cache_new(64, &w->poll_cache), 0);
    assert_int_equal(memo_new(64, &w->memo), 0);
    for (uint32_t i = 0; i < DEPLOYMENTS; i++) {
        struct quota_terms terms = {.fingerprint = 1000 + i, .limit = 1000000, .ask_first = i != 3};

        quota_bind(w->quota, w->columns[i], &terms);
        slots_bind(w->slots, w->columns[i], 1000 + i);
    }
    w->inherited = (struct inherited){.config = &w->config,
                                      .table = w->table,
                                      .state = w->state,
                                      .quota = w->quota,
                                      .slots = w->slots,
                                      .poll_cache = w->poll_cache,
                                      .memo = w->memo,
                                      .columns = w->columns,
                                      .seals = &w->seals};
    w->upkeep =
        (struct upkeep){.rt = {.inherited = &w->inherited, .slot = ROW, .loop = &w->loop.base}};
    assert_int_equal(upkeep_init(&w->upkeep), 0);
    *state = w;
    return 0;
}

static inline int world_end(void **state)
{
    (void)state;
    poll_cache_free(w->poll_cache);
    memo_free(w->memo);
    slots_free(w->slots);
    quota_free(w->quota);
    state_free(w->state);
    table_free(w->table);
    free(w->things);
    free(w->calls);
    return 0;
}

/* --- what tests say --- */

static inline void nonce_of(const char *id, char nonce[MARKER_NONCE + 1])
{
    marker_nonce_of(1, id, strlen(id), nonce);
}

static inline struct thing *batch(unsigned account, const char *id, const char *status,
                                  uint64_t age_s)
{
    struct thing *t = &w->things[w->num_things++];

    assert_true(w->num_things < MAX_THINGS);
    *t = (struct thing){.account = account, .status = status, .age_s = age_s};
    snprintf(t->id, sizeof(t->id), "%s", id);
    return t;
}

/* One that we created: with a marker. */
static inline struct thing *our_batch(unsigned account, uint32_t deployment, const char *id,
                                      const char *status, uint64_t age_s, uint64_t tokens)
{
    struct thing *t = batch(account, id, status, age_s);
    struct marker marker = {.tokens = tokens, .deployment = 1000 + deployment};
    struct strbuf text = STRBUF_INIT;

    nonce_of(id, marker.nonce);
    snprintf(marker.file, sizeof(marker.file), "file-1");
    assert_int_equal(marker_write(&w->seals, &marker, &text), 0);
    snprintf(t->marker, sizeof(t->marker), "%s", strbuf_str(&text));
    strbuf_deinit(&text);
    return t;
}

/* What a worker reserves before a create: not committed, and its worker dead if `orphan`. */
static inline void reserve(uint32_t deployment, const char *id, uint64_t tokens, bool orphan)
{
    char nonce[MARKER_NONCE + 1];
    uint32_t column = w->columns[deployment];
    struct quota_claim claim;

    nonce_of(id, nonce);
    assert_int_equal(quota_reserve(w->quota, 1, column, tokens,
                                   quota_token(w->quota, column, nonce, MARKER_NONCE),
                                   w->loop.now_ms, &claim),
                     0);
    assert_true(quota_sent(w->quota, &claim));
    if (orphan)
        assert_int_equal(quota_undo_holder(w->quota, 1, w->loop.now_ms).orphans, 1);
    else
        assert_int_equal(quota_commit(w->quota, &claim, id, strlen(id)), 0);
}

static inline uint64_t enqueued(uint32_t deployment)
{
    struct quota_sum sum;

    quota_read(w->quota, w->columns[deployment], w->loop.now_ms, &sum);
    return sum.reserved;
}

static inline size_t calls_to(unsigned account)
{
    size_t n = 0;

    for (size_t i = 0; i < w->num_calls; i++)
        n += w->calls[i].account == account;
    return n;
}

static inline size_t lists_of(unsigned account)
{
    size_t n = 0;

    for (size_t i = 0; i < w->num_calls; i++)
        n += w->calls[i].account == account && w->calls[i].list;
    return n;
}
