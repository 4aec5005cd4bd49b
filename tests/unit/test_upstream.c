/* The HTTP client against a loopback server whose connections each run on a thread of their own,
 * and on a loop of the test's own whose clock can jump. Nothing sleeps: the server writes a byte
 * into a pipe when something has happened. */
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
#include "common/upstream/client.h"

/* --- a loop --- */

#define MAX_TIMERS  256
#define MAX_WATCHES 8
#define DEADLINE_MS 20000

struct watch {
    int fd;
    loop_fd_cb cb;
    void *arg;
};

struct fake_loop {
    struct loop super;
    int epoll_fd;
    uint64_t skew_ms;
    struct loop_timer *timers[MAX_TIMERS];
    size_t num_timers;
    struct watch watches[MAX_WATCHES];
    size_t num_watches;
    bool in_callback;
};

static uint64_t do_now_ms(struct loop *loop)
{
    return clock_now_ms() + ((struct fake_loop *)loop)->skew_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    struct fake_loop *l = (struct fake_loop *)loop;

    if (timer->slot == 0)
        return;
    l->timers[timer->slot - 1] = l->timers[--l->num_timers];
    l->timers[timer->slot - 1]->slot = timer->slot;
    timer->slot = 0;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    struct fake_loop *l = (struct fake_loop *)loop;

    do_timer_stop(loop, timer);
    assert_true(l->num_timers < MAX_TIMERS);
    timer->due_ms = do_now_ms(loop) + delay_ms;
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

static struct loop_timer *due_timer(struct fake_loop *l, uint64_t now_ms)
{
    for (size_t i = 0; i < l->num_timers; i++)
        if (l->timers[i]->due_ms <= now_ms)
            return l->timers[i];
    return NULL;
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
    struct loop_timer *timer;

    l->in_callback = true;
    for (int i = 0; i < n; i++) {
        struct watch *w = &l->watches[events[i].data.u64];
        w->cb(w->arg);
    }
    for (int i = 0; i < 64 && (timer = due_timer(l, now_ms)) != NULL; i++) {
        do_timer_stop(&l->super, timer);
        timer->cb(timer);
    }
    l->in_callback = false;
}

/* --- a server --- */

#define MAX_PEERS 16

struct head {
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
    atomic_int connections, requests;
    pthread_mutex_t lock;
    struct head seen;  /* the last request; read it after the server was stopped */
    size_t body_bytes; /* of the last request */
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

static void wait_for_close(int fd)
{
    char buf[4096];

    while (read(fd, buf, sizeof(buf)) > 0)
        ;
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
static bool read_head(struct server *s, int fd, struct head *head)
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

static bool read_request(struct server *s, int fd, struct head *head)
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
    free(peer);
    return NULL;
}

static void *run_acceptor(void *arg)
{
    struct server *s = arg;
    int fd;

    while ((fd = accept(s->listen_fd, NULL, NULL)) != -1) {
        struct peer *peer = malloc(sizeof(*peer));
        int nth = s->connections;

        if (nth == MAX_PEERS || peer == NULL)
            abort();
        *peer = (struct peer){s, fd, nth};
        s->fds[nth] = fd;
        if (pthread_create(&s->threads[nth], NULL, run_peer, peer) != 0)
            abort();
        s->connections++;
    }
    return NULL;
}

static int bind_loopback(int *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_not_equal(fd, -1);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port = ntohs(addr.sin_port);
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
    bool nothing_sent;
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
    bool cancel_in_head, paused, start_in_done, start_in_data;
    struct loop_timer resume;
};

static void on_wake(void *arg)
{
    struct world *w = arg;
    char c;

    assert_int_equal(read(w->server.wake[0], &c, 1), 1);
    w->woken = true;
}

static struct world *world_new(serve_cb serve)
{
    struct upstream_options options = {
        .connect_ms = 5000, .low_speed_ms = 3000, .max_header_bytes = 4096};
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->loop.super.ops = &fake_ops;
    w->loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(upstream_new(&w->loop.super, &options, &w->up), 0);
    w->server.listen_fd = bind_loopback(&w->server.port);
    snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%d/v1/files", w->server.port);
    if (serve == NULL)
        return w;
    w->served = true;
    w->server.serve = serve;
    assert_int_equal(pipe(w->server.wake), 0);
    assert_int_equal(do_watch(&w->loop.super, w->server.wake[0], on_wake, w), 0);
    assert_int_equal(listen(w->server.listen_fd, 16), 0);
    assert_int_equal(pthread_create(&w->server.acceptor, NULL, run_acceptor, &w->server), 0);
    return w;
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

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct world *w = arg;

    w->heads++;
    if (w->cancel_in_head) {
        upstream_cancel(w->call);
        w->call = NULL;
        w->done = true;
    }
    return w->streaming = head->status == 200;
}

static void on_resume_time(struct loop_timer *timer)
{
    struct world *w = timer->arg;
    size_t before = w->body.len;

    w->paused = false;
    upstream_resume(w->call);
    assert_int_equal(w->body.len, before); /* not from inside */
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct world *w = arg;

    assert_false(w->paused);
    assert_true(len > 0 && len <= 128 * 1024);
    strbuf_add(&w->body, bytes, len);
    if (w->start_in_data) {
        w->start_in_data = false;
        w->in_start = true;
        start_get(w, "/second");
        w->in_start = false;
    }
    switch (w->on_data) {
    case ON_DATA_GO_ON:
        return true;
    case ON_DATA_PAUSE:
        w->paused = true;
        w->resume.cb = on_resume_time;
        w->resume.arg = w;
        loop_timer_start(&w->loop.super, &w->resume, 0);
        return false;
    case ON_DATA_HOLD:
        w->paused = true;
        return false;
    case ON_DATA_RESUME_INSIDE:
        upstream_resume(w->call);
        return false;
    case ON_DATA_CANCEL:
        upstream_cancel(w->call);
        w->call = NULL;
        w->done = true;
        return true;
    }
    return true;
}

static ssize_t on_source(void *arg, char *buf, size_t len)
{
    struct world *w = arg;

    if (w->source_fails_at != 0 && w->source_at >= w->source_fails_at)
        return ERR_IO;
    if (len > 5000)
        len = 5000;
    assert_true(w->source_at + len <= w->source_len);
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)((w->source_at + i) % 251);
    w->source_at += len;
    return (ssize_t)len;
}

static unsigned source_sum(size_t len)
{
    unsigned sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + (unsigned char)(i % 251);
    return sum;
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

static void fetch(struct world *w, struct upstream_request *request)
{
    w->done = false;
    start(w, request);
    run_until(w, &w->done);
}

/* --- servers --- */

static void serve_hello(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 200 OK\r\nX-TEST:  yes \r\nContent-Length: 5\r\n\r\nhello");
}

static void serve_nothing(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    if (read_request(s, fd, &head))
        wait_for_close(fd);
}

static void serve_silence(struct server *s, int fd, int nth)
{
    (void)nth;
    wake(s);
    wait_for_close(fd);
}

static void serve_close(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    read_request(s, fd, &head);
}

/* Answers the first request of a process's life, then closes on each further one. */
static void serve_first_only(struct server *s, int fd, int nth)
{
    struct head head;

    if (nth == 0 && read_request(s, fd, &head))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    if (!read_request(s, fd, &head))
        return;
    if (nth == 1 && strncmp(head.text, "GET", 3) == 0)
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
}

static void serve_text(struct server *s, int fd, const char *text)
{
    struct head head;

    if (read_request(s, fd, &head))
        say(fd, text);
}

static void serve_short(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoo short");
}

static void serve_short_chunks(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
}

static void serve_two_lengths(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 3\r\n\r\nhello");
}

static void serve_interim(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Test: early\r\n\r\n"
               "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
}

static void serve_interim_for_ever(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    if (read_request(s, fd, &head))
        for (int i = 0; i < 1000; i++)
            say(fd, "HTTP/1.1 103 Early Hints\r\nX-Test: early\r\n\r\n");
}

static void serve_upgrade(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw");
}

static void serve_garbage(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "\x15\x03\x01\x02 this is no HTTP\r\n\r\n");
}

static void serve_redirect(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
}

static void serve_error(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope");
}

static void serve_no_content(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 204 No Content\r\n\r\n");
}

static void serve_odd_headers(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 200 OK\r\nX-Test: a\x01"
               "b\r\nb@d name: x\r\nContent-Length: 0\r\n\r\n");
}

