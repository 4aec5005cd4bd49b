/* HTTP towards providers: libcurl multi on the worker's loop, two handles (small JSON, HTTP/2 over
 * TLS allowed; file content, HTTP/1.1 only) behind nested epoll descriptors. No redirects, no proxy
 * or netrc from the environment, https only unless allowed or loopback, verified TLS >= 1.2, limits
 * per phase, caps on what comes back. Measured facts: providers 7.
 *
 * Money safety: a request marked `once` goes out on a connection on which libcurl cannot repeat it
 * by itself (fresh HTTP/1.1). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/loop.h"

struct upstream;      /* one per process that talks to providers; made after the fork */
struct upstream_call; /* one request in flight */

/* An address of a name is about to be connected to. @return whether it may be */
typedef bool (*upstream_address_cb)(void *arg, const struct sockaddr *address, socklen_t len);

struct upstream_options {
    bool allow_insecure; /* http:// to other than loopback */
    /* http:// to where platforms hand out tokens: the metadata address, 169.254.169.254, and what
     * else is link-local or private, as numbers. For who asks there, and nobody else */
    bool allow_metadata;
    /* Address of an HTTP proxy for all that is not this machine's (CONNECT, RFC 9110 section
     * 9.3.6); copied; NULL: none, whatever the environment says */
    const char *proxy;
    /* Hosts that are reached without it: names, ".domain", addresses, with commas; copied; NULL:
     * none besides this machine and 169.254.0.0/16 */
    const char *no_proxy;
    const char *ca_file; /* PEM, copied; replaces the system's; NULL: the system's */
    uint32_t connect_ms; /* DNS + TCP + TLS; 0: 10,000 */
    /* File transfers: less than 1 KiB moved in so long ends them (a paused one waits for its
     * owner); 0: no limit */
    uint32_t low_speed_ms;
    size_t max_header_bytes; /* of an answer; 0: 64 KiB */
    /* Asked right before each connection; NULL: all may be connected to. With it nothing is carried
     * from one call to the next: each resolves the name anew and makes a connection of its own,
     * which is closed behind it. There is no `proxy` then, which would connect for us */
    upstream_address_cb may_connect;
    void *may_connect_arg; /* borrowed */
    bool certificates;     /* results tell until when the server's certificate is good */
    /* Small calls over HTTP/1.1 go through a transport that costs a third of libcurl's, where there
     * is neither `proxy` nor `may_connect` nor `certificates` */
    bool lean;
};

/** The file with the authorities that are trusted: one bundle and no directory.
 *  @param configured  NULL: the system's, which may not be there
 *  @return to be freed; NULL: none is known, or out of memory */
char *upstream_find_ca_bundle(const char *configured);

/** The process must ignore SIGPIPE. Two descriptors go to `loop` for good, with `lean` three.
 *  @return 0, ERR_NOMEM */
MUST_USE int upstream_new(struct loop *loop, const struct upstream_options *options,
                          struct upstream **out);
/** Cancels nothing: all calls must have ended. Before the loop goes, and not from inside a
 * callback. NULL is fine. */
void upstream_free(struct upstream *up);
/** Have the trusted authorities read a few a turn from now on, so that the first https:// call does not
 * read them all (25 ms). For who will make one. Calls nobody back. */
void upstream_warm(struct upstream *up);
/** Calls in flight. */
size_t upstream_active(const struct upstream *up);

enum upstream_end {
    UPSTREAM_ANSWERED,       /* a complete HTTP answer, any status */
    UPSTREAM_CONNECT_FAILED, /* DNS, TCP or TLS, also when that took too long: nothing was sent */
    UPSTREAM_TIMEOUT,        /* a limit of ours passed after the connection stood */
    UPSTREAM_BROKEN,         /* reset, closed early, truncated body, HTTP framing error */
    UPSTREAM_TOO_LARGE,      /* head or collected body over its cap */
    UPSTREAM_SOURCE_FAILED,  /* the request body's source returned an error */
    UPSTREAM_REFUSED         /* not started: URL not allowed (https only), out of memory */
};

struct upstream_header {
    const char *name; /* as it goes out; lower case when received */
    const char *value;
};

/* The head of an answer, final (no 1xx). Pointers live until the call ends. */
struct upstream_head {
    int status;
    int64_t content_length;                /* -1: unknown */
    const struct upstream_header *headers; /* received order, names in lower case */
    size_t num_headers;
};

