/* The sending half of an upload: choose a deployment, send, move on when it refuses, answer. */
#pragma once

#include "common/jsonl.h"
#include "common/multipart.h"
#include "server/attempt.h"
#include "server/relay.h"
#include "server/spool.h"

struct upload {
    struct relay *relay; /* borrowed; NULL once the client is gone */
    struct worker *worker;
    struct spool spool;
    uint64_t received;   /* bytes of the file part so far */
    struct jsonl *lines; /* owned; NULL: no batch file */
    bool lines_bad;
    struct strbuf purpose, filename, expires_anchor, expires_seconds,
        provider;         /* the form's fields */
    uint32_t *candidates; /* owned; deployments, shrinks from the end of what was tried */
    uint32_t num_candidates;
    uint32_t tries;
    bool *tried; /* owned; [num_candidates] */
    bool rewrite;
    uint32_t deployment;     /* of the current try */
    struct attempt *attempt; /* owned; NULL: none in flight */
    struct strbuf prologue, epilogue;
    struct jsonl_splice *splice;
    uint64_t sent;       /* bytes of prologue + file + epilogue handed out */
    uint64_t file_bytes; /* of the file as this deployment gets it */
    struct loop_timer retry;
};

/** An upload that is still being received. NULL when out of memory. */
struct upload *upload_new(struct relay *relay, const struct jsonl_rules *rules);
void upload_free(struct upload *up); /* cancels what is in flight */

/** Everything was received and checked: send it. Takes `up` over and answers its relay. */
void upload_send(struct upload *up);