static void serve_large_head(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 200; i++)
        say(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    say(fd, "Content-Length: 0\r\n\r\n");
}

static void serve_chunks(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; i++)
        say(fd, "a\r\n0123456789\r\n");
    say(fd, "0\r\nX-Trailer: t\r\n\r\n");
}

#define BIG (4 * 1024 * 1024)

static void serve_big(struct server *s, int fd, int nth)
{
    char *bytes = calloc(1, BIG + 1);
    struct head head;

    (void)nth;
    if (bytes == NULL)
        abort();
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (char)('a' + i % 23);
    if (read_request(s, fd, &head)) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
        say(fd, bytes);
        wait_for_close(fd);
    }
    free(bytes);
}

static void serve_stall(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    wait_for_close(fd);
}

static void serve_early_413(struct server *s, int fd, int nth)
{
    struct head head;

    (void)nth;
    if (!read_head(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    wait_for_close(fd);
}

/* Takes the head and one byte, then reads no more. */
static void serve_full_window(struct server *s, int fd, int nth)
{
    struct pollfd gone = {.fd = fd, .events = POLLRDHUP};
    struct head head;
    char c;

    (void)nth;
    if (read_head(s, fd, &head) && read(fd, &c, 1) == 1)
        wake(s);
    poll(&gone, 1, -1);
}

/* --- tests --- */

static void a_small_answer_is_collected_with_its_head(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 200);
    assert_int_equal(w->content_length, 5);
    assert_string_equal(w->header, "yes");
    assert_string_equal(strbuf_str(&w->body), "hello");
    assert_false(w->nothing_sent);
    assert_int_equal(w->bytes_received, 5);
    assert_true(w->first_byte_us > 0);
    assert_string_equal(w->error, "");
    world_stop(w);
    world_free(w);
}

static void a_request_holds_our_lines_and_no_others(void **state)
{
    const struct upstream_header headers[] = {{"api-key", "k1"}, {"X-Empty", ""}};
    struct world *w = world_new(serve_hello);
    char want[256];

    (void)state;
    fetch(w, &(struct upstream_request){.method = "POST", .headers = headers, .num_headers = 2});
    world_stop(w);
    snprintf(want, sizeof(want),
             "POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:%d\r\napi-key: "
             "k1\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
             w->server.port);
    assert_string_equal(w->server.seen.text, want);
    world_free(w);
}

static void a_delete_has_its_method_and_a_body_its_length(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    fetch(w, &(struct upstream_request){.method = "POST", .body = "a\0b", .body_len = 3});
    assert_int_equal(w->bytes_sent, 3);
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    world_stop(w);
    assert_int_equal(strncmp(w->server.seen.text, "DELETE /v1/files HTTP/1.1\r\n", 27), 0);
    assert_int_equal(w->server.connections, 1);
    world_free(w);
}

/* The text of the last request, whose head names the port. */
static void assert_request(struct world *w, const char *want)
{
    char host[32], text[4096];
    const char *at;

    snprintf(host, sizeof(host), "Host: 127.0.0.1:%d\r\n", w->server.port);
    pthread_mutex_lock(&w->server.lock);
    snprintf(text, sizeof(text), "%s", w->server.seen.text);
    pthread_mutex_unlock(&w->server.lock);
    at = strstr(text, host);
    assert_non_null(at);
    memmove(text + (at - text), at + strlen(host), strlen(at + strlen(host)) + 1);
    assert_string_equal(text, want);
}

static void a_handle_that_was_used_keeps_nothing_of_the_call_before(void **state)
{
    const struct upstream_header json = {"Content-Type", "application/json"},
                                 key = {"api-key", "k"};
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int once = 0; once < 2; once++) {
        fetch(w, &(struct upstream_request){.method = "POST",
                                            .once = once,
                                            .body = "{}",
                                            .body_len = 2,
                                            .headers = &json,
                                            .num_headers = 1});
        assert_request(w, "POST /v1/files HTTP/1.1\r\nContent-Type: application/json\r\n"
                          "Content-Length: 2\r\n\r\n");
        fetch(w, &(struct upstream_request){.once = once});
        assert_request(w, "GET /v1/files HTTP/1.1\r\n\r\n");
        fetch(w, &(struct upstream_request){
                     .method = "DELETE", .once = once, .headers = &key, .num_headers = 1});
        assert_request(w, "DELETE /v1/files HTTP/1.1\r\napi-key: k\r\n\r\n");
        fetch(w, &(struct upstream_request){.method = "POST", .once = once});
        assert_request(w, "POST /v1/files HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        w->source_at = 0;
        w->source_len = 20000;
        fetch(w, &(struct upstream_request){
                     .method = "POST", .source = on_source, .source_length = 20000});
        assert_request(w, "POST /v1/files HTTP/1.1\r\nContent-Length: 20000\r\n\r\n");
        fetch(w, &(struct upstream_request){.once = once, .file = true});
        assert_request(w, "GET /v1/files HTTP/1.1\r\n\r\n");
    }
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    world_stop(w);
    world_free(w);
}

static void connections_are_kept_and_used_again(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 5; i++)
        fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->server.requests, 5);
    assert_int_equal(w->server.connections, 1);
    world_stop(w);
    world_free(w);
}

