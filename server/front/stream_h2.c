/* HTTP/2 between the socket and libh2o: a filter in front of libh2o's frame handlers
 * (conn->_read_expect).
 *
 * libh2o runs a handler only when the body is complete, takes floods of all kinds, and can be
 * brought to abort or spin by some sequences of frames (front README 1.4, 2). So it gets to see
 * little:
 *
 *   HEADERS, CONTINUATION     put together here and passed as one HEADERS frame without padding,
 *                             priority and END_STREAM, so that libh2o opens the stream and waits
 *                             for a body; then we check the request and run its handler, at the
 *                             end of the head. Trailers are decoded, to keep the compression
 *                             state, and dropped.
 *   DATA                      never: bodies are streams of ours, with flow control windows of ours.
 *   PRIORITY, unknown types   never.
 *   WINDOW_UPDATE             checked; not for streams that have sent everything: those may still
 *                             wait for their write, and a window that opens then trips an
 *                             assertion of libh2o.
 *   SETTINGS                  likewise made harmless for such streams.
 *   RST_STREAM, PING, GOAWAY  as they are, within the budgets of guard_h2.c.
 *
 * A client that breaks a rule gets GOAWAY and is closed by libh2o: on_frames() returns the error.
 * Frames are written by us only in two places: inside the filter, and on the next turn (on_kick)
 * when libh2o's connection is known to be alive. Never from a pool's disposer or a handler: libh2o
 * may be closing the connection around it, and asserts that nothing is written then. */
#include "guard.h"

#include <stdlib.h>
#include <string.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include "core/access_log.h"
#include "h2_frames.h"
#include "h2_streams.h"

/* Whether libh2o's connection still exists: it reads. (It also stops reading for a while when too
 * much output waits; what has to be done is then done by the next tick.) */
static bool is_alive(const struct conn *conn)
{
    return conn->sock->_cb.read == conn->h2.lib_read;
}

/* --- requests --- */

static int check_request(const h2o_req_t *req)
{
    size_t list = 0;

    if (req->headers.size > FRAME_MAX_FIELDS)
        return 431;
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *header = &req->headers.entries[i];

        if (header->name->len == 0)
            return 400;
        list += header->name->len + header->value.len + 32;
    }
    if (list > FRAME_MAX_LIST)
        return 431;
    if (req->input.path.len > GUARD_H1_MAX_TARGET)
        return 414;
    if (!guard_h1_is_method(req->input.method.base, req->input.method.len) ||
        !guard_h1_is_target(req->input.path.base, req->input.path.len) ||
        !guard_h1_is_authority(req->input.authority.base, req->input.authority.len))
        return 400;
    return 0;
}

/* Answer without a handler; what h2o_process_request() would have set up is set here. */
static void refuse(h2o_req_t *req, int status)
{
    const struct guard_refusal *r = guard_refusal(status);
    h2o_hostconf_t *host = req->conn->hosts[0];
    char *id = h2o_mem_alloc_pool(&req->pool, ACCESS_LOG_ID);

    access_log_new_id(id);
    access_log_refusal(id, front_address(req), r->status, 0x200, strlen(r->body));
    h2o_get_timestamp(req->conn->ctx, &req->pool, &req->processed_at);
    req->scheme = req->input.scheme;
    req->method = req->input.method;
    req->authority = req->input.authority;
    req->path = req->path_normalized = h2o_iovec_init(H2O_STRLIT("/"));
    req->query_at = SIZE_MAX;
    h2o_req_bind_conf(req, host, &host->fallback_path);
    req->res.status = r->status;
    req->res.reason = r->reason;
    req->res.content_length = strlen(r->body);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   H2O_STRLIT("application/json"));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-request-id"), 0, NULL, id,
                          ACCESS_LOG_ID - 1);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-litellm-call-id"), 0, NULL,
                          id, ACCESS_LOG_ID - 1);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-tranche-version"), 0, NULL,
                          H2O_STRLIT(TRANCHE_VERSION));
    h2o_send_inline(req, r->body, strlen(r->body));
}

