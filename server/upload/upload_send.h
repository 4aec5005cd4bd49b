/* The sending half of an upload: choose a deployment, send, move on when it refuses, answer. */
#pragma once

#include <openssl/evp.h>

#include "jsonl/jsonl.h"
#include "multipart/multipart.h"
#include "routing/candidates.h"
#include "balancer/rights.h"
#include "request/limits.h"
#include "request/operation.h"
#include "once/repeat.h"
#include "request/resolve.h"
#include "calls/send_file.h"
#include "core/spool.h"

struct receiver; /* receiver.h */
struct assembly; /* assemble.h */

struct upload {
    struct operation op;         /* its deployment: of the current try */
    struct receiver *receiver;   /* owned; NULL: all was received */
    struct assembly *assembly;   /* owned; the parts that it comes in; NULL: it came whole */
    uint64_t owner;              /* whose the file will be, as in relay.h */
    struct limits_upload limits; /* what it holds of its tenant's */
    struct spool spool;
    uint64_t received;   /* bytes of the file part so far */
    uint64_t counted;    /* bytes of memory, in the worker's budget: upload_memory.h */
    struct jsonl *lines; /* owned; NULL: no batch file */
    bool lines_bad;
    bool all_problems;  /* a refusal lists them in `errors` */
    EVP_MD_CTX *digest; /* owned; of the file's bytes; NULL: the request has no Idempotency-Key */
    /* What stands for the lines' model at the caller's key; "": it has no alias of that name */
    char renamed[RIGHTS_NAME_MAX + 1];
    struct strbuf purpose, filename, expires_anchor, expires_seconds, provider,
        target_models;            /* the form's fields */
    struct candidates candidates; /* owned */
    bool *tried;                  /* owned; [candidates.num] */
    bool *barred;                 /* owned; [candidates.num]; tried, or without a slot: choose() */
    uint32_t tier;                /* of the candidates in use */
    uint32_t tries_here;          /* in the tier of the current one */
    struct send_file *send;       /* owned; NULL: none in flight */
    struct repeat repeat;         /* this request among those that were made before */
    /* Of the request, which may be gone when an assembled file is stored: see goes_on() */
    struct tenant tenant;
    char hinted[ROUTE_NAME_MAX]; /* model */
    char request_id[ACCESS_LOG_ID];
};

/** An upload that is still being received.
 *  @param ops  whose free() ends in upload_free()
 *  @param rules  of its lines; NULL: they are not looked at
 *  @return NULL: out of memory; that was answered */
MUST_USE struct upload *upload_new(struct relay *relay, const struct operation_ops *ops,
                                   const struct jsonl_rules *rules);

/** Have `digest`, of its bytes. @return 0, ERR_NOMEM */
MUST_USE int upload_hashes(struct upload *up);

/** The model of the lines as the caller means it: `report->model` after its aliases; NULL: none. Sets
 * `up->renamed`. */
const char *upload_model(struct upload *up, const struct jsonl_report *report);

/** Whether the caller may store a file of that model: NULL is one that nobody can hold against its
 * rights, as are files of other purposes than batches.
 *  @return false: `why` says what to answer */
bool upload_is_allowed(const struct upload *up, const char *model, struct failure *why);

/** Of operation_ops: what is in flight is cancelled. */
void upload_free(struct operation *op);

/** Everything was received and checked: send it, and answer. The receiver is gone. */
void upload_send(struct upload *up);
