/* Batches that are not where their id says, as the nodes of a database follow them into their shared
 * memory (balancer/followed.h): each change of one raises one number, and whoever has read up to a
 * number reads what is behind it. All calls are as those of store.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/followed.h"
#include "store/store.h"

#define STORE_FOLLOWED_PAGE 256 /* rows of one reading */

/* What a batch is to its client and to us: `batch.mode`. */
enum store_mode {
    STORE_NATIVE, /* where its id says */
    STORE_MOVED,  /* it failed late, and runs elsewhere, or will */
    STORE_HELD,   /* it began without a provider */
    STORE_SPLIT   /* it runs in parts */
};

/* `moving` of its part. */
enum store_moving {
    STORE_MOVE_NONE,
    STORE_MOVE_WANTED, /* it shall run elsewhere */
    STORE_MOVE_OVER    /* and will not: it has ended as its part says */
};

/* @param text  the object where no provider says it; NULL: there is none
 * @return 0, or what ends the reading */
typedef int (*store_followed_cb)(void *arg, const struct followed_row *row, const char *text);

/** Read what changed behind a number, at most STORE_FOLLOWED_PAGE rows in their order. What ended
 * more than a month ago is passed over: its provider has nothing of it any more.
 *  @param seq   0: from the beginning; moved on
 *  @param more  written: there may be others behind it
 *  @return 0; ERR_NOT_FOUND: the database has a lower number, it was put back from a copy */
MUST_USE int store_followed_read(struct store *store, int64_t *seq, bool *more,
                                 store_followed_cb on_row, void *arg);