/* A stream that libh2o has opened and that waits for a body: check it, run its handler now. The
 * states are those which libh2o itself goes through. */
static void admit(struct conn *conn, lib_stream *stream, bool ends)
{
    lib_conn *lib = h2_lib_of(conn);
    int status = check_request(&stream->req);

    if (ends && stream->_expected_content_length != SIZE_MAX &&
        stream->_expected_content_length != 0)
        status = 400; /* RFC 9113, 8.1.1 */
    if (ends) {
        h2o_buffer_dispose(&stream->_req_body);
        stream->_req_body = NULL;
    }
    if (status == 400)
        h2_add_malformed(conn, stream, ends);
    else if (!ends)
        h2_add_stream(conn, stream);
    conn->active_ms = h2_now_of(conn);
    h2o_http2_stream_set_state(lib, stream, H2O_HTTP2_STREAM_STATE_REQ_PENDING);
    h2o_http2_stream_set_state(lib, stream, H2O_HTTP2_STREAM_STATE_SEND_HEADERS);
    lib->pull_stream_ids.max_processed = stream->stream_id; /* the newest, and open since now */
    h2o_timeout_unlink(&lib->_timeout_entry);               /* not idle */
    if (status != 0)
        refuse(&stream->req, status);
    else
        h2o_process_request(&stream->req);
}

/* --- header blocks --- */

/* Decode a block for its effect on the compression state alone. */
static int skip_block(lib_conn *lib, const uint8_t *block, size_t len, bool trailers,
                      const char **why)
{
    h2o_req_t nobody;
    h2o_ostream_t no_output = {NULL};
    size_t content_length;
    int pseudo = 0, ret;

    h2o_init_request(&nobody, &lib->super, NULL);
    nobody._ostr_top = &no_output;
    ret = h2o_hpack_parse_headers(&nobody, &lib->_input_header_table, block, len,
                                  trailers ? NULL : &pseudo, &content_length, NULL, why);
    h2o_dispose_request(&nobody);
    return ret == H2O_HTTP2_ERROR_INVALID_HEADER_CHAR ? 0 : ret;
}

static int on_trailers(struct conn *conn, struct h2_stream *s, bool ends, const uint8_t *block,
                       size_t len, const char **why)
{
    int ret;

    if (s->remote_ended)
        return -FRAME_STREAM_CLOSED;
    if (!ends) {
        *why = "trailers must end the stream";
        return -FRAME_PROTOCOL_ERROR;
    }
    if ((ret = skip_block(h2_lib_of(conn), block, len, true, why)) != 0)
        return ret;
    h2_end_body(s);
    return 0;
}

static bool charge_reset(struct conn *conn, const char **why)
{
    *why = "too many streams were reset";
    return frame_charge(&conn->h2.budget, COST_RESET, h2_now_of(conn));
}

/* Trailers of a request that we answered before its end; libh2o may still be sending the answer. */
static int on_orphan_trailers(struct conn *conn, struct h2_orphan *orphan, bool ends,
                              const uint8_t *block, size_t len, const char **why)
{
    if (!ends) {
        *why = "trailers must end the stream";
        return -FRAME_PROTOCOL_ERROR;
    }
    orphan->id = 0;
    return skip_block(h2_lib_of(conn), block, len, true, why);
}

