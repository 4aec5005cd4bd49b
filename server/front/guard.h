/* The guard between the listening socket and libh2o: one record for each client connection, and
 * what its parts share. Private to the front door (front.c, guard*.c, stream_h1.c,
 * stream_h2.c).
 *
 * A connection is sniffed (TLS handshake or HTTP/2 preface), then belongs to stream_h1.c or
 * stream_h2.c, which stand between its socket and libh2o. libh2o owns the socket and its own
 * connection from then on; our record lives until the socket's on_close, which is the last thing
 * that libh2o does to it. */
#pragma once

#include <h2o.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accept_share.h"
#include "common/loop.h"
#include "front/body.h"
#include "chunked.h"
#include "front/front.h"
#include "guard_h1.h"
#include "guard_h2.h"
#include "front/guard_peers.h"
#include "core/inherited.h"

/* Times and bounds of the front door; those an operator may set are in config_limits. */
#define GUARD_TICK_MS            250   /* how exact all of these are */
#define GUARD_HANDSHAKE_MS       10000 /* TLS, or the first byte of a new connection */
#define GUARD_HEAD_MS            10000 /* first byte to last of a request head or header block */
/* While draining: a connection so young may carry its first request yet */
#define GUARD_FRESH_MS           1000
#define GUARD_IDLE_MS            75000 /* between requests */
/* The same where more than seven of eight places are taken: who does nothing makes room. */
#define GUARD_TIGHT_HANDSHAKE_MS 3000
#define GUARD_TIGHT_HEAD_MS      3000
#define GUARD_TIGHT_IDLE_MS      10000
/* Places beyond the limit: for health routes alone once nobody can make room. */
#define GUARD_SPARE              8
#define GUARD_AGE_MS             3600000 /* then a connection ends with the next response */
#define GUARD_STALL_MS           60000   /* the grace of a reader where none is configured */
#define GUARD_HANGUP_MS          100  /* a request must run so long before its client is watched */
#define GUARD_LINGER_MS          5000 /* after an early answer, */
#define GUARD_LINGER_BYTES       (64u << 20) /* or so many bytes */
/* A body left unread that is no larger does not cost the connection */
#define GUARD_REUSE_BYTES        65536
#define GUARD_CLOSE_MS           5000 /* a TLS goodbye that the client does not take */
#define GUARD_ACCEPTS            4    /* for each time that the listener wakes us */
/* What may come in one turn is less than 256 KiB for an upload: libh2o's buffers double, and a
 * little more would cost twice as much. */
#define GUARD_WINDOW_H2          (224u << 10) /* HTTP/2 flow control: one stream, */
#define GUARD_WINDOW_H2_ALL      (448u << 10) /* and a connection: most bytes of it that wait here */
/* Bytes of a TLS socket's receive buffer, which the kernel doubles; net.core.rmem_max may make it
 * less */
#define GUARD_BUFFER_TLS         (112 << 10)

enum conn_phase {
    CONN_SNIFF, /* clear text, the first bytes decide */
    CONN_TLS,   /* handshake */
    CONN_H1,
    CONN_H2
};

struct h1_stream;
struct h2_stream;
struct st_h2o_http2_conn_t;

#define H2_ORPHANS 256 /* the newest; a client has 100 streams at a time */

/* A stream that we ended before its client did: what was on its way may still come. */
struct h2_orphan {
    uint32_t id;    /* 0: none */
    int64_t window; /* bytes that may come */
    int64_t left;   /* bytes that have to come by its content-length; -1: it had none */
    int64_t output; /* window of ours that its WINDOW_UPDATEs go on to open */
};

struct h2_reset {
    uint32_t id;
    enum frame_error error;
};

/* What the connection is at; drawn in stream_h1.c. */
enum h1_phase {
    H1_HEAD,     /* a head is awaited */
    H1_RUNNING,  /* libh2o has the request, a handler answers */
    H1_DRAINING, /* the answer is out, the rest of the body is dropped; then the next head */
    H1_CLOSING,  /* the same, and our side is closed; then the connection is */
    H1_REFUSED   /* the head was answered by us, libh2o knows of no request; then as H1_CLOSING */
};

/* How far the answer to the request is; drawn in stream_h1.c. */
enum h1_answer {
    H1_UNANSWERED,
    H1_CONTINUE,  /* `100 Continue` is being written, what the handler sends is held back */
    H1_ANSWERING, /* its head is fixed */
    H1_ANSWERED,  /* its last byte was handed to libh2o */
    H1_BROKEN_OFF /* the handler gave up in the middle: the body is not waited for */
};

