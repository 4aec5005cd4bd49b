/* What tests of the HTTP client stand on: a loopback server whose connections each run on a thread
 * of their own, and a loop whose clock can jump. Nothing sleeps: the server writes a byte into a
 * pipe when something has happened. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/strbuf.h"
#include "upstream/client.h"

/* --- a loop --- */

#define MAX_TIMERS   256
#define MAX_WATCHES  8
#define DEADLINE_MS  180000 /* of what has to happen; only a failure takes so long */
/* The limits of a world's client, on a clock that jumps: what a busy machine takes meanwhile is far
 * below them. */
#define CONNECT_MS   60000
#define LOW_SPEED_MS 60000
/* Which transport small calls have: the same tests are built for both. */
#ifndef WORLD_LEAN
#define WORLD_LEAN false
#endif

struct watch {
    int fd;
    loop_fd_cb cb;
    void *arg;
};

struct fake_loop {
    struct loop super;
    int epoll_fd;
    uint64_t skew_ms;
    uint64_t stopped_ms; /* the clock stands still here, but for skew_ms; 0: it runs */
    struct loop_timer *timers[MAX_TIMERS];
    uint64_t started[MAX_TIMERS]; /* `starts` when each was */
    size_t num_timers;
    uint64_t starts;
    struct watch watches[MAX_WATCHES];
    size_t num_watches;
    bool in_callback;
};

static uint64_t do_now_ms(struct loop *loop)
{
    const struct fake_loop *l = (struct fake_loop *)loop;

    return (l->stopped_ms != 0 ? l->stopped_ms : clock_now_ms()) + l->skew_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    struct fake_loop *l = (struct fake_loop *)loop;

    if (timer->slot == 0)
        return;
    l->timers[timer->slot - 1] = l->timers[--l->num_timers];
    l->started[timer->slot - 1] = l->started[l->num_timers];
    l->timers[timer->slot - 1]->slot = timer->slot;
    timer->slot = 0;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    struct fake_loop *l = (struct fake_loop *)loop;

    do_timer_stop(loop, timer);
    assert_true(l->num_timers < MAX_TIMERS);
    timer->due_ms = do_now_ms(loop) + delay_ms;
    l->started[l->num_timers] = ++l->starts;
    l->timers[l->num_timers++] = timer;
    timer->slot = l->num_timers;
    return 0;
}

static int do_watch(struct loop *loop, int fd, loop_fd_cb on_readable, void *arg)
{
    struct fake_loop *l = (struct fake_loop *)loop;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = l->num_watches};

    assert_true(l->num_watches < MAX_WATCHES);
    l->watches[l->num_watches++] = (struct watch){fd, on_readable, arg};
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static const struct loop_ops fake_ops = {do_now_ms, do_timer_start, do_timer_stop, do_watch};

/* Where milliseconds count, which a busy machine may take anywhere. */
static inline void stop_clock(struct fake_loop *l)
{
    l->stopped_ms = clock_now_ms();
}

static bool is_running(const struct fake_loop *l, const struct loop_timer *timer)
{
    for (size_t i = 0; i < l->num_timers; i++)
        if (l->timers[i] == timer)
            return true;
    return false;
}

/* Those that are due, in the order of their starts. What they start, also anew, is for the next
 * turn. */
static void run_timers(struct fake_loop *l, uint64_t now_ms)
{
    struct loop_timer *due[MAX_TIMERS];
    uint64_t before = l->starts;
    size_t num = 0, at;

    for (size_t i = 0; i < l->num_timers; i++) {
        if (l->timers[i]->due_ms > now_ms)
            continue;
        for (at = num++; at > 0 && l->started[due[at - 1]->slot - 1] > l->started[i]; at--)
            due[at] = due[at - 1];
        due[at] = l->timers[i];
    }
    for (size_t i = 0; i < num; i++) {
        if (!is_running(l, due[i]) || l->started[due[i]->slot - 1] > before)
            continue;
        do_timer_stop(&l->super, due[i]);
        due[i]->cb(due[i]);
    }
}

static int wait_ms(struct fake_loop *l)
{
    uint64_t now_ms = do_now_ms(&l->super), least = 1000;

    for (size_t i = 0; i < l->num_timers; i++) {
        uint64_t due_ms = l->timers[i]->due_ms;
        uint64_t wait = due_ms > now_ms ? due_ms - now_ms : 0;
        least = wait < least ? wait : least;
    }
    return (int)least;
}

static void loop_turn(struct fake_loop *l)
{
    struct epoll_event events[MAX_WATCHES];
    int n = epoll_wait(l->epoll_fd, events, MAX_WATCHES, wait_ms(l));
    uint64_t now_ms = do_now_ms(&l->super);

    l->in_callback = true;
    for (int i = 0; i < n; i++) {
        struct watch *w = &l->watches[events[i].data.u64];
        w->cb(w->arg);
    }
    run_timers(l, now_ms);
    l->in_callback = false;
}

/* --- a server --- */

