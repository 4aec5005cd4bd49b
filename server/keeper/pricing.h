/* What batches cost, for the keeper's messages: the price of what was used, frozen into the rows of
 * usage when they are written (journal statements B1 to B4), and before a create what its batch may
 * cost, which budgets are held for (B10). */
#pragma once

#include <stdint.h>

#include "balancer/series.h"
#include "common/err.h"
#include "journal/wire.h"
#include "price/price_book.h"
#include "store/store_batches.h"

struct pricing;

/** @param book   borrowed; outlives it
 *  @param store  borrowed; asked what groups' batches used before; NULL: nothing is known of that
 *  @return 0, ERR_NOMEM */
MUST_USE int pricing_new(const struct price_book *book, struct store *store, struct pricing **out);
void pricing_free(struct pricing *pricing); /* NULL is fine */

/* Usage with its price. */
struct priced {
    struct store_usage rows[WIRE_MAX_MODELS]; /* their texts are `seen`'s and `from`'s */
    size_t num;
    char from[WIRE_MAX_MODELS][PRICE_FROM_BYTES];
};

/**
 * The rows of usage that a message tells of. What cannot be priced counts with its tokens, `nano` 0
 * and all of its requests as `unpriced`, and a warning is logged, once a minute at most.
 *
 * @param seen  borrowed as long as `out`
 * @param out   filled; `num` 0 where the message has no usage
 */
void pricing_usage(struct pricing *pricing, const struct wire_seen *seen, struct priced *out);

/** What a team has of its budget, for /metrics: its sums as the database has them. Nothing where none
 * of its creates came by here.
 *  @param team  fingerprint */
void pricing_sum(struct pricing *pricing, struct series *series, uint64_t team, int64_t held_nano,
                 int64_t spent_nano);

/** What a create may cost, in nano-dollars; 0 where no scope of it has a budget, or no price is
 * known of its deployment, which is logged, once a minute at most. May ask the database how much
 * output such batches had: once a minute for a group and owner. */
uint64_t pricing_intent(struct pricing *pricing, const struct wire_intent *intent, uint64_t now_ms);
