/* What a lease is worth, and what it may be (`leases: counted`, journal statement C30). Pure.
 *
 * A lease is what its holder, the keeper of a node, may grant of one scope while it cannot reach the
 * database. The database has a row of it, the holder a number in its memory. What is counted is the
 * row, and it is never less than the memory:
 *
 *   a renewal gives more     the row has it before the holder hears of it
 *   a renewal gives less     the holder has it when it hears of it, the row at the next renewal
 *   a grant, on either side  the same is taken from both
 *
 * So an answer that is lost on its way to the holder costs nobody anything. */
#pragma once

#include <stdint.h>

/* INT64_MAX: the scope has no such limit, and nothing of it is leased. */
struct lease_worth {
    int64_t tokens, batches, nano;
};

/** Add what one more holder has. */
void lease_add(struct lease_worth *sum, const struct lease_worth *more);

/** Take a grant of its holder out of a lease, as far as there is something: a batch, and these. */
void lease_spend(struct lease_worth *lease, int64_t tokens, int64_t nano);

/** @return what is free of a limit, divided by the live nodes
 *  @param limit  INT64_MAX: none, and so is the share */
int64_t lease_share(int64_t limit, int64_t used, int64_t nodes);

/** The same, and no more than others' leases leave. @param others  what they hold together */
int64_t lease_counted_share(int64_t limit, int64_t used, int64_t others, int64_t nodes);

/** @return what the row of a lease has from a renewal on
 *  @param share  what the renewal gives
 *  @param held   what its holder has until it hears of that */
int64_t lease_row(int64_t share, int64_t held);
