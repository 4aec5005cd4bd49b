/* Which worker takes a new connection. All of a generation wait at one socket; whichever is quickest would have nearly all of
 * them, and the clients of a busy worker wait for each other while others have nothing to do. So one that has more than others
 * leaves a new one to them for a moment, and takes it when nobody did. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/inherited.h"

#define ACCEPT_LEAVE_MS  2    /* how long it is left to others */
#define ACCEPT_LOOK_MS   1000 /* who the others are is looked up so often */
#define ACCEPT_SILENT_MS 3000 /* one that has not turned for so long is not waited for */

struct accept_share {
    const struct worker_slot *slots; /* borrowed; [num_slots]; NULL: it is alone */
    const struct worker_slot *own;   /* one of them */
    size_t num_slots;
    const struct worker_slot *others[WORKER_ROWS]; /* that serve as it does */
    size_t num_others;
    uint64_t looked_ms; /* 0: never */
};

/** Whether one that has so many connections leaves a new one to one that has fewer. Pure.
 *  @param least  the fewest that any of the others has */
bool accept_share_leaves(uint32_t mine, uint32_t least);

/** Whether another worker of its generation should take the next connection.
 *  @param mine    its own connections
 *  @param now_ms  monotonic, as worker_slot.beat_ms */
bool accept_share_is_others(struct accept_share *share, uint32_t mine, uint64_t now_ms);
