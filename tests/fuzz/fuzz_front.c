/* The whole front door: up to three clients of HTTP/1 or HTTP/2 over socketpairs, handlers of every
 * kind, a clock that the input moves, and draining. Nothing may abort, leak or hang; a body tells
 * its end or its failure once and nothing after it; every request ends; and no connection outlives
 * its client.
 *
 * The input is what the clients send, in pieces of sizes that follow from it. A byte ESCAPE begins
 * a command: the next byte says what happens (see command()); ESCAPE twice is the byte itself. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "front/guard.h"

#define ESCAPE      0x01
#define MAX_CLIENTS 3
#define MAX_HELD    16

struct call {
    h2o_generator_t generator; /* first */
    h2o_req_t *req;
    struct body *body;
    uint64_t taken, limit, left;
    bool started; /* the response head is out */
    bool slow;    /* the rest waits for commands */
    bool blocked; /* do_proceed() was not called since the last send */
    bool ended;   /* the body told its end, or failed */
    unsigned char kind;
};

struct client {
    int fd; /* -1: none */
    bool shut;
    uint8_t first[9];
    size_t received;
};

static struct {
    struct loop loop;
    uint64_t now_ms;
    struct loop_timer *timer;
    h2o_evloop_t *evloop;
    h2o_globalconf_t config;
    h2o_context_t ctx;
    struct front *front;
    struct client clients[MAX_CLIENTS], *client;
    struct call *held[MAX_HELD];
    size_t calls, gone;
} world;

static const char zeros[65536];

/* --- a loop --- */

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
    world.timer = timer;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    timer->slot = 0;
}

static const struct loop_ops loop_ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

static void turn(void)
{
    for (int i = 0; i < 3; i++)
        MUST(h2o_evloop_run(world.evloop, 0) == 0 || errno == EINTR);
}

static void pass_ms(uint64_t ms)
{
    world.now_ms += ms;
    if (world.timer != NULL && world.timer->slot != 0 && world.timer->due_ms <= world.now_ms) {
        world.timer->slot = 0;
        world.timer->cb(world.timer);
    }
    turn();
}

/* --- handlers --- */

static void hold(struct call *call)
{
    for (size_t i = 0; i < MAX_HELD; i++) {
        if (world.held[i] == NULL) {
            world.held[i] = call;
            return;
        }
    }
}

static void let_go(const struct call *call)
{
    for (size_t i = 0; i < MAX_HELD; i++)
        if (world.held[i] == call)
            world.held[i] = NULL;
}

static void answer(struct call *call, int status, size_t len)
{
    MUST(!call->started);
    call->started = true;
    let_go(call);
    call->req->res.status = status;
    call->req->res.content_length = len;
    h2o_send_inline(call->req, zeros, len);
}

static void give_up(struct call *call)
{
    body_abandon(call->body);
    call->body = NULL;
}

static void send_part(struct call *call, h2o_send_state_t state)
{
    h2o_iovec_t buf = {(char *)(uintptr_t)zeros,
                       call->left < sizeof(zeros) ? (size_t)call->left : sizeof(zeros)};

    if (call->slow && buf.len > 700)
        buf.len = 700;
    call->left -= buf.len;
    if (call->left == 0 && state == H2O_SEND_STATE_IN_PROGRESS)
        state = H2O_SEND_STATE_FINAL;
    if (state != H2O_SEND_STATE_IN_PROGRESS)
        let_go(call);
    call->blocked = true;
    h2o_send(call->req, &buf, buf.len != 0, state);
}

static void do_proceed(h2o_generator_t *self, h2o_req_t *req)
{
    struct call *call = (struct call *)self;

    (void)req;
    call->blocked = false;
    if (!call->slow)
        send_part(call, H2O_SEND_STATE_IN_PROGRESS);
}

