/* The streams of an HTTP/2 connection that have a request body: the bytes that wait for a handler,
 * and the flow control windows by which a client learns that they were taken. libh2o knows nothing
 * of either. Frames are read in stream_h2.c.
 *
 * A stream lives in the pool of its request. A handler and a pool's disposer come here by the ops
 * of a body alone, and those only ask for a turn of our own (h2_kick()). */
#pragma once

#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include "guard.h"

struct h2_stream {
    struct body body; /* first: body.c's functions lead back here */
    struct conn *conn;
    struct h2_stream *next;
    h2o_req_t *req;
    uint32_t id;
    int64_t window;    /* bytes that the client may still send */
    uint32_t returned; /* to give back, not yet told */
    uint64_t received; /* payload bytes */
    struct guard_rate rate;
    char *queue; /* owned; bytes that wait for the handler */
    size_t queue_len, queue_at, queue_capacity;
    bool started;
    bool remote_ended; /* END_STREAM or RST_STREAM came */
    bool broken;       /* length mismatch */
    bool told;         /* on_end() or on_failure() was called */
    bool hello_wanted; /* expect: 100-continue */
};

typedef h2o_http2_conn_t lib_conn;
typedef h2o_http2_stream_t lib_stream;

static inline uint64_t h2_now_of(const struct conn *conn)
{
    return loop_now_ms(conn->front->loop);
}

static inline lib_conn *h2_lib_of(const struct conn *conn)
{
    return conn->sock->data;
}

/** Ask for a turn of our own, in which frames may be written. */
void h2_kick(struct conn *conn);

/** Make libh2o's stream one of ours, which lives as long as its request. */
struct h2_stream *h2_add_stream(struct conn *conn, lib_stream *stream);

/** The same for a malformed request (RFC 9113, 8.1.1): its answer is followed by a reset. */
void h2_add_malformed(struct conn *conn, lib_stream *stream, bool ends);

/** NULL: it is not, or no longer, ours. */
struct h2_stream *h2_find_stream(const struct conn *conn, uint32_t id);

/** Give bytes of the connection's window back, once they are many. 0: only look whether they are. */
void h2_return_to_connection(struct conn *conn, size_t bytes);

/** The same of a stream's window and of its connection's. */
void h2_return_to_stream(struct h2_stream *s, size_t bytes);

/**
 * Bytes of a DATA frame came: they go to the handler, into the queue, or nowhere. May call the
 * handler.
 *
 * @return 0, or -FRAME_ENHANCE_YOUR_CALM when out of memory
 */
int h2_take_payload(struct h2_stream *s, const uint8_t *bytes, size_t len);

/** The client has ended the stream. May call the handler. */
void h2_end_body(struct h2_stream *s);

/** Tell the handler the end, if all bytes before it were delivered. */
void h2_tell_end(struct h2_stream *s);

/** Hand out what waits. Only in the filter or on a turn of our own. */
void h2_pump(struct h2_stream *s);

/** Fail bodies that come too slowly. */
void h2_check_rates(struct conn *conn, uint64_t now_ms);

/** What the client may still send for a stream that ends here is accounted for. */
void h2_expect_rest(const struct h2_stream *s);

/** To be reset on the next turn: the response has ended, its request has not or was malformed (RFC
 * 9113, 8.1 and 8.1.1). Cuts the connection when out of memory. */
void h2_reset_later(struct conn *conn, uint32_t id, enum frame_error error);