struct upstream_result {
    enum upstream_end end;
    bool nothing_sent; /* known: not one byte of the request reached a connection */
    /* The kept connection that the request was sent on was lost, and it was sent again without a
     * question: the answer may be to what was done before. Never of a request that is marked `once`,
     * and of the lean transport's (upstream_options.lean) a GET only */
    bool repeated;
    struct upstream_head head; /* status 0 when no head came */
    /* Collected body, NUL-terminated; NULL when streamed, none, or the answer was not complete;
     * valid during the callback, like `head` */
    const char *body;
    size_t body_len;
    uint64_t connect_us; /* DNS, TCP and TLS; 0: the connection stood already */
    uint64_t first_byte_us, total_us;
    uint64_t bytes_sent, bytes_received; /* bodies */
    /* Where upstream_options.certificates is set, and the connection was a new one over TLS: the
     * end of the server's certificate, Unix seconds; 0: not known */
    int64_t certificate_until_s;
    char error[160]; /* for logs: phase and reason; never a key, never a URL with a query */
};

/* The request body when it is not a small buffer: like read(2) of exactly `length` bytes in order;
 * never blocks for long.
 * @return bytes (> 0), or a negative code, which ends the call with UPSTREAM_SOURCE_FAILED */
typedef ssize_t (*upstream_source_cb)(void *arg, char *buf, size_t len);

typedef void (*upstream_done_cb)(void *arg, const struct upstream_result *result);
/* A head came and its body will be streamed. Return false to have the body collected instead
 * (errors, small JSON). */
typedef bool (*upstream_head_cb)(void *arg, const struct upstream_head *head);
/* Body bytes; at most 16 KiB a call. Return false to pause after these bytes (they are taken);
 * upstream_resume() goes on. What was read already still comes, less than 128 KiB; and while paused
 * on_done can come: when the connection or the total limit broke. */
typedef bool (*upstream_data_cb)(void *arg, const char *bytes, size_t len);

/* The connection stands and the first byte of the request is about to go. From inside curl: no call
 * may be started or cancelled from here. Return false to send nothing (UPSTREAM_REFUSED,
 * nothing_sent). */
typedef bool (*upstream_begin_cb)(void *arg);

struct upstream_request {
    const char *method;
    const char *url; /* absolute */
    /* Complete: of its own curl adds Host and Content-Length only */
    const struct upstream_header *headers;
    size_t num_headers;
    const char *body; /* small body; copied; NULL: none */
    size_t body_len;
    /* Or NULL; then `source_length` bytes are sent with an exact Content-Length */
    upstream_source_cb source;
    uint64_t source_length;
    bool file; /* true: the HTTP/1.1 file handle, no total limit but low speed */
    /* Create, upload: never silently repeated; a `source` implies it. Others may be:
     * upstream_result.repeated */
    bool once;
    /* Whose work this is: owners take turns where more waits than a turn of the loop may do; 0:
     * nobody's in particular, who are one owner together */
    uint64_t owner;
    /* The bodies of request and answer are wiped when the call has ended; the answer's is never
     * moved while it grows */
    bool secret;
    uint32_t total_ms;          /* whole call; 0: none (file transfers) */
    uint32_t first_byte_ms;     /* after the request was sent; 0: none */
    size_t max_body;            /* cap of a collected body; 0: 1 MiB */
    upstream_begin_cb on_begin; /* or NULL; once for a request that is marked `once` */
    upstream_head_cb on_head;   /* NULL: always collect */
    upstream_data_cb on_data;
    /* Exactly once unless cancelled; never from inside upstream_start() */
    upstream_done_cb on_done;
    void *arg;
};

/** Start. Everything in `request` is copied or used before return, but `arg`. Never calls back
 * before it returns: failures to start are reported through on_done too (UPSTREAM_REFUSED). @return
 * the call, valid until on_done begins or upstream_cancel(); NULL: out of memory, on_done will not
 * run */
struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request);

/** Forget the call: no callback any more, its connection is closed if it was busy. Safe from inside
 * on_head, on_data and the source (deferred), and from any on_done but its own. NULL is fine. */
void upstream_cancel(struct upstream_call *call);

/** Go on after on_data returned false. May call on_data back before it returns only via the loop
 * (deferred to a coming turn). NULL is fine. */
void upstream_resume(struct upstream_call *call);

/** A header of an answer, by lower-case name; NULL: absent. */
const char *upstream_header_find(const struct upstream_head *head, const char *name);