static void a_create_goes_out_on_a_connection_of_its_own(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 3; i++)
        fetch(w, &(struct upstream_request){
                     .method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->server.connections, 3);
    fetch(w, &(struct upstream_request){.file = true}); /* reads may use what creates left */
    assert_int_equal(w->server.connections, 3);
    world_stop(w);
    world_free(w);
}

static void a_read_on_a_dying_connection_is_repeated_but_a_create_is_not(void **state)
{
    struct world *w = world_new(serve_first_only);

    (void)state;
    fetch(w, &(struct upstream_request){.file = true});
    fetch(w, &(struct upstream_request){.file = true});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_string_equal(strbuf_str(&w->body), "again");
    assert_int_equal(w->server.requests, 3); /* libcurl did that by itself */
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_false(w->nothing_sent);
    assert_int_equal(w->server.requests, 4);
    world_stop(w);
    world_free(w);
}

static void a_create_goes_out_once_even_where_a_kept_connection_dies_of_it(void **state)
{
    struct world *w = world_new(serve_first_only);

    (void)state;
    fetch(w, &(struct upstream_request){.file = true});
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_int_equal(w->server.requests, 2);
    world_stop(w);
    world_free(w);
}

static void a_refused_connection_is_known_to_have_sent_nothing(void **state)
{
    struct world *w = world_new(NULL); /* bound, not listening */

    (void)state;
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    assert_int_equal(w->status, 0);
    assert_int_equal(strncmp(w->error, "connect: ", 9), 0);
    world_stop(w);
    world_free(w);
}

