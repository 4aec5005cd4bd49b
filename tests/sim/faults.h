/* Scripted faults: which request they hit and what happens to it. */
#pragma once

#include "request.h"

/* When a connection is ended or made to hang. */
enum phase { PHASE_NONE, PHASE_ACCEPT, PHASE_HEAD, PHASE_BODY, PHASE_ANSWER };

struct fault {
    struct fault *next;
    unsigned refs; /* the list, and each connection that is under the fault */
    char id[24];
    char *account; /* owned; NULL: all */
    char *method;  /* owned; NULL: all */
    char *path;    /* owned; NULL: all */
    int64_t times; /* left; -1: for ever */
    int64_t skip;  /* matching requests still let through */
    int64_t hits;
    int status;     /* 0: execute */
    bool early;     /* the status is answered on the head, without reading the body */
    bool late;      /* ... after the request was carried out */
    char *headers;  /* owned header lines with CRLF; NULL: none */
    bool has_type;  /* ... with a Content-Type among them */
    bool has_retry; /* ... with a retry-after of some form among them */
    char *body;     /* owned; NULL: the account's usual error body */
    const char *body_type;
    enum phase close;
    enum phase reset;
    enum phase hang;
    int64_t hang_ms;       /* -1: until the peer closes */
    int64_t truncate;      /* -1: off */
    int64_t trickle_bytes; /* 0: off */
    int64_t trickle_ms;
    bool trickle_head; /* the head trickles too */
    int64_t delay_ms;
    bool gzip;
    bool not_json;
    int64_t oversize; /* 0: off */
};

/** Add a fault from its JSON description. Returns it (borrowed), or NULL with `why` filled. */
struct fault *faults_add(struct sim *sim, const struct json *desc, struct strbuf *why);

/** The fault of a request, or of a connection just accepted (req NULL), counted as used; a
 * reference of the caller's. NULL when there is none. */
struct fault *faults_take(struct sim *sim, const struct account *acc, const struct request *req);
void fault_release(struct fault *f); /* NULL is fine */

/** Whether a fault acts on new connections, before any request. */
bool faults_on_accept(const struct fault *f);

void faults_clear(struct sim *sim);

/** Print all as a JSON array. */
void faults_write(const struct sim *sim, struct strbuf *out);
