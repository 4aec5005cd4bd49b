/* The tokens of Entra ID, in shared memory: the prober's process fetches them, workers send them.
 * One cell for each credential (its fingerprint), whatever the number of accounts, workers and
 * generations that use it.
 *
 *   keys     │ whose cell it is, and which programs use it │   one word a cell
 *   cell     │ word ──► token 0 │ token 1 │                     the one that is read, the next one
 *            │ refused, lease, bell, back-off, counts │
 *            │ last error 0 │ last error 1 │
 *
 * As in issuer_keys.h a token is written whole where nobody reads, then the word turns: a fetcher
 * that was killed leaves the token that there was. The one before is wiped at once. A token has a
 * number, from 1; that is all by which workers speak of it:
 *
 *   worker   read: none, or it is refused                 prober   looks, takes the cell's lease,
 *            ring ──► `rung` n                                      asks, publishes number + 1
 *            waits until a better one is there,                     `heard` n: who rang so far has
 *            or `heard` has reached n ◄────────────────────────     his answer
 *
 *   a 401 ──► refuse(number): only if it still is the one that is read does it count as gone
 *
 * The lease says who asks for a token: one call for a credential and node, also while the probers
 * of two generations or of two programs live. It ends by itself, and with its holder.
 *
 * Lasting: shared by all generations and by the next program. What it holds is left out of cores,
 * like all shared memory, and wiped when no generation of any program uses the credential. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "entra/entra_when.h"

#define ENTRA_TOKENS_TEXT  ENTRA_MAX_TOKEN
#define ENTRA_TOKENS_CELLS 1024 /* credentials that all generations use together */
static_assert(ENTRA_TOKENS_CELLS >= ENTRA_MAX_CREDENTIALS, "a configuration that loads has room");

struct entra_tokens;      /* the region */
struct entra_tokens_cell; /* of one credential; stays where it is as long as a generation has it */

/** Without a token. Before the fork. Pages that nobody needs cost nothing. @return 0, ERR_NOMEM */
MUST_USE int entra_tokens_new(struct entra_tokens **out);
void entra_tokens_free(struct entra_tokens *tokens); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()).
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int entra_tokens_adopt(int fd, struct entra_tokens **out);

/* --- whose cells: the master --- (for the last two `tokens` may be NULL) */

/** A program of this side (0 or 1) uses the credential from now on. Its cell may be there, with its
 * token, of another generation or of the program before. @return 0, ERR_FULL */
MUST_USE int entra_tokens_bind(struct entra_tokens *tokens, uint64_t fingerprint, uint32_t side);

/** The programs of this side use these credentials and no other ones any more. Cells that nobody
 * uses are wiped. @param fingerprints  in any order, perhaps more than once */
void entra_tokens_keep(struct entra_tokens *tokens, const uint64_t *fingerprints, size_t num,
                       uint32_t side);

/** Nobody of the program of that side is alive: what it used it uses no more, and what it left
 * half wiped is wiped. */
void entra_tokens_clear_side(struct entra_tokens *tokens, uint32_t side);

/** A process is gone: its leases end. @param holder  as in entra_tokens_lease() */
void entra_tokens_clear_holder(struct entra_tokens *tokens, uint32_t holder);

/** @return NULL: no cell is bound to it, or `tokens` is NULL */
struct entra_tokens_cell *entra_tokens_find(struct entra_tokens *tokens, uint64_t fingerprint);

/* --- a token: workers --- */

/* All times are monotonic ms (clock_now_ms()). */
struct entra_tokens_view {
    uint64_t number; /* from 1 */
    /* A 401 came back for it (entra_tokens_refuse()): wait for the next one. Who has heard that
     * none will come soon may try it: the 401 may have been one account's own affair */
    bool refused;
    uint64_t obtained_ms;
    uint64_t renew_ms; /* from when on the next one is asked for */
    uint64_t ends_ms;
    size_t len;
};

/**
 * The token that is read now. 16 KiB are copied at most.
 *
 * @param text  ENTRA_TOKENS_TEXT + 1 bytes; the token, which is the caller's to wipe, and zeroes
 *              behind it. NULL: only its numbers are wanted
 * @return false: there is none, or its end has come; `text` and `*out` are zero then
 */