#define MAX_PEERS 64

struct seen_head {
    char text[4096];
    size_t len;
};

struct server;
typedef void (*serve_cb)(struct server *server, int fd, int nth);

struct server {
    int listen_fd, port, wake[2];
    serve_cb serve;
    pthread_t acceptor, threads[MAX_PEERS];
    int fds[MAX_PEERS];
    atomic_int connections, requests, ended;
    pthread_mutex_t lock;
    struct seen_head seen; /* the last request; read it after the server was stopped */
    size_t body_bytes;     /* of the last request */
    unsigned body_sum;
};

struct peer {
    struct server *server;
    int fd, nth;
};

static void say(int fd, const char *text)
{
    size_t len = strlen(text);
    ssize_t n;

    for (; len > 0; text += n, len -= (size_t)n)
        if ((n = send(fd, text, len, MSG_NOSIGNAL)) <= 0)
            return;
}

static void read_body(struct server *s, int fd, size_t length)
{
    unsigned char buf[16384];
    size_t got = 0;
    unsigned sum = 0;
    ssize_t n;

    while (got < length) {
        size_t want = length - got < sizeof(buf) ? length - got : sizeof(buf);
        if ((n = read(fd, buf, want)) <= 0)
            return;
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + buf[i];
        got += (size_t)n;
    }
    s->body_bytes = got;
    s->body_sum = sum;
}

/* @return false when the client has closed */
static bool read_head(struct server *s, int fd, struct seen_head *head)
{
    char c;

    head->len = 0;
    while (head->len < 4 || memcmp(head->text + head->len - 4, "\r\n\r\n", 4) != 0) {
        if (head->len == sizeof(head->text) - 1 || read(fd, &c, 1) != 1)
            return false;
        head->text[head->len++] = c;
    }
    head->text[head->len] = '\0';
    pthread_mutex_lock(&s->lock);
    s->seen = *head;
    pthread_mutex_unlock(&s->lock);
    s->requests++;
    return true;
}

static void wake(struct server *s)
{
    if (write(s->wake[1], "x", 1) != 1)
        abort();
}

static bool read_request(struct server *s, int fd, struct seen_head *head)
{
    const char *length;

    if (!read_head(s, fd, head))
        return false;
    length = strstr(head->text, "\r\nContent-Length: ");
    if (length != NULL)
        read_body(s, fd, strtoul(length + 18, NULL, 10));
    wake(s);
    return true;
}

static void *run_peer(void *arg)
{
    struct peer *peer = arg;

    peer->server->serve(peer->server, peer->fd, peer->nth);
    shutdown(peer->fd, SHUT_RDWR);
    peer->server->ended++;
    free(peer);
    return NULL;
}

static void *run_acceptor(void *arg)
{
    struct server *s = arg;
    int fd;

    while ((fd = accept(s->listen_fd, NULL, NULL)) != -1) {
        struct peer *peer = malloc(sizeof(*peer));
        int nth = s->connections++; /* before it can answer: tests count it then */

        if (nth == MAX_PEERS || peer == NULL)
            abort();
        *peer = (struct peer){s, fd, nth};
        s->fds[nth] = fd;
        if (pthread_create(&s->threads[nth], NULL, run_peer, peer) != 0)
            abort();
    }
    return NULL;
}

static int bind_loopback(int family, int *port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *addr = family == AF_INET6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    socklen_t len = family == AF_INET6 ? sizeof(v6) : sizeof(v4);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_not_equal(fd, -1);
    assert_int_equal(bind(fd, addr, len), 0);
    assert_int_equal(getsockname(fd, addr, &len), 0);
    *port = ntohs(family == AF_INET6 ? v6.sin6_port : v4.sin_port);
    return fd;
}

/* --- one test's world --- */

struct world {
    struct fake_loop loop;
    struct server server;
    struct upstream *up;
    char url[64];
    bool served, woken;
    /* the call under test */
    struct upstream_call *call;
    bool done, streaming, in_start;
    int heads, dones;
    enum upstream_end end;
    bool nothing_sent, repeated;
    int status;
    int64_t content_length;
    char header[64], error[160];
    struct strbuf body; /* collected or streamed */
    uint64_t bytes_sent, bytes_received, first_byte_us;
    size_t source_at, source_len, source_fails_at;
    enum {
        ON_DATA_GO_ON,
        ON_DATA_PAUSE,
        ON_DATA_HOLD,
        ON_DATA_CANCEL,
        ON_DATA_RESUME_INSIDE
    } on_data;
    int begins, requests_at_begin;
    bool refuses_to_begin;
    bool cancel_in_head, paused, start_in_done, start_in_data;
    size_t while_paused; /* bytes */
    size_t memory;       /* bytes in use when it paused */
    struct loop_timer resume;
};

static inline bool on_begin(void *arg)
{
    struct world *w = arg;

    w->begins++;
    w->requests_at_begin = w->server.requests;
    return !w->refuses_to_begin;
}

