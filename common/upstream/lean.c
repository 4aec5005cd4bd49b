/* Calls of the lean transport, from the request's bytes to the answer's end. See lean.h.
 *
 *             pool_take()                        the answer is complete
 *   begin ───────────────► send ─► wait, receive ───────────────────────► end, pool_keep()
 *     │ none is idle        ▲ │ a GET, lost on a kept connection before a byte of its answer:
 *     ▼                     │ ▼                                           once, on a new one
 *   curl connects ─► TLS ───┘ connect
 */
#include "lean.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <fcntl.h>

#include "common/clock.h"
#include "common/secret.h"

#define MAX_BODY    (64 * 1024) /* of a request */
#define MAX_READS   4           /* of a buffer in a turn */
/* How long it is believed that an origin over TLS speaks HTTP/1.1 only */
#define BELIEVED_MS 3600000

/* --- the request --- */

/* What this transport says itself, or has no answer for. */
static bool is_ours_to_say(const char *name)
{
    static const char *const names[] = {"Host",       "Content-Length", "Transfer-Encoding",
                                        "Connection", "Upgrade",        "Expect",
                                        "TE",         "Trailer"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool is_method(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "POST") == 0 ||
           strcmp(method, "DELETE") == 0;
}

static bool is_small_and_plain(const struct upstream_call *call,
                               const struct upstream_request *request)
{
    if (call->kind != HANDLE_JSON || call->secret || !is_method(request->method) ||
        (request->body != NULL && request->body_len > MAX_BODY))
        return false;
    for (size_t i = 0; i < request->num_headers; i++)
        if (is_ours_to_say(request->headers[i].name))
            return false;
    return true;
}

/* Bytes of the head at most. @return 0: a line would hold what no header may */
static size_t measure(const struct upstream_request *request, const struct lean_origin *origin)
{
    size_t size = strlen(request->method) + strlen(request->url) + strlen(origin->host) + 80;

    for (size_t i = 0; i < request->num_headers; i++) {
        const struct upstream_header *header = &request->headers[i];
        size_t name_len = strlen(header->name), value_len = strlen(header->value);

        if (!head_is_token(header->name, name_len) ||
            !head_is_field_value(header->value, value_len))
            return 0;
        size += name_len + value_len + 4;
    }
    return size;
}

static char *print(char *at, const struct upstream_request *request,
                   const struct lean_origin *origin)
{
    bool has_length = request->body != NULL || strcmp(request->method, "POST") == 0;

    at = stpcpy(at, request->method);
    at = stpcpy(at, " ");
    at = stpcpy(at, request->url + origin->len - 1);
    at = stpcpy(at, " HTTP/1.1\r\nHost: ");
    at = stpcpy(at, origin->host);
    for (size_t i = 0; i < request->num_headers; i++) {
        const struct upstream_header *header = &request->headers[i];

        at = stpcpy(at, "\r\n");
        at = stpcpy(at, header->name);
        at = stpcpy(at, *header->value != '\0' ? ": " : ":");
        at = stpcpy(at, header->value);
    }
    if (has_length)
        at += sprintf(at, "\r\nContent-Length: %zu", request->body != NULL ? request->body_len : 0);
    at = stpcpy(at, "\r\n\r\n");
    if (request->body != NULL)
        at = mempcpy(at, request->body, request->body_len);
    return at;
}

static const char *make_exchange(struct upstream_call *call, const struct upstream_request *request,
                                 struct lean_origin *origin)
{
    size_t size = measure(request, origin);
    struct exchange *x;

    if (size == 0)
        return "start: a header holds bytes that no header may have";
    x = malloc(sizeof(*x) + size + request->body_len);
    if (x == NULL)
        return OUT_OF_MEMORY;
    *x = (struct exchange){.origin = origin, .reads = strcmp(request->method, "GET") == 0};
    answer_init(&x->answer, &call->head, call->up->max_header_bytes);
    x->body_len = request->body != NULL ? request->body_len : 0;
    x->len = (size_t)(print(x->request, request, origin) - x->request);
    call->exchange = x;
    call->lane = &call->up->lanes[LANE_JSON]; /* curl's that connects */
    return NULL;
}

/* Over TLS libcurl goes first, and finds out what the origin speaks. */
static bool speaks_h1(const struct lean *lean, const struct lean_origin *origin)
{
    if (!origin->tls)
        return true;
    return origin->speaks == SPEAKS_H1 && lean->up->ca_file != NULL &&
           loop_now_ms(lean->up->loop) - origin->learned_ms < BELIEVED_MS;
}

bool lean_prepare(struct upstream_call *call, const struct upstream_request *request,
                  const char **why)
{
    struct lean *lean = call->up->lean;
    struct lean_origin *origin;

    if (lean == NULL || !is_small_and_plain(call, request))
        return false;
    origin = pool_origin(lean, request->url, why);
    if (origin == NULL)
        return *why != NULL;
    if (!speaks_h1(lean, origin)) {
        pool_release(origin);
        return false;
    }
    *why = make_exchange(call, request, origin);
    if (*why != NULL)
        pool_release(origin);
    return true;
}

void lean_learn(struct upstream *up, CURL *easy)
{
    struct lean_origin *origin;
    char *url = NULL;
    const char *why;
    long version = 0;

    if (up->lean == NULL || curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version) != CURLE_OK ||
        curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url) != CURLE_OK || url == NULL ||
        strncmp(url, "https://", 8) != 0 || version == 0)
        return;
    origin = pool_origin(up->lean, url, &why);
    if (origin == NULL)
        return;
    origin->speaks = version == CURL_HTTP_VERSION_1_1 ? SPEAKS_H1 : SPEAKS_OTHER;
    origin->learned_ms = loop_now_ms(up->loop);
    pool_release(origin);
}

