/* Batches that wait or were moved, from the database into this node's shared memory
 * (balancer/followed.h): all of them after a start, then what changes, each second and whenever this
 * keeper has changed one itself. Of several keepers the one that came last follows. While the
 * database is away the table stays as it is, and is no longer called fresh after
 * FOLLOWED_FRESH_MS. */
#pragma once

#include <stdint.h>

#include "balancer/followed.h"
#include "common/err.h"
#include "store/store.h"

struct followed_rows;

/** @param followed, store  borrowed
 *  @return 0, ERR_NOMEM */
MUST_USE int followed_rows_new(struct followed *followed, struct store *store,
                               struct followed_rows **out);
void followed_rows_free(struct followed_rows *rows); /* NULL is fine */

/** Read what is new: a bounded number of rows. Once a second, and after this keeper changed one.
 *  @param stopping  another keeper has the word by now: it is followed no further once it has */
void followed_rows_step(struct followed_rows *rows, bool stopping, uint64_t now_ms);
