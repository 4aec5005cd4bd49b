/* The registry of batches: every batch that was made through a gateway of this database, until long
 * after its end (journal statements B4 to B9, C31, C33). What is watched, by whom, and what came of
 * it.
 *
 *   store_batches_add() ─► open ── store_batches_claim() ─► a keeper's, for STORE_CLAIM_MS
 *                           ▲                                  │ its prober asks the provider
 *                           └───── store_batches_seen() ◄──────┘
 *                                          │ it has ended: state, reservation, usage and event are
 *                                          ▼ one commit
 *                               ended, measured or still to be measured
 *
 * Times of claims are the database's own clock, so that no node's clock takes a batch from another.
 * Every write of a claimed row repeats node and epoch: what was claimed by somebody else meanwhile
 * stays as it is. A status never goes backwards, and counts never shrink, whoever reports what
 * (journal statements D3, D4). All calls are as those of store.h, and may be calls of a
 * store_batch_begin(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define STORE_CLAIMS      32    /* that one call takes, at most */
#define STORE_CLAIM_MS    60000 /* how long a claim holds */
#define STORE_RENEW_MS    20000 /* after so long it is renewed */
#define STORE_USAGE_ROWS  64    /* models of one batch, at most */
#define STORE_USAGE_DAYS  400   /* how long batches and usage are kept */
#define STORE_BATCHES_MAX 1000  /* rows of a page */
#define STORE_MISSING     3     /* after so many looks in a row one that is not there has failed */

/* A node as the fleet knows it. */
struct store_claimer {
    const char *node; /* its row's id. Borrowed */
    int64_t epoch;
};

/* A batch as its create left it: who pays for it never changes again (journal statement B9). Texts
 * are borrowed; NULL: not known. */
struct store_batch {
    const char *id; /* as its client knows it */
    uint64_t owner; /* as in its tag; 0: the master */
    const char *key_id, *key_alias, *team_id, *user_id;
    const char *tags;        /* a JSON array of texts */
    const char *model_group; /* as the client asked for it */
    const char *endpoint, *input_file;
    const char *reservation; /* id of its row; freed by the end of the batch */
    uint32_t account;        /* fingerprint of where it is */
    const char *native;      /* the provider's id */
    uint32_t deployment;     /* fingerprint of where it runs; 0: not known */
    uint64_t tokens;
    const char *status;             /* one of the eight */
    int64_t created_ms, expires_ms; /* Unix; 0: not known */
    const char *input_native;       /* its input where it runs: perhaps a copy */
    const char *original;           /* what that is a copy of, or itself ... */
    uint32_t home;                  /* ... and where that is; 0: not known */
    uint32_t delete_after_s;        /* its files go so long after its end; 0: they stay */
    bool rebuilt;                   /* it comes from a provider's list, not from its create */
};

/** It is known from now on, and watched.
 *  @param node      who says so; for its story
 *  @param first_ms  until it is asked about
 *  @param added     false: it was known already, and stays as it was
 *  @return 0; the errors of store.h */
MUST_USE int store_batches_add(struct store *store, const struct store_batch *batch,
                               const char *node, uint32_t first_ms, bool *added);

/** The same among others in one transaction: where its end was seen before its create was told of,
 *  what it holds is freed, and that locks scopes behind rows of the others, which nobody else does.
 *  @param late  written on 0: it is such a one, and nothing was done: store_batches_add() it alone */
MUST_USE int store_batches_add_among(struct store *store, const struct store_batch *batch,
                                     const char *node, uint32_t first_ms, bool *added, bool *late);

/** What a batch that has ended still holds is freed: a reservation that is told of, or found, after
 *  the end of its batch is not freed by that. Does nothing for one that runs, or is not known.
 *  @param batch  its id, account and native, and its reservation where that is known
 *  @return 0; the errors of store.h */
MUST_USE int store_batches_free_ended(struct store *store, const struct store_batch *batch);

/* What is left to do for one. */
enum store_open {
    STORE_DONE = 0,      /* nothing: it has ended, and its usage is known */
    STORE_RUNS = 1,      /* it has not ended, as far as is known */
    STORE_UNMEASURED = 2 /* it has ended; its usage or its event waits for its files */
};

