/* What tests of a create and of moving a file stand on: a worker with three Azure accounts of one
 * group, a clock that moves when told, and providers that do as the test says, one event at a time.
 * The next call that is begun may be refused for want of memory. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "balancer/retry.h"
#include "common/clock.h"
#include "common/log.h"
#include "core/runtime.h"
#include "objects/facts.h"
#include "once/batch_reader.h"
#include "upstream/client.h"

#define ACCOUNTS   3
#define MAX_TIMERS 64
#define FILE_ID    "file-x"
#define LINES                                                                                      \
    "{\"custom_id\":\"1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\","                   \
    "\"body\":{\"model\":\"m0\",\"messages\":[]}}\n"
#define TOKENS 1000u /* of the file */

/* --- the loop --- */

static struct loop_timer *timers[MAX_TIMERS];
static uint64_t now_ms;
static unsigned timers_begun, timer_that_fails; /* counted from 1; 0: none */

static size_t slot_of(const struct loop_timer *t)
{
    size_t i = 0;

    while (i < MAX_TIMERS - 1 && timers[i] != t)
        i++;
    return i;
}

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    if (timers[slot_of(t)] == t)
        timers[slot_of(t)] = NULL;
}

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    do_timer_stop(loop, t);
    if (++timers_begun == timer_that_fails)
        return ERR_NOMEM;
    t->due_ms = now_ms + delay_ms;
    timers[slot_of(NULL)] = t;
    return 0;
}

static struct loop_timer *next_timer(void)
{
    struct loop_timer *next = NULL;

    for (size_t i = 0; i < MAX_TIMERS; i++)
        if (timers[i] != NULL && (next == NULL || timers[i]->due_ms < next->due_ms))
            next = timers[i];
    return next;
}

static void run_timer(void)
{
    struct loop_timer *t = next_timer();

    assert_non_null(t);
    now_ms = t->due_ms > now_ms ? t->due_ms : now_ms;
    do_timer_stop(NULL, t);
    t->cb(t);
}

static const struct loop_ops ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};
static struct loop loop = {.ops = &ops};

/* --- the providers --- */

enum asked { ASKED_FILE, ASKED_CONTENT, ASKED_UPLOAD, ASKED_DELETE, ASKED_CREATE, ASKED_LIST };

struct upstream_call {
    struct upstream_request request;
    bool over; /* answered or cancelled */
    enum asked asked;
    unsigned account;
};

/* What an account does; all zero: as it should be. */
static struct {
    bool lacks_file;     /* 404 for the file */
    const char *file;    /* more members of it, each with a comma behind; NULL: none */
    unsigned pending;    /* so many GETs of the file say that it is pending */
    bool young;          /* the file was made a moment ago */
    unsigned fails;      /* so many reads of the file or its content end with 500 */
    unsigned breaks;     /* so many reads of the content break in the middle */
    const char *content; /* NULL: LINES */
    unsigned refusals;   /* so many creates are refused with ... */
    int refusal;         /* ... this status */
    const char *refusal_body;
    bool loses_answer;  /* of the create */
    bool lists_it;      /* the lost batch */
    int upload;         /* status; 0: 201 */
    bool names_no_copy; /* the answer to an upload has no id */
} provider[ACCOUNTS];

static struct upstream_call *calls[256];
static unsigned num_calls, call_that_fails; /* counted from 1; 0: none */
static unsigned num_asked[ACCOUNTS][ASKED_LIST + 1];
static unsigned made;       /* creates of which a byte was sent */
static char created[2048];  /* body of the last create */
static char uploaded[4096]; /* ... and of the last upload */

static enum asked asked_for(const struct upstream_request *r)
{
    if (strstr(r->url, "/batches") != NULL)
        return strcmp(r->method, "POST") == 0 ? ASKED_CREATE : ASKED_LIST;
    if (strcmp(r->method, "POST") == 0)
        return ASKED_UPLOAD;
    if (strcmp(r->method, "DELETE") == 0)
        return ASKED_DELETE;
    return strstr(r->url, "/content") != NULL ? ASKED_CONTENT : ASKED_FILE;
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call;

