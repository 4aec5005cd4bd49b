/* The front door of a worker: accept, TLS, HTTP/1.1 or HTTP/2, and request bodies as streams.
 * Everything that knows libh2o's internals is behind it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/loop.h"
#include "front/body.h"
#include "core/inherited.h"
#include "core/share.h"

struct st_h2o_context_t; /* libh2o's, see worker.c */
struct st_h2o_req_t;
struct front;

/* What requests of one client connection hold at a time: the bookkeeping of admit.c, which starts
 * at zero. */
struct front_load {
    uint32_t calls;     /* requests that may ask providers */
    uint32_t downloads; /* of these */
    /* front_share()'s: one user; whose key it has shown; NULL: nobody's who has a share */
    struct share *share;
    struct slice_flow tokens; /* of requests whose tokens wait to be verified: token_check.c's */
    bool mixed; /* it has shown keys of several tenants: a proxy's, which counts for none */
};

/* Which door of a worker. */
enum front_door {
    FRONT_CLIENTS, /* inherited->listen_fd: all routes */
    FRONT_HEALTH   /* inherited->health_fd: FRONT_HEALTH_PLACES connections at most */
};

#define FRONT_HEALTH_PLACES 64

/** A front door, serving `ctx` (whose global configuration has at least one host). Nothing is
 * accepted before front_start(). A door without a descriptor (-1) accepts nothing.
 *  @return 0, ERR_NOMEM, ERR_BAD_STATE (the self-test of the hooks into libh2o failed: the program
 *         must not start) */
MUST_USE int front_new(struct loop *loop, struct st_h2o_context_t *ctx,
                       const struct inherited *inherited, uint32_t slot, enum front_door door,
                       struct front **out);

/** Begin to accept connections; after the loop is ready to serve them. */
void front_start(struct front *front);

/** Stop accepting, let requests in flight finish, tell HTTP/2 peers (GOAWAY), close idle
 * connections. */
void front_drain(struct front *front);

/** Client connections open; the worker may exit once it is 0 while draining. */
size_t front_connections(const struct front *front);

/** Its client has shown the key, or needs none: the connection is not closed to make room for
 * another one. */
void front_trust(struct st_h2o_req_t *req);

/** The connection shows a key of this tenant: count it as the tenant's, once.
 *  @param share  NULL: of the master key
 *  @return false: the tenant has so many connections that others would find no place */
bool front_share(struct st_h2o_req_t *req, struct share *share);

/** Whether the worker is full and the request came on one of the places that are kept for the
 * health routes: nothing else is served there. */
bool front_is_spare(struct st_h2o_req_t *req);

/** Whether the request came by the door of health. */
bool front_is_health(struct st_h2o_req_t *req);

/** The body of a request as a stream; NULL when the request has none (no framing at all, or a
 * length of 0). Owned by the request's pool; callable once, from the handler. */
struct body *front_body(struct st_h2o_req_t *req);

/** The load of the connection that a request came on; lives longer than the request. */
struct front_load *front_load(struct st_h2o_req_t *req);

/** The address of the request's peer, for the log; "" where it has none. Lives longer than the
 * request. */
const char *front_address(struct st_h2o_req_t *req);

/** Whether the request's peer has an address of this machine's loopback. */
bool front_is_loopback(struct st_h2o_req_t *req);

/** Whether the request announced or carries a body (front_body() would not be NULL). */
bool front_has_body(struct st_h2o_req_t *req);