/* One that is due, and ours. Texts are borrowed until the callback returns. */
struct store_due {
    const char *id, *native, *status;
    uint32_t account, deployment;
    enum store_open open;
    uint64_t tokens;
    uint32_t poll_ms; /* how long nobody asked before this time */
    uint32_t missing; /* how often its provider did not know it, in a row */
    int64_t created_ms, expires_ms, finished_ms; /* Unix; 0: not known */
    int64_t now_ms;                              /* Unix, of the database */
    /* It failed late and shall run elsewhere (store_moves.h): it is no look that is due */
    bool moves;
    const char *nonce;            /* of its create that was begun; NULL: none was */
    bool doubt;                   /* it is not known what came of that; else nothing did */
    uint32_t move_to, move_tries; /* where it went, a fingerprint; and tries in vain */
    bool cancels; /* it was moved, and its client wants it cancelled: its provider may not know */
};

typedef int (*store_due_cb)(void *arg, const struct store_due *due);

/** Claim what is due and nobody's, the longest due first. What an earlier life of the node has
 *  claimed is nobody's.
 *  @param most    at most STORE_CLAIMS
 *  @param on_due  for each, after it is claimed and before that is committed: what it notes counts
 *                 only where 0 is returned */
MUST_USE int store_batches_claim(struct store *store, const struct store_claimer *by, size_t most,
                                 store_due_cb on_due, void *arg);

/** Who worked on this node's claims is gone: they are nobody's from now on. */
MUST_USE int store_batches_let_go(struct store *store, const struct store_claimer *by);

/* How a claim is named again. */
struct store_native {
    uint32_t account;
    const char *native; /* borrowed */
};

/** Keep claims that are still worked on. One that was taken over is not taken back.
 *  @param num  at most STORE_CLAIMS
 *  @param kept  of how many */
MUST_USE int store_batches_renew(struct store *store, const struct store_claimer *by,
                                 const struct store_native *of, size_t num, size_t *kept);

/* What a batch has used at one model. Texts are borrowed. Money is in nano-dollars. */
struct store_usage {
    const char *model;
    uint64_t ok, bad;                                 /* requests */
    uint64_t tok_in, tok_cached, tok_out, tok_reason; /* cached are of `in`, reason of `out` */
    int64_t nano;                                     /* what it costs */
    const char *price;  /* which price that was, for people; NULL: none */
    uint64_t unpriced;  /* requests for which there was none */
    const char *source; /* "batch", "output", "none" */
};

/* What was seen of a batch. Texts are borrowed; NULL, and times of 0: not told. */
struct store_seen {
    uint32_t account;
    const char *native;
    /* By the watch, which had claimed it and gives it back; else by a client's call of this node */
    bool watched;
    /* One of the eight, or one that nobody knows, which counts as `in_progress`; NULL: it could not
     * be asked, or was not there */
    const char *status;
    bool move;        /* it has failed, and shall run elsewhere if it may still (store_moves.h) */
    bool missing;     /* its provider does not know it */
    const char *code; /* why it failed */
    uint64_t total, completed, failed;                                             /* requests */
    int64_t expires_ms, in_progress_ms, finalizing_ms, cancelling_ms, finished_ms; /* Unix */
    const char *input_file, *output_file, *error_file;                             /* native */
    /* Of one that has ended: whether `usage` is all of it. Rows that are there stay as they are */
    bool measured;
    const struct store_usage *usage; /* borrowed */
    size_t num_usage;                /* at most STORE_USAGE_ROWS */
    /* Of one that has ended: its event is made, unless it was; else not yet */
    bool tell;
    uint32_t next_ms; /* until it is asked about again, where it is not done */
};

enum store_seen_end {
    STORE_SEEN_UNKNOWN,  /* nobody made it here */
    STORE_SEEN_STALE,    /* it is somebody else's by now, or this node's epoch is over */
    STORE_SEEN_SAME,     /* nothing new */
    STORE_SEEN_CHANGED,  /* it runs, and something is new */
    STORE_SEEN_ENDED,    /* it has ended by this; its reservation is free */
    STORE_SEEN_MEASURED, /* it had ended before; its usage is written by this */
    STORE_SEEN_MOVES,    /* it failed late, and shall run elsewhere by this */
    STORE_SEEN_TOLD      /* it had ended, and its usage was known; its event is written by this */
};

/** Write what was seen. Where it has ended: its state, its reservation, its usage and its event at
 * once or none of them, and each of them once, however often it is said. What a client's call shows
 * has the watch ask at once. */
