/* What the benchmarks of single functions share. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static uint64_t seed = 88172645463325252u;

/* The same numbers in each run (xorshift). */
static inline uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

static inline void must(int ret)
{
    if (ret != 0)
        exit(1);
}

/* Of this process's own time. */
static inline double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
