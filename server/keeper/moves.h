/* KEEPER_MOVE: the prober moves a batch that failed late, and workers cancel one meanwhile
 * (store/store_moves.h). Each step is one commit; which batch moves is decided in batches.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "core/inherited.h"
#include "followed_rows.h"
#include "journal/wire.h"
#include "keeper/calls.h"
#include "store/store.h"
#include "store/store_fleet.h"

struct moves;

/** @param me        borrowed, as all; this node. Epoch 0: it has not joined yet
 *  @param followed  reads what a step has changed at once
 *  @return 0, ERR_NOMEM */
MUST_USE int moves_new(const struct inherited *inherited, struct store *store,
                       const struct fleet_me *me, struct followed_rows *followed,
                       struct moves **out);
void moves_free(struct moves *moves); /* NULL is fine */

/** Serve KEEPER_MOVE. @param calls  borrowed; goes first */
void moves_serve(struct moves *moves, struct calls *calls);

/** A batch was found whose marker is ours: where a move waits for it, this is where that batch is from
 * now on.
 *  @param taken  whether it is one. @return 0, the errors of store.h */
MUST_USE int moves_found(struct store *store, const struct fleet_me *me,
                         const struct wire_seen *found, uint32_t first_ms, bool *taken);