MUST_USE int store_batches_seen(struct store *store, const struct store_claimer *by,
                                const struct store_seen *seen, enum store_seen_end *end);

/* A batch as the registry has it. Texts are borrowed until the callback returns. */
struct store_batch_row {
    struct store_batch batch;
    enum store_open open;
    uint64_t total, completed, failed;
    const char *code, *output_file, *error_file;
    int64_t in_progress_ms, finalizing_ms, cancelling_ms, finished_ms; /* Unix; 0: not yet */
    uint32_t poll_ms;    /* how long nobody asked before its last look */
    int64_t next_ms;     /* Unix: when it is asked about again; 0: not any more */
    const char *watcher; /* the node that asked last; NULL: none did */
    uint32_t moves;      /* to other deployments, so far */
    bool moving;         /* to the next one, at this moment */
    uint32_t moved_from; /* fingerprint of the row where it was before its last move; 0: nowhere */
};

typedef int (*store_batch_cb)(void *arg, const struct store_batch_row *row);

/* Which ones a list has; the newest first. A text that is NULL asks for nothing. */
struct store_batch_filter {
    bool of_owner; /* `owner` alone */
    uint64_t owner;
    const char *key_id, *team_id, *model_group, *status;
    bool open;              /* those alone that have not ended */
    int64_t from_ms, to_ms; /* created within; 0: any time */
    /* Behind this one: both as the last row of the page before had them; 0: from the newest */
    int64_t behind_created_ms;
    const char *behind_id;
    size_t limit; /* 1 to STORE_BATCHES_MAX */
};

/** @param more  whether there are others behind the last one */
MUST_USE int store_batches_list(struct store *store, const struct store_batch_filter *filter,
                                store_batch_cb on_row, void *arg, bool *more);

/** One, by the id that its client knows, or by `native` and `account`.
 *  @param id  NULL: by the others
 *  @return 0; ERR_NOT_FOUND */
MUST_USE int store_batches_get(struct store *store, const char *id, const struct store_native *of,
                               store_batch_cb on_row, void *arg);

/* One event of its life. Texts are borrowed until the callback returns. */
struct store_story {
    uint64_t number; /* from 1, in their order */
    int64_t at_ms;   /* Unix, of the database */
    const char
        *what; /* "created", "rebuilt", "claimed", "status", "ended", "usage", "event", ... */
    const char *node;   /* where; NULL: not told */
    const char *detail; /* for people; NULL: nothing */
};

typedef int (*store_story_cb)(void *arg, const struct store_story *line);

/** The story of a batch, in its order.
 *  @param behind  a number; 0: from the beginning
 *  @param limit   1 to STORE_BATCHES_MAX
 *  @return 0, also where there is none */
MUST_USE int store_batches_story(struct store *store, const char *id, uint64_t behind, size_t limit,
                                 store_story_cb on_line, void *arg);

/** Add to it: what others do for a batch, such as telling of its end. Nothing where it is unknown. */
MUST_USE int store_batches_note(struct store *store, const char *id, const char *what,
                                const char *node, const char *detail);

/* A batch that has ended, somewhere. Texts are borrowed until the callback returns. */
struct store_ended {
    const char *native, *status;
    uint32_t account, deployment; /* fingerprints */
};

typedef int (*store_ended_cb)(void *arg, const struct store_ended *ended);

/** What has ended since a moment, and a little more: nodes let go of what they count for it.
 *  @param since  Unix ms of the database; 0: ten minutes ago; moved on */
MUST_USE int store_batches_ended(struct store *store, int64_t *since, store_ended_cb on_ended,
                                 void *arg);

/* How many there are, for /health and /metrics. */
struct store_batch_counts {
    uint64_t open, unmeasured;
    uint64_t due;     /* now, and nobody's */
    uint64_t claimed; /* by the node */
    int64_t late_ms;  /* since when the first one is due; 0: none is */
};

/** Count them. @param node  whose claims are counted; borrowed for the call */
MUST_USE int store_batches_count(struct store *store, const char *node,
                                 struct store_batch_counts *out);

/** Drop some of what is too old, a few hundred rows of each kind.
 *  @param dropped  how many rows went: call again soon where it is not 0 */
MUST_USE int store_batches_tend(struct store *store, size_t *dropped);
