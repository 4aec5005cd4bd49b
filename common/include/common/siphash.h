/* SipHash-1-3 with 128 bits of output (Aumasson and Bernstein, 2012, with the finalisation of the
 * reference implementation's 128-bit variant): a keyed hash, for tables whose keys strangers choose.
 * Inline, because it runs for each id of a file. The machine is little-endian, as all of ours are. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash {
    uint64_t v0, v1, v2, v3;
};

/** To the left, by 1 to 63 bits. */
static inline uint64_t siphash_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/** One round of the function. */
static inline void siphash_round(struct siphash *s)
{
    s->v0 += s->v1;
    s->v1 = siphash_rotate(s->v1, 13) ^ s->v0;
    s->v0 = siphash_rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = siphash_rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = siphash_rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = siphash_rotate(s->v1, 17) ^ s->v2;
    s->v2 = siphash_rotate(s->v2, 32);
}

/** Begin with a key of 128 random bits. */
static inline void siphash_begin(struct siphash *s, const uint64_t key[2])
{
    s->v0 = key[0] ^ UINT64_C(0x736f6d6570736575);
    s->v1 = key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee;
    s->v2 = key[0] ^ UINT64_C(0x6c7967656e657261);
    s->v3 = key[1] ^ UINT64_C(0x7465646279746573);
}

/** The next 8 bytes, the first of them lowest. */
static inline void siphash_word(struct siphash *s, uint64_t word)
{
    s->v3 ^= word;
    siphash_round(s);
    s->v0 ^= word;
}

/** Three rounds, and what they come to: half of the output. */
static inline uint64_t siphash_half(struct siphash *s)
{
    siphash_round(s);
    siphash_round(s);
    siphash_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/** The end. @param rest  the last len % 8 bytes, the first of them lowest, the others 0
 *  @param len  bytes of the whole text */
static inline void siphash_finish(struct siphash *s, uint64_t rest, uint64_t len, uint64_t out[2])
{
    siphash_word(s, rest | len << 56);
    s->v2 ^= 0xee;
    out[0] = siphash_half(s);
    s->v1 ^= 0xdd;
    out[1] = siphash_half(s);
}
