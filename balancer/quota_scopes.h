/* Sums of keys and teams ("scopes") in the ledger, for quota.c: a table from a name to two words,
 * the tokens and the number of a scope's unfinished batches. It knows no entries and no states.
 *
 * A name lives in one of two buckets, as the keys of the index do. A row gets a name when its first
 * batch is counted, and keeps it; one in which nothing is counted may get another name when both
 * buckets of a newer one have no unnamed row left. For that its row is closed: nobody counts in a
 * closed row, and only who closed it opens it again, or quota_scopes_undo() when that process has
 * died. Two processes that name a row for one scope at once may make two of them. So whoever has
 * counted something looks again whether the row has still its name, and what other rows of the same
 * name have: of two that do not fit together at least one sees both. */
#pragma once

#include "balancer/quota.h"
#include "quota_region.h"

enum scope_fit {
    SCOPE_COUNTED,
    SCOPE_TOKENS_FULL,
    SCOPE_BATCHES_FULL,
    SCOPE_NO_ROW /* all rows in which it could be have others' batches */
};

/* How many rows a ledger of so many entries gets. */
uint64_t quota_scopes_for(uint32_t entries);

/* Count a batch in its scope, or say what is full.
 * @param holder  who closes a row, should one be taken over
 * @param column  remembered: where the scope's batches are
 * @param row     written: SCOPE_COUNTED only
 * @param used    written when something is full: of what is full */
enum scope_fit quota_scope_in(struct quota *quota, uint32_t holder, const struct quota_scope *scope,
                              uint64_t tokens, uint32_t column, uint32_t *row, uint64_t *used);

/* Take it out again. */
void quota_scope_out(struct quota *quota, uint32_t row, uint64_t tokens);

/* Whether one look says already that it is full; writes nothing but `used`. SCOPE_COUNTED: it would
 * fit. */
enum scope_fit quota_scope_look(const struct quota *quota, const struct quota_scope *scope,
                                uint64_t tokens, uint64_t *used);

/* Of a reservation's word `scopes` the row + 1 of one of its scopes; 0: it is not counted there. */
static inline uint32_t scope_row(uint64_t scopes, unsigned nth)
{
    return (uint32_t)(scopes >> (nth == QUOTA_TEAM ? 32 : 0));
}

/* --- repair; the master's --- */

/* Rows that a dead process left closed. */
void quota_scopes_undo(struct quota *quota, uint32_t first, uint32_t num);

/* What one row's words were before the table was added up, and the sums of the table. */
struct scope_sums {
    uint64_t batches_before, tokens_before;
    uint64_t batches, tokens;
};

/* Read all words into [num_scopes], with empty sums. @return false: no row has a name */
bool quota_scopes_before(const struct quota *quota, struct scope_sums *sums);

/* Make each row's words its sums, where nobody has changed them since. @return whether that was
 * everywhere */
bool quota_scopes_correct(struct quota *quota, const struct scope_sums *sums);
