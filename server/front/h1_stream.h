/* The body of an HTTP/1 request: its bytes, decoded in place a slice at a time, from what the socket
 * brings and from the stash, where bytes wait that came behind a head. When the socket is read and
 * what happens at a body's end is stream_h1.c's. */
#pragma once

#include "guard.h"

struct h1_stream {
    struct body body; /* first: body.c's functions lead back here */
    struct conn *conn;
    enum guard_framing framing;
    uint64_t left; /* FRAMING_LENGTH: bytes to come */
    struct chunked chunked;
    struct guard_rate rate;
    bool started;
    bool ended;        /* its last byte was decoded */
    bool broken;       /* its syntax is */
    bool told;         /* on_end() or on_failure() was called, or nobody is left */
    bool hello_wanted; /* the client waits for `100 Continue` */
};

/** The bytes that wait. @return NULL: none */
const char *h1_stream_stash(const struct h1_conn *h1, size_t *len);
/** Put bytes behind those that wait. @return false: out of memory, nothing was put */
bool h1_stream_keep(struct h1_conn *h1, const char *bytes, size_t len);
/** The first `len` of them were taken. */
void h1_stream_took(struct h1_conn *h1, size_t len);

/** Whether somebody listens and has room. */
bool h1_stream_is_flowing(const struct h1_stream *s);

/** Decode raw bytes in place and deliver them as long as somebody takes them, or drop them.
 *  @return how many were taken */
size_t h1_stream_feed(struct h1_stream *s, char *raw, size_t len, bool drop);
/** The same with the stash, whose bytes are freed then. May be called again from inside. */
void h1_stream_feed_stash(struct h1_conn *h1, bool drop);

/** Tell the handler of the body's end once its bytes were delivered: not while it pauses. */
void h1_stream_tell_end(struct h1_stream *s);