/* What stream_h1.c keeps for each connection. */
struct h1_conn {
    enum h1_phase phase;
    enum h1_answer answer;
    bool skipped_line; /* H1_HEAD: an empty line before the request was taken (RFC 9112, 2.2) */
    h2o_req_t *req;    /* libh2o's; the same for the connection's whole life */
    h2o_socket_cb lib_read, lib_write;
    void (*lib_send)(h2o_ostream_t *, h2o_req_t *, h2o_iovec_t *, size_t, h2o_send_state_t);
    struct h1_stream *stream; /* pool of the request; NULL: no body */
    char *stash;              /* owned; bytes that libh2o must not see yet */
    size_t stash_len, stash_at, stash_capacity;
    bool stash_pinned; /* a handler looks at bytes of it */
    size_t scanned;    /* of the head */
    size_t head_len;
    uint64_t since_ms; /* begin of the phase; of H1_HEAD: of the first byte, or 0 */
    uint64_t lingered; /* bytes dropped */
    struct {
        h2o_ostream_t *self; /* NULL: nothing held back */
        h2o_iovec_t *bufs;   /* pool */
        size_t num;
        h2o_send_state_t state;
    } held; /* a send that waits: for `100 Continue` to be written, or for the next turn */
    h2o_timeout_entry_t kick;
    struct slice turn; /* H1_HEAD: it waits for its tenant's turn, bytes are there, none is read */
};

/* How a client takes what it asked for. Like a body's credit (guard_rate), but only while bytes
 * wait for it. */
struct guard_reader {
    uint64_t deadline_us; /* 0: nothing waits */
    uint64_t mark;        /* bytes taken, when last looked at */
};

/* A stream whose bytes wait although the connection could take them: its own window is closed. */
struct h2_reader {
    uint32_t id;
    struct guard_reader reader;
};

/* What stream_h2.c and h2_streams.c keep for each connection. */
struct h2_conn {
    bool preface;       /* libh2o has not seen it yet */
    bool final_goaway;  /* the second GOAWAY is out */
    uint64_t retire_ms; /* when the first was sent; 0: not */
    h2o_socket_cb lib_read;
    ssize_t (*lib_expect)(struct st_h2o_http2_conn_t *, const uint8_t *, size_t, const char **);
    struct frame_budget budget;
    struct h2_stream *streams; /* those with a body; the newest first */
    uint8_t *block;            /* owned; header block in pieces, behind room for a frame header */
    size_t block_len;
    bool block_ends_stream;
    uint64_t block_ms;         /* since when; 0: none is open */
    int64_t window;            /* what the client may still send on the connection */
    uint32_t returned;         /* bytes to give back, not yet told */
    struct h2_orphan *orphans; /* owned [H2_ORPHANS]; a ring; NULL: none yet */
    size_t next_orphan;
    struct h2_reset *resets; /* owned; streams to reset on the next turn */
    size_t num_resets, max_resets;
    struct h2_reader *readers; /* owned; in the order in which libh2o walks over its streams */
    size_t num_readers, max_readers;
    uint64_t written; /* of sock->bytes_written, already earned */
    h2o_timeout_entry_t kick;
};

struct conn {
    h2o_linklist_t link;
    struct front *front;
    h2o_socket_t *sock; /* libh2o's once it was accepted */
    enum conn_phase phase;
    bool dying;    /* libh2o's connection is gone or going; the socket may still say goodbye */
    unsigned pins; /* frames of ours on the stack that still need the record */
    bool closed;   /* the socket is gone; freed with the last pin */
    uint64_t opened_ms;
    bool used;          /* it carried a request */
    bool trusted;       /* ... with the key */
    bool spare;         /* it came when all places were taken by trusted ones */
    bool evicted;       /* cut to make room; libh2o has not noticed yet */
    uint64_t active_ms; /* last time a request began or ended; since when it is dying */
    struct guard_reader reader;
    struct front_load load;
    uint64_t peer; /* guard_peers_key() */
    bool loopback; /* guard_peers_is_loopback(); a socket that was reset no longer says so */
    char address[INET6_ADDRSTRLEN]; /* of the peer, for the log; "": it has none */
    struct timeval connected_at;
    union {
        struct h1_conn h1;
        struct h2_conn h2;
    };
};

struct front {
    struct loop *loop;
    h2o_context_t *ctx;
    h2o_accept_ctx_t accept;
    SSL_CTX *tls;             /* borrowed; NULL: clear text */
    struct worker_slot *slot; /* borrowed; NULL: none */
    h2o_socket_t *listener;   /* owned; NULL once draining */
    bool listening;
    struct loop_timer leave;   /* while a connection is left to other workers */
    struct accept_share share; /* front.c's; of one that is alone all zero */
    bool draining;
    bool is_health;           /* FRONT_HEALTH */
    uint64_t warned_ms;       /* when accept(2) was last said to fail */
    uint32_t max_per_address; /* 0: no limit */
    bool counts_loopback;
    uint64_t *proxies; /* owned; guard_peers_key()s that are not counted */
    size_t num_proxies;
    uint64_t min_body_rate; /* bytes/s */
    uint32_t body_grace_ms; /* credit of a body at that rate */
    uint64_t min_read_rate; /* bytes/s; 0: any movement will do */
    uint32_t read_grace_ms;
    size_t max_conns, num_conns; /* GUARD_SPARE more may be open */
    h2o_linklist_t conns;
    struct guard_peers peers;
    struct loop_timer tick;
    struct pollfd *polls; /* owned; [max_conns], for the tick */
    struct conn **polled; /* owned; likewise */
    size_t num_polls;
    char scratch[BODY_SLICE]; /* one read of an HTTP/1 body; never held over a turn */
};

