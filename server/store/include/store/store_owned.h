/* What tenants own, as the database keeps it: the rows of balancer/registry.h, so that a list of
 * files is whole after a start, and on each node of several (tenants statement A46).
 *
 * Every writing raises one number, `seq`, and its rows have it: who has read up to a number reads
 * what is behind it. Rows that went stay for a while, for the other nodes to hear of it. Each table
 * in shared memory is a run: as long as it lives the database has `seen`, until when all of its
 * changes are here, and whether it ended so. One that did not leaves a gap, which every node's
 * lists tell of. All calls are as those of store.h. */
#pragma once

#include "balancer/registry.h"
#include "store/store.h"

#define STORE_OWNED_BATCH   256   /* rows of one writing, at most */
#define STORE_OWNED_DEAD_MS 60000 /* a run of which nothing was heard for so long is dead */
#define STORE_OWNED_GONE_MS (7 * 86400000) /* how long what went is kept */

struct store_owned {
    uint64_t key; /* registry_key() */
    bool gone;    /* then `row` says nothing */
    struct registry_row row;
};

/* A table in shared memory, and until when the database has all that happened to it. */
struct store_run {
    uint64_t run;      /* registry_run() */
    const char *node;  /* who has it: one that starts again has the same name. Borrowed */
    int64_t born_s;    /* since when it is there */
    int64_t seen_ms;   /* Unix ms */
    bool tenants_else; /* there are tenants that this database has no keys of */
};

/** A run begins to follow: it is known from now on, and those that the node had before are over.
 *  Since when the database knows all that tenants own is settled by the very first one: since ever,
 *  where there was no tenant yet. */
MUST_USE int store_owned_begin(struct store *store, const struct store_run *run);

/** Write rows, each key once, and that all until `run->seen_ms` is here.
 *  @param again  they are what is there, not what changed: nothing that went comes back
 *  @param num  at most STORE_OWNED_BATCH; 0: only how far it is
 *  @param seq  on 0: of the writing; unchanged where there was no row */
MUST_USE int store_owned_write(struct store *store, const struct store_run *run,
                               const struct store_owned *rows, size_t num, bool again,
                               uint64_t *seq);

/** The run ends, and all of it is here. */
MUST_USE int store_owned_end(struct store *store, const struct store_run *run);

/* @return 0, or what ends the reading */
typedef int (*store_owned_cb)(void *arg, const struct store_owned *row);

/** Read some rows of those that are there: all of them by calls until `more` is false.
 *  @param behind  the key of the last one; INT64_MIN at first; moved on
 *  @param seq  the number as it is now: store_owned_follow() goes on from that of the first call */
MUST_USE int store_owned_load(struct store *store, int64_t *behind, int64_t now_ms, uint64_t *seq,
                              bool *more, store_owned_cb on_row, void *arg);

/** Read what was written behind a number, also what went.
 *  @param seq  moved on
 *  @return 0; ERR_NOT_FOUND: the database has a lower number: it was restored from a copy */
MUST_USE int store_owned_follow(struct store *store, uint64_t *seq, bool *more,
                                store_owned_cb on_row, void *arg);

/** Drop some of what expired or went long ago, and note the runs that are dead. */
MUST_USE int store_owned_tend(struct store *store, const struct store_run *run, int64_t now_ms);

/** What all nodes' lists lack.
 *  @param out  all but `behind_unix_s` and `cut` */
MUST_USE int store_owned_gaps(struct store *store, struct registry_gaps *out);

/** Nothing is missing there: take these gaps back, for all nodes. */
MUST_USE int store_owned_close(struct store *store, const struct registry_gaps *gaps);
