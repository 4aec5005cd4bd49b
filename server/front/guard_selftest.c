/* Does the libh2o that we run with behave as the guard expects? Two connections over socketpairs,
 * on a loop of their own: a handler must run before a byte of its body was sent, must get the body,
 * and the next request on the connection must be served, with HTTP/1 (both framings) and HTTP/2. A
 * library with another layout fails here, at start, and not under load. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define TURNS 50

struct test {
    struct loop loop;
    h2o_evloop_t *evloop;
    h2o_globalconf_t config;
    h2o_context_t ctx;
    struct front *front;
    int peer; /* our end of the socketpair */
    unsigned begun, ended;
    char body[16], answer[2048];
    size_t body_len, answer_len;
};

struct handler {
    h2o_handler_t super;
    struct test *test;
};

/* A request of the test; pool. */
struct call {
    struct test *test;
    h2o_req_t *req;
};

static void answer(struct test *test, h2o_req_t *req)
{
    test->ended++;
    req->res.status = 200;
    req->res.content_length = test->body_len;
    h2o_send_inline(req, test->body, test->body_len);
}

static void on_data(void *arg, const char *bytes, size_t len)
{
    struct test *test = ((struct call *)arg)->test;

    if (len > sizeof(test->body) - test->body_len)
        len = sizeof(test->body) - test->body_len;
    memcpy(test->body + test->body_len, bytes, len);
    test->body_len += len;
}

static void on_end(void *arg)
{
    struct call *call = arg;

    answer(call->test, call->req);
}

static void on_failure(void *arg, enum body_failure why)
{
    (void)arg;
    (void)why;
}

static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
    static const struct body_ops ops = {on_data, on_end, on_failure};
    struct test *test = ((struct handler *)(void *)self)->test;
    struct conn *conn = guard_conn_of(req);
    struct body *body = conn->phase == CONN_H2 ? h2_body(conn, req) : h1_body(conn);
    struct call *call;

    test->begun++;
    test->body_len = 0;
    if (body == NULL) {
        answer(test, req);
        return 0;
    }
    call = h2o_mem_alloc_pool(&req->pool, sizeof(*call));
    *call = (struct call){test, req};
    body_start(body, &ops, call, sizeof(test->body));
    return 0;
}

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return clock_now_ms();
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop; /* the test is over before any timer would run */
    (void)timer;
    (void)delay_ms;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    (void)timer;
}

static const struct loop_ops loop_ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

static void turn(struct test *test)
{
    for (int i = 0; i < TURNS; i++) {
        ssize_t n;

        if (h2o_evloop_run(test->evloop, 0) != 0 && errno != EINTR)
            return;
        n = test->peer != -1 ? recv(test->peer, test->answer + test->answer_len,
                                    sizeof(test->answer) - test->answer_len, MSG_DONTWAIT)
                             : -1;
        if (n > 0)
            test->answer_len += (size_t)n;
    }
}

/* Send, let the loop run. */
static void say(struct test *test, const void *bytes, size_t len)
{
    if (send(test->peer, bytes, len, MSG_NOSIGNAL) == (ssize_t)len)
        turn(test);
}

static int connect_peer(struct test *test)
{
    const struct sockaddr none = {.sa_family = AF_UNIX};
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return ERR_IO;
    test->peer = fds[0];
    test->begun = test->ended = 0;
    test->answer_len = 0;
    if (guard_adopt(test->front, fds[1], &none) != 0) {
        close(fds[1]);
        return ERR_NOMEM;
    }
    return 0;
}

static void disconnect_peer(struct test *test)
{
    if (test->peer != -1)
        close(test->peer);
    test->peer = -1;
    turn(test);
}

static bool has_body(const struct test *test)
{
    return test->body_len == 5 && memcmp(test->body, "hello", 5) == 0;
}

