/* The deployments that a piece of work may go to: those of the group that was asked for, and behind
 * them those of its fallbacks, a tier each. Pure over the table and the configured fallbacks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/runtime.h"

#define CANDIDATES_ANY -1 /* in place of an enum provider: of both */

/* Where a new object may go. All zero: nowhere. */
struct candidates {
    uint32_t *deployments; /* owned; candidates */
    /* Owned; per candidate: 0 what was asked for, then the fallbacks in order; ascending */
    uint32_t *tiers;
    uint32_t num, num_tiers;
    bool *has_group; /* owned; by group: its rows are among them */
    /* Rows of groups: body.model becomes the deployment's name; else one account as a whole */
    bool grouped;
};

/** Make room for all deployments. @return 0, ERR_NOMEM */
MUST_USE int candidates_init(const struct runtime *rt, struct candidates *out);

/** Add the rows of a group that were not added yet, as tier `tier`, which is the last one then.
 *  @param provider  only rows of this enum provider; CANDIDATES_ANY */
void candidates_add_group(const struct runtime *rt, uint32_t group, uint32_t tier, int provider,
                          struct candidates *out);

/** Add one row alone, as tier 0. */
void candidates_add_row(const struct runtime *rt, uint32_t row, int provider,
                        struct candidates *out);

/** Add what a group falls back to, each in a tier of its own behind what is there. */
void candidates_add_fallbacks(const struct runtime *rt, uint32_t group, int provider,
                              struct candidates *out);

/** Candidates for the work of a file that lies on a row of a group: that group and its fallbacks.
 * @return 0, ERR_NOMEM */
MUST_USE int candidates_of_group(const struct runtime *rt, uint32_t group, struct candidates *out);

/** Where the work of files on these accounts may be: the groups that have rows there, each with its
 * fallbacks, every row once. Looks at each row and each group once, however many there are.
 *  @param accounts  by account: whether it is one of them; of those of one resource the first one
 *         tells
 *  @param out       its tiers mean nothing
 *  @return 0, ERR_NOMEM */
MUST_USE int candidates_around(const struct runtime *rt, const bool *accounts,
                               struct candidates *out);

/** Release the lists; the struct may be filled again. */
void candidates_deinit(struct candidates *candidates);
