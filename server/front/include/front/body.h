/* A client's request body, whatever the HTTP version and however it is framed: bytes, end, error,
 * pause/resume. Handlers see only this. The bytes come on the loop's turns, at most BODY_SLICE
 * each, never from inside body_start() or body_resume(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Most bytes of one on_data(): costs a turn 0.2 ms, and 0.6 ms when each line goes to the referee;
 * 64 KiB cost 6 % more CPU */
#define BODY_SLICE 131072

enum body_failure {
    BODY_CLIENT_GONE, /* reset, closed, TLS error: nobody is left to answer */
    BODY_TOO_LARGE,   /* over the limit given to body_start() */
    BODY_TOO_SLOW,    /* below the minimum rate */
    BODY_MALFORMED    /* chunk syntax, length mismatch */
};

struct body_ops {
    void (*on_data)(void *arg, const char *bytes, size_t len);
    void (*on_end)(void *arg);                            /* nothing follows */
    void (*on_failure)(void *arg, enum body_failure why); /* nothing follows */
};

struct body;

/* Where the bytes come from: libh2o's buffered entity, or the guard's HTTP/1 and HTTP/2 streams. */
struct body_source {
    void (*start)(struct body *body); /* bytes may be taken from now on; lets `100 Continue` out */
    void (*pause)(struct body *body);
    void (*resume)(struct body *body);
    void (*abandon)(struct body *body); /* nobody listens any more: drain within bounds, or close */
};

/* Embedded as the first member by a source's own struct; the source fills `source` and `length`. */
struct body {
    const struct body_source *source;
    int64_t length;             /* announced bytes; -1: unknown */
    const struct body_ops *ops; /* borrowed; NULL: not started, ended or abandoned */
    void *arg;
    uint64_t max_bytes, taken; /* limit and bytes delivered so far */
    bool paused;
    size_t slice; /* most bytes of one on_data() of clear text over HTTP/1; 0: BODY_SLICE */
};

/** Announced size; -1: chunked or HTTP/2 without a length. */
int64_t body_length(const struct body *body);

/** Begin to take the body. @param max_bytes more ends in BODY_TOO_LARGE. Who knows the limit
 * refuses a larger body_length() before this call: then not a byte is taken, and the client hears
 * of it at once */
void body_start(struct body *body, const struct body_ops *ops, void *arg, uint64_t max_bytes);

/** Stop the flow after at most one more slice; back-pressure reaches the client. */
void body_pause(struct body *body);
void body_resume(struct body *body);

/** Take less at a time, where many bodies take turns: at most so many bytes, of clear text over
 * HTTP/1. */
void body_slice(struct body *body, size_t bytes);

/** The handler wants no more of it (early answer, or it is going away): no callback any more. Safe
 * at any time, more than once, and on NULL. */
void body_abandon(struct body *body);

/* --- for sources --- */

/** Deliver bytes (at most BODY_SLICE), the end, or the failure. The handler may abandon the body
 * from inside; after body_end()/body_fail() nothing may follow.
 *  @return false when the flow must stop (paused, over the limit, or nobody listens) */
bool body_deliver(struct body *body, const char *bytes, size_t len);
void body_end(struct body *body);
void body_fail(struct body *body, enum body_failure why);