/* A whole header block; the nine bytes before it are ours to write. */
static int on_block(struct conn *conn, uint32_t id, bool ends, uint8_t *block, size_t len,
                    const char **why)
{
    lib_conn *lib = h2_lib_of(conn);
    struct h2_stream *s = h2_find_stream(conn, id);
    struct h2_orphan *orphan;
    lib_stream *stream;
    ssize_t ret;

    conn->h2.block_ms = 0;
    if (s != NULL)
        return on_trailers(conn, s, ends, block, len, why);
    if (id <= lib->pull_stream_ids.max_open) {
        if ((orphan = h2_find_orphan(&conn->h2, id)) != NULL)
            return on_orphan_trailers(conn, orphan, ends, block, len, why);
        *why = "HEADERS on a closed stream"; /* a client that cannot count */
        return -FRAME_STREAM_CLOSED;
    }
    if (lib->state >= H2O_HTTP2_CONN_STATE_HALF_CLOSED)
        return skip_block(lib, block, len, false, why); /* the GOAWAY tells that it was not taken */
    h2o_http2_encode_frame_header(block - FRAME_HEADER_SIZE, len, FRAME_HEADERS, FRAME_END_HEADERS,
                                  (int32_t)id);
    ret = conn->h2.lib_expect(lib, block - FRAME_HEADER_SIZE, FRAME_HEADER_SIZE + len, why);
    if (ret < 0)
        return (int)ret;
    stream = h2o_http2_conn_get_stream(lib, id);
    if (stream == NULL)
        return charge_reset(conn, why) ? 0 : -FRAME_ENHANCE_YOUR_CALM;
    if (stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY)
        admit(conn, stream, ends);
    else if (!ends)
        h2_expect_orphan(conn, &(struct h2_orphan){id, GUARD_WINDOW_H2, -1, 0}); /* its own 400 */
    return 0;
}

static int on_headers(struct conn *conn, const struct frame *f, uint8_t *payload, const char **why)
{
    struct h2_conn *h2 = &conn->h2;
    bool ends = (f->flags & FRAME_END_STREAM) != 0;
    size_t at;
    int len = frame_content(f, payload, &at);

    if (len < 0) {
        *why = "invalid HEADERS frame";
        return -FRAME_PROTOCOL_ERROR;
    }
    if ((f->flags & FRAME_END_HEADERS) != 0)
        return on_block(conn, f->stream_id, ends, payload + at, (size_t)len, why);
    if (h2->block == NULL && (h2->block = malloc(FRAME_HEADER_SIZE + FRAME_MAX_PAYLOAD)) == NULL)
        return -FRAME_ENHANCE_YOUR_CALM;
    memcpy(h2->block + FRAME_HEADER_SIZE, payload + at, (size_t)len);
    h2->block_len = (size_t)len;
    h2->block_ends_stream = ends;
    h2->block_ms = h2_now_of(conn);
    return 0;
}

/* frame_check() has seen to it that a block is open, of this stream, and not too large. */
static int on_continuation(struct conn *conn, const struct frame *f, const uint8_t *payload,
                           const char **why)
{
    struct h2_conn *h2 = &conn->h2;
    int ret = 0;

    memcpy(h2->block + FRAME_HEADER_SIZE + h2->block_len, payload, f->length);
    h2->block_len += f->length;
    if ((f->flags & FRAME_END_HEADERS) != 0) {
        ret = on_block(conn, f->stream_id, h2->block_ends_stream, h2->block + FRAME_HEADER_SIZE,
                       h2->block_len, why);
        free(h2->block);
        h2->block = NULL;
    }
    return ret;
}

/* --- the other frames --- */

/* For a stream that is not, or no longer, ours. */
static int on_orphan(struct conn *conn, const struct frame *f, size_t len, const char **why)
{
    lib_conn *lib = h2_lib_of(conn);
    struct h2_orphan *orphan;
    bool ends;

    if (f->stream_id > lib->pull_stream_ids.max_open || f->stream_id % 2 == 0) {
        *why = "DATA on an idle stream";
        return -FRAME_PROTOCOL_ERROR;
    }
    orphan = h2_find_orphan(&conn->h2, f->stream_id);
    if (orphan == NULL || (orphan->window -= f->length) < 0) {
        *why = "DATA on a closed stream";
        return -FRAME_STREAM_CLOSED;
    }
    ends = (f->flags & FRAME_END_STREAM) != 0;
    if (orphan->left != -1) {
        orphan->left -= (int64_t)len;
        if (orphan->left < 0 || (ends && orphan->left != 0)) {
            h2_put_reset(lib, f->stream_id, FRAME_PROTOCOL_ERROR);
            orphan->left = -1;
        }
    }
    if (ends)
        orphan->id = 0;
    h2_return_to_connection(conn, f->length);
    return 0;
}

