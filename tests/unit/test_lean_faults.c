/* The lean transport and providers that do as they like: answers that drip, break off, lead elsewhere
 * or are cut anywhere, requests that nobody reads, and calls that are left in each phase. */
#define WORLD_LEAN true
#include "upstream_servers.h"

#include "upstream/lean.h"

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

static void stop(struct world *w)
{
    world_stop(w);
    world_free(w);
}

static void ask_only(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        ;
}

/* A call is under way, and its provider has the whole of it. */
static void start_and_wait(struct world *w, struct upstream_request *request)
{
    w->woken = w->done = false;
    start(w, request);
    run_until(w, &w->woken);
}

static int ready(const struct world *w)
{
    struct epoll_event event;

    return epoll_wait(w->up->lanes[LANE_LEAN].epoll_fd, &event, 1, 0);
}

static void wait_ready(const struct world *w)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (ready(w) == 0)
        assert_true(clock_now_ms() < end_ms);
}

/* These bytes come, and are read. */
static void come(struct world *w, const char *bytes, size_t len)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    assert_int_equal(send(w->server.fds[w->server.connections - 1], bytes, len, MSG_NOSIGNAL), len);
    wait_ready(w);
    while (ready(w) == 1) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(&w->loop);
    }
}

static void on_nothing(struct loop_timer *timer)
{
    (void)timer;
}

/* One that waits for nothing. */
static void turn(struct world *w)
{
    w->resume.cb = on_nothing;
    assert_int_equal(loop_timer_start(&w->loop.super, &w->resume, 0), 0);
    loop_turn(&w->loop);
}

/* --- answers in pieces --- */

static void an_answer_may_be_cut_anywhere(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" HELLO,
                                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                          "2;a=\"b\"\r\nhe\r\n0003\r\nllo\r\n0\r\nT: u\r\n\r\n"};
    struct world *w = world_new(ask_only);

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        size_t len = strlen(answers[i]);

        for (size_t at = 1; at < len; at++) {
            start_and_wait(w, &(struct upstream_request){0});
            come(w, answers[i], at);
            assert_false(w->done);
            say(w->server.fds[0], answers[i] + at);
            run_until(w, &w->done);
            assert_int_equal(w->end, UPSTREAM_ANSWERED);
            assert_string_equal(strbuf_str(&w->body), "hello");
        }
    }
    assert_int_equal(w->server.connections, 1);
    stop(w);
}

/* @return bytes that came before the call ended, one in each second */
static size_t drip(struct world *w, const char *text)
{
    size_t n = 0;

    for (; text[n] != '\0' && !w->done; n++) {
        come(w, text + n, 1);
        w->loop.skew_ms += 1000;
        turn(w);
    }
    return n;
}

static void an_answer_that_drips_has_its_whole_limit_and_no_more(void **state)
{
    struct upstream_request request = {.total_ms = 60000};
    struct world *w = world_new(ask_only);

    (void)state;
    stop_clock(&w->loop);
    start_and_wait(w, &request);
    assert_int_equal(drip(w, HELLO), strlen(HELLO));
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    request.total_ms = 30000;
    start_and_wait(w, &request);
    assert_in_range(drip(w, HELLO), 30, 31);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_string_equal(w->error, "wait: time limit passed after 30000 ms");
    assert_int_equal(w->up->lean->num_idle, 0);
    stop(w);
}

/* A head that drips is no answer yet; behind it the limit for it means nothing any more. */
static void a_head_that_drips_meets_the_limit_for_the_first_byte(void **state)
{
    struct upstream_request request = {.first_byte_ms = 20000, .total_ms = 600000};
    struct world *w = world_new(ask_only);
    size_t head_len = strlen(HELLO) - 5;

    (void)state;
    stop_clock(&w->loop);
    start_and_wait(w, &request);
    come(w, HELLO, head_len);
    for (int i = 0; i < 5; i++) {
        w->loop.skew_ms += 20000;
        come(w, &"hello"[i], 1);
    }
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    start_and_wait(w, &request);
    assert_in_range(drip(w, HELLO), 20, 21);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_int_equal(w->status, 0);
    stop(w);
}

/* --- answers that break off, or lead elsewhere --- */

static void serve_half_and_reset(struct server *s, int fd, int nth)
{
    static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct seen_head head;

    if (nth > 0) {
        serve_hello(s, fd, nth);
        return;
    }
    if (!read_request(s, fd, &head))
        return;
    say(fd, HELLO);
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    if (connect(fd, &nobody, sizeof(nobody)) == -1)
        abort();
}

