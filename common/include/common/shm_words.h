/* Reads and writes of words that processes share. The name says the memory order, so that a call
 * shows what it counts on:
 *
 *   relaxed   the word is all there is to know: a number, or a part that a checksum judges
 *   acquire   who sees this word sees what its writer wrote before it
 *   release   what was written before is seen by who acquires this word
 *   seq_cst   the order of these words is the same for all: each of two shows itself, then looks
 *
 *   load_relaxed    store_relaxed    cas_relaxed    add_relaxed
 *   load_acquire    store_release    cas_acq_rel    add_acq_rel
 *   load_seq_cst    store_seq_cst    cas_seq_cst
 *
 * A cas_...() puts `next` where `*old` is and returns true, or writes what it found to `*old`. One
 * that failed is an acquire (relaxed, seq_cst) load. cas_weak_relaxed() may fail without a cause;
 * it is for loops. Words of 32 bits have the names with `_32`.
 *
 * `..._part` is for the parts of an entry that one word governs. Its order is as strong. A reader
 * reads them between two loads of that word, a writer holds the entry: who comes between two parts
 * finds what he would find at the next load of the word. */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
              "no lock that a killed process could keep");

/* Where a process may be overtaken, or die, with an effect on others: the scheduler of a test that
 * runs every order of steps stands here (tests/unit/interleave.h). */
#ifndef SHM_STEP
#define SHM_STEP() ((void)0)
#endif

/* --- relaxed --- */

static inline uint64_t load_relaxed(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline uint32_t load_relaxed_32(const _Atomic uint32_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void store_relaxed(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline void store_relaxed_32(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline bool cas_relaxed_32(_Atomic uint32_t *word, uint32_t *old, uint32_t next)
{
    return atomic_compare_exchange_strong_explicit(word, old, next, memory_order_relaxed,
                                                   memory_order_relaxed);
}

static inline bool cas_weak_relaxed(_Atomic uint64_t *word, uint64_t *old, uint64_t next)
{
    return atomic_compare_exchange_weak_explicit(word, old, next, memory_order_relaxed,
                                                 memory_order_relaxed);
}

/* @return what was there */
static inline uint32_t swap_relaxed_32(_Atomic uint32_t *word, uint32_t next)
{
    return atomic_exchange_explicit(word, next, memory_order_relaxed);
}

static inline void add_relaxed(_Atomic uint64_t *word, uint64_t more)
{
    atomic_fetch_add_explicit(word, more, memory_order_relaxed);
}

/* --- acquire and release --- */

static inline uint64_t load_acquire(const _Atomic uint64_t *word)
{
    SHM_STEP();
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline void store_release(_Atomic uint64_t *word, uint64_t value)
{
    SHM_STEP();
    atomic_store_explicit(word, value, memory_order_release);
}

static inline bool cas_acq_rel(_Atomic uint64_t *word, uint64_t *old, uint64_t next)
{
    SHM_STEP();
    return atomic_compare_exchange_strong_explicit(word, old, next, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static inline void add_acq_rel(_Atomic uint64_t *word, uint64_t more)
{
    atomic_fetch_add_explicit(word, more, memory_order_acq_rel);
}

static inline uint64_t load_acquire_part(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline uint32_t load_acquire_part_32(const _Atomic uint32_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline void store_release_part(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static inline void store_release_part_32(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/* --- one order for all --- */

static inline uint64_t load_seq_cst(const _Atomic uint64_t *word)
{
    SHM_STEP();
    return atomic_load_explicit(word, memory_order_seq_cst);
}

static inline uint64_t load_seq_cst_part(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_seq_cst);
}

static inline void store_seq_cst(_Atomic uint64_t *word, uint64_t value)
{
    SHM_STEP();
    atomic_store_explicit(word, value, memory_order_seq_cst);
}

static inline bool cas_seq_cst(_Atomic uint64_t *word, uint64_t *old, uint64_t next)
{
    SHM_STEP();
    return atomic_compare_exchange_strong_explicit(word, old, next, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}