static void an_unknown_host_is_a_failed_connect(void **state)
{
    struct world *w = world_new(NULL);

    (void)state;
    fetch(w, &(struct upstream_request){.url = "https://no-such-host.invalid/"});
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

static void a_failed_tls_handshake_has_sent_nothing(void **state)
{
    struct world *w = world_new(serve_garbage);
    char url[64];

    (void)state;
    /* The ClientHello has no blank line, so the server sits in its read until we give up. */
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/", w->server.port);
    w->server.serve = serve_silence;
    start(w, &(struct upstream_request){.url = url});
    run_until(w, &w->woken);
    w->loop.skew_ms += 5000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    assert_int_equal(w->server.requests, 0);
    world_stop(w);
    world_free(w);
}

static void a_call_that_may_not_start_says_so_on_a_coming_turn(void **state)
{
    static const char *const urls[] = {
        "http://192.0.2.1/",
        "http://localhost.example.com/",
        "ftp://127.0.0.1/",
        "https://u:p@127.0.0.1/",
        "http://127.0.0.1.evil.x/",
        "file:///etc/passwd",
        "not a url",
        "",
        "http://[::2]/",
        "http://128.0.0.1/",
        "http://127.0.0.1@192.0.2.1/",
        "http://127.0.0.1\\@192.0.2.1/",
        "http://192.0.2.1?://127.0.0.1/",
        "http://192.0.2.1#://127.0.0.1/",
    };
    const struct upstream_header bad = {"X-A", "b\r\nX-C: d"};
    struct world *w = world_new(NULL);

    (void)state;
    fetch(w, &(struct upstream_request){0}); /* an origin that is known must open no door */
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        fetch(w, &(struct upstream_request){.url = urls[i]});
        if (w->end != UPSTREAM_REFUSED || !w->nothing_sent)
            fail_msg("started: %s (%s)", urls[i], w->error);
    }
    fetch(w, &(struct upstream_request){.headers = &bad, .num_headers = 1});
    assert_int_equal(w->end, UPSTREAM_REFUSED);
    fetch(w, &(struct upstream_request){.method = "GE T"});
    assert_int_equal(w->end, UPSTREAM_REFUSED);
    start(w, &(struct upstream_request){.url = "gopher://x"});
    upstream_cancel(w->call); /* before it could say so */
    world_stop(w);
    world_free(w);
}