static void an_answer_that_a_reset_ends_is_broken_and_the_next_one_is_good(void **state)
{
    struct world *w = world_new(serve_half_and_reset);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_int_equal(w->status, 200);
    assert_false(w->repeated);
    assert_int_equal(w->up->lean->num_idle, 0);
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->server.requests, 3);
    stop(w);
}

static char elsewhere[128];

static void serve_elsewhere(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, elsewhere);
}

static void a_redirect_to_another_host_takes_no_key_there(void **state)
{
    const struct upstream_header key = {"api-key", "secret"};
    struct world *w = world_new(serve_elsewhere), *other = world_new(serve_hello);

    (void)state;
    snprintf(elsewhere, sizeof(elsewhere),
             "HTTP/1.1 307 There\r\nLocation: %s\r\nX-Test: %d\r\nContent-Length: 0\r\n\r\n",
             other->url, other->server.port);
    for (int i = 0; i < 3; i++) {
        fetch(w, &(struct upstream_request){.headers = &key, .num_headers = 1});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_int_equal(w->status, 307);
    }
    assert_int_equal(w->server.requests, 3);
    assert_int_equal(other->server.connections, 0);
    stop(w);
    stop(other);
}

/* --- requests --- */

static int go_on[2]; /* a pipe: a byte in it, and the server reads on */

static void serve_once_told(struct server *s, int fd, int nth)
{
    struct seen_head head;
    char byte;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, HELLO);
    while (read_head(s, fd, &head)) {
        wake(s); /* and the body later */
        if (read(go_on[0], &byte, 1) != 1)
            abort();
        read_body(s, fd, 60000);
        say(fd, HELLO);
    }
}

static void shrink(int fd, int option)
{
    int bytes = 4096;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes)), 0);
}

static void a_request_that_is_read_slowly_goes_out_whole(void **state)
{
    static char body[60000];
    unsigned sum = 0;
    struct world *w;

    (void)state;
    assert_int_equal(pipe(go_on), 0);
    w = world_new(serve_once_told);
    shrink(w->server.listen_fd, SO_RCVBUF); /* of those that it accepts */
    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (char)(i % 251);
        sum = sum * 31 + (unsigned char)body[i];
    }
    stop_clock(&w->loop);
    fetch(w, &(struct upstream_request){0});
    shrink(TAILQ_FIRST(&w->up->lean->idle)->fd, SO_SNDBUF);
    start_and_wait(
        w, &(struct upstream_request){.method = "POST", .body = body, .body_len = sizeof(body)});
    assert_true(w->call->exchange->sent < w->call->exchange->len);
    assert_int_equal(write(go_on[1], "x", 1), 1);
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->server.connections, 1);
    assert_int_equal(w->bytes_sent, sizeof(body));
    assert_int_equal(w->server.body_bytes, sizeof(body));
    assert_int_equal(w->server.body_sum, sum);
    assert_int_equal(w->up->lean->num_idle, 1);
    stop(w);
    close(go_on[0]);
    close(go_on[1]);
}

/* --- calls that are left --- */

static void wait_ended(const struct world *w, int num)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (w->server.ended < num)
        assert_true(clock_now_ms() < end_ms);
}

static void a_call_that_is_left_in_any_phase_takes_its_connection_along(void **state)
{
    static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    struct world *w = world_new(ask_only);

    (void)state;
    start(w, &(struct upstream_request){0});
    upstream_cancel(w->call); /* while it connects */
    for (size_t at = 0; at < sizeof(half); at += 10) {
        start_and_wait(w, &(struct upstream_request){0});
        if (at > 0)
            come(w, half, at);
        upstream_cancel(w->call);
        assert_int_equal(upstream_active(w->up), 0);
        assert_int_equal(w->up->lean->num_idle, 0);
        wait_ended(w, w->server.connections);
    }
    assert_int_equal(w->dones, 0);
    stop(w);
}

