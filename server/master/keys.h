/* The keys of tenants as a generation begins with them: the table that it shares with the one
 * before, the door to the keeper, and the state that the master publishes before the fork. */
#pragma once

#include <stddef.h>

#include "common/err.h"
#include "generation.h"

/* A table with the number of generations that use it. */
struct keys_region;

void keys_release(struct keys_region *region); /* NULL is fine */

/** The table of the generation before, or a new one; none where no keys are configured. The door is
 * made with the first generation that needs it.
 *  @param previous  NULL: the first one
 *  @return 0, ERR_NOMEM, ERR_IO (errno) */
MUST_USE int keys_open(struct generation *gen, struct generation_base *base,
                       const struct generation *previous);

/** Publish what the configuration and its file say. May wait for a fifth of a second, where a
 * keeper writes right now.
 *  @param error  on failure one line for the log */
MUST_USE int keys_publish(const struct generation *gen, char *error, size_t error_size);

/** Close the door. */
void keys_close_door(struct generation_base *base);

/** A newer generation was refused: `serving` and its keeper have the word again. */
void keys_hand_back(const struct generation *serving);