/**
 * A front door. front_new() of front.h after the self-test, which needs one of its own.
 *
 * @param listen_fd  -1: connections come by guard_adopt() alone
 * @return 0 or ERR_NOMEM
 */
MUST_USE int guard_new(struct loop *loop, h2o_context_t *ctx, const struct config_limits *limits,
                       SSL_CTX *tls, struct worker_slot *slot, int listen_fd, struct front **out);

/** Only when it has no connection any more. */
void guard_free(struct front *front);

/** The record of the connection that a request came on. */
struct conn *guard_conn_of(h2o_req_t *req);

/** Take over a connected socket (of the listener, or the self-test's). Does nothing on ERR_NOMEM.
 */
MUST_USE int guard_adopt(struct front *front, int fd, const struct sockaddr *address);

/* Times that depend on how full the worker is. */
uint64_t guard_handshake_ms(const struct front *front);
uint64_t guard_head_ms(const struct front *front);
uint64_t guard_idle_ms(const struct front *front);

/* Keep the record over a call that may close the connection. @return of guard_unpin(): whether it
 * is still open */
void guard_pin(struct conn *conn);
bool guard_unpin(struct conn *conn);

/** Cut the TCP connection; libh2o will notice and close. For connections that libh2o polls. */
void guard_cut(struct conn *conn);

/** End our side and go on reading: whoever waits for the end of the answer sees it now. Nothing of
 * ours may wait to be written. */
void guard_end_sending(struct conn *conn);

/** The connection is being closed by libh2o: touch nothing of libh2o's any more. */
void guard_dying(struct conn *conn);

/** The bytes that the peer has acknowledged (TCP); 0 where the kernel cannot tell. */
uint64_t guard_acked(const struct conn *conn);

/** Follow response bytes that wait for a reader.
 *  @param mark  bytes that it has taken; never less than before
 *  @return true when it was slower than min_read_rate for longer than the grace */
bool guard_reads_slowly(struct guard_reader *reader, const struct front *front, uint64_t mark,
                        uint64_t now_ms);

/** The same of a connection's reader. @param waiting  whether any bytes wait for it */
bool guard_stalled(struct conn *conn, bool waiting, uint64_t mark, uint64_t now_ms);

/* A body's credit at the minimum rate: the time when it is used up. Bytes push that time into the
 * future, at most to the grace from now, so a stall is noticed within the grace however much came
 * before. */
struct guard_rate {
    uint64_t deadline_us;
};

void guard_rate_reset(struct guard_rate *rate, const struct front *front, uint64_t now_ms);
void guard_rate_credit(struct guard_rate *rate, const struct front *front, uint64_t bytes,
                       uint64_t now_ms);
bool guard_rate_failed(const struct guard_rate *rate, const struct front *front, uint64_t now_ms);

/* An answer that no handler gives: what is wrong with the request head, in the envelope of all
 * errors. */
struct guard_refusal {
    int status;
    const char *reason;
    const char *body; /* JSON */
};

/** @return for 400, 414, 417, 431, 505; the one of 400 for anything else */
const struct guard_refusal *guard_refusal(int status);

/* stream_h1.c */
void h1_adopt(struct conn *conn); /* the socket's input may hold bytes */
void h1_tick(struct conn *conn, uint64_t now_ms);
bool h1_is_idle(const struct conn *conn); /* no byte of a request yet */
int h1_watched(const struct conn *conn,
               uint64_t now_ms);    /* the poll(2) events that mean the client left; -1: not now */
void h1_hang_up(struct conn *conn); /* the client is gone, or has to go */
void h1_forget(struct conn *conn);  /* the socket is gone */
struct body *h1_body(struct conn *conn); /* of its one request; NULL: it has none */

/* stream_h2.c, h2_streams.c */
void h2_adopt(struct conn *conn);
void h2_tick(struct conn *conn, uint64_t now_ms);
void h2_retire(struct conn *conn, uint64_t now_ms); /* GOAWAY now, and for good a second later */
void h2_forget(struct conn *conn);
struct body *h2_body(struct conn *conn, h2o_req_t *req);

/* guard_selftest.c */
MUST_USE int guard_selftest(void);
