/* The prober's token calls: when they are made, by whom, and what cells and the log say afterwards.
 * The clock is moved by hand, and an upstream of the test keeps each call until it is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "server/upkeep/token_fetch.h"

#define START_MS   (UINT64_C(40) * 3600 * 1000)
#define MAX_TIMERS 16
#define MAX_CALLS  256
#define SLOT       7
#define SECOND     1000u
#define MINUTE     60000u

#define TOKEN(life)                                                                                \
    "{\"token_type\":\"Bearer\",\"expires_in\":" #life ",\"access_token\":\"a-token\"}"
#define REFUSAL                                                                                    \
    "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client secret "  \
    "provided.\\r\\nTrace ID: x\",\"error_codes\":[7000215],\"correlation_id\":"                   \
    "\"11111111-2222-3333-4444-555555555555\"}"
#define LATE                                                                                       \
    "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS700024: Client assertion is not " \
    "within its valid time range.\",\"error_codes\":[700024]}"

/* --- a loop with a clock of ours --- */

static struct {
    struct loop base;
    uint64_t now_ms;
    struct loop_timer *timers[MAX_TIMERS];
    size_t num;
    int fd; /* the one that is watched; -1: none */
    loop_fd_cb on_readable;
    void *arg;
} loop;

static uint64_t fake_now_ms(struct loop *l)
{
    (void)l;
    return loop.now_ms;
}

static void fake_stop(struct loop *l, struct loop_timer *timer)
{
    (void)l;
    for (size_t i = 0; i < loop.num; i++)
        if (loop.timers[i] == timer)
            loop.timers[i] = loop.timers[--loop.num];
}

static int fake_start(struct loop *l, struct loop_timer *timer, uint64_t delay_ms)
{
    fake_stop(l, timer);
    assert_true(loop.num < MAX_TIMERS);
    timer->due_ms = loop.now_ms + delay_ms;
    loop.timers[loop.num++] = timer;
    return 0;
}

static int fake_watch(struct loop *l, int fd, loop_fd_cb on_readable, void *arg)
{
    (void)l;
    loop.fd = fd;
    loop.on_readable = on_readable;
    loop.arg = arg;
    return 0;
}

static const struct loop_ops fake_ops = {fake_now_ms, fake_start, fake_stop, fake_watch};

static void pass(uint64_t ms)
{
    uint64_t end_ms = loop.now_ms + ms;

    for (;;) {
        struct loop_timer *first = NULL;

        for (size_t i = 0; i < loop.num; i++)
            if (loop.timers[i]->due_ms <= end_ms &&
                (first == NULL || loop.timers[i]->due_ms < first->due_ms))
                first = loop.timers[i];
        if (first == NULL)
            break;
        loop.now_ms = first->due_ms > loop.now_ms ? first->due_ms : loop.now_ms;
        fake_stop(&loop.base, first);
        first->cb(first);
    }
    loop.now_ms = end_ms;
}

/* What runs on the loop has no end: it stays within reach of the leak checker's eye. */
static void keep_in_reach(void)
{
    static void *kept[4 * MAX_TIMERS];
    static size_t num;

    for (size_t i = 0; i < loop.num; i++) {
        assert_true(num < sizeof(kept) / sizeof(kept[0]));
        kept[num++] = loop.timers[i]->arg;
    }
}

/* A thread has ended. */
static void thread_ends(void)
{
    struct pollfd ready = {.fd = loop.fd, .events = POLLIN};

    assert_int_equal(poll(&ready, 1, -1), 1);
    loop.on_readable(loop.arg);
}

/* --- an upstream that keeps its calls --- */

struct upstream {
    bool direct;
};

struct upstream_call {
    int unused;
};

struct kept {
    struct upstream_request request;
    char method[8], url[256], body[4096], authorization[128];
    uint64_t at_ms;
    bool direct, answered;
};

