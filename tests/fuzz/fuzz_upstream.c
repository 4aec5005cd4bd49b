/* Answers of a provider through both transports: several calls, one behind the other, on connections that
 * are kept. The provider is a socket of this process that answers with the input; the client's
 * clock moves when the input says so. Each call ends once, with a head that is well-formed and a
 * body within its bounds; what it says passes the error translator and the normaliser, and no
 * planted key comes out.
 *
 * The first byte chooses the kind of the first call, and whether small ones go past libcurl. In what follows ESCAPE begins a command (see
 * command()); all else is sent as it is. */
#include "tests/fuzz/fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/log.h"
#include "upstream/client_impl.h"
#include "tests/fuzz/answer.h"

#define ESCAPE     0x01
#define MAX_TIMERS 64
#define MAX_BODY   2000

struct watch {
    int fd;
    loop_fd_cb cb;
    void *arg;
};

static struct {
    struct loop loop;
    uint64_t now_ms;
    struct loop_timer *timers[MAX_TIMERS];
    size_t num_timers;
    struct watch watches[4];
    size_t num_watches;
    struct upstream *up;
    int listen_fd, peer; /* -1: no connection */
    char url[64];
    struct upstream_call *call; /* NULL: none is in flight */
    unsigned kind, started, ended;
    uint64_t streamed;
    bool heads, pauses, paused;
} world = {.listen_fd = -1, .peer = -1};

/* --- a loop --- */

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return world.now_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    if (timer->slot == 0)
        return;
    world.timers[timer->slot - 1] = world.timers[--world.num_timers];
    world.timers[timer->slot - 1]->slot = timer->slot;
    timer->slot = 0;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    do_timer_stop(loop, timer);
    MUST(world.num_timers < MAX_TIMERS);
    timer->due_ms = world.now_ms + delay_ms;
    world.timers[world.num_timers++] = timer;
    timer->slot = world.num_timers;
    return 0;
}

static int do_watch(struct loop *loop, int fd, loop_fd_cb on_readable, void *arg)
{
    (void)loop;
    MUST(world.num_watches < sizeof(world.watches) / sizeof(world.watches[0]));
    world.watches[world.num_watches++] = (struct watch){fd, on_readable, arg};
    return 0;
}

static const struct loop_ops loop_ops = {do_now_ms, do_timer_start, do_timer_stop, do_watch};

static void run_timers(void)
{
    for (size_t i = 0; i < world.num_timers;) {
        struct loop_timer *timer = world.timers[i];

        if (timer->due_ms > world.now_ms) {
            i++;
            continue;
        }
        do_timer_stop(&world.loop, timer);
        timer->cb(timer);
        i = 0;
    }
}

static void turn(void)
{
    for (int n = 0; n < 3; n++) {
        for (size_t i = 0; i < world.num_watches; i++)
            world.watches[i].cb(world.watches[i].arg);
        run_timers();
    }
}

/* --- calls --- */

static void check_head(const struct upstream_head *head)
{
    MUST(head->status >= 200 && head->status <= 999 && head->content_length >= -1);
    for (size_t i = 0; i < head->num_headers; i++) {
        const char *name = head->headers[i].name, *value = head->headers[i].value;

        MUST(head_is_token(name, strlen(name)) && head_is_field_value(value, strlen(value)));
        for (const char *c = name; *c != '\0'; c++)
            MUST(!(*c >= 'A' && *c <= 'Z'));
    }
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    (void)arg;
    MUST(!world.heads);
    world.heads = true;
    check_head(head);
    return head->status < 300;
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    (void)arg;
    MUST(world.heads && bytes != NULL && len > 0 && len <= 16384);
    world.streamed += len;
    world.paused = world.pauses;
    return !world.pauses;
}

static void check_result(const struct upstream_result *result)
{
    MUST(result->end != UPSTREAM_ANSWERED || result->head.status >= 200);
    MUST(!result->nothing_sent || result->head.status == 0);
    if (result->head.status != 0)
        check_head(&result->head);
    MUST(result->body_len <= MAX_BODY && (result->body != NULL || result->body_len == 0));
    MUST(result->body == NULL || result->body[result->body_len] == '\0');
    MUST(result->end != UPSTREAM_ANSWERED || world.streamed == 0 ||
         result->head.content_length == -1 ||
         world.streamed == (uint64_t)result->head.content_length);
    answer_holds_no_key(result->error, strlen(result->error));
}

static void on_done(void *arg, const struct upstream_result *result)
{
    (void)arg;
    MUST(world.call != NULL);
    world.call = NULL;
    world.ended++;
    check_result(result);
    answer_check_failure(result);
    if (result->body != NULL)
        answer_check_normal(result->body, result->body_len,
                            (enum answer_shape)(world.started % ANSWER_SHAPES));
}

static ssize_t read_source(void *arg, char *buf, size_t len)
{
    (void)arg;
    memset(buf, 'x', len);
    return (ssize_t)len;
}

