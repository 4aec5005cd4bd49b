/* A client's request body, whatever the HTTP version and however it is framed: bytes, end, error, pause/resume. Handlers see only this. The bytes come on the
 * loop's turns, at most 64 KiB each, never from inside body_start() or body_resume(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct body;

enum body_failure {
    BODY_CLIENT_GONE, /* reset, closed, TLS error: nobody is left to answer */
    BODY_TOO_LARGE,   /* over the limit given to body_start() */
    BODY_TOO_SLOW,    /* below the minimum rate */
    BODY_MALFORMED    /* chunk syntax, length mismatch */
};

struct body_ops {
    void (*on_data)(void *arg, const char *bytes, size_t len);
    void (*on_end)(void *arg);                       /* nothing follows */
    void (*on_failure)(void *arg, enum body_failure why); /* nothing follows */
};

/** Announced size; -1: chunked or HTTP/2 without a length. */
int64_t body_length(const struct body *body);

/** Begin to take the body (this is what lets `100 Continue` out). @param max_bytes more ends in BODY_TOO_LARGE */
void body_start(struct body *body, const struct body_ops *ops, void *arg, uint64_t max_bytes);

/** Stop the flow after at most one more slice; back-pressure reaches the client. */
void body_pause(struct body *body);
void body_resume(struct body *body);

/** The handler wants no more of it (early answer, or it is going away): no callback any more. The front door drains or closes. Safe at any time. */
void body_abandon(struct body *body);
