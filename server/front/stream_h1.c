/* HTTP/1 between the socket and libh2o: one request at a time, each head checked, each body a
 * stream.
 *
 * libh2o buffers a body whole before it calls the handler. So it never learns of bodies: the
 * framing is rewritten to "empty" at the same length, libh2o calls the handler at the end of the
 * head, and the body is read here once the handler starts it. Three places of libh2o are used, all
 * in its public structs:
 *
 *   sock->_cb.read   Ours while a head is awaited. libh2o's own is called with exactly one checked
 *                    head in the input buffer, and with an error to make it close. It never sees
 *                    other bytes: what came behind a head waits in the stash.
 *   do_send          Of the last output stream: the moment when the response begins and ends, so
 *                    that `Connection: close` can still be added, and
 *   sock->_cb.write  its completion, which we pass on to libh2o only after an unread body was
 *                    drained.
 *
 *   H1_HEAD ──fine──> H1_RUNNING ──last byte written, body read──────────────> (finish)
 *      │                   ├──body not read to its end──> H1_DRAINING ──drained──> (finish)
 *      │                   └──... and the last request──> H1_CLOSING ──drained───> (finish)
 *      └──not fine──> H1_REFUSED: answered by us ──drained, or long enough───────> closed
 *
 *   (finish): libh2o goes on, and a head is awaited (H1_HEAD), or it closes.
 *
 *   H1_UNANSWERED ──the handler sends──> H1_ANSWERING ──the last of it──> H1_ANSWERED
 *      │       ▲                               └──it gives up──────────> H1_BROKEN_OFF
 *      ▼       │ written
 *   H1_CONTINUE: the client waits for it, and a handler begins with the body
 *
 * Booleans that are no states: skipped_line is a fact of the head that is awaited, and those of
 * struct h1_stream are facts of a body that do not exclude one another: the handler has begun to
 * read it, its last byte was decoded, its syntax is broken, the handler was told so, the client
 * waits for `100 Continue`.
 *
 * Nothing of ours closes a connection from inside a handler's call: an empty final send waits for
 * the next turn. So a handler may do what it likes in a body's callback. */
#include "guard.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <h2o/http1.h>

#include "core/access_log.h"
#include "h1_stream.h"

static void on_head_readable(h2o_socket_t *sock, const char *err);
static void on_body_readable(h2o_socket_t *sock, const char *err);
static void on_written(h2o_socket_t *sock, const char *err);
static void on_send(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t num,
                    h2o_send_state_t state);
static void try_head(struct conn *conn);

/* Where a connection of libh2o keeps its h2o_req_t: private, but the same for all; learned from the
 * first. */
static size_t req_offset;

static uint64_t now_of(const struct conn *conn)
{
    return loop_now_ms(conn->front->loop);
}

/* --- ending --- */

static void leave_queue(struct conn *conn)
{
    if (conn->h1.turn.link != NULL)
        slices_remove(conn->load.share->shares->slices, &conn->h1.turn);
}

void h1_hang_up(struct conn *conn)
{
    struct h1_stream *s = conn->h1.stream;

    if (conn->dying)
        return;
    leave_queue(conn);
    guard_dying(conn);
    if (s != NULL && !s->ended)
        body_fail(&s->body, BODY_CLIENT_GONE);
    conn->h1.lib_read(conn->sock, h2o_socket_error_closed); /* disposes the request, closes */
}

static void enter(struct h1_conn *h1, enum h1_phase phase, uint64_t since_ms)
{
    h1->phase = phase;
    h1->since_ms = since_ms;
}

/* Ready for a head: libh2o has a fresh request and has begun to read. */
static void begin(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    h2o_ostream_t *last = h1->req->_ostr_top;

    enter(h1, H1_HEAD, 0);
    h1->answer = H1_UNANSWERED;
    h1->skipped_line = false;
    h1->scanned = 0;
    h1->held.self = NULL;
    h1->lib_send = last->do_send;
    last->do_send = on_send;
    conn->sock->_cb.read = on_head_readable;
}

/* Hand a pipelined head, or the begin of one, to the input buffer. */
static void next_head(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    size_t len, scanned = 0;
    const char *bytes = h1_stream_stash(h1, &len);
    h2o_iovec_t room;
    int head_len;

    if (len == 0)
        return;
    head_len = guard_h1_find_end(bytes, len, &scanned);
    if (head_len > 0)
        len = (size_t)head_len;
    room = h2o_buffer_reserve(&conn->sock->input, len);
    if (room.base == NULL) {
        h1_hang_up(conn);
        return;
    }
    memcpy(room.base, bytes, len);
    conn->sock->input->size += len;
    h1_stream_took(h1, len);
    try_head(conn);
}

