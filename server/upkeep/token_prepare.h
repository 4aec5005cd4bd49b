/* What comes before a token call: the credential's file is read, a certificate signs. Both may take
 * long (a disk that does not answer, the password of a PFX file), so they are done in a thread, and
 * the loop hears of the end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/entra_credential.h"
#include "common/err.h"
#include "common/loop.h"
#include "entra/entra_answer.h"
#include "entra/entra_request.h"

struct token_preparer; /* one of a process */
struct token_job;      /* one preparation */

/* How one ended. */
struct token_prepared {
    bool ok;
    struct entra_request request; /* where it is ok; whoever is told wipes it */
    enum entra_outcome outcome;   /* else: how such a call counts that was not made */
    struct entra_error error;
};

/** On the loop, never from inside token_prepare_start(). @param prepared  `request` may be moved
 * out of it (and zeroed); what is left is wiped afterwards */
typedef void (*token_prepared_cb)(void *arg, struct token_prepared *prepared);

/** @return 0, ERR_NOMEM, ERR_IO */
MUST_USE int token_preparer_new(struct loop *loop, struct token_preparer **out);

/**
 * Begin.
 *
 * @param credential  borrowed; outlives the process's loop
 * @param challenge   of Azure Arc: the path of the key file; copied; NULL: none
 * @return NULL: out of memory, or of threads; `done` will not be called
 */
struct token_job *token_prepare_start(struct token_preparer *preparer,
                                      const struct entra_credential *credential,
                                      const char *challenge, int64_t now_unix_s,
                                      token_prepared_cb done, void *arg);

/** Nobody waits for it any more: `done` gets NULL when its thread has ended, which may be never. */
void token_prepare_abandon(struct token_job *job);