    (void)up;
    if (num_calls + 1 == call_that_fails) {
        call_that_fails = 0;
        return NULL;
    }
    call = calloc(1, sizeof(*call));
    assert_non_null(call);
    assert_true(num_calls < sizeof(calls) / sizeof(calls[0]));
    call->request = *request;
    call->asked = asked_for(request);
    call->account = (unsigned)atoi(strstr(request->url, "//a") + 3);
    num_asked[call->account][call->asked]++;
    if (call->asked == ASKED_CREATE)
        snprintf(created, sizeof(created), "%.*s", (int)request->body_len, request->body);
    return calls[num_calls++] = call;
}

void upstream_cancel(struct upstream_call *call)
{
    call->over = true;
}

int upstream_new(struct loop *l, const struct upstream_options *options, struct upstream **out)
{
    (void)l;
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

static struct upstream_call *open_call(void)
{
    for (unsigned i = 0; i < num_calls; i++)
        if (!calls[i]->over)
            return calls[i];
    return NULL;
}

static void end_call(struct upstream_call *call, enum upstream_end end, int status,
                     const char *body)
{
    struct upstream_header type = {"content-type", "application/json"};
    struct upstream_result result = {.end = end,
                                     .nothing_sent = end == UPSTREAM_REFUSED,
                                     .head.status = status,
                                     .head.headers = &type,
                                     .head.num_headers = 1,
                                     .body = body,
                                     .body_len = body != NULL ? strlen(body) : 0};

    call->over = true;
    call->request.on_done(call->request.arg, &result);
}

static void answer(struct upstream_call *call, int status, const char *body)
{
    end_call(call, UPSTREAM_ANSWERED, status, body);
}

#define FAILED "{\"error\":{\"message\":\"not now\"}}"

static bool fails(struct upstream_call *call)
{
    if (provider[call->account].fails == 0)
        return false;
    provider[call->account].fails--;
    answer(call, 500, FAILED);
    return true;
}

static void give_content(struct upstream_call *call)
{
    struct upstream_head head = {.status = 200, .content_length = -1};
    const char *content = provider[call->account].content;
    bool breaks = provider[call->account].breaks > 0;

    if (fails(call))
        return;
    content = content != NULL ? content : LINES;
    provider[call->account].breaks -= breaks;
    assert_true(call->request.on_head(call->request.arg, &head));
    assert_true(call->request.on_data(call->request.arg, content,
                                      breaks ? strlen(content) / 2 : strlen(content)));
    if (!call->over)
        end_call(call, breaks ? UPSTREAM_BROKEN : UPSTREAM_ANSWERED, 200, NULL);
}

static void read_upload(struct upstream_call *call)
{
    size_t len = 0, left = (size_t)call->request.source_length;

    assert_true(left < sizeof(uploaded));
    while (left > 0) {
        ssize_t n = call->request.source(call->request.arg, uploaded + len, left);

        assert_true(n > 0);
        len += (size_t)n;
        left -= (size_t)n;
    }
    uploaded[len] = '\0';
}

static void take_upload(struct upstream_call *call)
{
    unsigned account = call->account;
    char body[64];

    read_upload(call);
    if (provider[account].upload != 0) {
        answer(call, provider[account].upload, FAILED);
        return;
    }
    snprintf(body, sizeof(body), "{\"id\":\"copy-%u\",\"object\":\"file\"}", account);
    answer(call, 201, provider[account].names_no_copy ? "{}" : body);
}

static void tell_file(struct upstream_call *call)
{
    unsigned account = call->account;
    const char *more = provider[account].file;
    bool pending = provider[account].pending > 0;
    char body[512];

    if (fails(call))
        return;
    if (provider[account].lacks_file) {
        answer(call, 404, "{\"error\":{\"code\":\"404\",\"message\":\"no such file\"}}");
        return;
    }
    provider[account].pending -= pending;
    snprintf(body, sizeof(body),
             "{%s\"id\":\"" FILE_ID "\",\"object\":\"file\",\"filename\":\"in.jsonl\","
             "\"bytes\":100,\"status\":\"%s\",\"created_at\":%lld}",
             more != NULL ? more : "", pending ? "pending" : "processed",
             provider[account].young ? (long long)time(NULL) : 1LL);
    answer(call, 200, body);
}

/* As it was asked for, with the marker in its metadata. */
static void tell_batch(struct upstream_call *call)
{
    char body[4096];

    snprintf(body, sizeof(body),
             "{\"id\":\"batch-1\",\"object\":\"batch\",\"status\":\"validating\",%s", created + 1);
    answer(call, 200, body);
}

static void make_batch(struct upstream_call *call)
{
    unsigned account = call->account;

    /* Sent once more with another token it was begun before. */
    if (call->request.on_begin != NULL && !call->request.on_begin(call->request.arg)) {
        end_call(call, UPSTREAM_REFUSED, 0, NULL);
        return;
    }
    made++;
    if (provider[account].refusals > 0) {
        provider[account].refusals--;
        answer(call, provider[account].refusal, provider[account].refusal_body);
    } else if (provider[account].loses_answer) {
        end_call(call, UPSTREAM_BROKEN, 0, NULL);
    } else {
        tell_batch(call);
    }
}

/* The batch as it was created, with the marker in its metadata. */
static void list_batches(struct upstream_call *call)
{
    char body[4096];

    if (provider[call->account].lists_it)
        snprintf(body, sizeof(body),
                 "{\"object\":\"list\",\"has_more\":false,\"data\":[{\"id\":\"batch-1\","
                 "\"object\":\"batch\",\"status\":\"validating\",\"created_at\":%lld,%s]}",
                 (long long)time(NULL), created + 1);
    else
        snprintf(body, sizeof(body), "{\"object\":\"list\",\"data\":[],\"has_more\":false}");
    answer(call, 200, body);
}

static void respond(struct upstream_call *call)
{
    static void (*const responds[])(struct upstream_call * call) = {[ASKED_FILE] = tell_file,
                                                                    [ASKED_CONTENT] = give_content,
                                                                    [ASKED_UPLOAD] = take_upload,
                                                                    [ASKED_CREATE] = make_batch,
                                                                    [ASKED_LIST] = list_batches};

    if (call->asked == ASKED_DELETE)
        answer(call, 200, "{\"deleted\":true}");
    else
        responds[call->asked](call);
}

/* The next thing that happens: a provider answers the oldest call, or a timer runs.
 * @return false: nothing is under way any more */
static bool step(void)
{
    struct upstream_call *call = open_call();

    if (call != NULL)
        respond(call);
    else if (next_timer() != NULL)
        run_timer();
    else
        return false;
    return true;
}

/* Until this is asked of the account; what asks is left open. */
static inline struct upstream_call *until_asked(unsigned account, enum asked asked)
{
    struct upstream_call *call = open_call();

    while (call == NULL || call->account != account || call->asked != asked) {
        assert_true(step());
        call = open_call();
    }
    return call;
}

static void run(void)
{
    while (step())
        ;
}

/* --- a worker --- */

static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static char bases[ACCOUNTS][32], models[ACCOUNTS][8];
static struct config config;
static struct ids_seals seals;
static uint32_t columns[ACCOUNTS];
static struct inherited inherited;
static struct shared shared;
static struct runtime rt;

static void describe_rows(void)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        snprintf(bases[i], sizeof(bases[i]), "https://a%u.example", i);
        snprintf(models[i], sizeof(models[i]), "m%u", i);
        accounts[i] = (struct model_account){
            .provider = PROVIDER_AZURE, .base = bases[i], .name = bases[i] + 8};
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .id = models[i],
                                            .upstream_model = models[i],
                                            .account = i,
                                            .max_retries = RETRY_NOT_GIVEN,
                                            .cooldown_ms = UINT32_MAX,
                                            .order = (int32_t)i + 1,
                                            .fingerprint = 100 + i};
    }
    config = (struct config){
        .models = {.accounts = accounts,
                   .num_accounts = ACCOUNTS,
                   .deployments = rows,
                   .num_deployments = ACCOUNTS,
                   .num_rows = ACCOUNTS},
        .balance_batches = true,
        .max_fallbacks = 5,
        .timeouts.json_total_ms = 10000,
        .limits = {.max_line_bytes = 1 << 20, .max_depth = 100, .spool_bytes = 1 << 20}};
}