static void proxies_of_the_environment_mean_nothing(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    world_stop(w);
    world_free(w);
}

static void a_silent_provider_meets_the_limit_for_the_first_byte(void **state)
{
    struct world *w = world_new(serve_nothing);

    (void)state;
    start(w,
          &(struct upstream_request){
              .method = "POST", .once = true, .body = "{}", .body_len = 2, .first_byte_ms = 7000});
    run_until(w, &w->woken);
    w->loop.skew_ms += 6000;
    loop_turn(&w->loop);
    assert_false(w->done);
    w->loop.skew_ms += 1000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_false(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

static void the_total_limit_ends_a_call_in_any_phase(void **state)
{
    struct world *w = world_new(serve_stall);

    (void)state;
    start(w, &(struct upstream_request){.total_ms = 9000, .on_head = on_head, .on_data = on_data});
    while (w->body.len < 10)
        loop_turn(&w->loop);
    w->loop.skew_ms += 9000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_int_equal(w->status, 200);
    world_stop(w);
    world_free(w);
}

static void a_stalled_download_ends_but_a_paused_one_waits(void **state)
{
    struct world *w = world_new(serve_stall);

    (void)state;
    start(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    w->on_data = ON_DATA_HOLD;
    while (!w->paused)
        loop_turn(&w->loop);
    w->loop.skew_ms += 100000;
    loop_turn(&w->loop);
    assert_false(w->done);
    w->paused = false;
    upstream_resume(w->call);
    w->loop.skew_ms += 2999;
    loop_turn(&w->loop);
    assert_false(w->done);
    w->loop.skew_ms += 1000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    world_stop(w);
    world_free(w);
}

static void a_stalled_upload_ends(void **state)
{
    struct world *w = world_new(serve_full_window);

    (void)state;
    w->source_len = 64 * 1024 * 1024;
    start(w,
          &(struct upstream_request){
              .method = "POST", .file = true, .source = on_source, .source_length = w->source_len});
    run_until(w, &w->woken);
    for (size_t before = 0; before != w->source_at;) { /* until the window is full */
        before = w->source_at;
        for (int i = 0; i < 200; i++)
            if (epoll_wait(w->loop.epoll_fd, &(struct epoll_event){0}, 1, 0) > 0)
                loop_turn(&w->loop);
    }
    assert_false(w->done);
    w->loop.skew_ms += 4000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_true(w->source_at < w->source_len);
    world_stop(w);
    world_free(w);
}

static void assert_end(serve_cb serve, enum upstream_end end, int status)
{
    struct world *w = world_new(serve);

    fetch(w, &(struct upstream_request){0});
    if (w->end != end)
        fail_msg("end %d instead of %d: %s", w->end, end, w->error);
    assert_int_equal(w->status, status);
    assert_false(w->nothing_sent);
    if (end != UPSTREAM_ANSWERED) {
        assert_int_equal(w->body.len, 0);
        assert_string_not_equal(w->error, "");
    }
    world_stop(w);
    world_free(w);
}

static void answers_that_break_off_or_break_rules_are_broken(void **state)
{
    (void)state;
    assert_end(serve_close, UPSTREAM_BROKEN, 0);
    assert_end(serve_short, UPSTREAM_BROKEN, 200);
    assert_end(serve_short_chunks, UPSTREAM_BROKEN, 200);
    assert_end(serve_two_lengths, UPSTREAM_BROKEN, 0);
    assert_end(serve_garbage, UPSTREAM_BROKEN, 0);
    assert_end(serve_upgrade, UPSTREAM_BROKEN, 0);
    assert_end(serve_interim_for_ever, UPSTREAM_TOO_LARGE, 0);
}

static void interim_answers_are_passed_over(void **state)
{
    struct world *w = world_new(serve_interim);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 201);
    assert_string_equal(w->header, "-");
    assert_string_equal(strbuf_str(&w->body), "ok");
    world_stop(w);
    world_free(w);
}

static void redirects_are_not_followed(void **state)
{
    struct world *w = world_new(serve_redirect);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 302);
    assert_int_equal(w->server.requests, 1);
    world_stop(w);
    world_free(w);
}

static void an_empty_answer_has_no_body(void **state)
{
    (void)state;
    assert_end(serve_no_content, UPSTREAM_ANSWERED, 204);
}

static void header_lines_with_control_bytes_are_left_out(void **state)
{
    struct world *w = world_new(serve_odd_headers);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_string_equal(w->header, "-");
    world_stop(w);
    world_free(w);
}

static void too_much_of_an_answer_is_cut_off(void **state)
{
    struct world *w;

    (void)state;
    assert_end(serve_large_head, UPSTREAM_TOO_LARGE, 0);
    assert_end(serve_big, UPSTREAM_TOO_LARGE, 200); /* known from its length */
    w = world_new(serve_chunks);
    fetch(w, &(struct upstream_request){.max_body = 999});
    assert_int_equal(w->end, UPSTREAM_TOO_LARGE);
    world_stop(w);
    world_free(w);
    w = world_new(serve_chunks);
    fetch(w, &(struct upstream_request){.max_body = 1000});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->content_length, -1);
    assert_int_equal(w->body.len, 1000);
    world_stop(w);
    world_free(w);
}

