/* A sum over words of 64 bits by which an entry of a shared table is told from one that was written
 * half, or by two at once. Against accidents, not against anybody. */
#pragma once

#include <stdint.h>

/* The two halves of a product of 128 bits, folded. */
static inline uint64_t checksum_mix(uint64_t sum, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(sum ^ UINT64_C(0x9e3779b97f4a7c15)) *
                                (word ^ UINT64_C(0xbf58476d1ce4e5b9));

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The sum with one word more; each word's place counts. A product loses what it is multiplied with
 * when one side is 0; the added word keeps it. */
static inline uint64_t checksum_add(uint64_t sum, uint64_t word)
{
    return checksum_mix(sum, word) + word;
}
