/* Work of several owners that waits, and only a part of it can be done in a turn of the loop: who
 * comes next. The owner who was served longest ago, or never, comes first, and of what one owner
 * has, what came first: who has a thousand pieces that wait makes nobody else wait for more than
 * one of them. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ROUNDS_PLACES 256 /* owners beyond share one, and with it their turn */

/* When each owner was served; all zero: nobody was yet. */
struct rounds {
    uint64_t num;                   /* pieces served */
    uint64_t served[ROUNDS_PLACES]; /* `num` after an owner's latest piece */
};

/** When an owner was served; 0: never. The smaller one comes first. */
static inline uint64_t rounds_last(const struct rounds *rounds, uint64_t owner)
{
    return rounds->served[owner % ROUNDS_PLACES];
}

/** A piece of this owner's is done now. */
static inline void rounds_serve(struct rounds *rounds, uint64_t owner)
{
    rounds->served[owner % ROUNDS_PLACES] = ++rounds->num;
}

/** Which of the pieces comes next.
 *  @param owners  of each piece, in the order in which they came
 *  @param num     at least 1
 *  @return its index */
size_t rounds_next(const struct rounds *rounds, const uint64_t *owners, size_t num);