static int on_data(struct conn *conn, const struct frame *f, const uint8_t *payload,
                   const char **why)
{
    struct h2_stream *s = h2_find_stream(conn, f->stream_id);
    size_t at;
    int len = frame_content(f, payload, &at), ret;

    if (len < 0) {
        *why = "invalid DATA frame";
        return -FRAME_PROTOCOL_ERROR;
    }
    conn->h2.window -= f->length;
    if (conn->h2.window < 0 || (s != NULL && (s->window -= f->length) < 0)) {
        *why = "more bytes than the window allows";
        return -FRAME_FLOW_CONTROL_ERROR;
    }
    if (s == NULL)
        return on_orphan(conn, f, (size_t)len, why);
    if (s->remote_ended) {
        *why = "DATA after the end of the stream";
        return -FRAME_STREAM_CLOSED;
    }
    h2_return_to_stream(s, f->length - (size_t)len); /* padding */
    if ((ret = h2_take_payload(s, payload + at, (size_t)len)) != 0)
        return ret;
    if ((f->flags & FRAME_END_STREAM) != 0)
        h2_end_body(s);
    else
        h2_tell_end(s);
    return 0;
}

/* End one stream for what its client did, and nothing else of the connection. */
static int reset_stream(struct conn *conn, lib_stream *stream, enum frame_error error,
                        const char **why)
{
    struct h2_stream *s = h2_find_stream(conn, stream->stream_id);

    if (!charge_reset(conn, why))
        return -FRAME_ENHANCE_YOUR_CALM;
    if (s != NULL) {
        if (!s->remote_ended)
            h2_expect_rest(s);
        body_fail(&s->body, BODY_CLIENT_GONE);
        s->remote_ended = s->told = true;
    }
    h2_put_reset(h2_lib_of(conn), stream->stream_id, error);
    h2o_http2_stream_reset(h2_lib_of(conn), stream);
    return 0;
}

/* A stream that has sent everything must not be woken by a window: libh2o would assert. */
static bool is_sent(const lib_stream *stream)
{
    return stream->state == H2O_HTTP2_STREAM_STATE_END_STREAM;
}

static void shield_sent_streams(lib_conn *lib)
{
    for (khint_t i = kh_begin(lib->streams); i != kh_end(lib->streams); i++)
        if (kh_exist(lib->streams, i) && is_sent(kh_val(lib->streams, i)))
            kh_val(lib->streams, i)->output_window._avail = FRAME_MAX_PAYLOAD;
}

static ssize_t pass(struct conn *conn, const uint8_t *src, size_t len, const char **why)
{
    lib_conn *lib = h2_lib_of(conn);
    ssize_t ret = conn->h2.lib_expect(lib, src, len, why);

    return ret < 0 ? ret : 0;
}

/* A window that overflows is told also where the answer went out before (RFC 9113, 6.9.1). */
static void widen_orphan(struct conn *conn, uint32_t id, uint32_t bytes)
{
    struct h2_orphan *orphan = h2_find_orphan(&conn->h2, id);

    if (orphan == NULL || orphan->output > INT32_MAX)
        return;
    orphan->output += bytes;
    if (orphan->output > INT32_MAX)
        h2_put_reset(h2_lib_of(conn), id, FRAME_FLOW_CONTROL_ERROR);
}

static ssize_t on_window(struct conn *conn, const struct frame *f, const uint8_t *src,
                         const char **why)
{
    lib_conn *lib = h2_lib_of(conn);
    const uint8_t *p = src + FRAME_HEADER_SIZE;
    uint32_t bytes =
        ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]) & 0x7fffffff;
    lib_stream *stream = f->stream_id != 0 ? h2o_http2_conn_get_stream(lib, f->stream_id) : NULL;

    if (bytes == 0) {
        *why = "WINDOW_UPDATE of 0"; /* RFC 9113, 6.9; of a stream: 5.4.1 lets us take it as the
                                        connection's */
        return -FRAME_PROTOCOL_ERROR;
    }
    if (f->stream_id == 0)
        return pass(conn, src, FRAME_HEADER_SIZE + f->length, why);
    if (stream == NULL && f->stream_id > lib->pull_stream_ids.max_open) {
        *why = "WINDOW_UPDATE of an idle stream";
        return -FRAME_PROTOCOL_ERROR;
    }
    if (stream == NULL) {
        widen_orphan(conn, f->stream_id, bytes);
        return 0;
    }
    if (is_sent(stream)) { /* the window is counted, but nothing is woken by it */
        stream->output_window._avail += (ssize_t)bytes; /* of 64 bits, and 2^31 at a time */
        return 0;
    }
    if (h2o_http2_window_get_window(&stream->output_window) + (ssize_t)bytes > INT32_MAX)
        return reset_stream(conn, stream, FRAME_FLOW_CONTROL_ERROR, why); /* RFC 9113, 6.9.1 */
    return pass(conn, src, FRAME_HEADER_SIZE + f->length, why);
}

