/* What this node may grant alone while the database is away (journal statement C30): shares of the
 * limits of keys and teams that were asked for here lately. Renewed while the database answers. As
 * long as it does they are not taken from anybody, unless leases are counted (store/lease_rules.h);
 * what is granted in an outage is taken out of them, and comes back with the next renewal. Pure but
 * for its memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "journal/wire.h"
#include "store/store_fleet.h"

#define SHARES_MOST     1024             /* scopes that a node has shares of */
#define SHARES_USED_MS  (10 * 60 * 1000) /* so long after its last use one is renewed */
#define SHARES_SKEW_MS  5000             /* that much less, for clocks that differ */
#define SHARES_EVERY_MS 20000            /* between two renewals */

struct shares;

/** @param good_ms  so long a share is good: `outage_window`
 *  @return 0, ERR_NOMEM */
MUST_USE int shares_new(uint32_t good_ms, struct shares **out);
void shares_free(struct shares *shares); /* NULL is fine */

/** Whether a key's or a team's limit or budget bounds a create. */
bool shares_are_needed(const struct wire_intent *intent);

/** A create was asked for: its limited scopes are in use. */
void shares_note(struct shares *shares, const struct wire_intent *intent, uint64_t now_ms);

/** The next scopes to be renewed, from `*at` on, which begins at 0 and is moved on.
 *  @param out  [max]: kind and name, and what may be granted alone of each until it is renewed
 *  @return how many; 0: that was all */
size_t shares_due(struct shares *shares, size_t *at, uint64_t now_ms, struct fleet_lease *out,
                  size_t max);

/** What store_fleet_lease() gave, asked for at `asked_ms`. */
void shares_renew(struct shares *shares, const struct fleet_lease *leases, size_t num,
                  uint64_t asked_ms);

/** Grant a create out of the shares of all its limited scopes, or of none.
 *  @return false: one of them is spent, over, or was never there */
bool shares_take(struct shares *shares, const struct wire_intent *intent, uint64_t now_ms);

/** Grant nothing alone any more of what has not been used for SHARES_USED_MS; of anything. */
void shares_forget_unused(struct shares *shares, uint64_t now_ms);
void shares_forget_all(struct shares *shares);

/* What is left of all shares of keys, or of teams, together. */
struct shares_sum {
    uint64_t scopes;                /* that something may be granted alone of */
    uint64_t tokens, batches, nano; /* of those of them that have such a limit */
};

/** @param kind  WIRE_KEY, WIRE_TEAM */
void shares_add_up(const struct shares *shares, unsigned kind, uint64_t now_ms,
                   struct shares_sum *out);

/** The database has granted it: so much less is free than at the last renewal. */
void shares_spend(struct shares *shares, const struct wire_intent *intent);