static void start(unsigned kind)
{
    static const char *const methods[] = {"GET", "POST", "DELETE", "HEAD"};
    static const struct upstream_header header = {"Authorization", "Bearer " PLANTED_KEY};
    struct upstream_request request = {.method = methods[kind % 4],
                                       .url = world.url,
                                       .headers = &header,
                                       .num_headers = 1,
                                       .file = (kind & 4) != 0,
                                       .once = (kind & 8) != 0,
                                       .total_ms = 60000,
                                       .first_byte_ms = 30000,
                                       .max_body = MAX_BODY,
                                       .on_head = (kind & 16) != 0 ? on_head : NULL,
                                       .on_data = on_data,
                                       .on_done = on_done};

    if (world.call != NULL)
        return;
    if (kind % 4 == 1 && (kind & 32) != 0) {
        request.source = read_source;
        request.source_length = 300;
    } else if (kind % 4 == 1) {
        request.body = "{}";
        request.body_len = 2;
    }
    world.kind = kind;
    world.pauses = (kind & 64) != 0;
    world.heads = world.paused = false;
    world.streamed = 0;
    world.started++;
    world.call = upstream_start(world.up, &request);
    MUST(world.call != NULL);
}

/* --- the provider --- */

static void drop_peer(void)
{
    if (world.peer != -1)
        close(world.peer);
    world.peer = -1;
}

/* A new connection replaces the old one. */
static void take_peer(void)
{
    static char sink[65536];
    int fd;

    turn();
    fd = accept4(world.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd != -1) {
        const struct linger reset = {.l_onoff = 1}; /* no port waits for its peer */
        int one = 1;

        drop_peer();
        world.peer = fd;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        turn();
    }
    while (world.peer != -1 && recv(world.peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
        turn();
}

static void say(const char *bytes, size_t len)
{
    take_peer();
    if (world.peer != -1 && len != 0)
        (void)!send(world.peer, bytes, len, MSG_NOSIGNAL);
    turn();
}

/* --- the input --- */

static void command(uint8_t c, unsigned kind)
{
    static const char escape = ESCAPE;

    switch (c) {
    case ESCAPE:
        say(&escape, 1);
        break;
    case 'n': /* the next call, once this one has ended */
        take_peer();
        if (world.call != NULL) {
            upstream_cancel(world.call);
            world.call = NULL;
            turn();
        }
        start(kind);
        take_peer();
        break;
    case 'c':
        take_peer();
        drop_peer();
        turn();
        break;
    case 'h':
        take_peer();
        if (world.peer != -1)
            shutdown(world.peer, SHUT_WR);
        turn();
        break;
    case 't':
        world.now_ms += 5000;
        turn();
        break;
    case 'T':
        world.now_ms += 61000;
        turn();
        break;
    case 'r':
        if (world.call != NULL && world.paused) {
            world.paused = world.pauses = false;
            upstream_resume(world.call);
        }
        turn();
        break;
    default:
        break;
    }
}

static void begin(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    world.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    MUST(world.listen_fd != -1);
    MUST(bind(world.listen_fd, (struct sockaddr *)&address, len) == 0);
    MUST(listen(world.listen_fd, 16) == 0);
    MUST(getsockname(world.listen_fd, (struct sockaddr *)&address, &len) == 0);
    snprintf(world.url, sizeof(world.url), "http://127.0.0.1:%u/v1/files",
             (unsigned)ntohs(address.sin_port));
}

static void open_world(bool lean)
{
    const struct upstream_options options = {
        .low_speed_ms = 20000, .max_header_bytes = 4096, .lean = lean};

    if (world.listen_fd == -1)
        begin();
    world.loop.ops = &loop_ops;
    world.now_ms = 1000000;
    world.num_watches = world.num_timers = 0;
    world.started = world.ended = 0;
    MUST(upstream_new(&world.loop, &options, &world.up) == 0);
}

static void close_world(void)
{
    int fd;

    drop_peer();
    for (int i = 0; i < 20 && world.call != NULL; i++) {
        command('r', 0);
        world.now_ms += 61000;
        turn();
    }
    MUST(world.call == NULL && upstream_active(world.up) == 0);
    upstream_free(world.up);
    for (size_t i = 0; i < world.num_watches; i++)
        close(world.watches[i].fd);
    while ((fd = accept4(world.listen_fd, NULL, NULL, SOCK_CLOEXEC)) != -1)
        close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seed = fuzz_seed(data, size);
    struct strbuf piece = STRBUF_INIT;
    size_t at = 1;

    if (size == 0)
        return 0;
    open_world((data[0] & 128) != 0);
    start(data[0]);
    take_peer();
    while (at < size) {
        const uint8_t *stop = memchr(data + at, ESCAPE, size - at);
        size_t n = (stop != NULL ? (size_t)(stop - data) : size) - at;

        if (n == 0) {
            command(at + 1 < size ? data[at + 1] : ESCAPE, at + 2 < size ? data[at + 2] : 0);
            at += at + 1 < size && data[at + 1] == 'n' ? 3 : 2;
            continue;
        }
        n = seed % 3 != 0 ? n : fuzz_piece(&seed, n);
        strbuf_reset(&piece);
        answer_plant(data + at, n, &piece);
        say(strbuf_str(&piece), piece.len);
        at += n;
    }
    close_world();
    strbuf_deinit(&piece);
    return 0;
}