/* --- connections --- */

/* Where a handshake has not come to its end, libcurl goes first again: what stands between an origin
 * and our TLS shall not stand for an hour. */
static void drop_conn(struct exchange *x)
{
    if (x->conn == NULL)
        return;
    if (x->conn->tls != NULL && !x->conn->ready)
        x->origin->speaks = SPEAKS_UNKNOWN;
    conn_free(x->conn);
    x->conn = NULL;
}

static void end_failed(struct upstream_call *call, enum upstream_end end, const char *phase,
                       const char *text)
{
    char error[sizeof(call->error)];

    snprintf(error, sizeof(error), "%s: %.140s", phase, text);
    call_fail(call, end, error);
    drop_conn(call->exchange);
    turn_end(call, CURLE_OK);
}

static void connect_anew(struct upstream_call *call)
{
    struct exchange *x = call->exchange;
    const char *why = handle_prepare_connection(call, x->origin->connect_url);

    x->kept = x->heard = false;
    x->sent = 0;
    x->began_connect_us = clock_now_us();
    if (why == NULL &&
        (call->added = curl_multi_add_handle(call->lane->multi, call->easy) == CURLM_OK))
        return;
    call_fail(call, call->began ? UPSTREAM_BROKEN : UPSTREAM_REFUSED, OUT_OF_MEMORY);
    turn_end(call, CURLE_OK);
}

/* The connection is of no use any more. A GET that was sent on one that had served others before, and
 * to which not a byte came back, may have met its end on the way: then it is sent once more. The
 * owner hears of it. */
static void lost(struct upstream_call *call, const char *phase, const char *text)
{
    struct exchange *x = call->exchange;

    if (!x->reads || !x->kept || x->heard || call->repeated) {
        end_failed(call, call->began ? UPSTREAM_BROKEN : UPSTREAM_CONNECT_FAILED, phase, text);
        return;
    }
    drop_conn(x);
    call_set_phase(call, PHASE_CONNECT);
    connect_anew(call);
}

/* --- the answer --- */

static void finish(struct upstream_call *call, size_t left)
{
    struct exchange *x = call->exchange;
    struct lean_conn *conn = x->conn;

    x->conn = NULL;
    if (x->answer.last || left > 0 || x->sent < x->len || conn_has_pending(conn))
        conn_free(conn);
    else
        pool_keep(conn);
    if (call->paused)
        x->over = call->curl_paused = true;
    else
        turn_end(call, CURLE_OK);
}

/* The owner has cancelled the call from inside a callback, or a cap is reached. */
static void stop(struct upstream_call *call)
{
    if (call->dropped)
        return; /* turn_work() frees it */
    drop_conn(call->exchange);
    turn_end(call, CURLE_OK);
}

