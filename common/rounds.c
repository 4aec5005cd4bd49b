/* See rounds.h. */
#include "common/rounds.h"

#include <assert.h>

size_t rounds_next(const struct rounds *rounds, const uint64_t *owners, size_t num)
{
    size_t best = 0;

    assert(num > 0);
    for (size_t i = 1; i < num; i++)
        if (rounds_last(rounds, owners[i]) < rounds_last(rounds, owners[best]))
            best = i;
    return best;
}
