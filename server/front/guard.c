/* Connections from accept to the protocol that they speak, their records, caps and timers. See
 * guard.h.
 *
 * All timers are one tick over all connections: a timestamp costs a request nothing, and a thousand
 * connections cost the tick some microseconds. The same tick looks for clients that left while
 * their HTTP/1 request runs: libh2o does not read then, so one poll(2) asks the kernel for all of
 * them.
 *
 * A TLS socket is read by libh2o, until the kernel has nothing more; so its receive buffer is fixed
 * (the kernel would let it grow to megabytes, all of which may come in one turn). Clear text is
 * read by ourselves, a slice at a time. */
#include "guard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <h2o/http2.h>

#include "common/log.h"

#define FDS_KEPT 64 /* descriptors for logs, upstreams, spools: never for clients */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; /* RFC 9113, 3.4 */
#define PREFACE_LEN (sizeof(preface) - 1)

struct conn *guard_conn_of(h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

#define REFUSAL(status, reason, message)                                                           \
    {                                                                                              \
        status, reason,                                                                            \
            "{\"error\":{\"message\":\"" message                                                   \
            "\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}"                 \
    }

const struct guard_refusal *guard_refusal(int status)
{
    static const struct guard_refusal refusals[] = {
        REFUSAL(400, "Bad Request", "The request is not well-formed HTTP."),
        REFUSAL(414, "URI Too Long", "The request's path is too long."),
        REFUSAL(417, "Expectation Failed", "Only the expectation 100-continue is supported."),
        REFUSAL(431, "Request Header Fields Too Large",
                "The request has too many or too large headers."),
        REFUSAL(505, "HTTP Version Not Supported",
                "Only HTTP/1.0, HTTP/1.1 and HTTP/2 are supported."),
    };

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].status == status)
            return &refusals[i];
    return &refusals[0];
}

/* --- the listener --- */

static void on_acceptable(h2o_socket_t *listener, const char *err);

static bool has_place(const struct front *front)
{
    return front->num_conns < front->max_conns + GUARD_SPARE;
}

static void pause_listener(struct front *front)
{
    if (!front->listening)
        return;
    h2o_socket_read_stop(front->listener);
    front->listening = false;
}

static void resume_listener(struct front *front)
{
    if (front->listening || front->listener == NULL || !has_place(front))
        return;
    h2o_socket_read_start(front->listener, on_acceptable);
    front->listening = true;
}

static void start_tick(struct front *front)
{
    if (front->tick.slot == 0 && loop_timer_start(front->loop, &front->tick, GUARD_TICK_MS) != 0)
        log_error("front door: no memory for its timer");
}

/* --- records --- */

static void count(struct front *front, int by)
{
    assert(by > 0 || front->num_conns > 0);
    front->num_conns += (size_t)by;
    if (front->slot != NULL)
        atomic_store_explicit(&front->slot->connections, (uint32_t)front->num_conns,
                              memory_order_relaxed);
}

static void on_socket_closed(void *data)
{
    struct conn *conn = data;

    assert(!conn->closed);
    if (conn->phase == CONN_H1)
        h1_forget(conn);
    else if (conn->phase == CONN_H2)
        h2_forget(conn);
    h2o_linklist_unlink(&conn->link);
    guard_peers_remove(&conn->front->peers, conn->peer);
    count(conn->front, -1);
    share_sub(conn->load.share, SHARE_CONNECTIONS, conn->load.share != NULL);
    share_put(conn->load.share);
    conn->load.share = NULL;
    resume_listener(conn->front);
    conn->closed = true;
    if (conn->pins == 0)
        free(conn);
}

void guard_pin(struct conn *conn)
{
    conn->pins++;
}

bool guard_unpin(struct conn *conn)
{
    bool open = !conn->closed;

    assert(conn->pins > 0);
    if (--conn->pins == 0 && !open)
        free(conn);
    return open;
}

void guard_cut(struct conn *conn)
{
    shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
}

void guard_dying(struct conn *conn)
{
    conn->dying = true;
    conn->active_ms = loop_now_ms(conn->front->loop);
}

/* The begin of what libh2o 2.2.5 keeps of a TLS connection: private, so looked at only where its
 * first member is the context that we gave. */
struct lib_tls {
    SSL_CTX *ctx;
    SSL *ssl;
};

static SSL *tls_of(const struct conn *conn)
{
    const struct lib_tls *lib = (const void *)conn->sock->ssl;

    return lib->ctx == conn->front->tls ? lib->ssl : NULL;
}

/* libh2o says close_notify only when it closes; so it is said here, past its queue, which must be
 * empty. What the client sends can be read as before (RFC 8446, 6.1). */
