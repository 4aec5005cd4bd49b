/* See misses.h. A bucket is one time (GCRA): it is full when that is past, and each question puts
 * it off by MISSES_EACH_MS. */
#include "core/misses.h"

#include <assert.h>

static_assert(MISSES_PLACES == 1 << (64 - 54), "as many as the shift leaves");

bool misses_pass(struct misses *misses, uint64_t peer, uint64_t now_ms)
{
    /* Fibonacci hashing: addresses differ in bits that others have in common. */
    uint64_t *full_ms = &misses->full_ms[peer * UINT64_C(0x9e3779b97f4a7c15) >> 54];
    uint64_t at = *full_ms > now_ms ? *full_ms : now_ms;

    if (at - now_ms > (uint64_t)MISSES_EACH_MS * (MISSES_AT_ONCE - 1))
        return false;
    *full_ms = at + MISSES_EACH_MS;
    return true;
}