static ssize_t on_reset(struct conn *conn, const struct frame *f, const uint8_t *src,
                        const char **why)
{
    struct h2_stream *s = h2_find_stream(conn, f->stream_id);
    struct h2_orphan *orphan = h2_find_orphan(&conn->h2, f->stream_id);

    if (orphan != NULL)
        orphan->id = 0; /* nothing may follow */
    if (s != NULL) {
        s->broken = false;
        if (!s->remote_ended || s->body.ops != NULL)
            body_fail(&s->body, BODY_CLIENT_GONE);
        s->remote_ended = s->told = true;
    }
    return pass(conn, src, FRAME_HEADER_SIZE + f->length, why);
}

static ssize_t on_frame(struct conn *conn, const struct frame *f, const uint8_t *src,
                        const char **why)
{
    /* the socket's input buffer, or the block: ours to write */
    uint8_t *payload = (uint8_t *)(uintptr_t)src + FRAME_HEADER_SIZE;

    if ((f->type == FRAME_HEADERS || f->type == FRAME_PRIORITY) &&
        frame_depends_on_itself(f, payload)) {
        *why = "a stream that depends on itself";
        return -FRAME_PROTOCOL_ERROR;
    }
    switch (f->type) {
    case FRAME_DATA:
        return on_data(conn, f, payload, why);
    case FRAME_HEADERS:
        return on_headers(conn, f, payload, why);
    case FRAME_CONTINUATION:
        return on_continuation(conn, f, payload, why);
    case FRAME_RST_STREAM:
        return on_reset(conn, f, src, why);
    case FRAME_WINDOW_UPDATE:
        return on_window(conn, f, src, why);
    case FRAME_SETTINGS:
        shield_sent_streams(h2_lib_of(conn));
        return pass(conn, src, FRAME_HEADER_SIZE + f->length, why);
    case FRAME_PING:
    case FRAME_GOAWAY:
        return pass(conn, src, FRAME_HEADER_SIZE + f->length, why);
    default:
        return 0;
    }
}

static ssize_t on_frames(lib_conn *lib, const uint8_t *src, size_t len, const char **why);

/* libh2o's preface state, then ours. */
static ssize_t greet(struct conn *conn, lib_conn *lib, const uint8_t *src, size_t len,
                     const char **why)
{
    ssize_t ret = conn->h2.lib_expect(lib, src, len, why);

    if (ret <= 0)
        return ret;
    conn->h2.preface = false;
    conn->h2.lib_expect = lib->_read_expect;
    lib->_read_expect = on_frames;
    h2_put_settings(lib);
    return ret;
}

static ssize_t on_frames(lib_conn *lib, const uint8_t *src, size_t len, const char **why)
{
    struct conn *conn = lib->sock->on_close.data;
    struct h2_conn *h2 = &conn->h2;
    struct frame f;
    ssize_t ret;

    if (h2->preface)
        return greet(conn, lib, src, len, why);
    if (len < FRAME_HEADER_SIZE)
        return H2O_HTTP2_ERROR_INCOMPLETE;
    f = frame_parse(src);
    if (f.length <= FRAME_MAX_PAYLOAD && len < FRAME_HEADER_SIZE + f.length)
        return H2O_HTTP2_ERROR_INCOMPLETE;
    if (f.type == FRAME_WINDOW_UPDATE) {
        frame_earn(&h2->budget, lib->sock->bytes_written - h2->written);
        h2->written = lib->sock->bytes_written;
    }
    ret = -(ssize_t)frame_check(&h2->budget, &f, h2_now_of(conn), why);
    if (ret == 0)
        ret = on_frame(conn, &f, src, why);
    return ret < 0 ? ret : (ssize_t)(FRAME_HEADER_SIZE + f.length);
}

