/* Bytes of a client, behind the HTTP/2 preface, through the guard and libh2o over a socketpair.
 * Nothing may abort, leak or hang, and nothing of a connection may outlive it. The first byte
 * chooses how the client behaves: whether it reads, and how small the socket's buffer is. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "front/guard.h"

static struct {
    struct loop loop;
    uint64_t now_ms;
    h2o_evloop_t *evloop;
    h2o_globalconf_t config;
    h2o_context_t ctx;
    struct front *front;
    struct call *paused;
} world;

struct call {
    h2o_req_t *req;
    struct body *body;
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
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    timer->slot = 0;
}

static const struct loop_ops loop_ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

static void answer(struct call *call, int status)
{
    static const char text[30000];

    call->body = NULL;
    call->req->res.status = status;
    call->req->res.content_length = sizeof(text);
    h2o_send_inline(call->req, text, sizeof(text));
}

static void on_data(void *arg, const char *bytes, size_t len)
{
    struct call *call = arg;

    MUST(len > 0 && len <= BODY_SLICE);
    if (bytes[0] == 'p') {
        body_pause(call->body);
        world.paused = call;
    } else if (bytes[0] == 'a') {
        body_abandon(call->body);
        answer(call, 413);
    }
}

static void on_end(void *arg)
{
    answer(arg, 200);
}

static void on_failure(void *arg, enum body_failure why)
{
    if (why != BODY_CLIENT_GONE)
        answer(arg, 400);
    else
        ((struct call *)arg)->body = NULL;
}

static void on_gone(void *p)
{
    struct call *call = p;

    body_abandon(call->body);
    if (world.paused == call)
        world.paused = NULL;
}

static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
    static const struct body_ops ops = {on_data, on_end, on_failure};
    struct call *call = h2o_mem_alloc_shared(&req->pool, sizeof(*call), on_gone);

    (void)self;
    call->req = req;
    call->body = front_body(req);
    if (call->body == NULL || req->path.len % 4 == 0)
        answer(call, 200);
    else if (req->path.len % 4 != 1)
        body_start(call->body, &ops, call, 100000);
    return 0;
}

static void begin(void)
{
    h2o_hostconf_t *host;

    signal(SIGPIPE, SIG_IGN);
    fuzz_quiet();
    log_set_level(LOG_LEVEL_ERROR);
    world.loop.ops = &loop_ops;
    world.now_ms = 1000000;
    world.evloop = h2o_evloop_create();
    h2o_config_init(&world.config);
    host = h2o_config_register_host(&world.config, h2o_iovec_init(H2O_STRLIT("x")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        on_req;
    h2o_context_init(&world.ctx, world.evloop, &world.config);
}

static void turn(void)
{
    for (int i = 0; i < 3; i++)
        MUST(h2o_evloop_run(world.evloop, 0) == 0 || errno == EINTR);
}

static void read_all(int fd)
{
    static char sink[65536];

    while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
        turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config_limits limits = {.max_connections = 10, .min_body_rate = 1024};
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    const struct sockaddr none = {.sa_family = AF_UNIX};
    uint64_t seed = fuzz_seed(data, size);
    int fds[2], small = 4096;
    uint8_t manners = size > 0 ? data[0] : 0;

    if (world.evloop == NULL)
        begin();
    MUST(guard_new(&world.loop, &world.ctx, &limits, NULL, NULL, -1, &world.front) == 0);
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    MUST(guard_adopt(world.front, fds[1], &none) == 0);
    if ((manners & 1) != 0)
        setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    MUST(send(fds[0], hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello));
    for (size_t at = 1; at < size;) {
        size_t n = fuzz_piece(&seed, size - at);

        if (send(fds[0], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
            break;
        at += n;
        turn();
        if ((manners & 2) != 0)
            read_all(fds[0]);
        if (world.paused != NULL && world.paused->body != NULL && seed % 8 == 0)
            body_resume(world.paused->body);
    }
    if ((manners & 4) != 0)
        read_all(fds[0]);
    close(fds[0]);
    turn();
    turn();
    MUST(front_connections(world.front) == 0);
    guard_free(world.front);
    return 0;
}
