/* The registry of batches, as the keeper serves it (journal statements B4 to B9, C31, C33): what the
 * prober shall ask providers about, and what came of it.
 *
 *   prober ─ KEEPER_DUE ─► store_batches_claim()    at most 32, this node's for a minute
 *   prober ─ KEEPER_SEEN ─► store_batches_seen()    by the watch, fenced by its claim
 *   worker ─ KEEPER_SEEN ─► the same                what a client's poll has shown
 *   prober ─ KEEPER_DELETION ─► store_deletions_done()
 *
 * While the database is away a bounded number of reports waits here; what is dropped is seen again
 * by the next look, since nothing of a batch is done before its end is committed. What ended
 * anywhere in the fleet is taken out of this node's ledger within a second or two. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "core/inherited.h"
#include "journal/wire.h"
#include "keeper/calls.h"
#include "manage/manage.h"
#include "pricing.h"
#include "store/store_fleet.h"

#define BATCHES_KEPT       256       /* reports that wait for the database, at most ... */
#define BATCHES_KEPT_BYTES (1 << 20) /* ... and their bytes */
#define BATCHES_FIND_MS    5000      /* between two questions for creates that nobody settles */
#define BATCHES_TEND_MS    60000     /* between two droppings of what is too old */
/* How long a completed batch is not told of while its output file is missing ... */
#define BATCHES_OUTPUT_MS  (3600 * 1000)
/* ... and in how much of its time its last looks are seldom */
#define BATCHES_LAST_MS    (6 * 3600 * 1000)

struct batches;

struct batches_options {
    const struct inherited *inherited; /* borrowed */
    uint32_t slot;
    struct store *store;            /* borrowed; the keeper's */
    const struct fleet_me *me;      /* borrowed; this node. Epoch 0: it has not joined yet */
    struct pricing *pricing;        /* borrowed; what usage costs */
    const struct manage *manage;    /* borrowed; for keys of files */
    struct manage_rebuild *rebuild; /* borrowed */
};

/** @return 0, ERR_NOMEM */
MUST_USE int batches_new(const struct batches_options *options, struct batches **out);
void batches_free(struct batches *batches); /* NULL is fine */

/** Serve KEEPER_DUE, KEEPER_SEEN and KEEPER_DELETION. @param calls  borrowed; goes before `batches` */
void batches_serve(struct batches *batches, struct calls *calls);

/** A provider has made a batch: it is in the registry from now on, also when this is said twice. For
 * who serves KEEPER_LIVE, in the transaction of the reservation.
 *  @param alone  NULL: it is one transaction of its own. Else it is one of many in a transaction, and
 *                this is written on 0: it has to be said alone, and nothing was done
 *  @return 0; the errors of store.h */
MUST_USE int batches_live(struct batches *batches, const struct wire_live *live, bool *alone);

/** Do what is next: at most a few short calls of the database.
 *  @param now_ms  monotonic */
void batches_step(struct batches *batches, uint64_t now_ms);

/** Whether no report waits for the database. */
bool batches_are_written(const struct batches *batches);

/* --- when a batch is asked about (C33). Pure. --- */

struct batches_pace {
    uint32_t poll_ms; /* how long it was left alone before this look; 0: never looked at */
    int64_t left_ms;  /* until its provider ends it; negative: not known */
    bool ended;       /* its usage or its event waits for its files */
};

/** How long until the first look. @param watch_ms  `timeouts.watch_ms` */
uint32_t batches_first_ms(uint32_t watch_ms);

/** How long it is left alone after a look: half again as long as before, up to five times
 * `watch_ms`; ten times in its last hours, and while its files are waited for. */
uint32_t batches_next_ms(const struct batches_pace *pace, uint32_t watch_ms);

/* --- what a look says --- */

/** One of the eight statuses for any text; what nobody knows runs. */
const char *batches_status(const char *text);

/** Whether one of the eight is an end. */
bool batches_is_end(const char *status);

/** Whether what the database did not take may be taken another time: it is away or full, or the node's
 * epoch is over, and it will have another one. @param rc  an error of store.h */
bool batches_goes_again(int rc);

/** Unix ms; 0: not known, or out of range. */
int64_t batches_ms_of(uint64_t unix_s);

/** Whether it may be told of now: one that completed not before its output can be read, for as long
 * as BATCHES_OUTPUT_MS (webhook statement D28). @param unix_ms  now */
bool batches_may_tell(const struct wire_seen *seen, int64_t unix_ms);
