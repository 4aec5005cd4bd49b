/* This node among others: its epoch and its signs of life (journal statement C31); what the other
 * nodes hold of limits, put into this node's ledger, so that it asks the database in vain as seldom
 * as can be; how many files accounts have; sums that are repaired, and rows that are kept no
 * longer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "core/inherited.h"
#include "store/store_fleet.h"

#define FLEET_ALL_MS    10000 /* between two readings of all sums; those that changed: each second */
#define FLEET_TEND_MS   60000  /* between two droppings of what is too old */
#define FLEET_REPAIR_MS 600000 /* between two repairs of all sums, of each node */

struct pricing;
struct fleet;

/** @param inherited, store  borrowed
 *  @param slot  of this process
 *  @param node  this node's name; copied
 *  @return 0, ERR_NOMEM */
MUST_USE int fleet_new(const struct inherited *inherited, struct store *store, uint32_t slot,
                       const char *node, struct fleet **out);
void fleet_free(struct fleet *fleet); /* NULL is fine */

/** Have what budgets have left shown by /metrics. @param pricing  borrowed; outlives it */
void fleet_show_budgets(struct fleet *fleet, struct pricing *pricing);

/** Its name and epoch, for the calls of store_fleet.h; the epoch is 0 until it has joined. */
const struct fleet_me *fleet_me(const struct fleet *fleet);

/** Have an epoch: at once when it has one. @return 0; the errors of store.h */
MUST_USE int fleet_join(struct fleet *fleet);

/** A call said that its epoch is over: it joins again. */
void fleet_is_over(struct fleet *fleet);

/** Once a second: a sign of life, and what is due of the rest; at most some short calls of the
 * database. @param now_ms  monotonic */
void fleet_step(struct fleet *fleet, uint64_t now_ms);
