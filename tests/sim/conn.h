/* A connection, between http.c (events, phases) and wire.c (bytes). */
#pragma once

#include <openssl/ssl.h>

#include "http.h"

enum conn_state {
    CONN_HEAD,  /* reading a request's head */
    CONN_BODY,  /* reading its body */
    CONN_HOLD,  /* held by a fault, a latency or a parked answer */
    CONN_WRITE, /* answering */
    CONN_LINGER /* answered and shut down for writing; reading the rest so that the peer sees the
                   answer */
};

enum chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };

/* What happens when the hold is over. */
enum resume {
    RESUME_NONE,
    RESUME_READ,
    RESUME_BODY,
    RESUME_EXECUTE,
    RESUME_ANSWER,
    RESUME_WRITE,
    RESUME_ACCEPT
};

struct conn {
    struct server *srv;  /* borrowed */
    struct account *acc; /* borrowed */
    int fd;
    SSL *ssl; /* owned; NULL: clear text */
    uint64_t id;
    enum conn_state state;
    bool readable; /* the socket may have bytes: edge-triggered, so remembered */
    bool writable;
    bool hangup; /* the peer has closed its side */
    bool dead;   /* to be freed at the end of the turn */
    bool parked;
    bool close_after; /* end the connection after this answer */
    bool body_fault_done;
    bool began;       /* the request is in the journal and not yet ended there */
    struct strbuf in; /* received and not yet used */
    size_t in_off;
    struct request req;
    struct reply rep;
    struct fault *fault; /* owned reference */
    int64_t body_left;   /* of a body with a length */
    enum chunk_state chunk;
    int64_t chunk_left;
    char chunk_line[64];
    size_t chunk_line_len;
    size_t trailer_len;
    enum resume resume;
    int64_t wake_ms; /* monotonic; -1: not in the timer heap */
    size_t heap_at;
    struct strbuf out; /* head and body text */
    size_t out_off;
    size_t head_len;  /* of out */
    struct blob file; /* owned; content that follows out */
    bool has_file;
    int64_t file_off, file_end;
    int64_t pad_left; /* blanks that follow */
    bool in_again;
    struct conn *again;       /* list of connections that have more to do */
    struct conn *prev, *next; /* all connections */
};

enum wire { WIRE_DONE, WIRE_BLOCKED, WIRE_MORE, WIRE_BROKEN };

/** Read once into `buf`. Returns bytes, 0 at the end, -1 when blocked, -2 when broken. */
ssize_t wire_read(struct conn *c, void *buf, size_t len);

/** Write what is to be written, at most about `budget` bytes. */
enum wire wire_write(struct conn *c, int64_t budget);

/** Take body bytes. Returns how many were used, or -1 on bad framing, -2 when the disk is full;
 * `*done` when the body is complete. */
ssize_t wire_body(struct conn *c, const char *p, size_t len, bool *done);

/** Put head and body of c->rep into c->out, c->file, c->pad_left. */
void wire_compose(struct conn *c);
