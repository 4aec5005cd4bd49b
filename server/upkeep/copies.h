/* The copies that moved batches ran on. Whoever sees first that such a batch has ended deletes its
 * copy: a worker that answers a poll (objects/batch_view), or the prober, here. */
#pragma once

#include "upkeep.h"
#include "objects/observation.h"

/** Delete the copy of a batch that has ended, if it has one, the operator wants that, and nobody
 * has begun to. @return whether the DELETE is queued */
bool copies_delete(struct upkeep_account *account, const struct observation *batch);