static struct kept calls[MAX_CALLS];
static unsigned num_calls;
static struct upstream shared = {false}, direct = {true};

static const char *header_of(const struct upstream_request *request, const char *name)
{
    for (size_t i = 0; i < request->num_headers; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return "";
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    static struct upstream_call call;
    struct kept *kept = &calls[num_calls++];

    assert_true(num_calls < MAX_CALLS);
    *kept = (struct kept){.request = *request, .at_ms = loop.now_ms, .direct = up->direct};
    snprintf(kept->method, sizeof(kept->method), "%s", request->method);
    snprintf(kept->url, sizeof(kept->url), "%s", request->url);
    snprintf(kept->authorization, sizeof(kept->authorization), "%s",
             header_of(request, "authorization"));
    memcpy(kept->body, request->body != NULL ? request->body : "", request->body_len);
    assert_true(request->secret);
    assert_int_equal(request->total_ms, 10000);
    assert_int_equal(request->max_body, 65536);
    return &call;
}

int upstream_new(struct loop *l, const struct upstream_options *options, struct upstream **out)
{
    (void)l;
    assert_true(options->allow_metadata);
    assert_null(options->proxy);
    *out = &direct;
    return 0;
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
    (void)call;
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

/* The last call is answered. @param status  0: no answer */
static void answer_with(int status, const char *body, const char *name, const char *value)
{
    struct upstream_header headers[] = {{"content-type", "application/json"}, {name, value}};
    struct upstream_result result = {.end =
                                         status != 0 ? UPSTREAM_ANSWERED : UPSTREAM_CONNECT_FAILED,
                                     .head = {.status = status,
                                              .content_length = -1,
                                              .headers = headers,
                                              .num_headers = name != NULL ? 2 : 1},
                                     .body = status != 0 ? body : NULL,
                                     .body_len = status != 0 ? strlen(body) : 0};
    struct kept *kept = &calls[num_calls - 1];

    assert_true(num_calls > 0 && !kept->answered);
    kept->answered = true;
    if (status == 0)
        snprintf(result.error, sizeof(result.error), "connect: refused");
    kept->request.on_done(kept->request.arg, &result);
}

static void answer(int status, const char *body)
{
    answer_with(status, body, NULL, NULL);
}

/* --- a prober's world --- */

static struct entra_credential credential;
static struct config config;
static struct entra_tokens *tokens;
static struct entra_tokens_cell *cell;
static struct inherited inherited;
static struct upkeep upkeep;
static struct entra_tokens_view view;
static char text[ENTRA_TOKENS_TEXT + 1], path[] = "/tmp/token-fetch-XXXXXX";
static int log_fd = -1, stderr_fd = -1;

static void begin(void)
{
    assert_int_equal(entra_credential_seal(&credential), 0);
    config.models.credentials = &credential;
    config.models.num_credentials = 1;
    assert_int_equal(entra_tokens_bind(tokens, credential.fingerprint, 0), 0);
    cell = entra_tokens_find(tokens, credential.fingerprint);
    assert_int_equal(token_fetch_start(&upkeep), 0);
    pass(0);
}

/* The prober of the next generation, beside the first one. */
static void begin_next(void)
{
    static struct upkeep next;

    next = upkeep;
    next.rt.slot = SLOT + 2;
    assert_int_equal(token_fetch_start(&next), 0);
    pass(0);
}

static int setup(void **state)
{
    (void)state;
    memset(&loop, 0, sizeof(loop));
    loop.base.ops = &fake_ops;
    loop.now_ms = START_MS;
    loop.fd = -1;
    memset(calls, 0, sizeof(calls));
    num_calls = 0;
    memset(&config, 0, sizeof(config));
    credential = (struct entra_credential){.kind = ENTRA_SECRET,
                                           .name = (char *)"client app of tenant t, by secret",
                                           .authority = (char *)"https://login.example",
                                           .tenant = (char *)"t",
                                           .client_id = (char *)"app",
                                           .scope = (char *)"https://r.example/.default",
                                           .why = "a test"};
    assert_int_equal(secret_set(&credential.secret, "s3cret~+.", 9), 0);
    assert_int_equal(entra_tokens_new(&tokens), 0);
    inherited = (struct inherited){.config = &config, .entra_tokens = tokens};
    upkeep.rt = (struct runtime){.inherited = &inherited,
                                 .config = &config,
                                 .slot = SLOT,
                                 .loop = &loop.base,
                                 .upstream = &shared,
                                 .random_state = {1, 2, 3, 4}};
    log_fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    assert_true(log_fd != -1);
    stderr_fd = dup(2);
    dup2(log_fd, 2);
    return 0;
}

/* What the log has of that text. */
static unsigned lines_with(const char *what)
{
    static char log[65536];
    ssize_t len = pread(log_fd, log, sizeof(log) - 1, 0);
    unsigned n = 0;

    assert_true(len >= 0);
    log[len] = '\0';
    for (const char *at = strstr(log, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
}

static int teardown(void **state)
{
    (void)state;
    dup2(stderr_fd, 2);
    close(stderr_fd);
    keep_in_reach();
    assert_int_equal(lines_with("s3cret"), 0);
    assert_int_equal(lines_with("a-token"), 0);
    close(log_fd);
    secret_clear(&credential.secret);
    entra_tokens_free(tokens);
    return 0;
}

static bool has_token(void)
{
    return entra_tokens_read(cell, loop.now_ms, text, &view) && !view.refused;
}

static struct entra_tokens_report report(void)
{
    struct entra_tokens_report out;

    entra_tokens_report(cell, &out);
    return out;
}

/* --- who asks, and when --- */

static void test_entra_10_a_hundred_who_ring_at_a_cold_start_make_one_call(void **state)
{
    uint64_t last = 0;

    (void)state;
    begin();
    for (unsigned i = 0; i < 100; i++)
        last = entra_tokens_ring(cell);
    pass(5 * SECOND);
    assert_int_equal(num_calls, 1);
    assert_string_equal(calls[0].method, "POST");
    assert_string_equal(calls[0].url, "https://login.example/t/oauth2/v2.0/token");
    assert_non_null(strstr(calls[0].body, "client_secret=s3cret~%2B."));
    assert_false(calls[0].direct);
    assert_false(entra_tokens_is_heard(cell, last));
    answer(200, TOKEN(3599));
    assert_true(entra_tokens_lease(cell, SLOT + 1, loop.now_ms, SECOND)); /* it was given back */
    assert_true(entra_tokens_is_heard(cell, last));
    assert_true(has_token());
    assert_string_equal(text, "a-token");
    pass(30 * MINUTE);
    assert_int_equal(num_calls, 1);
}

static void test_entra_10_while_another_prober_asks_this_one_does_not(void **state)
{
    struct entra_state got = {.last = ENTRA_OK};

    (void)state;
    assert_int_equal(entra_credential_seal(&credential), 0);
    assert_int_equal(entra_tokens_bind(tokens, credential.fingerprint, 0), 0);
    cell = entra_tokens_find(tokens, credential.fingerprint);
    assert_true(entra_tokens_lease(cell, SLOT + 1, loop.now_ms, 20 * SECOND));
    begin();
    entra_tokens_ring(cell);
    pass(5 * SECOND);
    assert_int_equal(num_calls, 0);
    assert_false(entra_tokens_is_heard(cell, 1)); /* the other one answers him */
    entra_when_obtained(&got, 3600, 0, loop.now_ms, 0);
    assert_int_equal(entra_tokens_publish(cell, "of-the-other", 12, &got), 1);
    entra_tokens_release(cell, SLOT + 1);
    pass(5 * MINUTE);
    assert_int_equal(num_calls, 0);
    assert_true(entra_tokens_is_heard(cell, 1));
    assert_true(has_token());
    assert_string_equal(text, "of-the-other");
}

static void a_prober_that_died_while_it_asked_is_followed_by_one_that_asks(void **state)
{
    (void)state;
    assert_int_equal(entra_credential_seal(&credential), 0);
    assert_int_equal(entra_tokens_bind(tokens, credential.fingerprint, 0), 0);
    cell = entra_tokens_find(tokens, credential.fingerprint);
    assert_true(entra_tokens_lease(cell, SLOT + 1, loop.now_ms, 20 * SECOND));
    begin();
    assert_int_equal(num_calls, 0);
    entra_tokens_clear_holder(tokens, SLOT + 1); /* as its master does */
    pass(SECOND);
    assert_int_equal(num_calls, 1);
}

static void test_entra_11_a_token_is_renewed_before_its_last_five_minutes(void **state)
{
    (void)state;
    begin();
    answer(200, TOKEN(3600));
    pass(48 * MINUTE - SECOND);
    assert_int_equal(num_calls, 1);
    pass(7 * MINUTE);
    assert_int_equal(num_calls, 2);
    assert_true(calls[1].at_ms < START_MS + 55 * MINUTE);
    answer(200, TOKEN(3600));
    assert_true(has_token());
    assert_int_equal(view.number, 2);
    pass(40 * MINUTE);
    assert_int_equal(num_calls, 2);
}

/* So many clients, each of which is asked for; the cells are bound from the last to the first. */
static const struct entra_credential *begin_many(size_t num)
{
    static struct entra_credential many[50];
    static char ids[50][32];

    assert_true(num <= 50);
    for (size_t i = num; i-- > 0;) {
        many[i] = credential;
        snprintf(ids[i], sizeof(ids[i]), "app-%zu", i);
        many[i].client_id = ids[i];
        assert_int_equal(entra_credential_seal(&many[i]), 0);
        assert_int_equal(entra_tokens_bind(tokens, many[i].fingerprint, 0), 0);
    }
    config.models.credentials = many;
    config.models.num_credentials = num;
    assert_int_equal(token_fetch_start(&upkeep), 0);
    pass(0);
    assert_int_equal(num_calls, num);
    return many;
}

/* Each draws a number of its own, so a node's renewals are spread over minutes. */
static void test_entra_11_fifty_credentials_do_not_renew_in_one_second(void **state)
{
    struct entra_state one;
    unsigned seconds[3600] = {0}, most = 0;
    const struct entra_credential *many;

    (void)state;
    many = begin_many(50);
    for (num_calls = 1; num_calls <= 50; num_calls++)
        answer(200, TOKEN(3600));
    for (size_t i = 0; i < 50; i++) {
        unsigned *second;

        entra_tokens_state(entra_tokens_find(tokens, many[i].fingerprint), &one);
        second = &seconds[(one.renew_ms - START_MS) / SECOND];
        most = ++*second > most ? *second : most;
    }
    assert_true(most <= 5);
}

/* The client that the call names is the one whose cell has the token, in whatever order they come. */
static void the_answers_to_several_credentials_are_not_mixed_up(void **state)
{
    const struct entra_credential *several;
    char token[128], named[32];

    (void)state;
    several = begin_many(5);
    for (num_calls = 5; num_calls > 0; num_calls--) {
        const char *id = strstr(calls[num_calls - 1].body, "client_id=app-");

        assert_non_null(id);
        snprintf(token, sizeof(token),
                 "{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"of-%.5s\"}",
                 id + strlen("client_id="));
        answer(200, token);
    }
    for (size_t i = 0; i < 5; i++) {
        snprintf(named, sizeof(named), "of-%s", several[i].client_id);
        cell = entra_tokens_find(tokens, several[i].fingerprint);
        assert_true(has_token());
        assert_string_equal(text, named);
        assert_int_equal(view.number, 1);
    }
}

static void test_entra_16_a_refused_token_is_fetched_anew_at_once_and_once(void **state)
{
    uint64_t rung;

    (void)state;
    begin();
    answer(200, TOKEN(3600));
    pass(MINUTE);
    entra_tokens_refuse(cell, 1);
    rung = entra_tokens_refuse(cell, 1);
    pass(SECOND);
    assert_int_equal(num_calls, 2);
    answer(200, TOKEN(3600));
    assert_true(entra_tokens_is_heard(cell, rung));
    assert_true(has_token());
    entra_tokens_refuse(cell, 1); /* he comes late (entra statement 17) */
    pass(MINUTE);
    assert_int_equal(num_calls, 2);
}

static void test_entra_20_who_comes_later_goes_on_with_the_live_token(void **state)
{
    (void)state;
    begin();
    answer(200, TOKEN(3600));
    pass(MINUTE);
    begin_next();
    pass(30 * MINUTE);
    assert_int_equal(num_calls, 1);
}

/* --- failures --- */

static void test_entra_13_the_old_token_is_used_to_its_end_while_nobody_answers(void **state)
{
    (void)state;
    begin();
    answer(200, TOKEN(3600));
    for (unsigned i = 0; i < 59 * 60; i++) {
        pass(SECOND);
        if (!calls[num_calls - 1].answered)
            answer(0, "");
        assert_true(has_token());
    }
    assert_true(num_calls > 4 && num_calls < 40); /* 1, 2, 4 ... 60 s apart */
    assert_int_equal(lines_with("no new token"), 1);
    pass(2 * MINUTE);
    assert_false(has_token());
    if (!calls[num_calls - 1].answered)
        answer(0, "");
    pass(2 * MINUTE);
    answer(200, TOKEN(3600));
    assert_true(has_token());
    assert_int_equal(lines_with("there is a token again"), 1);
}

static void test_entra_14_nobody_calls_before_the_wait_that_was_asked_for(void **state)
{
    uint64_t rung;

    (void)state;
    begin();
    answer_with(429, "Too Many Requests", "retry-after", "60");
    rung = entra_tokens_ring(cell);
    pass(59 * SECOND);
    assert_int_equal(num_calls, 1);
    assert_true(entra_tokens_is_heard(cell, rung)); /* he need not wait: none will come soon */
    assert_true(entra_tokens_wait_ms(cell, loop.now_ms) > 0);
    begin_next(); /* a reload does not shorten it */
    pass(0);
    assert_int_equal(num_calls, 1);
    pass(10 * SECOND);
    assert_int_equal(num_calls, 2);
    assert_int_equal(report().calls[ENTRA_THROTTLED], 1);
}

static void test_entra_15_a_final_error_is_asked_again_once_a_minute_and_told_once(void **state)
{
    struct entra_tokens_report r;

    (void)state;
    begin();
    answer(401, REFUSAL);
    for (unsigned i = 1; i <= 5; i++) {
        entra_tokens_ring(cell);
        pass(MINUTE - SECOND);
        assert_int_equal(num_calls, i);
        pass(2 * SECOND);
        assert_int_equal(num_calls, i + 1);
        answer(401, REFUSAL);
    }
    assert_int_equal(lines_with("AADSTS7000215"), 1);
    assert_int_equal(lines_with("11111111-2222-3333-4444-555555555555"), 1);
    r = report();
    assert_int_equal(r.error.status, 401);
    assert_int_equal(r.error.number, 7000215);
    assert_string_equal(r.error.code, "invalid_client");
    assert_non_null(strstr(r.error.line, "Invalid client secret provided"));
    assert_string_equal(r.error.correlation, "11111111-2222-3333-4444-555555555555");
    assert_int_equal(r.failures, 6);
    pass(MINUTE + SECOND);
    answer(200, TOKEN(3600)); /* somebody has mended it: nothing is restarted */
    assert_true(has_token());
    assert_int_equal(lines_with("there is a token again"), 1);
}

static void a_reload_does_not_tell_the_same_error_again(void **state)
{
    (void)state;
    begin();
    answer(401, REFUSAL);
    keep_in_reach();
    loop.num = 0; /* the prober before has ended */
    begin_next();
    pass(MINUTE + SECOND);
    assert_int_equal(num_calls, 2);
    answer(401, REFUSAL);
    assert_int_equal(lines_with("AADSTS7000215"), 1);
}

static void another_error_is_told_anew(void **state)
{
    (void)state;
    begin();
    answer(401, REFUSAL);
    pass(MINUTE + SECOND);
    answer(500, "<html>");
    pass(2 * MINUTE);
    assert_int_equal(lines_with("no token"), 2);
}

static void an_assertion_that_is_late_is_read_and_tried_again_at_once(void **state)
{
    (void)state;
    begin();
    answer(401, LATE);
    pass(SECOND);
    assert_int_equal(num_calls, 2);
    answer(401, LATE);
    pass(59 * SECOND);
    assert_int_equal(num_calls, 2);
    pass(2 * SECOND);
    assert_int_equal(num_calls, 3);
}

/* --- files --- */

static void write_file(const char *content)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void make_path(void)
{
    int fd;

    strcpy(path, "/tmp/token-fetch-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd != -1);
    close(fd);
    secret_clear(&credential.secret);
    credential.kind = ENTRA_ASSERTION_FILE;
    credential.path = path;
}

static void test_entra_6_the_assertion_is_read_for_each_call_and_a_missing_one_heals(void **state)
{
    (void)state;
    make_path();
    unlink(path);
    begin();
    thread_ends();
    assert_int_equal(num_calls, 0);
    assert_int_equal(report().calls[ENTRA_PASSING], 1);
    assert_non_null(strstr(report().error.line, path));
    assert_int_equal(lines_with(path), 1);
    write_file("first-assertion\n");
    pass(2 * SECOND);
    thread_ends();
    assert_int_equal(num_calls, 1);
    assert_non_null(strstr(calls[0].body, "client_assertion=first-assertion"));
    answer(200, TOKEN(3600));
    write_file("second-assertion\n");
    entra_tokens_refuse(cell, 1);
    pass(SECOND);
    thread_ends();
    assert_int_equal(num_calls, 2);
    assert_non_null(strstr(calls[1].body, "client_assertion=second-assertion"));
    unlink(path);
}

static void what_is_no_regular_file_is_told_and_holds_nobody_up(void **state)
{
    (void)state;
    make_path();
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    begin();
    thread_ends();
    assert_int_equal(num_calls, 0);
    assert_non_null(strstr(report().error.line, path));
    unlink(path);
}

static void a_file_that_takes_too_long_is_given_up_and_no_second_thread_is_started(void **state)
{
    (void)state;
    make_path();
    write_file("an-assertion");
    begin(); /* its thread ends, but the loop is not told */
    pass(10 * SECOND + 500);
    assert_int_equal(report().calls[ENTRA_PASSING], 1);
    assert_non_null(strstr(report().error.line, "ten seconds"));
    pass(5 * SECOND);
    assert_true(report().calls[ENTRA_PASSING] > 1);
    thread_ends(); /* it is not taken for the answer to a later question */
    assert_int_equal(num_calls, 0);
    pass(entra_tokens_wait_ms(cell, loop.now_ms) + SECOND);
    thread_ends();
    assert_int_equal(num_calls, 1);
    unlink(path);
}

static void who_stood_still_for_longer_than_his_lease_leaves_the_call_to_the_next_one(void **state)
{
    (void)state;
    make_path();
    write_file("an-assertion");
    begin(); /* its thread ends, but the loop is not told for a minute */
    entra_tokens_ring(cell);
    loop.now_ms += MINUTE;
    assert_true(entra_tokens_lease(cell, SLOT + 1, loop.now_ms, 20 * SECOND));
    thread_ends();
    assert_int_equal(num_calls, 0);
    assert_false(entra_tokens_is_heard(cell, 1)); /* the other one answers him */
    entra_tokens_release(cell, SLOT + 1);
    pass(SECOND);
    thread_ends();
    assert_int_equal(num_calls, 1);
    answer(200, TOKEN(3600));
    assert_true(entra_tokens_is_heard(cell, 1));
    unlink(path);
}

/* --- managed identities --- */

static void make_managed(enum entra_source source, const char *endpoint)
{
    secret_clear(&credential.secret);
    credential.kind = ENTRA_MANAGED;
    credential.source = source;
    credential.endpoint = (char *)endpoint;
    credential.authority = credential.tenant = credential.client_id = NULL;
}

static void test_entra_8_a_managed_identity_is_asked_without_a_proxy(void **state)
{
    (void)state;
    make_managed(ENTRA_IMDS, "http://169.254.169.254/metadata/identity/oauth2/token");
    begin();
    assert_int_equal(num_calls, 1);
    assert_true(calls[0].direct);
    assert_string_equal(calls[0].method, "GET");
}

static void test_entra_9_a_challenge_for_another_file_is_not_followed(void **state)
{
    (void)state;
    make_managed(ENTRA_ARC, "http://127.0.0.1:40342/metadata/identity/oauth2/token");
    begin();
    assert_int_equal(num_calls, 1);
    answer_with(401, "", "www-authenticate", "Basic realm=/etc/shadow.key");
    if (report().failures == 0)
        thread_ends();
    assert_int_equal(num_calls, 1);
    assert_int_equal(report().calls[ENTRA_FINAL], 1);
    pass(59 * SECOND);
    assert_int_equal(num_calls, 1);
}

/* --- nothing to do --- */

static void without_credentials_nothing_is_made(void **state)
{
    (void)state;
    config.models.num_credentials = 0;
    assert_int_equal(token_fetch_start(&upkeep), 0);
    assert_int_equal(loop.num, 0);
    assert_int_equal(loop.fd, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_entra_10_a_hundred_who_ring_at_a_cold_start_make_one_call),
        TEST(test_entra_10_while_another_prober_asks_this_one_does_not),
        TEST(a_prober_that_died_while_it_asked_is_followed_by_one_that_asks),
        TEST(test_entra_11_a_token_is_renewed_before_its_last_five_minutes),
        TEST(test_entra_11_fifty_credentials_do_not_renew_in_one_second),
        TEST(the_answers_to_several_credentials_are_not_mixed_up),
        TEST(test_entra_16_a_refused_token_is_fetched_anew_at_once_and_once),
        TEST(test_entra_20_who_comes_later_goes_on_with_the_live_token),
        TEST(test_entra_13_the_old_token_is_used_to_its_end_while_nobody_answers),
        TEST(test_entra_14_nobody_calls_before_the_wait_that_was_asked_for),
        TEST(test_entra_15_a_final_error_is_asked_again_once_a_minute_and_told_once),
        TEST(a_reload_does_not_tell_the_same_error_again),
        TEST(another_error_is_told_anew),
        TEST(an_assertion_that_is_late_is_read_and_tried_again_at_once),
        TEST(test_entra_6_the_assertion_is_read_for_each_call_and_a_missing_one_heals),
        TEST(what_is_no_regular_file_is_told_and_holds_nobody_up),
        TEST(who_stood_still_for_longer_than_his_lease_leaves_the_call_to_the_next_one),
        TEST(a_file_that_takes_too_long_is_given_up_and_no_second_thread_is_started),
        TEST(test_entra_8_a_managed_identity_is_asked_without_a_proxy),
        TEST(test_entra_9_a_challenge_for_another_file_is_not_followed),
        TEST(without_credentials_nothing_is_made),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
