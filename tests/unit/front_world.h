/* The front door in a process of its own making: a loop with a clock that only moves when a test
 * says so, handlers that do one thing each, and clients over socketpairs, with or without TLS. For
 * test_front*.c. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/ec.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "front/guard.h"

#define RECEIVED_MAX (4 << 20)

/* --- the world --- */

struct world {
    struct loop loop;
    uint64_t now_ms;
    struct loop_timer *timer; /* the only one: the front door's tick */
    h2o_evloop_t *evloop;
    h2o_globalconf_t config;
    h2o_context_t ctx;
    struct config_limits limits;
    SSL_CTX *server_tls, *client_tls;
    struct front *clear, *tls;
    struct share *tenant;     /* whose key each request shows; NULL: nobody's who has a share */
    struct loop_timer *turns; /* of slices that wait: runs only when a test says so; NULL: none */
    /* what the handlers saw */
    unsigned calls, answered, gone, failures[4];
    uint64_t bytes;
    char last_header[64]; /* value of x-test of the last request */
    struct call *held;    /* of /hang or /pause */
};

static struct world world;

/* One request; shared memory of its pool. */
struct call {
    h2o_generator_t generator; /* first */
    h2o_req_t *req;
    struct body *body;
    char *kept;
    size_t kept_len;
    uint64_t give_up, left;
    bool pauses, ended, answered;
};

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return world.now_ms;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    timer->slot = 1;
    timer->due_ms = world.now_ms + delay_ms;
    if (delay_ms != GUARD_TICK_MS)
        world.turns = timer;
    else
        world.timer = timer;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    timer->slot = 0;
    if (world.turns == timer)
        world.turns = NULL;
}

static const struct loop_ops world_loop_ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

static void turn(void)
{
    for (int i = 0; i < 4; i++)
        if (h2o_evloop_run(world.evloop, 0) != 0)
            assert_int_equal(errno, EINTR);
}

/* Let time pass, in steps of the tick. */
static void pass_ms(uint64_t ms)
{
    uint64_t end = world.now_ms + ms;

    while (world.now_ms < end) {
        world.now_ms += end - world.now_ms < GUARD_TICK_MS ? end - world.now_ms : GUARD_TICK_MS;
        if (world.timer != NULL && world.timer->slot != 0 && world.timer->due_ms <= world.now_ms) {
            world.timer->slot = 0;
            world.timer->cb(world.timer);
        }
        turn();
    }
}

static void on_call_gone(void *p)
{
    struct call *call = p;

    body_abandon(call->body);
    free(call->kept);
    world.gone += !call->answered;
    if (world.held == call)
        world.held = NULL;
}

static void answer(struct call *call, int status, const char *text, size_t len)
{
    call->answered = true;
    world.answered++;
    call->req->res.status = status;
    call->req->res.reason = "Test";
    call->req->res.content_length = len;
    h2o_send_inline(call->req, text, len);
}

static void on_data(void *arg, const char *bytes, size_t len)
{
    struct call *call = arg;

    assert_true(len > 0 && len <= BODY_SLICE);
    world.bytes += len;
    call->kept = realloc(call->kept, call->kept_len + len);
    memcpy(call->kept + call->kept_len, bytes, len);
    call->kept_len += len;
    if (call->give_up != 0 && call->kept_len >= call->give_up) {
        body_abandon(call->body);
        call->body = NULL;
        answer(call, 413, "enough", 6);
    } else if (call->pauses) {
        body_pause(call->body);
    }
}

static void on_end(void *arg)
{
    struct call *call = arg;

    call->body = NULL;
    call->ended = true;
    answer(call, 200, call->kept != NULL ? call->kept : "", call->kept_len);
}

static void on_failure(void *arg, enum body_failure why)
{
    static const int statuses[] = {0, 413, 408, 400};
    struct call *call = arg;

    world.failures[why]++;
    call->body = NULL;
    if (why != BODY_CLIENT_GONE)
        answer(call, statuses[why], "failed", 6);
}