static void an_upload_sends_exactly_its_source(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->source_len = 3 * 1024 * 1024 + 17;
    fetch(w, &(struct upstream_request){.method = "POST",
                                        .file = true,
                                        .once = true,
                                        .source = on_source,
                                        .source_length = w->source_len});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->bytes_sent, w->source_len);
    world_stop(w);
    assert_int_equal(w->server.body_bytes, w->source_len);
    assert_int_equal(w->server.body_sum, source_sum(w->source_len));
    assert_null(strstr(w->server.seen.text, "Expect"));
    assert_null(strstr(w->server.seen.text, "chunked"));
    world_free(w);
}

static void an_empty_source_is_an_empty_body(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){.method = "POST", .source = on_source, .source_length = 0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    world_stop(w);
    assert_non_null(strstr(w->server.seen.text, "\r\nContent-Length: 0\r\n"));
    world_free(w);
}

static void a_source_that_fails_ends_the_upload(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->source_len = 1024 * 1024;
    w->source_fails_at = 500000;
    fetch(w, &(struct upstream_request){.method = "POST",
                                        .file = true,
                                        .once = true,
                                        .source = on_source,
                                        .source_length = w->source_len});
    assert_int_equal(w->end, UPSTREAM_SOURCE_FAILED);
    assert_false(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

static void a_refusal_before_the_end_of_an_upload_is_an_answer(void **state)
{
    struct world *w = world_new(serve_early_413);

    (void)state;
    w->source_len = 64 * 1024 * 1024;
    fetch(w, &(struct upstream_request){.method = "POST",
                                        .file = true,
                                        .once = true,
                                        .source = on_source,
                                        .source_length = w->source_len});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 413);
    assert_string_equal(strbuf_str(&w->body), "big");
    assert_true(w->source_at < w->source_len);
    world_stop(w);
    world_free(w);
}

static void assert_big(struct world *w)
{
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->dones, 1);
    assert_int_equal(w->heads, 1);
    assert_int_equal(w->body.len, BIG);
    for (size_t i = 0; i < BIG; i++)
        if (w->body.data[i] != (char)('a' + i % 23))
            fail_msg("byte %zu differs", i);
}

static void a_download_streams_with_back_pressure(void **state)
{
    static const int modes[] = {ON_DATA_GO_ON, ON_DATA_PAUSE, ON_DATA_RESUME_INSIDE};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world *w = world_new(serve_big);
        w->on_data = modes[i];
        fetch(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
        assert_big(w);
        loop_timer_stop(&w->loop.super, &w->resume);
        world_stop(w);
        world_free(w);
    }
}

