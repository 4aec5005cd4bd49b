/* What the files of the registry share about batches that nodes follow. */
#pragma once

#include "store/store_followed.h"
#include "store_impl.h"

/** Within a transaction that changed a followed batch: nodes read it again. */
MUST_USE int work_follow(struct store *store, const char *batch_id);