/* The response is written and the body is out of the way: libh2o goes on to the next request, or
 * closes. */
static void finish(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    /* A response broken off ends the connection, and over TLS libh2o's half of it is gone before
     * the socket is. */
    bool broken = h1->held.self != NULL && h1->held.state == H2O_SEND_STATE_ERROR;
    bool persistent = h1->req->http1_is_persistent && !broken;

    if (h1->phase == H1_REFUSED) {
        h1_hang_up(conn);
        return;
    }
    if (persistent)
        conn->active_ms = now_of(conn);
    else
        guard_dying(conn);
    guard_pin(conn);
    if (h1->held.self != NULL)
        h1->lib_send(h1->held.self, h1->req, NULL, 0, h1->held.state);
    else
        h1->lib_write(conn->sock, NULL);
    if (!guard_unpin(conn) || !persistent)
        return;
    begin(conn);
    next_head(conn);
}

/* --- reading --- */

/* Read exactly while the handler wants bytes. */
static void update_reading(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;

    if (h1->phase != H1_RUNNING || conn->dying)
        return;
    if (s != NULL && !s->ended && !s->broken && h1_stream_is_flowing(s) && h1->stash_len == 0)
        h2o_socket_read_start(conn->sock, on_body_readable);
    else if (conn->sock->_cb.read != NULL)
        h2o_socket_read_stop(conn->sock);
}

/* --- lingering --- */

static void end_linger(struct conn *conn, bool drained)
{
    if (!drained)
        conn->h1.req->http1_is_persistent = 0;
    finish(conn);
}

/* @return true when the body's end was among these bytes; what follows it went to the stash */
static bool drop(struct conn *conn, char *raw, size_t len)
{
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;
    size_t used;

    h1->lingered += len;
    if (h1->phase == H1_REFUSED || s == NULL || s->broken)
        return false;
    used = h1_stream_feed(s, raw, len, true);
    if (s->ended && h1->phase == H1_DRAINING && used < len &&
        !h1_stream_keep(h1, raw + used, len - used))
        h1->req->http1_is_persistent = 0;
    return s->ended;
}

static void on_linger_readable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    struct h1_conn *h1 = &conn->h1;
    size_t keep = h1->phase == H1_REFUSED ? 0 : h1->head_len;
    bool ended;

    if (err != NULL) {
        end_linger(conn, false);
        return;
    }
    if (sock->ssl == NULL) {
        ssize_t n =
            read(h2o_socket_get_fd(sock), conn->front->scratch, sizeof(conn->front->scratch));

        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return;
        ended = n > 0 && drop(conn, conn->front->scratch, (size_t)n);
        if (n <= 0) {
            end_linger(conn, false);
            return;
        }
    } else {
        ended = drop(conn, sock->input->bytes + keep, sock->input->size - keep);
        sock->input->size = keep;
    }
    if (ended || h1->lingered > GUARD_LINGER_BYTES)
        end_linger(conn, ended);
}

/* Whoever still sends would lose our answer to a reset, were the connection closed with bytes
 * unread: so end our side of it and drain, within bounds. */
static void start_linger(struct conn *conn, enum h1_phase phase)
{
    struct h1_conn *h1 = &conn->h1;

    assert(phase == H1_DRAINING || phase == H1_CLOSING || phase == H1_REFUSED);
    enter(h1, phase, now_of(conn));
    h1->lingered = 0;
    if (phase != H1_DRAINING)
        guard_end_sending(conn);
    h2o_socket_read_start(conn->sock, on_linger_readable);
}

/* --- refusing a head --- */

static void on_refusal_written(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;

    if (err != NULL)
        h1_hang_up(conn);
    else
        start_linger(conn, H1_REFUSED);
}