static void an_error_in_place_of_a_download_is_collected(void **state)
{
    struct world *w = world_new(serve_error);

    (void)state;
    fetch(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 404);
    assert_string_equal(strbuf_str(&w->body), "nope");
    world_stop(w);
    world_free(w);
}

static void nothing_is_heard_of_a_cancelled_call(void **state)
{
    struct upstream_request stream = {.file = true, .on_head = on_head, .on_data = on_data};
    struct world *w = world_new(serve_big);

    (void)state;
    w->cancel_in_head = true;
    fetch(w, &stream);
    w->cancel_in_head = false;
    w->on_data = ON_DATA_CANCEL;
    fetch(w, &stream);
    start(w, &stream);
    upstream_cancel(w->call); /* before anything happened */
    w->on_data = ON_DATA_HOLD;
    w->done = false;
    start(w, &stream);
    while (!w->paused)
        loop_turn(&w->loop);
    upstream_cancel(w->call); /* while paused */
    upstream_cancel(NULL);
    assert_int_equal(upstream_active(w->up), 0);
    assert_int_equal(w->dones, 0);
    world_stop(w);
    world_free(w);
}

static void the_next_call_may_start_from_inside_any_callback(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->start_in_done = true;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->dones, 2);
    w->start_in_data = true;
    w->dones = 0;
    w->done = false;
    start(w, &(struct upstream_request){.on_head = on_head, .on_data = on_data});
    while (w->dones < 2)
        loop_turn(&w->loop);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->server.requests, 4);
    world_stop(w);
    world_free(w);
}

static void many_calls_at_once_all_end(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 12; i++)
        start_get(w, "");
    assert_int_equal(upstream_active(w->up), 12);
    while (w->dones < 12)
        loop_turn(&w->loop);
    assert_int_equal(w->server.requests, 12);
    world_stop(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_answer_is_collected_with_its_head),
        cmocka_unit_test(a_request_holds_our_lines_and_no_others),
        cmocka_unit_test(a_delete_has_its_method_and_a_body_its_length),
        cmocka_unit_test(a_handle_that_was_used_keeps_nothing_of_the_call_before),
        cmocka_unit_test(connections_are_kept_and_used_again),
        cmocka_unit_test(a_create_goes_out_on_a_connection_of_its_own),
        cmocka_unit_test(a_read_on_a_dying_connection_is_repeated_but_a_create_is_not),
        cmocka_unit_test(a_create_goes_out_once_even_where_a_kept_connection_dies_of_it),
        cmocka_unit_test(a_refused_connection_is_known_to_have_sent_nothing),
        cmocka_unit_test(an_unknown_host_is_a_failed_connect),
        cmocka_unit_test(a_failed_tls_handshake_has_sent_nothing),
        cmocka_unit_test(a_call_that_may_not_start_says_so_on_a_coming_turn),
        cmocka_unit_test(proxies_of_the_environment_mean_nothing),
        cmocka_unit_test(a_silent_provider_meets_the_limit_for_the_first_byte),
        cmocka_unit_test(the_total_limit_ends_a_call_in_any_phase),
        cmocka_unit_test(a_stalled_download_ends_but_a_paused_one_waits),
        cmocka_unit_test(a_stalled_upload_ends),
        cmocka_unit_test(answers_that_break_off_or_break_rules_are_broken),
        cmocka_unit_test(interim_answers_are_passed_over),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(an_empty_answer_has_no_body),
        cmocka_unit_test(header_lines_with_control_bytes_are_left_out),
        cmocka_unit_test(too_much_of_an_answer_is_cut_off),
        cmocka_unit_test(an_upload_sends_exactly_its_source),
        cmocka_unit_test(an_empty_source_is_an_empty_body),
        cmocka_unit_test(a_source_that_fails_ends_the_upload),
        cmocka_unit_test(a_refusal_before_the_end_of_an_upload_is_an_answer),
        cmocka_unit_test(a_download_streams_with_back_pressure),
        cmocka_unit_test(an_error_in_place_of_a_download_is_collected),
        cmocka_unit_test(nothing_is_heard_of_a_cancelled_call),
        cmocka_unit_test(the_next_call_may_start_from_inside_any_callback),
        cmocka_unit_test(many_calls_at_once_all_end),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
