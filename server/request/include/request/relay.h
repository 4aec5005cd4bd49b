/* One client request in flight: who asks, what for, and the one way to answer. Lives in the
 * request's pool and dies with it; an operation that must go on without its client (a create)
 * learns of that through `on_gone` and keeps no pointer to the relay. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/ids.h"
#include "json/json.h"
#include "common/strbuf.h"
#include "upstream/failure.h"
#include "core/access_log.h"
#include "core/named.h"
#include "request/route.h"
#include "core/runtime.h"
#include "core/tenant.h"

/* What a check tells that answers by itself when it finds something wrong. */
enum answered {
    ANSWERED, /* it has: the relay may be gone, and nobody touches it any more */
    GO_ON     /* nothing is wrong */
};

/* What a request holds of its key's and its team's limits: limits.h. All zero: nothing. */
struct limits_place {
    bool held;
    uint32_t places[2]; /* of struct meters; METERS_NO_PLACE: not measured */
};

struct st_h2o_req_t; /* libh2o's request: request/ alone looks into it */

struct relay {
    struct st_h2o_req_t *req; /* borrowed; valid as long as the relay */
    struct runtime *rt;
    struct route route;
    enum route_method method;
    struct route_hints hints;
    const char *path; /* pool, as it was sent, below the root; of the management API, else NULL */
    size_t path_len;
    const char *query; /* pool; without '?' */
    size_t query_len;
    uint64_t owner; /* ids_owner_fingerprint(); 0: master key, admin key, or no authentication */
    const struct tenant *tenant;    /* who asks; pool, or constant; anybody before auth_check() */
    char request_id[ACCESS_LOG_ID]; /* UUID; x-request-id and log lines */
    uint64_t started_us;
    uint64_t moment;          /* polls_moment() when it began: before anything was asked for it */
    struct live_request live; /* for who calls providers for it, and for the access log */
    const char *client;       /* borrowed; its address, for the log; NULL: not known */
    uint64_t bytes_in;        /* of its body, taken so far */
    const char *made;     /* pool; id of the object that it made, as it was answered; NULL: none */
    uint32_t deployment;  /* that served it; MODEL_NO_INDEX: none. For headers and the access log */
    struct json_doc *doc; /* of the request's JSON body; owned; NULL: none, or no longer needed */
    struct json *request; /* root of it; NULL: no body, or it was forgotten or answered */
    size_t json_bytes;    /* of `doc`, as the worker's budget counts them */
    struct named named;   /* resolve_id()'s */
    void *op;             /* borrowed; the operation that will answer */
    void (*on_gone)(void *op); /* the client has left: `op` must forget the relay */
    bool answered;
    struct share *share;        /* one user; of the tenant that asks; NULL: it has none */
    struct limits_place limits; /* in flight: limits.c's */
    bool waits;                 /* admit_turn()'s */
    struct slice turn;          /* waits for its begin: worker.c */
    struct front_load *load;    /* borrowed; admit.c's; NULL: no place was taken */
    bool downloads;             /* with a download's place */
};

/** A relay for a request, in its pool. Gives it an id and takes method, path and query apart. */
struct relay *relay_new(struct runtime *rt, struct st_h2o_req_t *req);

/** This process ends now: write the lines of all requests that have not ended. */
void relay_log_unfinished(struct runtime *rt);

/** From now on `op` answers, and nobody did so before. See operation.h.
 *  @param on_gone  at most once, and not after the answer */
void relay_attach(struct relay *relay, void *op, void (*on_gone)(void *op));

/** The first header of this name that the client sent.
 *  @param name   lower case
 *  @param value  borrowed, as long as the request; not terminated
 *  @return false: it sent none */
bool relay_request_header(const struct relay *relay, const char *name, const char **value,
                          size_t *len);

/** Append the address that the client's connection comes from; nothing when it is not known. */
void relay_peer(const struct relay *relay, struct strbuf *out);

/** A number for that address (guard_peers_key()); 0: it is none of IP. */
uint64_t relay_peer_key(const struct relay *relay);

/** Whether the client speaks TLS, to us or, as a proxy in front says, to that. */
bool relay_is_secure(const struct relay *relay);

/** A cookie that the client sent: the first one of this name. A browser may send each in a header of
 * its own (RFC 9113 section 8.2.3).
 *  @param value  borrowed, as long as the request; not terminated
 *  @return false: it sent none */
bool relay_cookie(const struct relay *relay, const char *name, const char **value, size_t *len);

/** For the access log: the request made this object. @param id  as the client sees it; copied; NULL:
 * none is known */
void relay_made(struct relay *relay, const char *id);

/** Add an answer header; the text is copied. */
void relay_header(struct relay *relay, const char *name, const char *value);

/** From now on it counts as answered, for the first and only time. Sets the headers of every answer
 * (request id, call id, model id and base of `relay->deployment`). For answers of relay_start(). */
void relay_begin_answer(struct relay *relay);

/** Begin an answer, and set the head of one of `len` bytes. The caller starts the response and
 * sends them. */
void relay_head(struct relay *relay, int status, const char *content_type, size_t len);

/** Answer whole; the bytes are copied. Ends the operation's hold on the relay. HEAD gets the same
 * head and no body. */
void relay_bytes(struct relay *relay, int status, const char *content_type, const char *bytes,
                 size_t len);
void relay_json(struct relay *relay, int status, const struct json *value);

/** Answer with a head alone, without a word on its content: 204, or 304 to who has the representation,
 * whose ETag is set (RFC 9110 sections 8.6 and 15.4.5). */
void relay_empty(struct relay *relay, int status);

enum relay_more {
    RELAY_MORE,  /* more follows, when the client has taken this */
    RELAY_LAST,  /* that was all; may free the operation before it returns */
    RELAY_BROKEN /* it cannot be completed: the client's transfer is broken off */
};

/** Begin an answer that goes out in pieces, whose other headers are set.
 *  @param length      of its body; -1: not known
 *  @param on_proceed  after each relay_send() of RELAY_MORE, perhaps before that returns */
void relay_start(struct relay *relay, int status, int64_t length, void (*on_proceed)(void *arg),
                 void *arg);

/** Send the next piece; one at a time. @param bytes  the caller keeps them until on_proceed(), or
 * until the request's end */
void relay_send(struct relay *relay, const char *bytes, size_t len, enum relay_more more);

/** Answer with an error envelope. */
void relay_failure(struct relay *relay, const struct failure *failure);

/** Describe an error of our own. @param code, param "" for null */
void relay_fill(struct failure *failure, int status, const char *type, const char *code,
                const char *param, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/** Answer with an error of our own. @param code, param "" for null */
void relay_problem(struct relay *relay, int status, const char *type, const char *code,
                   const char *param, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

struct viewer; /* client_ids.h */

/** Who asked, as client_ids.h and batch_view.h want it; valid as long as the relay. */
struct viewer relay_viewer(const struct relay *relay);