static void refuse(struct conn *conn, int status)
{
    const struct guard_refusal *r = guard_refusal(status);
    struct h1_conn *h1 = &conn->h1;
    char text[1024], id[ACCESS_LOG_ID];
    h2o_iovec_t buf;
    int len;

    h2o_get_timestamp(conn->front->ctx, NULL, NULL); /* makes the cached one that of now */
    access_log_new_id(id);
    access_log_refusal(id, conn->address, r->status, 0x101, strlen(r->body));
    len = snprintf(text, sizeof(text),
                   "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nServer: tranche\r\n"
                   "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                   "x-request-id: %s\r\nx-litellm-call-id: %s\r\n"
                   "x-tranche-version: " TRANCHE_VERSION "\r\n\r\n%s",
                   r->status, r->reason, conn->front->ctx->_timestamp_cache.value->rfc1123,
                   strlen(r->body), id, id, r->body);

    h1->stash_len = h1->stash_at =
        0; /* nothing of it will be used; the text lives there until it is written */
    if (!h1_stream_keep(h1, text, (size_t)len)) {
        h1_hang_up(conn);
        return;
    }
    enter(h1, H1_REFUSED, now_of(conn));
    h2o_socket_read_stop(conn->sock);
    if (conn->sock->input->size != 0)
        h2o_buffer_consume(&conn->sock->input, conn->sock->input->size);
    buf = h2o_iovec_init(h1->stash, h1->stash_len);
    h2o_socket_write(conn->sock, &buf, 1, on_refusal_written);
}

/* --- a body as handlers see it --- */

static void kick(struct conn *conn)
{
    if (!h2o_timeout_is_linked(&conn->h1.kick))
        h2o_timeout_link(conn->front->ctx->loop, &conn->front->ctx->zero_timeout, &conn->h1.kick);
}

static struct h1_stream *stream_of(struct body *body)
{
    return (struct h1_stream *)body;
}

static void do_start(struct body *body)
{
    struct h1_stream *s = stream_of(body);

    assert(!s->started);
    s->started = true;
    guard_rate_reset(&s->rate, s->conn->front, now_of(s->conn));
    kick(s->conn);
}

static void do_pause(struct body *body)
{
    update_reading(stream_of(body)->conn);
}

static void do_resume(struct body *body)
{
    struct h1_stream *s = stream_of(body);

    guard_rate_reset(&s->rate, s->conn->front, now_of(s->conn));
    kick(s->conn);
}

static void do_abandon(struct body *body)
{
    update_reading(stream_of(body)->conn);
}

static const struct body_source source = {do_start, do_pause, do_resume, do_abandon};

struct body *h1_body(struct conn *conn)
{
    struct h1_stream *s = conn->h1.stream;

    return s != NULL ? &s->body : NULL;
}

static void on_stream_gone(void *p)
{
    struct h1_stream *s = p;

    if (s->conn->h1.stream == s)
        s->conn->h1.stream = NULL;
}

static void add_stream(struct conn *conn, const struct guard_head *head)
{
    /* the pool's disposers run from the last to the first: ours after the handler's */
    struct h1_stream *s = h2o_mem_alloc_shared(&conn->h1.req->pool, sizeof(*s), on_stream_gone);

    assert(conn->h1.stream == NULL); /* one request at a time */
    memset(s, 0, sizeof(*s));
    s->body.source = &source;
    s->body.length = head->framing == FRAMING_LENGTH ? (int64_t)head->length : -1;
    s->conn = conn;
    s->framing = head->framing;
    s->left = head->length;
    s->hello_wanted = head->continue_expected && conn->h1.stash_len == 0;
    conn->h1.stream = s;
}

/* --- 100 Continue --- */

static void forward(struct conn *conn, h2o_ostream_t *self, h2o_iovec_t *bufs, size_t num,
                    h2o_send_state_t state);

static void on_hello_written(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    struct h1_conn *h1 = &conn->h1;
    h2o_ostream_t *self = h1->held.self;

    h1->answer = H1_UNANSWERED;
    if (err != NULL) {
        h1_hang_up(conn);
    } else if (self != NULL) {
        h1->held.self = NULL;
        forward(conn, self, h1->held.bufs, h1->held.num, h1->held.state);
    }
}