static void do_proceed(h2o_generator_t *self, h2o_req_t *req)
{
    static const char zeros[65536];
    struct call *call = (struct call *)self;
    h2o_iovec_t buf = {(char *)(uintptr_t)zeros,
                       call->left < sizeof(zeros) ? call->left : sizeof(zeros)};

    call->left -= buf.len;
    call->answered = call->left == 0;
    h2o_send(req, &buf, buf.len != 0,
             call->left == 0 ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void respond(struct call *call, uint64_t announced, uint64_t first, h2o_send_state_t state)
{
    static const char zeros[65536];
    h2o_iovec_t buf = {(char *)(uintptr_t)zeros, first};

    call->req->res.status = 200;
    call->req->res.content_length = announced;
    call->generator.proceed = do_proceed;
    h2o_start_response(call->req, &call->generator);
    call->answered = state != H2O_SEND_STATE_IN_PROGRESS;
    h2o_send(call->req, &buf, 1, state);
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
    static const struct body_ops ops = {on_data, on_end, on_failure};
    struct call *call = h2o_mem_alloc_shared(&req->pool, sizeof(*call), on_call_gone);
    ssize_t header = h2o_find_header_by_str(&req->headers, H2O_STRLIT("x-test"), -1);

    (void)self;
    memset(call, 0, sizeof(*call));
    call->req = req;
    world.calls++;
    assert_true(front_share(req, world.tenant));
    snprintf(world.last_header, sizeof(world.last_header), "%.*s",
             header != -1 ? (int)req->headers.entries[header].value.len : 0,
             header != -1 ? req->headers.entries[header].value.base : "");
    if (is(req, "/refuse")) {
        answer(call, 401, "no", 2);
    } else if (is(req, "/hang")) {
        world.held = call;
    } else if (is(req, "/download")) {
        call->left = number_in(req) - 1;
        respond(call, number_in(req), 1, H2O_SEND_STATE_IN_PROGRESS);
    } else if (is(req, "/final")) { /* everything, then an empty final send */
        respond(call, 5, 5, H2O_SEND_STATE_IN_PROGRESS);
    } else if (is(req, "/break")) {
        respond(call, 1000, 5, H2O_SEND_STATE_ERROR);
    } else if (front_has_body(req)) {
        call->pauses = is(req, "/pause");
        call->give_up = is(req, "/stop") ? number_in(req) : 0;
        if (call->pauses)
            world.held = call;
        call->body = front_body(req);
        body_start(call->body, &ops, call, is(req, "/limit") ? number_in(req) : UINT64_MAX);
    } else {
        on_end(call);
    }
    return 0;
}

/* A key and a certificate that nobody else will ever see. */
static SSL_CTX *new_server_tls(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();

    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"x", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_sign(cert, key, EVP_sha256());
    SSL_CTX_use_certificate(ctx, cert);
    SSL_CTX_use_PrivateKey(ctx, key);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    (void)in_len;
    *out = in + 1; /* whatever the client names first */
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static int world_begin(void **state)
{
    h2o_hostconf_t *host;

    (void)state;
    memset(&world, 0, sizeof(world));
    world.loop.ops = &world_loop_ops;
    world.now_ms = 1000000;
    world.limits = (struct config_limits){.max_connections = 1000,
                                          .min_body_rate = 1024,
                                          .body_grace_ms = 20000,
                                          .min_read_rate = 1024,
                                          .read_grace_ms = GUARD_STALL_MS};
    world.evloop = h2o_evloop_create();
    h2o_config_init(&world.config);
    host = h2o_config_register_host(&world.config, h2o_iovec_init(H2O_STRLIT("x")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        on_req;
    h2o_context_init(&world.ctx, world.evloop, &world.config);
    world.server_tls = new_server_tls();
    SSL_CTX_set_alpn_select_cb(world.server_tls, on_alpn, NULL);
    world.client_tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(world.client_tls,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (guard_new(&world.loop, &world.ctx, &world.limits, NULL, NULL, -1, &world.clear) != 0 ||
        guard_new(&world.loop, &world.ctx, &world.limits, world.server_tls, NULL, -1, &world.tls) !=
            0)
        return -1;
    return 0;
}

static int world_end(void **state)
{
    void *queue;

    (void)state;
    turn();
    if (world.clear->num_conns + world.tls->num_conns != 0)
        return -1; /* a connection outlived its client */
    guard_free(world.clear);
    guard_free(world.tls);
    queue = world.ctx.queue;
    h2o_context_dispose(&world.ctx);
    free(queue); /* which libh2o forgets */
    h2o_config_dispose(&world.config);
    h2o_evloop_destroy(world.evloop);
    SSL_CTX_free(world.server_tls);
    SSL_CTX_free(world.client_tls);
    return 0;
}

/* --- a client --- */

struct client {
    int fd;
    SSL *ssl;
    bool eof;
    char *bytes; /* received, NUL-terminated */
    size_t len, seen;
};

/* Take what has arrived. */
static void client_read(struct client *c)
{
    for (;;) {
        ssize_t n = c->ssl != NULL
                        ? SSL_read(c->ssl, c->bytes + c->len, (int)(RECEIVED_MAX - c->len))
                        : recv(c->fd, c->bytes + c->len, RECEIVED_MAX - c->len, MSG_DONTWAIT);

        if (n <= 0) {
            if (c->ssl != NULL)
                c->eof = c->eof || SSL_get_error(c->ssl, (int)n) != SSL_ERROR_WANT_READ;
            else
                c->eof = c->eof || n == 0 || errno != EAGAIN;
            return;
        }
        c->len += (size_t)n;
        c->bytes[c->len] = '\0';
    }
}

static void settle(struct client *c)
{
    for (int i = 0; i < 3; i++) {
        turn();
        client_read(c);
    }
}

static struct client client_open(bool tls, const char *alpn)
{
    const struct sockaddr none = {.sa_family = AF_UNIX};
    struct front *front = tls ? world.tls : world.clear;
    struct client c = {.bytes = malloc(RECEIVED_MAX + 1)};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(guard_adopt(front, fds[1], &none), 0);
    c.fd = fds[0];
    c.bytes[0] = '\0';
    if (tls) {
        c.ssl = SSL_new(world.client_tls);
        SSL_set_fd(c.ssl, c.fd);
        SSL_set_alpn_protos(c.ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
        for (int i = 0; i < 20 && SSL_connect(c.ssl) != 1; i++)
            turn();
        assert_true(SSL_is_init_finished(c.ssl));
    }
    turn();
    return c;
}

static void client_close(struct client *c)
{
    SSL_free(c->ssl);
    if (c->fd != -1)
        close(c->fd);
    free(c->bytes);
    memset(c, 0, sizeof(*c));
    c->fd = -1;
    turn();
}

/* Send what the server takes, at most `len`. @return how much */
static size_t client_push(struct client *c, const void *bytes, size_t len)
{
    size_t sent = 0;

    for (int idle = 0; sent < len && idle < 3;) {
        ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, (const char *)bytes + sent,
                                               (int)(len - sent < 16384 ? len - sent : 16384))
                                   : send(c->fd, (const char *)bytes + sent, len - sent,
                                          MSG_DONTWAIT | MSG_NOSIGNAL);

        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (size_t)n : 0;
        turn();
    }
    return sent;
}

/* For what the server may refuse to take. */
static inline void client_push_text(struct client *c, const char *text)
{
    client_push(c, text, strlen(text));
}

static void client_send(struct client *c, const void *bytes, size_t len)
{
    assert_int_equal(client_push(c, bytes, len), len);
    settle(c);
}

static inline void client_say(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

/* How often a text occurs in what came. */
static inline unsigned count_of(const struct client *c, const char *text)
{
    unsigned n = 0;

    for (const char *at = c->bytes;
         (at = memmem(at, (size_t)(c->bytes + c->len - at), text, strlen(text))) != NULL; at++)
        n++;
    return n;
}
