/* See h2_streams.h. */
#include "h2_streams.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "h2_frames.h"

void h2_kick(struct conn *conn)
{
    if (!h2o_timeout_is_linked(&conn->h2.kick))
        h2o_timeout_link(conn->front->ctx->loop, &conn->front->ctx->zero_timeout, &conn->h2.kick);
}

/* --- flow control: bytes are given back when the handler has them --- */

void h2_return_to_connection(struct conn *conn, size_t bytes)
{
    conn->h2.returned += (uint32_t)bytes;
    if (conn->h2.returned < GUARD_WINDOW_H2_ALL / 2)
        return;
    h2_put_window(h2_lib_of(conn), 0, conn->h2.returned);
    conn->h2.window += conn->h2.returned;
    conn->h2.returned = 0;
}

void h2_return_to_stream(struct h2_stream *s, size_t bytes)
{
    h2_return_to_connection(s->conn, bytes);
    s->returned += (uint32_t)bytes;
    if (s->returned < GUARD_WINDOW_H2 / 2 || s->remote_ended)
        return;
    h2_put_window(h2_lib_of(s->conn), s->id, s->returned);
    s->window += s->returned;
    s->returned = 0;
}

/* --- bodies --- */

/* Somebody listens and has room. */
static bool is_flowing(const struct h2_stream *s)
{
    return s->started && s->body.ops != NULL && !s->body.paused;
}

/* Nobody will ever want the bytes. */
static bool is_unwanted(const struct h2_stream *s)
{
    return s->started ? s->body.ops == NULL : s->told;
}

static bool enqueue(struct h2_stream *s, const uint8_t *bytes, size_t len)
{
    assert(s->queue_at <= s->queue_len && s->queue_len <= s->queue_capacity);
    if (s->queue_at != 0) {
        memmove(s->queue, s->queue + s->queue_at, s->queue_len - s->queue_at);
        s->queue_len -= s->queue_at;
        s->queue_at = 0;
    }
    if (s->queue_len + len > s->queue_capacity) {
        size_t capacity = (s->queue_len + len) * 2;
        char *grown = realloc(s->queue, capacity);

        if (grown == NULL)
            return false;
        s->queue = grown;
        s->queue_capacity = capacity;
    }
    memcpy(s->queue + s->queue_len, bytes, len);
    s->queue_len += len;
    return true;
}

static void drop_queue(struct h2_stream *s)
{
    free(s->queue);
    s->queue = NULL;
    s->queue_len = s->queue_at = s->queue_capacity = 0;
}

void h2_tell_end(struct h2_stream *s)
{
    if (s->told || !is_flowing(s) || s->queue_len != 0 || (!s->remote_ended && !s->broken))
        return;
    s->told = true;
    if (s->broken)
        body_fail(&s->body, BODY_MALFORMED);
    else
        body_end(&s->body);
}

void h2_pump(struct h2_stream *s)
{
    size_t before = s->queue_len - s->queue_at;

    assert(s->queue_at <= s->queue_len);
    while (s->queue_at < s->queue_len && is_flowing(s)) {
        const char *at = s->queue + s->queue_at;
        size_t len = s->queue_len - s->queue_at;

        len = len < BODY_SLICE ? len : BODY_SLICE;
        s->queue_at += len;
        body_deliver(&s->body, at, len);
    }
    if (is_unwanted(s)) {
        drop_queue(s);
        h2_return_to_connection(s->conn, before);
        return;
    }
    h2_return_to_stream(s, before - (s->queue_len - s->queue_at));
    if (s->queue_at == s->queue_len)
        drop_queue(s);
    h2_tell_end(s);
}

int h2_take_payload(struct h2_stream *s, const uint8_t *bytes, size_t len)
{
    s->received += len;
    if (s->body.length != -1 && s->received > (uint64_t)s->body.length)
        s->broken = true;
    guard_rate_credit(&s->rate, s->conn->front, len, h2_now_of(s->conn));
    if (s->broken || is_unwanted(s)) {
        h2_return_to_connection(s->conn, len);
    } else if (is_flowing(s) && s->queue_len == 0) {
        if (len > 0)
            body_deliver(&s->body, (const char *)bytes, len);
        h2_return_to_stream(s, len);
    } else if (len > 0 && !enqueue(s, bytes, len)) {
        return -FRAME_ENHANCE_YOUR_CALM;
    }
    return 0;
}

void h2_end_body(struct h2_stream *s)
{
    s->remote_ended = true;
    if (s->body.length != -1 && s->received != (uint64_t)s->body.length)
        s->broken = true;
    h2_tell_end(s);
}

static struct h2_stream *stream_of(struct body *body)
{
    return (struct h2_stream *)body;
}

static void do_start(struct body *body)
{
    struct h2_stream *s = stream_of(body);

    assert(!s->started);
    s->started = true;
    guard_rate_reset(&s->rate, s->conn->front, h2_now_of(s->conn));
    h2_kick(s->conn);
}

