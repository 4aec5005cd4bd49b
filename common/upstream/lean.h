/* The lean transport, from inside: small calls without a file and without a secret body, over HTTP/1.1
 * on connections that are ours. An answer on a kept connection costs two system calls here, and
 * seven and more with libcurl, which also spends some 10 us of its own on each call.
 *
 *   lean.c       one call: its request, its answer, what a lost connection means
 *   lean_pool.c  origins, and the connections to them that are idle
 *   lean_conn.c  one connection
 *   lean_tls.c   who is trusted, and TLS on a connection
 *   answer.c     where an answer's head, body and end are
 *
 * Libcurl still makes the connections: it resolves names without blocking, tries their addresses,
 * and hands over a socket that is connected (CURLOPT_CONNECT_ONLY), so that a connection that fails
 * is told in the same words. What it alone can do stays with it: proxies, HTTP/2, and an origin
 * whose spelling is not plain. Limits of time, caps, and who may be cancelled when are those of
 * call.c for both transports.
 *
 * Nothing but a GET is sent twice, and that once more at most: where a connection that was kept for
 * it turns out to be closed before a byte of the answer. A cancel or delete that is lost so is
 * UPSTREAM_BROKEN, and its owner decides. It hardly happens: such a call goes on a connection that
 * was in use less than a second ago and is looked at right before, or on a new one. */
#pragma once

#include <openssl/ssl.h>

#include "answer.h"

#define LEAN_BUFFER (16 * 1024) /* bytes that are read at a time */

TAILQ_HEAD(conn_list, lean_conn);
TAILQ_HEAD(origin_list, lean_origin);

/* What an origin over TLS speaks, as libcurl found out: HTTP/2 and 1.0 are libcurl's. */
enum origin_speaks { SPEAKS_UNKNOWN, SPEAKS_H1, SPEAKS_OTHER };

struct lean_origin {
    TAILQ_ENTRY(lean_origin) link; /* in lean.origins, what was used last first */
    char *text;                    /* owned; "scheme://authority/", not terminated */
    size_t len;
    uint32_t hash;
    bool tls;
    char *connect_url;     /* owned; "http://authority/", with the port */
    char *host;            /* owned; the value of Host, without a port that is the scheme's own */
    char *name;            /* owned; the authority's host, an IPv6 address without its brackets */
    bool is_address;       /* `name` is an address */
    size_t users;          /* connections and calls */
    struct conn_list idle; /* of lean.idle, what became idle last first */
    size_t num_idle;
    SSL_SESSION *session; /* owned; or NULL */
    enum origin_speaks speaks;
    uint64_t learned_ms; /* when that was found out */
};

struct lean_conn {
    TAILQ_ENTRY(lean_conn) link;        /* in lean.idle while it has no call, */
    TAILQ_ENTRY(lean_conn) origin_link; /* and in its origin's */
    struct lean *lean;                  /* borrowed */
    struct lean_origin *origin;         /* used */
    struct upstream_call *call;         /* borrowed; NULL: idle */
    int fd;                             /* owned */
    SSL *tls;                           /* owned; NULL: clear text */
    bool ready;                         /* over TLS: the handshake is done */
    uint32_t watched;                   /* EPOLL...; 0: nothing */
    uint64_t made_ms, idle_ms;          /* loop time */
};

struct lean {
    struct upstream *up;      /* borrowed; our owner */
    struct lean_conn **conns; /* owned [num_conns]; by descriptor; NULL: none */
    size_t num_conns;
    struct conn_list idle; /* what became idle last first */
    size_t num_idle;
    struct origin_list origins;
    size_t num_origins;
    struct loop_timer timer;   /* while there are idle ones: the oldest may be too old */
    SSL_CTX *tls;              /* owned; made when it is first needed, anew with the store */
    const X509_STORE *trusted; /* that it has */
    char buffer[LEAN_BUFFER];
};

/* A call's own part. */
struct exchange {
    struct lean_origin *origin; /* used */
    struct lean_conn *conn;     /* owned while not NULL */
    struct answer answer;
    bool reads; /* a GET, which may be sent once more */
    bool kept;  /* the connection had served others before */
    bool heard; /* a byte came on it */
    bool over;  /* the answer is complete, but its owner has paused */
    uint64_t connect_us, began_connect_us;
    size_t body_len;
    size_t sent, len;
    char request[]; /* the head and the body, which hold the credential: wiped */
};