static void say_close_notify(SSL *ssl, int fd)
{
    BIO *own = SSL_get_wbio(ssl), *memory = BIO_new(BIO_s_mem());
    char *alert;
    long len;

    if (memory == NULL)
        return;
    BIO_up_ref(own);
    SSL_set0_wbio(ssl, memory);
    (void)SSL_shutdown(ssl);
    ERR_clear_error();
    len = BIO_get_mem_data(memory, &alert);
    if (len > 0)
        (void)send(fd, alert, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    SSL_set0_wbio(ssl, own);
}

void guard_end_sending(struct conn *conn)
{
    int fd = h2o_socket_get_fd(conn->sock);
    SSL *ssl;

    if (conn->sock->ssl != NULL) {
        ssl = tls_of(conn);
        if (ssl == NULL)
            return;
        say_close_notify(ssl, fd);
    }
    shutdown(fd, SHUT_WR);
}

/* --- the first bytes --- */

static void close_socket(struct conn *conn)
{
    guard_dying(conn); /* TLS says goodbye first, it may take a while */
    h2o_socket_close(conn->sock);
}

static void on_sniff(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    h2o_iovec_t room = h2o_buffer_reserve(&sock->input, 4096);
    ssize_t n;
    size_t len;

    (void)err; /* libh2o does not read: there is none */
    n = read(h2o_socket_get_fd(sock), room.base, room.len);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_socket(conn);
        return;
    }
    sock->input->size += (size_t)n;
    len = sock->input->size < PREFACE_LEN ? sock->input->size : PREFACE_LEN;
    if (memcmp(sock->input->bytes, preface, len) != 0) {
        conn->phase = CONN_H1;
        h1_adopt(conn);
    } else if (len == PREFACE_LEN) {
        conn->phase = CONN_H2;
        h2o_socket_dont_read(sock, 0);
        h2_adopt(conn);
    }
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    h2o_iovec_t protocol;

    if (err != NULL) {
        close_socket(conn);
        return;
    }
    protocol = h2o_socket_ssl_get_selected_protocol(sock);
    conn->active_ms = loop_now_ms(conn->front->loop);
    if (h2o_memis(protocol.base, protocol.len, H2O_STRLIT("h2"))) {
        conn->phase = CONN_H2;
        h2_adopt(conn);
    } else {
        conn->phase = CONN_H1;
        h1_adopt(conn);
    }
}

int guard_adopt(struct front *front, int fd, const struct sockaddr *address)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    int one = 1, buffer = GUARD_BUFFER_TLS;

    if (conn == NULL)
        return ERR_NOMEM;
    conn->front = front;
    conn->opened_ms = conn->active_ms = loop_now_ms(front->loop);
    conn->connected_at = *h2o_get_timestamp(front->ctx, NULL, NULL);
    conn->peer = guard_peers_key(address);
    guard_peers_name(address, conn->address);
    conn->loopback = guard_peers_is_loopback(address);
    guard_peers_add(&front->peers, conn->peer);
    h2o_linklist_insert(&front->conns, &conn->link);
    count(front, 1);
    start_tick(front);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn->sock =
        h2o_evloop_socket_create(front->ctx->loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    conn->sock->on_close.cb = on_socket_closed;
    conn->sock->on_close.data = conn;
    if (front->tls != NULL) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
        conn->phase = CONN_TLS;
        h2o_socket_ssl_handshake(conn->sock, front->tls, NULL, on_handshake);
    } else {
        conn->phase = CONN_SNIFF;
        h2o_socket_dont_read(conn->sock, 1);
        h2o_socket_read_start(conn->sock, on_sniff);
    }
    return 0;
}

/* --- accepting --- */

static bool is_counted(const struct front *front, const struct sockaddr *address, uint64_t key)
{
    if (front->max_per_address == 0 || key == 0 ||
        (!front->counts_loopback && guard_peers_is_loopback(address)))
        return false;
    for (size_t i = 0; i < front->num_proxies; i++)
        if (front->proxies[i] == key)
            return false;
    return true;
}

static bool too_many_of(struct front *front, const struct sockaddr *address)
{
    uint64_t key = guard_peers_key(address);
    uint32_t n;

    if (!is_counted(front, address, key))
        return false;
    n = guard_peers_add(&front->peers, key);
    guard_peers_remove(&front->peers, key);
    return n > front->max_per_address;
}

static void evict(struct conn *conn)
{
    assert(!conn->trusted && !conn->evicted && !conn->dying);
    conn->evicted = true;
    if (conn->phase == CONN_H1)
        h1_hang_up(conn);
    else if (conn->phase == CONN_H2)
        guard_cut(conn);
    else
        close_socket(conn);
}

