/* What the guard costs small HTTP/1 requests. First the check of a head alone, beside libh2o's own
 * parser on the same bytes. Then whole requests over TCP on this machine, to a handler that answers
 * two bytes, on two connections of one loop that take turns: one behind the guard, one that libh2o
 * accepted itself. ns of CPU time of the serving side, the best of several rounds.
 *
 * Usage: bench_guard */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "front/guard.h"
#include "front/guard_h1.h"

enum { ROUNDS = 20, HEADS = 100000, REQUESTS = 5000, MAX_FIELDS = 100 };

/* libh2o exports picohttpparser, but its header is not installed. */
struct phr_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len,
                      const char **path, size_t *path_len, int *minor_version,
                      struct phr_header *headers, size_t *num_headers, size_t last_len);

static const struct {
    const char *name, *head;
} heads[] = {
    {"curl, 3 fields", "GET /v1/batches/batch_abc123 HTTP/1.1\r\nHost: localhost:4000\r\n"
                       "User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"},
    {"OpenAI SDK, 13 fields",
     "GET /v1/batches/batch_0123456789abcdef HTTP/1.1\r\nHost: gateway.example.com:4000\r\n"
     "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n"
     "Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.109.1\r\n"
     "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.109.1\r\n"
     "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
     "X-Stainless-Runtime-Version: 3.11.2\r\n"
     "Authorization: Bearer sk-0123456789abcdef0123456789abcdef0123456789abcdef\r\n\r\n"},
};

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_guard(const char *head, size_t len)
{
    struct guard_head info;

    return guard_h1_check(head, len, &info);
}

static int by_library(const char *head, size_t len)
{
    struct phr_header fields[MAX_FIELDS];
    size_t num = MAX_FIELDS, method_len, path_len;
    const char *method, *path;
    int version;

    return phr_parse_request(head, len, &method, &method_len, &path, &path_len, &version, fields,
                             &num, 0) == (int)len
               ? 0
               : -1;
}

static double best_ns(int (*read_head)(const char *, size_t), const char *text)
{
    char head[2048];
    size_t len = strlen(text);
    double best = 1e9;

    memcpy(head, text, len);
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now_ns(), took;
        int wrong = 0;

        for (int i = 0; i < HEADS; i++)
            wrong |= read_head(head, len);
        took = (now_ns() - begin) / HEADS;
        if (wrong != 0)
            return -1;
        best = took < best ? took : best;
    }
    return best;
}

/* --- whole requests --- */

struct world {
    struct loop loop;
    h2o_evloop_t *evloop;
    h2o_globalconf_t config;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept;
    struct front *front;
};

static uint64_t do_now_ms(struct loop *loop)
{
    const struct world *w = (const void *)loop;

    return h2o_now(w->evloop);
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    (void)timer;
    (void)delay_ms;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    (void)timer;
}

static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = 2;
    h2o_send_inline(req, H2O_STRLIT("ok"));
    return 0;
}

static bool open_world(struct world *w)
{
    static const struct loop_ops ops = {
        .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};
    static const struct config_limits limits = {
        .max_connections = 10, .min_body_rate = 1024, .body_grace_ms = 20000};
    h2o_hostconf_t *host;

    w->loop.ops = &ops;
    w->evloop = h2o_evloop_create();
    h2o_config_init(&w->config);
    host = h2o_config_register_host(&w->config, h2o_iovec_init(H2O_STRLIT("x")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        on_req;
    h2o_context_init(&w->ctx, w->evloop, &w->config);
    w->accept = (h2o_accept_ctx_t){.ctx = &w->ctx, .hosts = w->config.hosts};
    return guard_new(&w->loop, &w->ctx, &limits, NULL, NULL, -1, &w->front) == 0;
}

/* Both ends of a TCP connection. */
static bool connect_both(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *at = (struct sockaddr *)(void *)&address;
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, at, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, at, &len) != 0 || connect(fds[0], at, len) != 0)
        return false;
    fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listener);
    setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fds[1] != -1;
}

/* @return our end, or -1 */
static int open_connection(struct world *w, bool guarded)
{
    const struct sockaddr none = {.sa_family = AF_UNIX};
    h2o_socket_t *sock;
    int fds[2];

    if (!connect_both(fds))
        return -1;
    if (guarded)
        return guard_adopt(w->front, fds[1], &none) == 0 ? fds[0] : -1;
    sock = h2o_evloop_socket_create(w->evloop, fds[1], H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    h2o_accept(&w->accept, sock);
    return fds[0];
}

/* @return ns of the serving side; below 0: no answer came */
static double one_request(struct world *w, int fd, const char *head, size_t len)
{
    char got[1024];
    ssize_t n = -1;
    double begin, took = 0;

    if (send(fd, head, len, 0) != (ssize_t)len)
        return -1;
    for (int turn = 0; turn < 10 && n <= 0; turn++) {
        begin = now_ns();
        h2o_evloop_run(w->evloop, 0);
        took += now_ns() - begin;
        n = recv(fd, got, sizeof(got), MSG_DONTWAIT);
    }
    return n > 0 ? took : -1;
}

static double round_ns(struct world *w, int fd, const char *head)
{
    size_t len = strlen(head);
    double sum = 0;

    for (int i = 0; i < REQUESTS; i++) {
        double took = one_request(w, fd, head, len);

        if (took < 0)
            return 1e12;
        sum += took;
    }
    return sum / REQUESTS;
}

static void compare(struct world *w, const char *name, const char *head)
{
    int guarded = open_connection(w, true), plain = open_connection(w, false);
    double with = 1e12, without = 1e12, took;

    for (int round = 0; round < ROUNDS; round++) {
        took = round_ns(w, guarded, head);
        with = took < with ? took : with;
        took = round_ns(w, plain, head);
        without = took < without ? took : without;
    }
    printf("%-24s%8zu%12.0f%12.0f%+11.1f %%\n", name, strlen(head), with, without,
           (with / without - 1) * 100);
}

int main(void)
{
    static struct world w;

    printf("%-24s%8s%12s%12s\n", "check of a head", "bytes", "guard ns", "libh2o ns");
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        printf("%-24s%8zu%12.0f%12.0f\n", heads[i].name, strlen(heads[i].head),
               best_ns(by_guard, heads[i].head), best_ns(by_library, heads[i].head));
    if (!open_world(&w))
        return 1;
    printf("\n%-24s%8s%12s%12s\n", "a whole request", "bytes", "guard ns", "libh2o ns");
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        compare(&w, heads[i].name, heads[i].head);
    return 0;
}
