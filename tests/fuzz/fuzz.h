/* What the fuzz targets share: the entry point, a way to fail, and pieces of sizes that depend on
 * the input only. */
#pragma once

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Standard output to nowhere: the front door writes a line of its log for each request that it
 * refuses. */
static inline void fuzz_quiet(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    MUST(fd != -1 && dup2(fd, STDOUT_FILENO) != -1);
    close(fd);
}

/* FNV-1a; 0 for nothing but nothing. */
static inline uint64_t fuzz_seed(const uint8_t *data, size_t size)
{
    uint64_t seed = UINT64_C(0xcbf29ce484222325);
    size_t i;

    for (i = 0; i < size; i++)
        seed = (seed ^ data[i]) * UINT64_C(0x100000001b3);
    return seed;
}

/* The next piece: 1 to 64 bytes, no more than are left. */
static inline size_t fuzz_piece(uint64_t *seed, size_t left)
{
    size_t n;

    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    n = 1 + (size_t)(*seed >> 33) % ((*seed >> 60) % 2 != 0 ? 4 : 64);
    return n < left ? n : left;
}