/* All places are taken: the oldest connection that never showed the key goes. When all others did,
 * the new one is a spare one. The list is in the order of arrival. */
static void make_room(struct front *front)
{
    struct conn *newest = H2O_STRUCT_FROM_MEMBER(struct conn, link, front->conns.prev);

    for (h2o_linklist_t *at = front->conns.next; at != &newest->link; at = at->next) {
        struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, link, at);

        if (!conn->trusted && !conn->evicted && !conn->dying) {
            newest->spare = conn->spare; /* it takes that place */
            evict(conn);
            return;
        }
    }
    newest->spare = true;
}

static void on_accept_failed(struct front *front, int error)
{
    uint64_t now_ms = loop_now_ms(front->loop);

    if (now_ms - front->warned_ms >= 10000) {
        log_warn("front door: cannot accept: %s; pausing", strerror(error));
        front->warned_ms = now_ms;
    }
    pause_listener(front); /* the tick resumes; spinning would help nobody */
    start_tick(front);
}

/* @return false: no more now */
static bool accept_one(struct front *front)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr *address = (struct sockaddr *)(void *)&storage;
    socklen_t len = sizeof(storage);
    int fd =
        accept4(h2o_socket_get_fd(front->listener), address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd == -1) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            on_accept_failed(front, errno);
        }
        return false; /* an interrupted or aborted one comes again with the next wake */
    }
    if (too_many_of(front, address) || guard_adopt(front, fd, address) != 0)
        close(fd);
    else if (front->num_conns > front->max_conns)
        make_room(front);
    return true;
}

/* Whoever has fewer takes what waits there, or we do in a moment.
 * @return false: take it */
static bool leave_to_others(struct front *front)
{
    if (!accept_share_is_others(&front->share, (uint32_t)front->num_conns,
                                loop_now_ms(front->loop)))
        return false;
    if (front->leave.slot == 0 &&
        loop_timer_start(front->loop, &front->leave, ACCEPT_LEAVE_MS) != 0)
        return false;
    pause_listener(front);
    return true;
}

static void on_acceptable(h2o_socket_t *listener, const char *err)
{
    struct front *front = listener->data;

    (void)err;
    for (int i = 0; i < GUARD_ACCEPTS && has_place(front); i++)
        if (leave_to_others(front) || !accept_one(front))
            break;
    if (!has_place(front))
        pause_listener(front);
}

/* What nobody has taken by now is ours. */
static void on_left(struct loop_timer *timer)
{
    struct front *front = timer->arg;

    if (front->listener == NULL)
        return;
    for (int i = 0; i < GUARD_ACCEPTS && has_place(front) && accept_one(front); i++)
        continue;
    resume_listener(front);
}

/* --- timers --- */