static void calls_that_are_left_behind_a_pause_leave_nothing(void **state)
{
    struct upstream_request stream = {.on_head = on_head, .on_data = on_data};
    struct world *w = world_new(ask_only);

    (void)state;
    w->on_data = ON_DATA_HOLD;
    for (int whole = 0; whole < 2; whole++) {
        w->paused = false;
        start_and_wait(w, &stream);
        come(w, HELLO, strlen(HELLO) - 1 + (size_t)whole);
        assert_true(w->paused);
        assert_false(w->done);
        if (!whole) {
            say(w->server.fds[w->server.connections - 1], "o");
            wait_ready(w);
            turn(w);
        }
        assert_int_equal(ready(w), 0); /* nobody looks there */
        upstream_cancel(w->call);
        assert_int_equal(w->up->lean->num_idle, (size_t)whole);
    }
    assert_int_equal(w->dones, 0);
    stop(w);
}

/* --- many --- */

#define AT_ONCE 32
#define CALLS   3000

struct many {
    struct world *w;
    int started, ended;
    bool done;
};

static void start_one(struct many *many);

static void on_one_done(void *arg, const struct upstream_result *result)
{
    struct many *many = arg;

    assert_int_equal(result->end, UPSTREAM_ANSWERED);
    assert_int_equal(result->body_len, 5);
    assert_memory_equal(result->body, "hello", 5);
    many->done = ++many->ended == CALLS;
    if (many->started < CALLS)
        start_one(many);
}

static void start_one(struct many *many)
{
    struct upstream_request request = {.method = many->started % 10 == 9 ? "DELETE" : "GET",
                                       .url = many->w->url,
                                       .owner = (uint64_t)many->started % 7,
                                       .total_ms = 3600000,
                                       .on_done = on_one_done,
                                       .arg = many};

    many->started++;
    assert_non_null(upstream_start(many->w->up, &request));
}

static void thousands_of_calls_share_few_connections(void **state)
{
    struct many many = {.w = world_new(serve_hello)};
    struct world *w = many.w;

    (void)state;
    stop_clock(&w->loop);
    for (int i = 0; i < AT_ONCE; i++)
        start_one(&many);
    run_until(w, &many.done);
    assert_int_equal(w->server.requests, CALLS);
    assert_true(w->server.connections <= AT_ONCE);
    assert_int_equal(w->up->lean->num_idle, w->server.connections);
    assert_int_equal(upstream_active(w->up), 0);
    stop(w);
}

/* --- clients that it has no answer for --- */

static bool asks_to_connect(void *arg, const struct sockaddr *address, socklen_t len)
{
    (void)arg;
    (void)address;
    (void)len;
    return true;
}

static bool is_lean(const struct upstream_options *options)
{
    struct fake_loop loop = {.super = {&fake_ops}, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    struct upstream *up;
    bool lean;

    assert_int_equal(upstream_new(&loop.super, options, &up), 0);
    lean = up->lean != NULL;
    upstream_free(up);
    for (size_t i = 0; i < loop.num_watches; i++)
        close(loop.watches[i].fd);
    close(loop.epoll_fd);
    return lean;
}

static void who_has_a_proxy_or_asks_more_of_a_connection_stays_with_libcurl(void **state)
{
    (void)state;
    assert_true(is_lean(&(struct upstream_options){.lean = true}));
    assert_false(is_lean(&(struct upstream_options){0}));
    assert_false(is_lean(&(struct upstream_options){.lean = true, .proxy = "http://127.0.0.1:1"}));
    assert_false(is_lean(&(struct upstream_options){
        .lean = true, .proxy = "http://127.0.0.1:1", .no_proxy = "provider.example"}));
    assert_false(is_lean(&(struct upstream_options){.lean = true, .may_connect = asks_to_connect}));
    assert_false(is_lean(&(struct upstream_options){.lean = true, .certificates = true}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_may_be_cut_anywhere),
        cmocka_unit_test(an_answer_that_drips_has_its_whole_limit_and_no_more),
        cmocka_unit_test(a_head_that_drips_meets_the_limit_for_the_first_byte),
        cmocka_unit_test(an_answer_that_a_reset_ends_is_broken_and_the_next_one_is_good),
        cmocka_unit_test(a_redirect_to_another_host_takes_no_key_there),
        cmocka_unit_test(a_request_that_is_read_slowly_goes_out_whole),
        cmocka_unit_test(a_call_that_is_left_in_any_phase_takes_its_connection_along),
        cmocka_unit_test(calls_that_are_left_behind_a_pause_leave_nothing),
        cmocka_unit_test(thousands_of_calls_share_few_connections),
        cmocka_unit_test(who_has_a_proxy_or_asks_more_of_a_connection_stays_with_libcurl),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