MUST_USE bool entra_tokens_read(const struct entra_tokens_cell *cell, uint64_t now_ms, char *text,
                                struct entra_tokens_view *out);

/** A 401 came back for the token of this number: it counts as refused, and the bell rings. A newer
 * one that is there by now stays as it is (entra statement 17).
 *  @return what `heard` will reach, as of entra_tokens_ring() */
uint64_t entra_tokens_refuse(struct entra_tokens_cell *cell, uint64_t number);

/** Ask for a token. @return what `heard` will reach: entra_tokens_is_heard() */
uint64_t entra_tokens_ring(struct entra_tokens_cell *cell);

/** Whether who rang then has his answer: the token is there by now, or none will be before
 * entra_tokens_wait_ms() is over. */
bool entra_tokens_is_heard(const struct entra_tokens_cell *cell, uint64_t rung);

/** How long until the next token call may be made; 0: one may be made now. */
uint64_t entra_tokens_wait_ms(const struct entra_tokens_cell *cell, uint64_t now_ms);

/* --- the calls: whoever fetches --- */

/* What the last failed call said. Texts are cut, and hold no secret and no control character. */
struct entra_tokens_error {
    int64_t unix_s;       /* when; 0: there was none yet */
    int32_t status;       /* HTTP; 0: no answer */
    uint32_t outcome;     /* enum entra_outcome */
    uint64_t number;      /* of AADSTS...; 0: none */
    char code[64];        /* `error`: "invalid_client"; "": none */
    char line[256];       /* first line of `error_description`, or our own words */
    char correlation[48]; /* correlation id, for Microsoft's support; "": none */
};

/** Take the right to ask for this credential's token, until then. Who has it may take it again.
 *  @param holder  number of the process among those of both programs (WORKER_ROWS)
 *  @return false: somebody else has it */
MUST_USE bool entra_tokens_lease(struct entra_tokens_cell *cell, uint32_t holder, uint64_t now_ms,
                                 uint32_t for_ms);
void entra_tokens_release(struct entra_tokens_cell *cell, uint32_t holder);

/** What is known of token and calls, for entra_when_...(): of a refused token nothing is. */
void entra_tokens_state(const struct entra_tokens_cell *cell, struct entra_state *out);

/** Make it the token that is read; the one before is wiped. The caller has the lease. Counts the
 * call.
 *  @param len    1 to ENTRA_TOKENS_TEXT
 *  @param state  as entra_when_obtained() left it
 *  @return its number; 0: somebody else has published since, as the caller's lease was over */
uint64_t entra_tokens_publish(struct entra_tokens_cell *cell, const char *text, size_t len,
                              const struct entra_state *state);

/** A call failed. The caller has the lease.
 *  @param state  as entra_when_failed() left it: the waits are taken, the token stays as it is */
void entra_tokens_fail(struct entra_tokens_cell *cell, const struct entra_state *state,
                       const struct entra_tokens_error *error);

/** How often in a row calls have failed. */
uint32_t entra_tokens_failures(const struct entra_tokens_cell *cell);

/** How often the cell's bell was rung. */
uint64_t entra_tokens_rung(const struct entra_tokens_cell *cell);

/** Up to which of these rings everybody has his answer. */
uint64_t entra_tokens_heard(const struct entra_tokens_cell *cell);

/** Everybody who rang up to here has his answer. */
void entra_tokens_hear(struct entra_tokens_cell *cell, uint64_t rung);

/* --- for people --- */

struct entra_tokens_report {
    uint64_t calls[ENTRA_OUTCOMES];  /* by enum entra_outcome, since the cell was bound */
    uint32_t failures;               /* in a row */
    struct entra_tokens_error error; /* the last one, also when calls are good again */
};

/** What is known of the cell's calls. The error is read whole, the counts one by one: a call that
 * ends meanwhile may be in some of them only. */
void entra_tokens_report(const struct entra_tokens_cell *cell, struct entra_tokens_report *out);
