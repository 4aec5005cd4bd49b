/* What the files of the registry share. */
#pragma once

#include "store/store_batches.h"
#include "store_impl.h"

#define STORE_BATCH_ID       520 /* of an id as a client knows it, with the NUL */
#define STORE_NODE_ID        160
#define STORE_RESERVATION_ID 64

#define STORE_RANK_ENDED 4 /* rank_of() a status that never changes again */
/* `next_at` of one that is claimed, and of which a client saw news: whoever has the claim asks again
 * at once */
#define STORE_POKED      1

/** Within a transaction: store_batches_note(). */
MUST_USE int batches_note(struct store *store, const char *id, const char *what, const char *node,
                          const char *detail);