static void make_regions(void)
{
    assert_int_equal(state_new(2, ACCOUNTS, &inherited.state), 0);
    assert_int_equal(quota_new(ACCOUNTS, 16, &inherited.quota), 0);
    assert_int_equal(slots_new(ACCOUNTS, &inherited.slots), 0);
    assert_int_equal(memo_new(64, &inherited.memo), 0);
    assert_int_equal(idem_new(16, &inherited.idem), 0);
    assert_int_equal(poll_cache_new(16, &inherited.poll_cache), 0);
}

/* The ledger's limit of an account; 0: not known. */
static void limit(uint32_t account, uint64_t tokens)
{
    quota_bind(inherited.quota, columns[account],
               &(struct quota_terms){.fingerprint = 100 + account, .limit = tokens});
}

static int world_set_up(void **state)
{
    struct table *table;

    (void)state;
    memset(timers, 0, sizeof(timers));
    memset(provider, 0, sizeof(provider));
    memset(num_asked, 0, sizeof(num_asked));
    made = num_calls = call_that_fails = timers_begun = timer_that_fails = 0;
    now_ms = clock_now_ms();
    log_set_level(LOG_LEVEL_ERROR);
    describe_rows();
    memset(&shared, 0, sizeof(shared));
    inherited = (struct inherited){
        .config = &config, .columns = columns, .seals = &seals, .shared = &shared};
    inherited.breaker = breaker_policy(1000, 5);
    memset(&inherited.retry, 0xff, sizeof(inherited.retry)); /* RETRY_NOT_GIVEN */
    inherited.retry.least_delay_ms = 0;
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    inherited.table = table;
    make_regions();
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        limit(i, 0);
    rt =
        (struct runtime){.inherited = &inherited, .config = &config, .table = table, .loop = &loop};
    assert_int_equal(runtime_prepare(&rt), 0);
    return 0;
}

/* Everything is as if nothing had been asked, but for what the test looks at itself. */
static void world_is_quiet(void)
{
    assert_null(open_call());
    assert_null(next_timer());
    assert_int_equal(rt.operations, 0);
    assert_int_equal(atomic_load(&shared.slots[0].spool_bytes), 0);
}

static int world_tear_down(void **state)
{
    (void)state;
    world_is_quiet();
    for (unsigned i = 0; i < num_calls; i++)
        free(calls[i]);
    batch_readers_free(&rt);
    account_map_deinit(&rt.account_map);
    free(rt.fallbacks);
    poll_cache_free(inherited.poll_cache);
    idem_free(inherited.idem);
    memo_free(inherited.memo);
    slots_free(inherited.slots);
    quota_free(inherited.quota);
    state_free(inherited.state);
    table_free((struct table *)(uintptr_t)rt.table);
    ids_seals_clear(&seals);
    return 0;
}

static inline struct quota_sum sum_of(uint32_t account)
{
    struct quota_sum sum;

    quota_read(inherited.quota, columns[account], now_ms, &sum);
    return sum;
}
