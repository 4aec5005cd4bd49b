/* Files of batches that are deleted at their providers so long after the batch's end: `delete_after`
 * of its key, its team or the configuration, as it was at its create.
 *
 *   a batch is done: its end, its usage and its event are written ─► a row for it, due later
 *   store_deletions_claim() ─► a keeper's, for STORE_CLAIM_MS       its prober asks the provider
 *   store_deletions_done()  ─► its files, a row for each           ... and deletes them
 *
 * A row is there once for each file, whoever used it, and is done once. What a batch that has not
 * ended uses as its input, what a create that is under way may use, and what a batch whose own time
 * has not come had, is not handed out. What was done twice, by whom a claim was taken from, is told
 * of once: a provider that has no such file any more has none all the same. Times are the database's.
 * All calls are as those of store.h. */
#pragma once

#include "store/store_batches.h"

#define STORE_IN_USE_MS 60000 /* until one that is used is looked at again */

enum store_deletion_kind {
    STORE_FILES_OF, /* the batch itself: which files has it? */
    STORE_OUTPUT,
    STORE_ERRORS,
    STORE_INPUT,
    STORE_COPY /* of its input, on which it ran */
};

/* One that is due, and ours. Texts are borrowed until the callback returns. */
struct store_deletion {
    uint32_t account;   /* fingerprint of where it is */
    const char *native; /* of the file; FILES_OF: of the batch */
    enum store_deletion_kind kind;
    uint64_t owner; /* of the batch */
    uint32_t tries; /* before this one, in vain */
};

typedef int (*store_deletion_cb)(void *arg, const struct store_deletion *deletion);

/** Claim what is due, nobody's, and not used, the longest due first.
 *  @param most    at most STORE_CLAIMS
 *  @param on_due  as of store_batches_claim() */
MUST_USE int store_deletions_claim(struct store *store, const struct store_claimer *by, size_t most,
                                   store_deletion_cb on_due, void *arg);

enum store_deletion_end {
    STORE_LISTED,   /* FILES_OF: its provider has told which */
    STORE_DELETED,  /* by this node, now */
    STORE_GONE,     /* its provider has no such file, or batch */
    STORE_NOT_OURS, /* it is another owner's, and stays */
    STORE_NOT_NOW   /* it is due again, later each time */
};

/* What came of one. Texts are borrowed; NULL: none. */
struct store_deletion_done {
    uint32_t account;
    const char *native;
    enum store_deletion_end end;
    const char *input, *output, *error; /* LISTED: native ids */
    const char *why;                    /* NOT_NOW */
};

/** Write it, and tell it in the batch's story.
 *  @param news  written on 0: false: it was known before, or is nobody's: nothing was written */
MUST_USE int store_deletions_done(struct store *store, const struct store_claimer *by,
                                  const struct store_deletion_done *done, bool *news);

/* For /metrics. */
struct store_deletion_counts {
    uint64_t waiting; /* files and batches that are to go, due or not */
    int64_t late_ms;  /* Unix: since when the first one should be gone; 0: none should */
};

MUST_USE int store_deletions_count(struct store *store, struct store_deletion_counts *out);

/** How long one that could not be deleted is left alone. @param tries  this one included. Pure. */
uint32_t store_deletions_rest_ms(uint64_t tries);