static void do_pause(struct body *body)
{
    (void)body; /* bytes wait in the queue, the windows are not given back */
}

static void do_resume(struct body *body)
{
    struct h2_stream *s = stream_of(body);

    guard_rate_reset(&s->rate, s->conn->front, h2_now_of(s->conn));
    h2_kick(s->conn);
}

static void do_abandon(struct body *body)
{
    stream_of(body)->told = true;
    h2_kick(stream_of(body)->conn);
}

static const struct body_source source = {do_start, do_pause, do_resume, do_abandon};

struct body *h2_body(struct conn *conn, h2o_req_t *req)
{
    for (struct h2_stream *s = conn->h2.streams; s != NULL; s = s->next)
        if (s->req == req)
            return s->body.length != 0 ? &s->body : NULL;
    return NULL;
}

struct h2_stream *h2_find_stream(const struct conn *conn, uint32_t id)
{
    for (struct h2_stream *s = conn->h2.streams; s != NULL; s = s->next)
        if (s->id == id)
            return s;
    return NULL;
}

void h2_reset_later(struct conn *conn, uint32_t id, enum frame_error error)
{
    struct h2_conn *h2 = &conn->h2;

    if (h2->num_resets == h2->max_resets) {
        size_t max = h2->max_resets * 2 + 8;
        struct h2_reset *grown = realloc(h2->resets, max * sizeof(*grown));

        if (grown == NULL) {
            guard_cut(conn);
            return;
        }
        h2->resets = grown;
        h2->max_resets = max;
    }
    h2->resets[h2->num_resets++] = (struct h2_reset){id, error};
}

/* The window that the client has opened for the answer. */
static int64_t output_of(const struct h2_stream *s)
{
    lib_stream *stream = H2O_STRUCT_FROM_MEMBER(lib_stream, req, s->req);

    return h2o_http2_window_get_window(&stream->output_window);
}

void h2_expect_rest(const struct h2_stream *s)
{
    struct h2_orphan orphan = {s->id, s->window, -1, output_of(s)};

    assert(!s->remote_ended); /* else nothing follows */
    if (s->body.length != -1 && !s->broken)
        orphan.left = s->body.length - (int64_t)s->received;
    h2_expect_orphan(s->conn, &orphan);
}

/* Why a stream is reset that has sent its answer. */
static enum frame_error end_of(const struct h2_stream *s)
{
    if (s->broken)
        return FRAME_PROTOCOL_ERROR;
    return output_of(s) > INT32_MAX ? FRAME_FLOW_CONTROL_ERROR : FRAME_OK;
}

static void on_stream_gone(void *p)
{
    struct h2_stream *s = p, **at = &s->conn->h2.streams;
    struct h2_conn *h2 = &s->conn->h2;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    h2->returned += (uint32_t)(s->queue_len - s->queue_at);
    if (!s->remote_ended)
        h2_expect_rest(s);
    if (s->broken || !s->remote_ended)
        h2_reset_later(s->conn, s->id, end_of(s));
    h2_kick(s->conn);
    drop_queue(s);
}

static bool has_expectation(h2o_req_t *req)
{
    ssize_t i = h2o_find_header(&req->headers, H2O_TOKEN_EXPECT, -1);

    return i != -1 && h2o_lcstris(req->headers.entries[i].value.base,
                                  req->headers.entries[i].value.len, H2O_STRLIT("100-continue"));
}

struct h2_stream *h2_add_stream(struct conn *conn, lib_stream *stream)
{
    /* the pool's disposers run from the last to the first: ours after the handler's */
    struct h2_stream *s = h2o_mem_alloc_shared(&stream->req.pool, sizeof(*s), on_stream_gone);

    memset(s, 0, sizeof(*s));
    s->body.source = &source;
    s->body.length = stream->_expected_content_length == SIZE_MAX
                         ? -1
                         : (int64_t)stream->_expected_content_length;
    s->conn = conn;
    s->req = &stream->req;
    s->id = stream->stream_id;
    s->window = GUARD_WINDOW_H2;
    s->hello_wanted = has_expectation(&stream->req);
    s->next = conn->h2.streams;
    conn->h2.streams = s;
    return s;
}

void h2_add_malformed(struct conn *conn, lib_stream *stream, bool ends)
{
    struct h2_stream *s = h2_add_stream(conn, stream);

    s->remote_ended = ends;
    s->broken = s->told = true;
}

void h2_check_rates(struct conn *conn, uint64_t now_ms)
{
    for (struct h2_stream *s = conn->h2.streams; s != NULL; s = s->next)
        if (is_flowing(s) && !s->remote_ended && s->queue_len == 0 &&
            guard_rate_failed(&s->rate, conn->front, now_ms)) {
            s->told = true;
            body_fail(&s->body, BODY_TOO_SLOW);
        }
}