static void say_hello(struct conn *conn)
{
    h2o_iovec_t hello = {H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n")};

    assert(conn->h1.answer == H1_UNANSWERED);
    conn->h1.answer = H1_CONTINUE;
    h2o_socket_write(conn->sock, &hello, 1, on_hello_written);
}

/* --- the flow of a body --- */

static void on_body_readable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;
    char *raw = conn->front->scratch;
    size_t len, used;

    if (err != NULL || s == NULL) {
        h1_hang_up(conn);
        return;
    }
    if (sock->ssl == NULL) {
        size_t most = s->body.slice != 0 ? s->body.slice : BODY_SLICE;
        ssize_t n = read(h2o_socket_get_fd(sock), raw, most);

        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            h1_hang_up(conn);
            return;
        }
        len = (size_t)n;
    } else {
        raw = sock->input->bytes + h1->head_len;
        len = sock->input->size - h1->head_len;
    }
    used = h1_stream_feed(s, raw, len, false);
    if (used < len && !h1_stream_keep(h1, raw + used, len - used)) {
        h1_hang_up(conn);
        return;
    }
    if (sock->ssl != NULL)
        sock->input->size = h1->head_len;
    h1_stream_tell_end(s);
    update_reading(conn);
}

/* --- the response on its way out --- */

/* The head of the response is about to be fixed: may the connection live on? */
static void settle(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;

    if (conn->front->draining || now_of(conn) - conn->opened_ms > GUARD_AGE_MS)
        h1->req->http1_is_persistent = 0;
    if (s == NULL || s->ended || s->body.ops != NULL)
        return;
    h1_stream_feed_stash(h1, true);
    if (!s->ended && (s->broken || s->hello_wanted || s->framing == FRAMING_CHUNKED ||
                      s->left > GUARD_REUSE_BYTES))
        h1->req->http1_is_persistent = 0;
}

static void hold(struct conn *conn, h2o_ostream_t *self, h2o_iovec_t *bufs, size_t num,
                 h2o_send_state_t state)
{
    struct h1_conn *h1 = &conn->h1;

    h1->held.self = self;
    h1->held.num = num;
    h1->held.state = state;
    h1->held.bufs = NULL;
    if (num != 0) {
        h1->held.bufs = h2o_mem_alloc_pool(&h1->req->pool, sizeof(*bufs) * num);
        memcpy(h1->held.bufs, bufs, sizeof(*bufs) * num);
    }
}

static void forward(struct conn *conn, h2o_ostream_t *self, h2o_iovec_t *bufs, size_t num,
                    h2o_send_state_t state)
{
    struct h1_conn *h1 = &conn->h1;
    bool first = h1->answer == H1_UNANSWERED;

    h1->answer = state == H2O_SEND_STATE_IN_PROGRESS ? H1_ANSWERING
                 : state == H2O_SEND_STATE_FINAL     ? H1_ANSWERED
                                                     : H1_BROKEN_OFF;
    if (first) {
        settle(conn);
    } else if (num == 0) {
        hold(conn, self, NULL, 0, state); /* libh2o would complete, perhaps close, at once */
        kick(conn);
        return;
    }
    h1->lib_send(self, h1->req, bufs, num, state);
    if (conn->sock->_cb.write != NULL && conn->sock->_cb.write != on_written) {
        h1->lib_write = conn->sock->_cb.write;
        conn->sock->_cb.write = on_written;
    }
}

static void on_send(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t num,
                    h2o_send_state_t state)
{
    struct conn *conn = guard_conn_of(req);

    if (conn->dying)
        return; /* libh2o closes it in a moment */
    if (conn->h1.answer == H1_CONTINUE)
        hold(conn, self, bufs, num, state);
    else
        forward(conn, self, bufs, num, state);
}

static void on_response_end(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;

    if (s == NULL || s->ended || h1->answer == H1_BROKEN_OFF) {
        finish(conn);
        return;
    }
    body_abandon(&s->body); /* a handler that still listened has answered all the same */
    h1_stream_feed_stash(h1, true);
    if (s->ended)
        finish(conn);
    else
        start_linger(conn, h1->req->http1_is_persistent ? H1_DRAINING : H1_CLOSING);
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    struct h1_conn *h1 = &conn->h1;

    if (err != NULL) {
        guard_dying(conn);
        if (h1->stream != NULL && !h1->stream->ended)
            body_fail(&h1->stream->body, BODY_CLIENT_GONE);
        h1->req->http1_is_persistent = 0; /* libh2o does not look at the error of a last write */
        h1->lib_write(sock, err);
    } else if (h1->answer == H1_ANSWERING) {
        h1->lib_write(sock, NULL); /* the generator proceeds */
    } else {
        on_response_end(conn);
    }
}

/* A body that goes on is read at once, if its bytes are there: behind what all sockets have had of
 * this turn, and one that waits for each slice of it costs epoll nothing. */