static void on_wake(void *arg)
{
    struct world *w = arg;
    char c;

    assert_int_equal(read(w->server.wake[0], &c, 1), 1);
    w->woken = true;
}

/* Where a name stands in the URL, clear text to it is allowed. */
static struct world *world_new_at(serve_cb serve, const char *host)
{
    struct upstream_options options = {.connect_ms = CONNECT_MS,
                                       .low_speed_ms = LOW_SPEED_MS,
                                       .max_header_bytes = 4096,
                                       .lean = WORLD_LEAN};
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->loop.super.ops = &fake_ops;
    w->loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    options.allow_insecure = strstr(host, ".test") != NULL;
    assert_int_equal(upstream_new(&w->loop.super, &options, &w->up), 0);
    w->server.listen_fd = bind_loopback(*host == '[' ? AF_INET6 : AF_INET, &w->server.port);
    snprintf(w->url, sizeof(w->url), "http://%s:%d/v1/files", host, w->server.port);
    if (serve == NULL)
        return w;
    w->served = true;
    w->server.serve = serve;
    assert_int_equal(pipe(w->server.wake), 0);
    assert_int_equal(do_watch(&w->loop.super, w->server.wake[0], on_wake, w), 0);
    assert_int_equal(listen(w->server.listen_fd, 2 * MAX_PEERS), 0);
    assert_int_equal(pthread_create(&w->server.acceptor, NULL, run_acceptor, &w->server), 0);
    return w;
}

static struct world *world_new(serve_cb serve)
{
    return world_new_at(serve, "127.0.0.1");
}

/* Ends the client first, so that the server's threads see their connections close. */
static void world_stop(struct world *w)
{
    assert_int_equal(upstream_active(w->up), 0);
    upstream_free(w->up);
    assert_int_equal(w->loop.num_timers, 0);
    shutdown(w->server.listen_fd, SHUT_RDWR);
    if (w->served) {
        pthread_join(w->server.acceptor, NULL);
        for (int i = 0; i < w->server.connections; i++) {
            shutdown(w->server.fds[i], SHUT_RDWR);
            pthread_join(w->server.threads[i], NULL);
            close(w->server.fds[i]);
        }
        close(w->server.wake[1]);
    }
    close(w->server.listen_fd);
    for (size_t i = 0; i < w->loop.num_watches; i++)
        close(w->loop.watches[i].fd);
    close(w->loop.epoll_fd);
}

static void world_free(struct world *w)
{
    strbuf_deinit(&w->body);
    free(w);
}

static void run_until(struct world *w, const bool *flag)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (!*flag) {
        if (clock_now_ms() > end_ms)
            fail_msg("nothing happened for %d ms", DEADLINE_MS);
        loop_turn(&w->loop);
    }
}

static struct upstream_call *start_get(struct world *w, const char *path);

static void on_done(void *arg, const struct upstream_result *result)
{
    struct world *w = arg;

    assert_true(w->loop.in_callback);
    assert_false(w->in_start);
    w->call = NULL;
    w->done = true;
    w->dones++;
    w->end = result->end;
    w->nothing_sent = result->nothing_sent;
    w->repeated = result->repeated;
    w->status = result->head.status;
    w->content_length = result->head.content_length;
    w->bytes_sent = result->bytes_sent;
    w->bytes_received = result->bytes_received;
    w->first_byte_us = result->first_byte_us;
    snprintf(w->header, sizeof(w->header), "%s",
             upstream_header_find(&result->head, "x-test")
                 ? upstream_header_find(&result->head, "x-test")
                 : "-");
    snprintf(w->error, sizeof(w->error), "%s", result->error);
    if (!w->streaming) {
        strbuf_reset(&w->body);
        strbuf_add(&w->body, result->body, result->body_len);
    }
    if (w->start_in_done) {
        w->start_in_done = false;
        w->done = false;
        start_get(w, "");
    }
}

static struct upstream_call *start(struct world *w, struct upstream_request *request)
{
    if (request->method == NULL)
        request->method = "GET";
    if (request->url == NULL)
        request->url = w->url;
    if (request->max_body == 0)
        request->max_body = 65536;
    request->on_done = on_done;
    request->arg = w;
    w->in_start = true;
    w->call = upstream_start(w->up, request);
    w->in_start = false;
    assert_non_null(w->call);
    return w->call;
}

static struct upstream_call *start_get(struct world *w, const char *path)
{
    char url[128];
    struct upstream_request request = {
        .method = "GET", .url = url, .max_body = 65536, .on_done = on_done, .arg = w};
    struct upstream_call *call;

    snprintf(url, sizeof(url), "%s%s", w->url, path);
    call = upstream_start(w->up, &request);
    assert_non_null(call);
    return call;
}

static inline void fetch(struct world *w, struct upstream_request *request)
{
    w->done = false;
    start(w, request);
    run_until(w, &w->done);
}

static inline void serve_hello(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 200 OK\r\nX-TEST:  yes \r\nContent-Length: 5\r\n\r\nhello");
}
