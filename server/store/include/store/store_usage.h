/* What batches used and cost, for who exports it (journal statement B12): the rows that
 * store_batches_seen() writes, one for each batch, part and model, and never changes.
 *
 * `seq` grows strictly, and rows become visible in its order: it comes from one row of `meta` that a
 * writer holds until its commit. So who has read up to a number reads what is behind it, and neither
 * misses nor repeats a row. All calls are as those of store.h. */
#pragma once

#include "store/store.h"

#define STORE_USAGE_PAGE 1000 /* rows of one reading, at most */

/* All texts are borrowed until the callback returns. NULL: not known. */
struct store_usage_row {
    const char *batch_id;
    int64_t part;      /* 0: the only one of a batch that was not split */
    const char *model; /* as it answered; "": it did not say */
    uint64_t owner;    /* of the batch; 0: the master */
    const char *key_id, *key_alias, *team_id, *user_id;
    const char *tags;    /* a JSON array of texts */
    uint32_t deployment; /* fingerprint */
    const char *group;
    int64_t ok, bad; /* requests that were answered with status 200, and the others */
    int64_t tok_in, tok_cached, tok_out, tok_reason;
    int64_t nano;       /* what it cost, nano-dollars */
    const char *price;  /* where the price stands (price_book.h); NULL: there is none */
    int64_t unpriced;   /* requests that are not in `nano` */
    const char *source; /* usage_source_name() */
    int64_t created_ms, finished_ms; /* of the batch; Unix */
    int64_t seq;
};

/* Whose rows, and which. */
struct store_usage_query {
    bool of_owner; /* `owner` alone, else everybody's */
    uint64_t owner;
    int64_t since_seq; /* behind this one */
    size_t limit;      /* 1 to STORE_USAGE_PAGE */
};

/* @return 0, or what ends the reading */
typedef int (*store_usage_cb)(void *arg, const struct store_usage_row *row);

/** Read rows, the oldest first.
 *  @param last  on 0 the highest `seq` of them; the query's where there is none
 *  @param more  on 0 whether there are rows behind it */
MUST_USE int store_usage_read(struct store *store, const struct store_usage_query *query,
                              int64_t *last, bool *more, store_usage_cb on_row, void *arg);

/* What the answers to a group's batches took, from the newest rows. */
struct store_usage_mean {
    int64_t tok_in, tok_out; /* sums */
};

/** Sum up the newest rows of a group (50), of one owner or of all.
 *  @param owner   NULL: all
 *  @param out     on 0; zeros where there is none */
MUST_USE int store_usage_mean(struct store *store, const char *group, const uint64_t *owner,
                              struct store_usage_mean *out);