/* @param announced  SIZE_MAX: no length */
static void respond(struct call *call, size_t announced, uint64_t bytes)
{
    MUST(!call->started);
    call->started = true;
    call->left = bytes;
    call->req->res.status = 200;
    call->req->res.content_length = announced;
    call->generator.proceed = do_proceed;
    h2o_start_response(call->req, &call->generator);
    if (call->slow)
        hold(call);
    send_part(call, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_data(void *arg, const char *bytes, size_t len)
{
    struct call *call = arg;

    MUST(!call->ended && call->body != NULL && bytes != NULL);
    MUST(len > 0 && len <= BODY_SLICE);
    call->taken += len;
    MUST(call->taken <= call->limit);
    if (call->kind == 'p') {
        body_pause(call->body);
    } else if (call->kind == 's') {
        give_up(call);
        answer(call, 413, 6);
    } else if (call->kind == 'e' && !call->started) { /* the answer begins before the body ended */
        call->slow = true;
        respond(call, SIZE_MAX, 3000);
    } else if (call->kind == 'g') {
        give_up(call); /* and answers much later */
        hold(call);
    }
}

static void on_end(void *arg)
{
    struct call *call = arg;

    MUST(!call->ended);
    call->ended = true;
    call->body = NULL;
    if (call->kind == 'h')
        hold(call);
    else if (!call->started)
        answer(call, 200, (size_t)call->taken < sizeof(zeros) ? (size_t)call->taken : 9);
}

static void on_failure(void *arg, enum body_failure why)
{
    static const int statuses[] = {0, 413, 408, 400};
    struct call *call = arg;

    MUST(!call->ended);
    call->ended = true;
    call->body = NULL;
    if (why != BODY_CLIENT_GONE && !call->started)
        answer(call, statuses[why], 6);
}

static void on_call_gone(void *p)
{
    struct call *call = p;

    body_abandon(call->body);
    let_go(call);
    world.gone++;
}

/* The second character of a path names the handler. */
static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
    static const struct body_ops ops = {on_data, on_end, on_failure};
    struct call *call = h2o_mem_alloc_shared(&req->pool, sizeof(*call), on_call_gone);

    (void)self;
    MUST(req->path.len > 0 && req->path.base[0] == '/');
    memset(call, 0, sizeof(*call));
    world.calls++;
    call->req = req;
    call->kind = req->path.len > 1 ? (unsigned char)req->path.base[1] : 0;
    call->limit = call->kind == 'l' ? 300 : UINT64_MAX;
    call->slow = call->kind == 'w' || call->kind == 'u';
    MUST(front_has_body(req) == (front_body(req) != NULL));
    switch (call->kind) {
    case 'r': /* refuses without a look at the body */
        answer(call, 401, 2);
        return 0;
    case 'd':
    case 'w':
        respond(call, 150000, 150000);
        return 0;
    case 'u':
        respond(call, SIZE_MAX, 5000);
        return 0;
    case 'b': /* breaks off */
        call->left = 1000;
        call->started = true;
        req->res.status = 200;
        req->res.content_length = 100000;
        call->generator.proceed = do_proceed;
        h2o_start_response(req, &call->generator);
        send_part(call, H2O_SEND_STATE_ERROR);
        return 0;
    case 'n': /* never takes its body */
        hold(call);
        return 0;
    default:
        break;
    }
    call->body = front_body(req);
    if (call->body == NULL) {
        on_end(call);
        return 0;
    }
    if (call->kind == 'p' || call->kind == 'x' || call->kind == 'h')
        hold(call);
    if (call->kind != 'x') /* a handler that begins later, when a command says so */
        body_start(call->body, &ops, call, call->limit);
    return 0;
}

/* Go on with a call that waits: with its body first. */
static void go_on(struct call *call, unsigned char how)
{
    static const struct body_ops ops = {on_data, on_end, on_failure};

    if (how == 'e') {
        if (call->started) {
            if (!call->blocked)
                send_part(call, H2O_SEND_STATE_ERROR);
        } else {
            give_up(call);
            answer(call, 500, 100);
        }
    } else if (call->started) {
        if (!call->blocked)
            send_part(call, H2O_SEND_STATE_IN_PROGRESS);
    } else if (call->body == NULL) {
        answer(call, 200, call->taken % 2 != 0 ? 20000 : 0);
    } else if (call->body->ops == NULL) {
        body_start(call->body, &ops, call, call->limit);
    } else {
        body_resume(call->body);
    }
}

static void go_on_with_all(unsigned char how)
{
    for (size_t i = 0; i < MAX_HELD; i++)
        if (world.held[i] != NULL)
            go_on(world.held[i], how);
    turn();
}

/* --- clients --- */

static void client_open(void)
{
    const struct sockaddr none = {.sa_family = AF_UNIX};
    int fds[2], small = 4096;

    for (size_t i = 0; i < MAX_CLIENTS; i++) {
        struct client *c = &world.clients[i];

        if (c->fd != -1)
            continue;
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
        MUST(guard_adopt(world.front, fds[1], &none) == 0);
        setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
        *c = (struct client){.fd = fds[0]};
        world.client = c;
        return;
    }
    world.client = &world.clients[(size_t)(world.client - world.clients + 1) % MAX_CLIENTS];
}

static void client_read(struct client *c)
{
    static uint8_t sink[65536];
    ssize_t n;

    while (c->fd != -1 && (n = recv(c->fd, sink, sizeof(sink), MSG_DONTWAIT)) > 0) {
        size_t room = sizeof(c->first) - c->received;

        if (c->received < sizeof(c->first))
            memcpy(c->first + c->received, sink, (size_t)n < room ? (size_t)n : room);
        c->received += (size_t)n;
        turn();
    }
}

/* An answer, or HTTP/2's first SETTINGS. */
static void client_check(const struct client *c)
{
    static const uint8_t settings[] = {0, 0};

    if (c->received < sizeof(c->first))
        MUST(c->received == 0);
    else
        MUST(memcmp(c->first, "HTTP/1.1 ", 9) == 0 ||
             (memcmp(c->first, settings, 2) == 0 && c->first[3] == FRAME_SETTINGS));
}

static void client_close(struct client *c)
{
    if (c->fd == -1)
        return;
    client_check(c);
    close(c->fd);
    c->fd = -1;
    turn();
}

static void client_send(const uint8_t *bytes, size_t len)
{
    if (world.client->fd != -1 && !world.client->shut && len != 0)
        (void)!send(world.client->fd, bytes, len, MSG_NOSIGNAL);
    turn();
}

/* --- the input --- */

static void command(unsigned char c)
{
    static const uint8_t hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    static const uint8_t goodbye = ESCAPE;

    switch (c) {
    case ESCAPE:
        client_send(&goodbye, 1);
        break;
    case 'r':
        client_read(world.client);
        break;
    case 't':
        pass_ms(GUARD_TICK_MS);
        break;
    case 's':
        pass_ms(1100);
        break;
    case 'T':
        pass_ms(11000);
        break;
    case 'M':
        pass_ms(80000);
        break;
    case 'H':
        pass_ms(GUARD_AGE_MS);
        break;
    case 'D':
        front_drain(world.front);
        turn();
        break;
    case 'W':
        if (world.client->fd != -1)
            shutdown(world.client->fd, SHUT_WR);
        world.client->shut = true;
        turn();
        break;
    case 'C':
        client_close(world.client);
        break;
    case 'N':
        client_open();
        turn();
        break;
    case 'P':
        client_send(hello, sizeof(hello));
        break;
    case 'g':
    case 'e':
        go_on_with_all(c);
        break;
    default:
        break;
    }
}

static void begin(void)
{
    h2o_hostconf_t *host;

    signal(SIGPIPE, SIG_IGN);
    fuzz_quiet();
    log_set_level(LOG_LEVEL_ERROR);
    world.loop.ops = &loop_ops;
    world.evloop = h2o_evloop_create();
    h2o_config_init(&world.config);
    host = h2o_config_register_host(&world.config, h2o_iovec_init(H2O_STRLIT("x")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        on_req;
    h2o_context_init(&world.ctx, world.evloop, &world.config);
}

static void open_world(void)
{
    static const struct config_limits limits = {
        .max_connections = 10, .min_body_rate = 1024, .body_grace_ms = 20000};

    if (world.evloop == NULL)
        begin();
    world.now_ms = 1000000;
    world.timer = NULL;
    world.ctx.shutdown_requested = 0;
    world.calls = world.gone = 0;
    memset(world.held, 0, sizeof(world.held));
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        world.clients[i] = (struct client){.fd = -1};
    MUST(guard_new(&world.loop, &world.ctx, &limits, NULL, NULL, -1, &world.front) == 0);
    client_open();
}

/* The clients leave; what still runs ends, and nothing is left. */
static void close_world(void)
{
    for (size_t i = 0; i < MAX_CLIENTS; i++) {
        client_read(&world.clients[i]);
        client_close(&world.clients[i]);
    }
    for (int i = 0; i < 8 && (front_connections(world.front) != 0 || world.calls != world.gone);
         i++) {
        go_on_with_all('e');
        pass_ms(GUARD_LINGER_MS + 1000);
    }
    MUST(front_connections(world.front) == 0);
    MUST(world.calls == world.gone);
    guard_free(world.front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seed = fuzz_seed(data, size);
    size_t at = 0;

    open_world();
    while (at < size) {
        const uint8_t *stop = memchr(data + at, ESCAPE, size - at);
        size_t n = (stop != NULL ? (size_t)(stop - data) : size) - at;

        if (n == 0) {
            command(at + 1 < size ? data[at + 1] : ESCAPE);
            at += 2;
            continue;
        }
        n = seed % 3 == 0 ? n : fuzz_piece(&seed, n);
        client_send(data + at, n);
        at += n;
    }
    close_world();
    return 0;
}