/* --- turns of our own --- */

static void say_hello(struct h2_stream *s)
{
    /* :status 100, as a literal with the name of static entry 8 (RFC 7541, 6.2.2 and appendix A) */
    static const uint8_t block[] = {0x08, 3, '1', '0', '0'};

    s->hello_wanted = false;
    if (s->received == 0 && !s->remote_ended)
        h2_put_frame(h2_lib_of(s->conn), FRAME_HEADERS, FRAME_END_HEADERS, s->id, block,
                     sizeof(block));
}

static void on_kick(h2o_timeout_entry_t *entry)
{
    struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, h2.kick, entry);
    struct h2_conn *h2 = &conn->h2;

    if (!is_alive(conn) || h2_lib_of(conn)->state >= H2O_HTTP2_CONN_STATE_IS_CLOSING)
        return;
    for (size_t i = 0; i < h2->num_resets; i++)
        h2_put_reset(h2_lib_of(conn), h2->resets[i].id, h2->resets[i].error);
    h2->num_resets = 0;
    h2_return_to_connection(conn, 0);
    for (struct h2_stream *s = h2->streams; s != NULL; s = s->next) {
        if (s->started && s->hello_wanted && s->body.ops != NULL && s->req->res.status == 0)
            say_hello(s);
        h2_pump(s);
    }
}

/* The record of a stream's reader, new ones at the place `at`. NULL: out of memory. */
static struct h2_reader *reader_of(struct h2_conn *h2, size_t at, uint32_t id)
{
    for (size_t i = at; i < h2->num_readers; i++) {
        struct h2_reader found = h2->readers[i];

        if (found.id != id)
            continue;
        h2->readers[i] = h2->readers[at];
        h2->readers[at] = found;
        return &h2->readers[at];
    }
    if (h2->num_readers == h2->max_readers) {
        size_t max = h2->max_readers * 2 + 8;
        struct h2_reader *grown = realloc(h2->readers, max * sizeof(*grown));

        if (grown == NULL)
            return NULL;
        h2->readers = grown;
        h2->max_readers = max;
    }
    h2->readers[h2->num_readers++] = h2->readers[at];
    h2->readers[at] = (struct h2_reader){.id = id};
    return &h2->readers[at];
}

/* Whether its client has closed the way of a stream's bytes: its window, or that of all. */
static bool is_held(lib_conn *lib, lib_stream *stream)
{
    return h2o_http2_stream_has_pending_data(stream) &&
           (h2o_http2_window_get_window(&stream->output_window) <= 0 ||
            h2o_http2_window_get_window(&lib->_write.window) <= 0);
}

/* Who keeps a window closed holds a response, and what that hangs on, as who does not read at all;
 * but other streams of the connection may be read well, so this one alone is reset. */
static void check_readers(struct conn *conn, lib_conn *lib, uint64_t now_ms)
{
    struct h2_conn *h2 = &conn->h2;
    size_t num = 0;

    for (khint_t i = kh_begin(lib->streams);
         lib->num_streams.pull.send_body != 0 && i != kh_end(lib->streams); i++) {
        lib_stream *stream = kh_exist(lib->streams, i) ? kh_val(lib->streams, i) : NULL;
        struct h2_reader *reader;

        if (stream == NULL || !is_held(lib, stream))
            continue;
        reader = reader_of(h2, num, stream->stream_id);
        if (reader == NULL)
            break;
        num++;
        if (!guard_reads_slowly(&reader->reader, conn->front, stream->req.bytes_sent, now_ms))
            continue;
        h2_reset_later(conn, stream->stream_id, FRAME_ENHANCE_YOUR_CALM);
        h2o_http2_stream_reset(lib, stream);
    }
    h2->num_readers = num;
}

