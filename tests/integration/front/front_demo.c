/* A small real server over the front door, for the tests and benchmarks of the front door alone: no
 * config, no upstream, handlers that do one thing each. Prints its port. SIGTERM drains, as in the
 * worker.
 *
 *   front_demo [--tls CERT KEY] [--max N] [--per-address N] [--rate BYTES] [--plain] [--port N]
 *
 * --plain serves the same handlers through libh2o's own h2o_accept(), to compare speeds. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "front/guard.h"
#include "core/loop_h2o.h"
#include "master/tls.h"

struct demo {
    h2o_globalconf_t config;
    h2o_context_t ctx;
    struct loop *loop;
    struct front *front;
    h2o_accept_ctx_t plain;
    uint64_t calls, gone, ended, failures[4];
};

static struct demo demo;
static volatile sig_atomic_t stop_asked;

/* One request; shared memory of its pool. */
struct call {
    h2o_generator_t generator; /* first */
    h2o_req_t *req;
    struct body *body;
    struct loop_timer timer;
    uint64_t bytes, sum, left;
    uint64_t delay_ms; /* pause so long after each piece */
    uint64_t give_up;  /* answer 413 after so many bytes; 0: never */
    bool answered;
    char *kept;
    size_t kept_len;
    bool keep;
};

static void on_call_gone(void *p)
{
    struct call *call = p;

    loop_timer_stop(demo.loop, &call->timer);
    body_abandon(call->body);
    free(call->kept);
    if (!call->answered)
        demo.gone++;
}

static struct call *new_call(h2o_req_t *req)
{
    struct call *call = h2o_mem_alloc_shared(&req->pool, sizeof(*call), on_call_gone);

    memset(call, 0, sizeof(*call));
    call->req = req;
    return call;
}

static void answer(struct call *call, int status, const char *text, size_t len)
{
    call->answered = true;
    call->req->res.status = status;
    call->req->res.reason = "Demo";
    call->req->res.content_length = len;
    h2o_add_header(&call->req->pool, &call->req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   H2O_STRLIT("text/plain"));
    h2o_send_inline(call->req, text, len);
}

static void answer_count(struct call *call)
{
    char text[96];
    int len = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 "\n", call->bytes, call->sum);

    answer(call, 200, text, (size_t)len);
}

static void on_timer(struct loop_timer *timer)
{
    struct call *call = timer->arg;

    if (call->body != NULL)
        body_resume(call->body);
    else
        answer(call, 200, "late\n", 5);
}

static void start_timer(struct call *call, uint64_t ms)
{
    call->timer.cb = on_timer;
    call->timer.arg = call;
    if (loop_timer_start(demo.loop, &call->timer, ms) != 0)
        abort();
}

static void on_data(void *arg, const char *bytes, size_t len)
{
    struct call *call = arg;

    if (len > BODY_SLICE || len == 0)
        abort();
    for (size_t i = (997 - call->bytes % 997) % 997; i < len; i += 997)
        call->sum = call->sum * 31 + (unsigned char)bytes[i];
    call->bytes += len;
    if (call->keep) {
        call->kept = realloc(call->kept, call->kept_len + len);
        memcpy(call->kept + call->kept_len, bytes, len);
        call->kept_len += len;
    }
    if (call->give_up != 0 && call->bytes >= call->give_up) {
        body_abandon(call->body);
        call->body = NULL;
        answer(call, 413, "enough\n", 7);
    } else if (call->delay_ms != 0) {
        body_pause(call->body);
        start_timer(call, call->delay_ms);
    }
}

static void on_end(void *arg)
{
    struct call *call = arg;

    demo.ended++;
    call->body = NULL;
    if (call->keep)
        answer(call, 200, call->kept, call->kept_len);
    else
        answer_count(call);
}