static void pump(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;

    if (s == NULL || h1->phase != H1_RUNNING || !h1_stream_is_flowing(s))
        return;
    if (s->hello_wanted && h1->answer == H1_UNANSWERED) {
        s->hello_wanted = false;
        say_hello(conn);
    }
    h1_stream_feed_stash(h1, false);
    h1_stream_tell_end(s);
    update_reading(conn);
    if (conn->sock->_cb.read == on_body_readable && conn->sock->ssl == NULL)
        on_body_readable(conn->sock, NULL);
}

static void on_kick(h2o_timeout_entry_t *entry)
{
    struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, h1.kick, entry);
    struct h1_conn *h1 = &conn->h1;

    if (conn->dying || h1->phase != H1_RUNNING)
        return;
    if (h1->held.self != NULL && h1->answer != H1_CONTINUE) {
        if (h1->held.state != H2O_SEND_STATE_IN_PROGRESS) {
            on_response_end(conn);
            return;
        }
        h1->held.self = NULL;
        h2o_proceed_response(h1->req);
    }
    pump(conn);
}

/* --- heads --- */

/* Give libh2o one checked head. */
static void pass(struct conn *conn, size_t len, const struct guard_head *head)
{
    struct h1_conn *h1 = &conn->h1;
    h2o_buffer_t *input = conn->sock->input;

    if (input->size > len && !h1_stream_keep(h1, input->bytes + len, input->size - len)) {
        h1_hang_up(conn);
        return;
    }
    input->size = len;
    guard_h1_hide(input->bytes, head);
    h1->head_len = len;
    conn->used = true;
    conn->active_ms = now_of(conn);
    enter(h1, H1_RUNNING, conn->active_ms);
    if (head->framing == FRAMING_CHUNKED || head->length != 0)
        add_stream(conn, head);
    guard_pin(conn);
    h1->lib_read(conn->sock, NULL); /* the handler runs in here */
    if (!guard_unpin(conn) || h1->req->version != 0)
        return;
    /* libh2o's parser did not like what we let through; it answers 400 by itself, then closes */
    if (conn->sock->_cb.write != NULL)
        guard_dying(conn);
    else
        h1_hang_up(conn);
}

static void settle_head(struct conn *conn, size_t len, int status, const struct guard_head *head)
{
    if (status == 0)
        pass(conn, len, head);
    else if (status == GUARD_H1_FOREIGN)
        h1_hang_up(conn);
    else
        refuse(conn, status);
}

static void read_head(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    h2o_buffer_t *input = conn->sock->input;
    struct guard_head head;
    int len;

    if (input->size >= 2 && !h1->skipped_line && memcmp(input->bytes, "\r\n", 2) == 0) {
        h1->skipped_line = true;
        h2o_buffer_consume(&conn->sock->input, 2);
        input = conn->sock->input;
    }
    if (input->size == 0 || (input->size == 1 && input->bytes[0] == '\r' && !h1->skipped_line))
        return;
    if (guard_h1_may_be_whole(input->bytes, input->size) && /* the usual case: nothing else came */
        (len = guard_h1_check(input->bytes, input->size, &head)) != GUARD_H1_MORE) {
        settle_head(conn, input->size, len, &head);
        return;
    }
    len = guard_h1_find_end(input->bytes, input->size, &h1->scanned);
    if (len > 0)
        settle_head(conn, (size_t)len, guard_h1_check(input->bytes, (size_t)len, &head), &head);
    else if (len < 0)
        refuse(conn, -len);
}

static void wait_for_turn(struct conn *conn)
{
    struct share *share = conn->load.share;

    conn->h1.turn.flow = &share->flow;
    h2o_socket_read_stop(conn->sock);
    if (slices_add(share->shares->slices, conn->front->loop, &conn->h1.turn) != 0)
        h1_hang_up(conn); /* no memory */
}

/* Its tenant's turn has come. */
static void on_turn(struct slice *slice)
{
    struct conn *conn = slice->arg;
    struct share *share = conn->load.share;
    struct shares *shares = share->shares;

    assert(!conn->dying && conn->h1.phase == H1_HEAD);
    h2o_socket_read_start(conn->sock, on_head_readable);
    share_turn(share);
    read_head(conn);
    share_end_turn(shares);
}

/* What a connection's tenant asks for is not even looked at before it is his turn: of one that has
 * hundreds of connections the heads alone would make others wait. */