void h2_retire(struct conn *conn, uint64_t now_ms)
{
    lib_conn *lib = h2_lib_of(conn);
    h2o_iovec_t none = {NULL, 0};

    if (conn->h2.retire_ms != 0 || !is_alive(conn) || lib->state != H2O_HTTP2_CONN_STATE_OPEN)
        return;
    if (conn->h2.preface) {
        guard_cut(conn); /* it has not even said hello */
        return;
    }
    h2o_http2_encode_goaway_frame(&lib->_write.buf, INT32_MAX, H2O_HTTP2_ERROR_NONE, none);
    h2o_http2_conn_request_write(lib);
    conn->h2.retire_ms = now_ms;
}

/* What the client sent before it saw the first GOAWAY has arrived by now (RFC 9113, 6.8). */
static void retire_for_good(struct conn *conn, lib_conn *lib)
{
    h2o_iovec_t none = {NULL, 0};

    if (lib->state != H2O_HTTP2_CONN_STATE_OPEN)
        return;
    h2o_http2_encode_goaway_frame(&lib->_write.buf, lib->pull_stream_ids.max_open,
                                  H2O_HTTP2_ERROR_NONE, none);
    h2o_http2_conn_request_write(lib);
    lib->state = H2O_HTTP2_CONN_STATE_HALF_CLOSED; /* libh2o closes it with the last stream */
    conn->h2.final_goaway = true;
}

void h2_tick(struct conn *conn, uint64_t now_ms)
{
    struct h2_conn *h2 = &conn->h2;
    lib_conn *lib = h2_lib_of(conn);
    bool waiting;

    if (!is_alive(conn)) { /* much output waits, or TLS says goodbye */
        if (guard_stalled(conn, true, guard_acked(conn), now_ms))
            guard_cut(conn);
        return;
    }
    if ((h2->preface && now_ms - conn->opened_ms > guard_handshake_ms(conn->front)) ||
        (h2->block_ms != 0 && now_ms - h2->block_ms > guard_head_ms(conn->front))) {
        guard_cut(conn);
        return;
    }
    waiting = conn->sock->_cb.write != NULL; /* for room in the socket, with or without bytes */
    if (guard_stalled(conn, waiting, waiting ? guard_acked(conn) : 0, now_ms)) {
        guard_cut(conn);
        return;
    }
    check_readers(conn, lib, now_ms);
    if (lib->num_streams.pull.open != 0)
        conn->active_ms = now_ms;
    if (conn->front->draining || now_ms - conn->active_ms > guard_idle_ms(conn->front) ||
        now_ms - conn->opened_ms > GUARD_AGE_MS)
        h2_retire(conn, now_ms);
    if (h2->retire_ms != 0 && !h2->final_goaway && now_ms - h2->retire_ms >= 1000)
        retire_for_good(conn, lib);
    h2_check_rates(conn, now_ms);
    if (h2->num_resets != 0)
        h2_kick(conn);
}

/* --- the begin and the end --- */

void h2_adopt(struct conn *conn)
{
    struct h2_conn *h2 = &conn->h2;
    h2o_socket_t *sock = conn->sock;
    h2o_buffer_t *held = sock->input;
    lib_conn *lib;

    h2->preface = true;
    h2->window = GUARD_WINDOW_H2_ALL;
    h2->kick.cb = on_kick;
    frame_budget_init(&h2->budget, h2_now_of(conn));
    /* libh2o must not parse before the filter is in place */
    h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
    h2o_http2_accept(&conn->front->accept, sock, conn->connected_at);
    h2o_buffer_dispose(&sock->input);
    sock->input = held;
    lib = sock->data;
    h2->lib_read = sock->_cb.read;
    h2->lib_expect = lib->_read_expect;
    lib->_read_expect = on_frames;
    if (sock->input->size != 0)
        h2->lib_read(sock, NULL);
}

void h2_forget(struct conn *conn)
{
    h2o_timeout_unlink(&conn->h2.kick);
    free(conn->h2.block);
    free(conn->h2.resets);
    free(conn->h2.orphans);
    free(conn->h2.readers);
}