/* @return false: the call has ended, or will */
static bool take_step(struct upstream_call *call, enum answer_step step, size_t left)
{
    struct answer *answer = &call->exchange->answer;

    switch (step) {
    case ANSWER_HEAD:
        if (call_take_head(call))
            return true;
        stop(call);
        return false;
    case ANSWER_DATA:
        if (call_take_body(call, answer->piece, answer->piece_len))
            return true;
        stop(call);
        return false;
    case ANSWER_END:
        finish(call, left);
        return false;
    case ANSWER_BROKEN:
        end_failed(call, UPSTREAM_BROKEN, "receive", answer->why);
        return false;
    case ANSWER_TOO_LARGE:
        end_failed(call, UPSTREAM_TOO_LARGE, "receive", answer->why);
        return false;
    default:
        return true;
    }
}

static bool take_bytes(struct upstream_call *call, const char *bytes, size_t len)
{
    struct exchange *x = call->exchange;
    enum answer_step step;

    if (!x->heard && call->first_byte_us == 0)
        call->first_byte_us = clock_now_us() - call->started_us;
    x->heard = true;
    while ((step = answer_next(&x->answer, &bytes, &len)) != ANSWER_MORE)
        if (!take_step(call, step, len))
            return false;
    return true;
}

static void take_close(struct upstream_call *call)
{
    struct exchange *x = call->exchange;

    if (!x->heard)
        lost(call, "receive", "closed before an answer");
    else
        take_step(call, answer_closed(&x->answer), 0);
}

static void watch(struct upstream_call *call, uint32_t events)
{
    if (conn_watch(call->exchange->conn, events) != 0)
        end_failed(call, UPSTREAM_BROKEN, call->exchange->heard ? "receive" : "send",
                   "the connection cannot be watched");
}

/* Over TLS the kernel may have told of bytes that are in our buffer by now. Who pauses is watched
 * still: most owners go on in the same turn. */
static void pause_or_wait(struct upstream_call *call)
{
    if (call->paused) {
        call->curl_paused = true;
    } else if (conn_has_pending(call->exchange->conn)) {
        call->curl_paused = true;
        call_work_add(call, TODO_RESUME);
    }
}

static void read_answer(struct upstream_call *call)
{
    struct exchange *x = call->exchange;
    struct lean *lean = call->up->lean;
    size_t enough = x->conn->tls != NULL ? 0 : sizeof(lean->buffer);
    char error[128];
    ssize_t n = (ssize_t)enough;

    /* Without TLS less than a buffer is all that there is. */
    for (int i = 0; i < MAX_READS && n >= (ssize_t)enough && !call->paused; i++) {
        n = conn_read(x->conn, lean->buffer, sizeof(lean->buffer), error, sizeof(error));
        if (n <= 0)
            break;
        if (!take_bytes(call, lean->buffer, (size_t)n))
            return;
    }
    if (n == 0)
        take_close(call);
    else if (n == CONN_BROKEN)
        lost(call, "receive", error);
    else if (n > 0)
        pause_or_wait(call);
}

/* --- sending --- */

static void send_request(struct upstream_call *call)
{
    struct exchange *x = call->exchange;
    uint32_t events = EPOLLIN | EPOLLRDHUP;
    char error[128];
    ssize_t n;

    n = conn_write(x->conn, x->request + x->sent, x->len - x->sent, error, sizeof(error));
    if (n == CONN_BROKEN) {
        lost(call, "send", error);
        return;
    }
    x->sent += n > 0 ? (size_t)n : 0;
    if (x->sent < x->len)
        events |= EPOLLOUT;
    watch(call, events);
}

/* The connection stands. */
static void send_first(struct upstream_call *call)
{
    struct exchange *x = call->exchange;

    lane_set_owner(&call->up->lanes[LANE_LEAN], x->conn->fd, call->owner);
    if (call_may_begin(call)) {
        send_request(call);
    } else if (!call->dropped) {
        drop_conn(x);
        turn_end(call, CURLE_OK);
    }
}

static void go_on_with_handshake(struct upstream_call *call)
{
    struct exchange *x = call->exchange;
    uint32_t events = 0;
    char error[128];

    switch (lean_tls_handshake(x->conn, &events, error, sizeof(error))) {
    case 1:
        x->connect_us = clock_now_us() - x->began_connect_us;
        send_first(call);
        break;
    case CONN_AGAIN:
        if (conn_watch(x->conn, events) == 0)
            break;
        snprintf(error, sizeof(error), "the connection cannot be watched");
        /* fall through */
    default:
        lost(call, "connect", error);
    }
}

