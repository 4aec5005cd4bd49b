/* A batch of ours that a provider's list has shown, and that nobody told of: its create was lost with who
 * made it, or the database was put back from a copy. */
#pragma once

#include "batches.h"

/** It is in the registry from now on, and what its create reserved counts for it; of a batch that is
 * being moved it is where that runs now. The watch does the rest: it looks at it at once. Whose it is
 * its marker tells, by name nobody. One without a marker's nonce is none of ours.
 *  @param first_ms  batches_first_ms()
 *  @return 0; the errors of store.h: say it again */
MUST_USE int found_write(const struct batches_options *of, uint32_t first_ms,
                         const struct wire_seen *found);
