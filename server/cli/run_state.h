/* What `tranche run` remembers of one file beside its results, so that the same command goes on after
 * Ctrl-C, a kill or a reboot: written whole or not at all, and before anything is sent that may cost
 * money. Times are Unix seconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "crypto/ids.h"

#define RUN_NONCE     32 /* hex characters */
#define RUN_DIGEST    64 /* the same, of SHA-256 */
#define RUN_URL_MAX   2048
#define RUN_MODEL_MAX 512
#define RUN_FILES     2 /* of a batch's answers: output and errors */

/* Something that is sent once: an upload, a create. */
struct run_send {
    int64_t first_s, last_s; /* when it was sent; 0: never */
    char id[IDS_MAX + 1];    /* what came of it; "": it is not known */
};

/* Lines of one file of answers that cannot be read: to which requests they are is not known. */
struct run_unread {
    uint64_t lines;
    char file[IDS_MAX + 1]; /* at the server; "": none of its lines */
};

enum run_phase {
    RUN_BEGUN,    /* the batch of this round is to be made, or runs */
    RUN_FAILED,   /* the provider refused the whole file after the create: nothing of it has run */
    RUN_FINISHED, /* its results are merged */
    RUN_PHASES
};

struct run_state {
    char base_url[RUN_URL_MAX]; /* of the server, without "/v1" */
    char digest[RUN_DIGEST + 1];
    uint64_t bytes;            /* of the input */
    char model[RUN_MODEL_MAX]; /* that was given; "": none */
    char endpoint[64];
    bool gateway; /* the server is one of ours: it knows an Idempotency-Key */
    /* Of the last round: */
    unsigned round; /* 0: all lines; later ones: those that failed before */
    char nonce[RUN_NONCE + 1];
    char round_digest[RUN_DIGEST + 1]; /* of what is uploaded, before another model name */
    struct run_send upload, create;
    unsigned remade; /* how often its batch was made again, after one that found no room */
    enum run_phase phase;
    /* Of the answers that are merged. A round that has any is the last one (run_may_retry()). */
    bool counted; /* false: none are yet, or an older tranche merged some and did not look */
    struct run_unread unread[RUN_FILES];
};

/** Lines of answers that cannot be read. */
uint64_t run_state_unread(const struct run_state *state);

/** Read what run_state_print() wrote. @return 0, ERR_NOMEM, ERR_SYNTAX: it is something else */
MUST_USE int run_state_parse(const char *text, size_t len, struct run_state *out);
void run_state_print(const struct run_state *state, struct strbuf *out);

/** The same of a file. @return as above, ERR_NOT_FOUND, ERR_IO (`error`) */
MUST_USE int run_state_load(const char *path, struct run_state *out, int *error);
MUST_USE int run_state_save(const char *path, const struct run_state *state, int *error);

/** Begin a round: a new nonce, nothing sent yet. @return 0, ERR_IO: the system gives no random bits
 */
MUST_USE int run_state_begin(struct run_state *state, unsigned round, const char *digest);