/* A socket of our own on curl's connection, which curl closes then. -1: there is none */
static int take_socket(struct upstream_call *call)
{
    curl_socket_t fd = CURL_SOCKET_BAD;

    if (curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
        fd == CURL_SOCKET_BAD)
        return -1;
    /* the epoll of curl's lane would not forget it with curl's descriptor */
    epoll_ctl(call->lane->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

bool lean_connected(struct upstream_call *call)
{
    struct exchange *x = call->exchange;
    struct lean *lean = call->up->lean;
    int fd = take_socket(call);

    curl_multi_remove_handle(call->lane->multi, call->easy);
    call->added = false;
    handle_release(call);
    x->conn = fd != -1 ? conn_new(lean, x->origin, fd) : NULL;
    if (x->conn == NULL || (x->origin->tls && lean_tls_start(x->conn) != 0)) {
        end_failed(call, call->began ? UPSTREAM_BROKEN : UPSTREAM_CONNECT_FAILED, "connect",
                   "the connection cannot be used");
        return true;
    }
    x->conn->call = call;
    lane_set_owner(&call->up->lanes[LANE_LEAN], fd, call->owner);
    if (x->origin->tls) {
        go_on_with_handshake(call);
    } else {
        x->connect_us = clock_now_us() - x->began_connect_us;
        send_first(call);
    }
    return call->ended;
}

/* --- the interface --- */

void lean_begin(struct upstream_call *call)
{
    struct exchange *x = call->exchange;

    x->conn = pool_take(call->up->lean, x->origin, !x->reads);
    if (x->conn == NULL) {
        connect_anew(call);
        return;
    }
    x->conn->call = call;
    x->kept = true;
    send_first(call);
}

static void run_call(struct upstream_call *call, uint32_t events)
{
    struct lean_conn *conn = call->exchange->conn;

    call->up->in_curl = true; /* owners that are called back may not free the call */
    if (call->paused)
        watch(call, 0); /* it has not gone on since */
    else if (conn->tls != NULL && !conn->ready)
        go_on_with_handshake(call);
    else if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        read_answer(call);
    else if (events & EPOLLOUT && call->exchange->sent < call->exchange->len)
        send_request(call);
    call->up->in_curl = false;
}

bool lean_run(struct upstream *up, int fd, uint32_t events)
{
    struct lean *lean = up->lean;
    struct lean_conn *conn = (size_t)fd < lean->num_conns ? lean->conns[fd] : NULL;
    struct upstream_call *call;

    if (conn == NULL)
        return false; /* closed since the look */
    call = conn->call;
    if (call == NULL)
        pool_readable(conn);
    if (call == NULL || call->dropped)
        return false; /* it goes at the end of this turn */
    run_call(call, events);
    return call->ended;
}

void lean_resume(struct upstream_call *call)
{
    struct exchange *x = call->exchange;
    struct upstream *up = call->up;

    if (x->over) {
        turn_end(call, CURLE_OK);
        return;
    }
    up->in_curl = true;
    watch(call, EPOLLIN | EPOLLRDHUP);
    if (!call->ended)
        read_answer(call); /* what came meanwhile, without waiting for a turn */
    up->in_curl = false;
}

void lean_release(struct upstream_call *call)
{
    struct exchange *x = call->exchange;

    if (x == NULL)
        return;
    drop_conn(x);
    answer_deinit(&x->answer);
    pool_release(x->origin);
    secret_wipe(x->request, x->len);
    free(x);
    call->exchange = NULL;
}

uint64_t lean_connect_us(const struct upstream_call *call)
{
    return call->exchange->connect_us;
}

uint64_t lean_sent_bytes(const struct upstream_call *call)
{
    const struct exchange *x = call->exchange;
    size_t head_len = x->len - x->body_len;

    return x->sent > head_len ? x->sent - head_len : 0;
}

int lean_new(struct upstream *up)
{
    struct lean *lean = calloc(1, sizeof(*lean));

    if (lean == NULL)
        return ERR_NOMEM;
    lean->up = up;
    TAILQ_INIT(&lean->idle);
    TAILQ_INIT(&lean->origins);
    lean->timer.cb = pool_on_timer;
    lean->timer.arg = lean;
    up->lean = lean;
    return 0;
}

void lean_free(struct lean *lean)
{
    if (lean == NULL)
        return;
    pool_deinit(lean);
    SSL_CTX_free(lean->tls);
    free(lean->conns);
    free(lean);
}