/* --- lean.c --- */

/** @return 0, ERR_NOMEM */
MUST_USE int lean_new(struct upstream *up);
/** All calls have ended. NULL is fine. */
void lean_free(struct lean *lean);
/** Whether the call goes this way: then it is made ready, and `*why` is NULL or says why it is
 * refused. */
bool lean_prepare(struct upstream_call *call, const struct upstream_request *request,
                  const char **why);
/** Send it, or connect first. Not while curl runs. The call may have ended behind this (`ended`),
 * its owner is told later. */
void lean_begin(struct upstream_call *call);
/** Curl has connected for this call. @return whether the call has ended */
bool lean_connected(struct upstream_call *call);
/** A descriptor of the lean lane is ready. @return whether a call has ended */
bool lean_run(struct upstream *up, int fd, uint32_t events);
/** Go on behind a pause. */
void lean_resume(struct upstream_call *call);
/** Free the call's own part, and close a connection that is busy with it. Nothing where it has
 * none. */
void lean_release(struct upstream_call *call);
/** Microseconds to its connection; 0: that stood already. */
uint64_t lean_connect_us(const struct upstream_call *call);
/** Bytes of the request's body that were sent. */
uint64_t lean_sent_bytes(const struct upstream_call *call);
/** A call of curl's to an origin over TLS has ended: learn what that speaks. */
void lean_learn(struct upstream *up, CURL *easy);

/* --- lean_pool.c --- */

/** The origin of a URL, made when there is none yet, and used once more. @return NULL: it is not
 * ours: `*why` says why nobody may ask it, or is NULL */
struct lean_origin *pool_origin(struct lean *lean, const char *url, const char **why);
/** One user less. */
void pool_release(struct lean_origin *origin);
/** An idle connection that is alive, now the caller's.
 *  @param sure  only one that was in use a moment ago: what is lost on it cannot be repeated
 *  @return NULL: there is none */
struct lean_conn *pool_take(struct lean *lean, struct lean_origin *origin, bool sure);
/** Keep a connection for others, or close it where enough are kept. */
void pool_keep(struct lean_conn *conn);
/** An idle connection can be read. */
void pool_readable(struct lean_conn *conn);
/** The sessions of all origins are over. */
void pool_drop_sessions(struct lean *lean);
void pool_deinit(struct lean *lean);
/** The timer of idle connections. */
void pool_on_timer(struct loop_timer *timer);

/* --- lean_conn.c --- */

#define CONN_AGAIN  (-1) /* nothing now */
#define CONN_BROKEN (-2) /* `error` says why */

/** @param fd  connected, non-blocking; taken over, also in failure @return NULL: out of memory */
struct lean_conn *conn_new(struct lean *lean, struct lean_origin *origin, int fd);
void conn_free(struct lean_conn *conn);
/** Watch for these events, EPOLL..., and no others; 0: for none. @return 0, ERR_NOMEM */
MUST_USE int conn_watch(struct lean_conn *conn, uint32_t events);
/** @return bytes, 0: the peer has closed its side, CONN_... */
ssize_t conn_read(struct lean_conn *conn, char *bytes, size_t size, char *error, size_t error_size);
/** @return bytes, CONN_... */
ssize_t conn_write(struct lean_conn *conn, const char *bytes, size_t len, char *error,
                   size_t error_size);
/** Whether bytes that were received have not been read, and no event will tell of them. */
bool conn_has_pending(const struct lean_conn *conn);

/* --- lean_tls.c --- */

/** Put TLS on a connection. @return 0, ERR_NOMEM, ERR_INVALID: what is trusted cannot be read */
MUST_USE int lean_tls_start(struct lean_conn *conn);
/** Go on with the handshake.
 *  @return 1: it is done, CONN_AGAIN: `*events` must be waited for, CONN_BROKEN */
int lean_tls_handshake(struct lean_conn *conn, uint32_t *events, char *error, size_t error_size);
/** What went wrong in the call of OpenSSL's before. */
int lean_tls_judge(struct lean_conn *conn, int rc, char *error, size_t error_size);
