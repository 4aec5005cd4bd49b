/* What clients' calls show of batches, for the journal: told to the keeper when it is news, so that a
 * batch that somebody polls is known to have ended no later than its client knows it (journal
 * statement C33). Nobody waits for it, and what cannot be told now is seen by the watch. */
#pragma once

#include "core/runtime.h"
#include "crypto/marker.h"
#include "json/json.h"

#define REPORTED_LATE_S 3600 /* a batch that ended so long ago is no news */

/** A batch was seen. Nothing where no journal is kept.
 *  @param deployment  one of the account that showed it
 *  @param marker      ours; NULL: it has none, and was not made here
 *  @param batch       as its provider sent it */
void reported_batch(struct runtime *rt, uint32_t deployment, const struct marker *marker,
                    const struct json *batch);