static void on_failure(void *arg, enum body_failure why)
{
    static const int statuses[] = {499, 413, 408, 400};
    static const char *const texts[] = {"gone\n", "large\n", "slow\n", "malformed\n"};
    struct call *call = arg;

    demo.failures[why]++;
    call->body = NULL;
    if (why != BODY_CLIENT_GONE)
        answer(call, statuses[why], texts[why], strlen(texts[why]));
}

static const struct body_ops ops = {on_data, on_end, on_failure};

static void take_body(struct call *call, uint64_t max)
{
    call->body = front_body(call->req);
    if (call->body == NULL)
        on_end(call);
    else
        body_start(call->body, &ops, call, max);
}

/* --- a response in pieces --- */

static const char zeros[65536];

static void do_proceed(h2o_generator_t *self, h2o_req_t *req)
{
    struct call *call = (struct call *)self;
    h2o_iovec_t buf = {(char *)(uintptr_t)zeros, sizeof(zeros)};

    if (buf.len > call->left)
        buf.len = call->left;
    call->left -= buf.len;
    call->answered = call->left == 0;
    h2o_send(req, &buf, buf.len != 0,
             call->left == 0 ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void download(struct call *call, uint64_t bytes, bool extra_final)
{
    call->left = bytes;
    call->req->res.status = 200;
    call->req->res.content_length = bytes;
    call->generator.proceed = do_proceed;
    h2o_start_response(call->req, &call->generator);
    if (extra_final &&
        bytes <= sizeof(zeros)) { /* everything, and an empty final send afterwards */
        h2o_iovec_t buf = {(char *)(uintptr_t)zeros, bytes};

        call->left = 0;
        h2o_send(call->req, &buf, 1, H2O_SEND_STATE_IN_PROGRESS);
    } else {
        do_proceed(&call->generator, call->req);
    }
}

static void break_off(struct call *call)
{
    h2o_iovec_t buf = {(char *)(uintptr_t)zeros, 1000};

    call->answered = true;
    call->req->res.status = 200;
    call->req->res.content_length = 100000;
    h2o_start_response(call->req, &call->generator);
    h2o_send(call->req, &buf, 1, H2O_SEND_STATE_ERROR);
}

/* --- routes --- */

static void stats(struct call *call)
{
    char text[256];
    int len = snprintf(text, sizeof(text),
                       "{\"calls\":%" PRIu64 ",\"gone\":%" PRIu64 ",\"ended\":%" PRIu64
                       ",\"client_gone\":%" PRIu64 ",\"too_large\":%" PRIu64
                       ",\"too_slow\":%" PRIu64 ",\"malformed\":%" PRIu64 ",\"connections\":%zu}",
                       demo.calls, demo.gone, demo.ended, demo.failures[0], demo.failures[1],
                       demo.failures[2], demo.failures[3],
                       demo.front != NULL ? front_connections(demo.front) : 0);

    answer(call, 200, text, (size_t)len);
}

static bool is(const h2o_req_t *req, const char *path)
{
    size_t len = strlen(path);

    return req->path.len >= len && memcmp(req->path.base, path, len) == 0;
}

static uint64_t number_in(const h2o_req_t *req)
{
    const char *equals = memchr(req->path.base, '=', req->path.len);
    uint64_t n = 0;

    for (const char *p = equals; p != NULL && ++p < req->path.base + req->path.len;)
        n = n * 10 + (uint64_t)(*p - '0');
    return n;
}

static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
    struct call *call;

    (void)self;
    demo.calls++;
    if (is(req, "/ok")) { /* as cheap as can be */
        req->res.status = 200;
        req->res.content_length = 3;
        h2o_send_inline(req, H2O_STRLIT("ok\n"));
        return 0;
    }
    call = new_call(req);
    if (is(req, "/stats")) {
        demo.calls--;
        stats(call);
    } else if (is(req, "/echo")) {
        call->keep = true;
        take_body(call, 1 << 20);
    } else if (is(req, "/sink")) {
        take_body(call, UINT64_MAX);
    } else if (is(req, "/slow")) {
        call->delay_ms = number_in(req);
        take_body(call, UINT64_MAX);
    } else if (is(req, "/limit")) {
        take_body(call, number_in(req));
    } else if (is(req, "/stop")) {
        call->give_up = number_in(req);
        take_body(call, UINT64_MAX);
    } else if (is(req, "/refuse")) {
        answer(call, 401, "no\n", 3);
    } else if (is(req, "/late")) {
        start_timer(call, number_in(req));
    } else if (is(req, "/hang")) {
        if (front_has_body(req) && is(req, "/hang/body"))
            body_start(call->body = front_body(req), &ops, call, UINT64_MAX);
    } else if (is(req, "/download")) {
        download(call, number_in(req), false);
    } else if (is(req, "/final")) {
        download(call, number_in(req), true);
    } else if (is(req, "/break")) {
        break_off(call);
    } else {
        answer(call, 404, "nothing\n", 8);
    }
    return 0;
}

/* --- set-up --- */

static void on_signal(int sig)
{
    (void)sig;
    stop_asked = 1;
}

static void on_plain_accept(h2o_socket_t *listener, const char *err)
{
    h2o_socket_t *sock;

    (void)err;
    if ((sock = h2o_evloop_socket_accept(listener)) != NULL)
        h2o_accept(&demo.plain, sock);
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        perror("listen");
        exit(1);
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct config config = {
        .limits = {.max_connections = 1000, .min_body_rate = 1024, .body_grace_ms = 20000}};
    struct inherited inherited = {.config = &config};
    h2o_evloop_t *evloop;
    h2o_hostconf_t *host;
    int port = 0;
    bool plain = false;
    char error[256];

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
            if (tls_new(argv[i + 1], argv[i + 2], NULL, &inherited.tls, error, sizeof(error)) !=
                0) {
                fprintf(stderr, "%s\n", error);
                return 1;
            }
            i += 2;
        } else if (strcmp(argv[i], "--plain") == 0) {
            plain = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--max") == 0) {
            config.limits.max_connections = (uint32_t)atoi(argv[++i]);
        } else if (i + 1 < argc && strcmp(argv[i], "--per-address") == 0) {
            config.limits.max_connections_per_address = (uint32_t)atoi(argv[++i]);
        } else if (i + 1 < argc && strcmp(argv[i], "--rate") == 0) {
            config.limits.min_body_rate = (uint64_t)atoll(argv[++i]);
        } else if (i + 1 < argc && strcmp(argv[i], "--port") == 0) {
            port = atoi(argv[++i]);
        }
    }
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    evloop = h2o_evloop_create();
    h2o_config_init(&demo.config);
    host = h2o_config_register_host(&demo.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        on_req;
    h2o_context_init(&demo.ctx, evloop, &demo.config);
    if ((demo.loop = loop_h2o_new(evloop)) == NULL)
        return 1;
    inherited.listen_fd = listen_on(port);
    if (plain) {
        h2o_socket_t *listener =
            h2o_evloop_socket_create(evloop, inherited.listen_fd, H2O_SOCKET_FLAG_DONT_READ);

        demo.plain = (h2o_accept_ctx_t){
            .ctx = &demo.ctx, .hosts = demo.config.hosts, .ssl_ctx = inherited.tls};
        h2o_socket_read_start(listener, on_plain_accept);
    } else {
        if (front_new(demo.loop, &demo.ctx, &inherited, 0, FRONT_CLIENTS, &demo.front) != 0)
            return 1;
        close(inherited.listen_fd); /* the front door has its own */
        front_start(demo.front);
    }
    for (bool draining = false; !draining || front_connections(demo.front) != 0;) {
        if (h2o_evloop_run(evloop, INT32_MAX) != 0 && errno != EINTR)
            return 1;
        if (stop_asked && demo.front == NULL)
            break;
        if (stop_asked && !draining) {
            draining = true;
            front_drain(demo.front);
        }
    }
    return 0;
}