/* One upload: the handler first, then the bytes. */
static bool try_h1_upload(struct test *test, const char *head, const char *body, const char *then)
{
    unsigned begun = test->begun;

    say(test, head, strlen(head));
    if (test->begun != begun + 1 || test->ended != begun)
        return false;
    say(test, body, strlen(body));
    if (test->ended != begun + 1 || !has_body(test))
        return false;
    say(test, then, strlen(then));
    return true;
}

static bool test_h1(struct test *test)
{
    static const char get[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
    bool ok =
        try_h1_upload(test, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "hello",
                      "") &&
        try_h1_upload(test, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                      "5\r\nhello\r\n0\r\n\r\n", get);
    unsigned answers = 0;

    test->answer[test->answer_len < sizeof(test->answer) ? test->answer_len
                                                         : sizeof(test->answer) - 1] = '\0';
    for (const char *at = test->answer; (at = strstr(at, "HTTP/1.1 200 ")) != NULL; at++)
        answers++;
    return ok && test->ended == 3 && answers == 3;
}

static bool test_h2(struct test *test)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                "\0\0\0\4\0\0\0\0\0"      /* SETTINGS */
                                "\0\0\x09\1\4\0\0\0\1"    /* HEADERS, END_HEADERS, stream 1 */
                                "\x83\x86\4\2/x\1\1x";    /* POST, http, /x, authority x */
    static const char data[] = "\0\0\5\0\1\0\0\0\1hello"; /* DATA, END_STREAM */
    static const char get[] = "\0\0\x09\1\5\0\0\0\3"      /* HEADERS, END_STREAM, stream 3 */
                              "\x82\x86\4\2/x\1\1x";
    bool ok;

    say(test, hello, sizeof(hello) - 1);
    ok = test->begun == 1 && test->ended == 0;
    say(test, data, sizeof(data) - 1);
    ok = ok && test->ended == 1 && has_body(test);
    say(test, get, sizeof(get) - 1);
    return ok && test->ended == 2;
}

static int run(struct test *test)
{
    static const struct {
        const char *name;
        bool (*run)(struct test *);
    } tests[] = {{"HTTP/1", test_h1}, {"HTTP/2", test_h2}};
    int err = 0;

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]) && err == 0; i++) {
        if ((err = connect_peer(test)) != 0)
            break;
        if (!tests[i].run(test)) {
            log_error("front door: the self-test of the %s hooks failed", tests[i].name);
            err = ERR_BAD_STATE;
        }
        disconnect_peer(test);
    }
    return err;
}

int guard_selftest(void)
{
    static const struct config_limits limits = {.max_connections = 2};
    struct test *test = h2o_mem_alloc(sizeof(*test));
    h2o_hostconf_t *host;
    struct handler *handler;
    void *queue;
    int err;

    memset(test, 0, sizeof(*test));
    test->loop.ops = &loop_ops;
    test->peer = -1;
    test->evloop = h2o_evloop_create(); /* its epoll descriptor stays: libh2o never closes it */
    h2o_config_init(&test->config);
    host = h2o_config_register_host(&test->config, h2o_iovec_init(H2O_STRLIT("x")), 65535);
    handler = (struct handler *)(void *)h2o_create_handler(h2o_config_register_path(host, "/", 0),
                                                           sizeof(*handler));
    handler->super.on_req = on_req;
    handler->test = test;
    h2o_context_init(&test->ctx, test->evloop, &test->config);
    err = guard_new(&test->loop, &test->ctx, &limits, NULL, NULL, -1, &test->front);
    if (err == 0) {
        err = run(test);
        /* The process is about to end: nothing of it can be freed safely. */
        if (test->front->num_conns != 0)
            return ERR_BAD_STATE;
        guard_free(test->front);
    }
    queue = test->ctx.queue;
    h2o_context_dispose(&test->ctx);
    free(queue); /* which libh2o forgets */
    h2o_config_dispose(&test->config);
    h2o_evloop_destroy(test->evloop);
    free(test);
    return err;
}