uint64_t guard_acked(const struct conn *conn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(h2o_socket_get_fd(conn->sock), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_acked;
}

bool guard_reads_slowly(struct guard_reader *reader, const struct front *front, uint64_t mark,
                        uint64_t now_ms)
{
    uint64_t most = (now_ms + front->read_grace_ms) * 1000, rate = front->min_read_rate;
    uint64_t taken = mark - reader->mark, gained = UINT64_MAX;

    if (rate != 0 && taken < UINT64_MAX / 1000000)
        gained = taken * 1000000 / rate;
    if (reader->deadline_us == 0 || (taken > 0 && gained > most - reader->deadline_us))
        reader->deadline_us = most;
    else if (taken > 0)
        reader->deadline_us += gained;
    reader->mark = mark;
    return now_ms * 1000 > reader->deadline_us;
}

bool guard_stalled(struct conn *conn, bool waiting, uint64_t mark, uint64_t now_ms)
{
    if (waiting)
        return guard_reads_slowly(&conn->reader, conn->front, mark, now_ms);
    conn->reader.deadline_us = 0;
    return false;
}

void guard_rate_reset(struct guard_rate *rate, const struct front *front, uint64_t now_ms)
{
    rate->deadline_us = (now_ms + front->body_grace_ms) * 1000;
}

void guard_rate_credit(struct guard_rate *rate, const struct front *front, uint64_t bytes,
                       uint64_t now_ms)
{
    uint64_t most = (now_ms + front->body_grace_ms) * 1000;

    if (front->min_body_rate == 0)
        return;
    rate->deadline_us += bytes * 1000000 / front->min_body_rate;
    if (rate->deadline_us > most)
        rate->deadline_us = most;
}

bool guard_rate_failed(const struct guard_rate *rate, const struct front *front, uint64_t now_ms)
{
    return front->min_body_rate != 0 && now_ms * 1000 > rate->deadline_us;
}

static bool is_tight(const struct front *front)
{
    return front->num_conns > front->max_conns - front->max_conns / 8;
}

uint64_t guard_handshake_ms(const struct front *front)
{
    return is_tight(front) ? GUARD_TIGHT_HANDSHAKE_MS : GUARD_HANDSHAKE_MS;
}

uint64_t guard_head_ms(const struct front *front)
{
    return is_tight(front) ? GUARD_TIGHT_HEAD_MS : GUARD_HEAD_MS;
}

uint64_t guard_idle_ms(const struct front *front)
{
    return is_tight(front) ? GUARD_TIGHT_IDLE_MS : GUARD_IDLE_MS;
}

/* A connection that carries nothing: no byte of a request, here or in the kernel. */
static bool is_idle(const struct conn *conn)
{
    int pending = 0;

    if (conn->dying ||
        !(conn->phase == CONN_H1 ? h1_is_idle(conn)
                                 : conn->phase == CONN_SNIFF && conn->sock->input->size == 0))
        return false;
    return ioctl(h2o_socket_get_fd(conn->sock), FIONREAD, &pending) == 0 && pending == 0;
}

/* A drain ends what is idle, but not what has just come: its request is on the way, and a reload
 * that resets it would be noticed. */
static bool drains_away(const struct conn *conn, uint64_t now_ms)
{
    return conn->front->draining && is_idle(conn) &&
           (conn->used || now_ms - conn->opened_ms > GUARD_FRESH_MS);
}

static void end_idle(struct conn *conn)
{
    if (conn->phase == CONN_H1)
        h1_hang_up(conn);
    else
        close_socket(conn);
}

static void tick_conn(struct conn *conn, uint64_t now_ms)
{
    if (conn->dying) {
        if (now_ms - conn->active_ms > GUARD_CLOSE_MS)
            guard_cut(conn);
        return;
    }
    if (drains_away(conn, now_ms)) {
        end_idle(conn);
        return;
    }
    switch (conn->phase) {
    case CONN_SNIFF:
    case CONN_TLS:
        if (now_ms - conn->opened_ms > guard_handshake_ms(conn->front))
            close_socket(conn);
        break;
    case CONN_H1:
        h1_tick(conn, now_ms);
        break;
    case CONN_H2:
        h2_tick(conn, now_ms);
        break;
    }
}

/* Which HTTP/1 clients left while nobody reads from them. */
static void find_hangups(struct front *front, uint64_t now_ms)
{
    size_t num = 0;

    for (h2o_linklist_t *at = front->conns.next; at != &front->conns; at = at->next) {
        struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, link, at);
        int events = conn->phase == CONN_H1 && !conn->dying ? h1_watched(conn, now_ms) : -1;

        if (events == -1 || num == front->num_polls)
            continue;
        front->polls[num] = (struct pollfd){h2o_socket_get_fd(conn->sock), (short)events, 0};
        front->polled[num++] = conn;
    }
    if (num == 0 || poll(front->polls, num, 0) <= 0)
        return;
    for (size_t i = 0; i < num; i++)
        if ((front->polls[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
            h1_hang_up(front->polled[i]);
}

static void on_tick(struct loop_timer *timer)
{
    struct front *front = timer->arg;
    uint64_t now_ms = loop_now_ms(front->loop);
    h2o_linklist_t *next;

    find_hangups(front, now_ms);
    for (h2o_linklist_t *at = front->conns.next; at != &front->conns; at = next) {
        next = at->next; /* a tick closes its own connection at most */
        tick_conn(H2O_STRUCT_FROM_MEMBER(struct conn, link, at), now_ms);
    }
    resume_listener(front);
    if (front->num_conns != 0 || (front->listener != NULL && !front->listening))
        start_tick(front);
}

/* --- the whole --- */

void front_start(struct front *front)
{
    resume_listener(front);
}

void front_drain(struct front *front)
{
    uint64_t now_ms = loop_now_ms(front->loop);
    h2o_linklist_t *next;

    if (front->draining)
        return;
    front->draining = true;
    /* HTTP/1 answers now end with `Connection: close`. Not h2o_context_request_shutdown(): its
     * HTTP/2 side forgets uploads (front README 1.4); ours is h2_retire(). */
    front->ctx->shutdown_requested = 1;
    if (front->listener != NULL) {
        h2o_socket_close(front->listener);
        front->listener = NULL;
        front->listening = false;
    }
    for (h2o_linklist_t *at = front->conns.next; at != &front->conns; at = next) {
        struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, link, at);

        next = at->next;
        if (conn->phase == CONN_H2)
            h2_retire(conn, now_ms);
        else if (drains_away(conn, now_ms))
            end_idle(conn);
    }
}

size_t front_connections(const struct front *front)
{
    return front->num_conns;
}

/* Below the descriptor limit, so that a client too many waits in the backlog and no upload fails
 * for want of a spool file. */
static size_t cap_connections(size_t wanted)
{
    struct rlimit limit;
    size_t most;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return wanted;
    most =
        limit.rlim_cur > 2 * FDS_KEPT ? ((size_t)limit.rlim_cur - FDS_KEPT) * 2 / 3 : FDS_KEPT / 4;
    if (most >= wanted)
        return wanted;
    log_warn("front door: at most %zu connections instead of %zu: the limit of open files is %llu",
             most, wanted, (unsigned long long)limit.rlim_cur);
    return most;
}

/* What of libh2o's own must not interfere: its timers and limits are ours, h2c upgrades and push
 * are off. */
static void tame(h2o_context_t *ctx)
{
    const uint64_t never_ms = 365ull * 24 * 3600 * 1000;

    ctx->http1.req_timeout.timeout = never_ms;
    ctx->http2.idle_timeout.timeout = never_ms;
    ctx->globalconf->http1.upgrade_to_http2 = 0;
    /* libh2o's queue of requests over a limit can abort the process when a connection dies; streams
     * are limited to 100 anyway */
    ctx->globalconf->http2.max_concurrent_requests_per_connection = 1000;
}

static int open_listener(struct front *front, int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (own == -1)
        return ERR_NOMEM;
    front->listener = h2o_evloop_socket_create(front->ctx->loop, own, H2O_SOCKET_FLAG_DONT_READ);
    front->listener->data = front;
    return 0;
}

static int limit_addresses(struct front *front, const struct config_limits *limits)
{
    front->counts_loopback = limits->max_connections_per_address != CONFIG_QUARTER;
    front->max_per_address = front->counts_loopback ? limits->max_connections_per_address
                                                    : (uint32_t)(front->max_conns + 3) / 4;
    front->proxies = calloc(limits->num_proxies + 1, sizeof(*front->proxies));
    if (front->proxies == NULL)
        return ERR_NOMEM;
    for (; front->num_proxies < limits->num_proxies; front->num_proxies++)
        front->proxies[front->num_proxies] =
            guard_peers_key((const struct sockaddr *)&limits->proxies[front->num_proxies]);
    return 0;
}

int guard_new(struct loop *loop, h2o_context_t *ctx, const struct config_limits *limits,
              SSL_CTX *tls, struct worker_slot *slot, int listen_fd, struct front **out)
{
    struct front *front = calloc(1, sizeof(*front));

    *out = NULL;
    if (front == NULL)
        return ERR_NOMEM;
    front->loop = loop;
    front->ctx = ctx;
    front->accept = (h2o_accept_ctx_t){.ctx = ctx, .hosts = ctx->globalconf->hosts};
    front->tls = tls;
    front->slot = slot;
    front->min_body_rate = limits->min_body_rate;
    front->body_grace_ms = limits->body_grace_ms;
    front->min_read_rate = limits->min_read_rate;
    front->read_grace_ms = limits->read_grace_ms != 0 ? limits->read_grace_ms : GUARD_STALL_MS;
    front->max_conns =
        cap_connections(limits->max_connections != 0 ? limits->max_connections : 1000);
    front->num_polls = front->max_conns + GUARD_SPARE;
    front->tick = (struct loop_timer){.cb = on_tick, .arg = front};
    front->leave = (struct loop_timer){.cb = on_left, .arg = front};
    h2o_linklist_init_anchor(&front->conns);
    front->polls = calloc(front->num_polls, sizeof(*front->polls));
    front->polled = calloc(front->num_polls, sizeof(struct conn *));
    if (front->polls == NULL || front->polled == NULL ||
        guard_peers_init(&front->peers, front->max_conns + GUARD_SPARE + 1) != 0 ||
        limit_addresses(front, limits) != 0)
        goto fail;
    if (listen_fd != -1 && open_listener(front, listen_fd) != 0)
        goto fail;
    tame(ctx);
    *out = front;
    return 0;
fail:
    guard_free(front);
    return ERR_NOMEM;
}

void guard_free(struct front *front)
{
    loop_timer_stop(front->loop, &front->tick);
    loop_timer_stop(front->loop, &front->leave);
    if (front->listener != NULL)
        h2o_socket_close(front->listener);
    guard_peers_deinit(&front->peers);
    free(front->proxies);
    free(front->polls);
    free(front->polled);
    free(front);
}
