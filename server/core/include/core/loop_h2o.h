/* common/loop.h over libh2o's event loop: made after the fork, used by one thread, inside the
 * loop's turns. */
#pragma once

#include <h2o/socket.h>

#include "common/loop.h"

/** A loop over `evloop` (borrowed; it must outlive the loop). NULL when out of memory or
 * descriptors (errno). */
struct loop *loop_h2o_new(h2o_evloop_t *evloop);

/** Read the clock again. Inside a turn the first call of loop_now_ms() does that by itself; call
 * this after work that took long, and before the first turn. */
void loop_h2o_turn(struct loop *loop);

/** Close all that it watches. Running timers are forgotten, not called. Before the evloop's end,
 * outside its turns; NULL is fine. */
void loop_h2o_free(struct loop *loop);
