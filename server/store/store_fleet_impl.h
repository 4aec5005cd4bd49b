/* Reservations within a transaction of another file's: its terminal commit frees them together with
 * all else that it writes. */
#pragma once

#include "store/store_fleet.h"
#include "store_impl.h"

/* As the database has them. */
enum { FLEET_RESERVED, FLEET_LIVE, FLEET_FREED, FLEET_UNKNOWN }; /* reservation.state */
enum { FLEET_KEY_RUNNING, FLEET_KEY_DONE, FLEET_KEY_UNKNOWN };   /* idempotency.state */

/** Begin a call's transaction as this node, whose epoch must still be its own.
 *  @param now_ms  Unix ms of the database
 *  @return 0; ERR_NOT_FOUND: join again. Other than on 0 there is no transaction */
MUST_USE int fleet_begin(struct store *store, const struct fleet_me *me, int64_t *now_ms);

/* What a freed reservation was. */
struct freed {
    bool there; /* it was open, and is FREED by this transaction */
    uint64_t tokens;
    int64_t nano;       /* what was held of budgets, and is not any more */
    uint64_t key, team; /* fingerprints; 0: none */
};

/** Free the reservation of a batch that has ended, and take it out of its sums; a second time does
 * nothing. Locks the rows of its scopes, in their order: a transaction that frees several may meet
 * another one, and then one of both fails with ERR_IO and is done again.
 *  @param name   not by its token
 *  @param spent_nano  what it has cost: added to what its key and team have spent
 *  @param freed  may be NULL */
MUST_USE int work_free_reservation(struct store *store, const struct fleet_name *name,
                                   int64_t spent_nano, struct freed *freed);

/** What a batch has cost is known after its reservation was freed: its key and team have spent it, in
 * the period that is now. @param name  its id, or the provider's with the account */
MUST_USE int work_spend_late(struct store *store, const struct fleet_name *name,
                             int64_t spent_nano);

/** Take it out of the sums of its key and team alone, once. */
MUST_USE int work_refund_reservation(struct store *store, const struct fleet_name *name);

/** The name of a scope's row: "d:" and eight hex digits, "k:" or "t:" and sixteen. */
#define SCOPE_NAME 24
void scope_name(char out[SCOPE_NAME], unsigned kind, uint64_t name);