static void try_head(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    struct share *share = conn->load.share;

    if (conn->sock->input->size == 0 || h1->turn.link != NULL)
        return;
    if (h1->since_ms == 0)
        h1->since_ms = now_of(conn);
    if (share == NULL) {
        read_head(conn);
    } else if (share_begins(share, now_of(conn))) {
        struct shares *shares = share->shares;

        share_turn(share);
        read_head(conn);
        share_end_turn(shares);
    } else {
        wait_for_turn(conn);
    }
}

static void on_head_readable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    h2o_iovec_t room;
    ssize_t n;

    if (err != NULL) {
        h1_hang_up(conn);
        return;
    }
    if (sock->ssl == NULL) {
        room = h2o_buffer_reserve(&sock->input, 4096);
        n = room.base != NULL ? read(h2o_socket_get_fd(sock), room.base, room.len) : 0;
        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            h1_hang_up(conn);
            return;
        }
        sock->input->size += (size_t)n;
    }
    try_head(conn);
}

static int on_request_seen(h2o_req_t *req, void *arg)
{
    (void)arg;
    req_offset = (size_t)((char *)req - (char *)req->conn);
    return 1;
}

void h1_adopt(struct conn *conn)
{
    struct h1_conn *h1 = &conn->h1;
    h2o_socket_t *sock = conn->sock;
    h2o_buffer_t *held = sock->input;

    h1->kick.cb = on_kick;
    h1->turn = (struct slice){.cb = on_turn, .arg = conn};
    h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
    h2o_http1_accept(&conn->front->accept, sock, conn->connected_at);
    h2o_buffer_dispose(&sock->input);
    sock->input = held;
    h1->lib_read = sock->_cb.read;
    if (req_offset == 0)
        H2O_HTTP1_CALLBACKS.foreach_request(conn->front->ctx, on_request_seen, NULL);
    h1->req = (h2o_req_t *)(void *)((char *)sock->data + req_offset);
    if (h1->req->conn != sock->data) {
        h1_hang_up(conn); /* another libh2o than the self-test saw */
        return;
    }
    begin(conn);
    try_head(conn);
}

/* --- timers --- */

void h1_tick(struct conn *conn, uint64_t now_ms)
{
    struct h1_conn *h1 = &conn->h1;
    struct h1_stream *s = h1->stream;
    bool writing = conn->sock->_cb.write != NULL;

    switch (h1->phase) {
    case H1_HEAD:
        if (h1->turn.link != NULL)
            break; /* it waits for us */
        if (h1->since_ms != 0 ? now_ms - h1->since_ms > guard_head_ms(conn->front)
                              : now_ms - conn->active_ms > guard_idle_ms(conn->front))
            h1_hang_up(conn);
        break;
    case H1_RUNNING:
        if (guard_stalled(conn, writing, writing ? guard_acked(conn) : 0, now_ms)) {
            h1_hang_up(conn);
            break;
        }
        if (s != NULL && !s->ended && !s->broken && h1_stream_is_flowing(s) &&
            guard_rate_failed(&s->rate, conn->front, now_ms)) {
            body_fail(&s->body, BODY_TOO_SLOW);
            update_reading(conn);
        }
        break;
    case H1_DRAINING:
    case H1_CLOSING:
    case H1_REFUSED:
        if (now_ms - h1->since_ms > GUARD_LINGER_MS)
            end_linger(conn, false);
        break;
    }
}

bool h1_is_idle(const struct conn *conn)
{
    return conn->h1.phase == H1_HEAD && conn->h1.since_ms == 0;
}

int h1_watched(const struct conn *conn, uint64_t now_ms)
{
    const struct h1_conn *h1 = &conn->h1;

    if (h1->phase != H1_RUNNING || now_ms - h1->since_ms < GUARD_HANGUP_MS)
        return -1;
    /* A client may close its sending side behind the last request; one that does so is taken to be
     * gone only while nothing has been answered and nothing else of it waits. nginx does the same.
     */
    if (h1->answer < H1_ANSWERING && h1->stash_len == 0 &&
        (h1->stream == NULL || h1->stream->ended))
        return POLLRDHUP;
    return 0;
}

void h1_forget(struct conn *conn)
{
    h2o_timeout_unlink(&conn->h1.kick);
    leave_queue(conn);
    free(conn->h1.stash);
}
