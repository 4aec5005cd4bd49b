/* Batches that are not where their id says, in shared memory: those that wait for a place and have
 * no provider yet, and those that were moved after a late failure. The keeper alone writes, of what
 * the database has; every worker of the node resolves ids by it, and waits for nobody (journal
 * statements D1, D2).
 *
 *   keys   │ of the id that clients know, and of where the batch is │ two lines are read for one
 *   owners │ whom the row is of                                     │ all are read for a list
 *   rows   │ two copies each, and which of them counts              │ a killed writer leaves the older
 *   texts  │ the object as it is shown where no provider can say it │ of some rows
 *
 * A row is found by two names: by the id that its client knows (`account`, `native`: what the tag
 * of the id says; a journal id has the account FOLLOWED_JOURNAL), and by where the batch is (`at`),
 * so that a provider's list does not show it twice.
 *
 * When all rows are taken, the one that ended longest ago makes room, and its batch is then what its
 * first provider says. Where none has ended there is no room (ERR_FULL): nothing more is held or
 * moved, and what would have been is answered as without a journal.
 *
 * The keeper that came last writes (followed_claim()). While none does the rows stay as they are;
 * whoever may show something else than a provider says only because a keeper will see to it, asks
 * followed_is_fresh() first. Lasting: shared by all generations and by the next program. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* The account in the tag of an id that began without a provider (a journal id) */
#define FOLLOWED_JOURNAL  UINT32_MAX
#define FOLLOWED_NATIVE   112 /* bytes of an id, with its NUL: longer ones are not followed */
#define FOLLOWED_STATUS   16
#define FOLLOWED_TEXT     8176  /* bytes of an object that is kept */
#define FOLLOWED_MAX      32768 /* rows at most */
#define FOLLOWED_FRESH_MS 10000 /* how long a keeper's word counts */

struct followed; /* the region */

enum followed_state {
    /* No provider has it: it waits for a place, and its text is the object */
    FOLLOWED_WAITS = 1,
    /* Its provider failed it late; another one will have it, `at` has not changed yet. Clients see
     * `validating` */
    FOLLOWED_MOVES,
    FOLLOWED_RUNS, /* it is at `at`, and is asked about there, also when it has ended */
    FOLLOWED_OVER  /* it has ended and no provider can say how: its text is the object */
};

/* Where a batch is. */
struct followed_place {
    uint32_t account;    /* fingerprint; 0: nowhere */
    uint32_t deployment; /* fingerprint of the deployment that runs it */
    char native[FOLLOWED_NATIVE];
};

struct followed_row {
    uint32_t account; /* as the tag of the client's id has it */
    char native[FOLLOWED_NATIVE];
    uint64_t owner; /* ids_owner_fingerprint(); 0: the master's */
    enum followed_state state;
    struct followed_place at;
    /* What clients were told first, and what never changes (D4). Unix seconds; 0: not known */
    int64_t created_s, expires_s;
    uint32_t position; /* WAITS: its place in the queue, from 1; 0: not known */
    uint32_t moves;    /* so far */
    bool has_text;     /* followed_text() has the object */
    /* What was seen of it last, for lists, and so that nothing goes backwards. */
    char status[FOLLOWED_STATUS];
    uint64_t total, completed, failed; /* requests */
    int64_t in_progress_s, finalizing_s, cancelling_s, finished_s;
    char output_file[FOLLOWED_NATIVE], error_file[FOLLOWED_NATIVE]; /* native, of `at`'s account */
};

/** Room for that many rows. Pages that nobody needed cost nothing.
 *  @param max_rows  1 to FOLLOWED_MAX
 *  @return 0, ERR_INVALID, ERR_NOMEM */
MUST_USE int followed_new(uint32_t max_rows, struct followed **out);
void followed_free(struct followed *followed); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()).
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int followed_adopt(int fd, uint32_t max_rows, struct followed **out);

/* --- workers: read, and wait for nobody. NULL for the region is fine: nothing is followed --- */

/** By the id that a client knows. @return false: it is where its id says */
bool followed_find(const struct followed *followed, uint32_t account, const char *native,
                   struct followed_row *out);

/** By where it is. A batch that runs where its id says is not there. @return false: none is */
bool followed_find_at(const struct followed *followed, uint32_t account, const char *native,
                      struct followed_row *out);

/** The object that is shown where no provider can be asked.
 *  @param out  FOLLOWED_TEXT bytes
 *  @return its length; 0: there is none, or the row has gone */
size_t followed_text(const struct followed *followed, uint32_t account, const char *native,
                     char *out);

/** The rows of an owner, or of all, in no order: for lists. Reads at most 4,096 places a call.
 *  @param place  where to go on, 0 at first; FOLLOWED_END: all were looked at
 *  @return whether `out` is one */
#define FOLLOWED_END UINT32_MAX
bool followed_next(const struct followed *followed, bool of_all, uint64_t owner, uint32_t *place,
                   struct followed_row *out);

/** Whether a keeper has read all that the database has of them, and follows its changes: what is
 * not there is then nothing that waits, but for what another node took within the last seconds. */
bool followed_is_fresh(const struct followed *followed, uint64_t now_ms);

/* --- the keeper --- */

/** From now on this one writes, and nobody who came before. What a killed one left half done is
 * mended. @return its turn; 0: another one is writing at this moment, ask again */
uint32_t followed_claim(struct followed *followed);

/** Whether it still does. */
bool followed_is_mine(const struct followed *followed, uint32_t turn);

/** All that the database has is there, and this is still so. */
void followed_heard(struct followed *followed, uint32_t turn, uint64_t now_ms);

/** Keep a row, or change the one of that id.
 *  @param text  the object, copied; NULL: the one that it has stays. `row->has_text` is not read
 *  @return 0; ERR_INVALID: an id is empty or too long, or the text is; ERR_FULL: no room;
 *          ERR_BAD_STATE: another keeper writes now */
MUST_USE int followed_put(struct followed *followed, uint32_t turn, const struct followed_row *row,
                          const char *text, size_t len);

/** It is followed no more. */
void followed_remove(struct followed *followed, uint32_t turn, uint32_t account,
                     const char *native);

/** All that the database has was put: what was not put in this turn is followed no more. */
void followed_sweep(struct followed *followed, uint32_t turn);

/* For metrics. */
struct followed_counts {
    uint32_t rows, waiting, moving, texts;
    uint64_t dropped; /* that ended, and made room */
};

/** What the table has now; counters of one moment need not fit together. */
struct followed_counts followed_counts(const struct followed *followed);
