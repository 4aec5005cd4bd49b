/* The word of an entry that one process holds at a time, in the tables of quota.c and idem.c. All
 * that happens to an entry is a compare-and-swap of this word:
 *
 *   bits 0..3     4..15     16..63
 *        state    holder    number of its claims so far
 *
 * Each claim raises the number, so that a word which was read before tells whether the entry is
 * still the same one's. */
#pragma once

#include <assert.h>
#include <stdint.h>

#define ENTRY_HOLDER_SHIFT 4
#define ENTRY_CLAIM_SHIFT  16
#define ENTRY_STATE_MASK   0xfu
#define ENTRY_HOLDER_MASK  0xfffu

#define HOLDER_NOBODY 4095u
#define HOLDER_MASTER 4094u

/* As a number of the table's own enum. */
static inline uint32_t entry_state(uint64_t word)
{
    return (uint32_t)(word & ENTRY_STATE_MASK);
}

static inline uint32_t entry_holder(uint64_t word)
{
    return (uint32_t)(word >> ENTRY_HOLDER_SHIFT & ENTRY_HOLDER_MASK);
}

/* Which claim of the entry it is. */
static inline uint64_t entry_claim(uint64_t word)
{
    return word >> ENTRY_CLAIM_SHIFT;
}

/* The same claim in another state. */
static inline uint64_t entry_word_in(uint64_t word, uint32_t state, uint32_t holder)
{
    assert(state <= ENTRY_STATE_MASK && holder <= ENTRY_HOLDER_MASK);
    return entry_claim(word) << ENTRY_CLAIM_SHIFT | (uint64_t)holder << ENTRY_HOLDER_SHIFT | state;
}

/* The word of the next claim. */
static inline uint64_t entry_word_next(uint64_t word, uint32_t state, uint32_t holder)
{
    return entry_word_in(word + (UINT64_C(1) << ENTRY_CLAIM_SHIFT), state, holder);
}
