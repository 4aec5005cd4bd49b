/* This keeper's shares of an outage (shares.h) as the database has them: renewed each 20 s while it
 * answers. Where leases are counted (`leases: counted`) what is not renewed any more is given back, and
 * all of it when this keeper ends in good order. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "core/database_words.h"
#include "shares.h"
#include "store/store_fleet.h"

struct leases {
    struct shares *shares; /* owned: leases_deinit() */
    uint32_t good_ms;      /* `outage_window` */
    uint64_t due_ms;       /* when they are renewed next */
    bool ending;           /* nothing is granted alone any more ... */
    bool ended;            /* ... and the database knows */
};

/** @param good_ms  so long a share is good @return 0, ERR_NOMEM */
MUST_USE int leases_init(struct leases *leases, uint32_t good_ms);
void leases_deinit(struct leases *leases); /* what is all 0 is fine */

/** Renew what is due, and give back what is not used any more; or all of it, at the end. The
 * database has all that was granted alone.
 *  @param me  where it has a holder's name leases are counted
 *  @return 0; the errors of store.h: what was not renewed stays as it was */
MUST_USE int leases_step(struct leases *leases, struct store *store, const struct fleet_me *me,
                         uint64_t now_ms);

/** Write down what may be granted alone now, for the pages of operators. */
void leases_show(const struct leases *leases, const struct fleet_me *me,
                 struct database_words *words, uint64_t now_ms);

/** The database may be another one than before: renew them at the next step. */
void leases_are_due(struct leases *leases, const struct fleet_me *me);

/** This keeper ends: where leases are counted it grants nothing alone any more, and the next step
 * gives all of it back. */
void leases_end(struct leases *leases, const struct fleet_me *me);
