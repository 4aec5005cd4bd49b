/* The region of idem.c and its atomic steps, apart for the test that runs every order of steps.
 *
 *   struct idem                 header, and the words that all share
 *   struct idem_head [places]   what a look-up needs: one cache line each
 *   struct idem_body [places]   what is given back: one page each
 *
 * Places are in buckets of IDEM_WAYS; a key has two buckets. */
#pragma once

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>

#include "balancer/idem.h"

#define IDEM_MAGIC  0x44495154u /* "TQID" */
#define IDEM_LAYOUT 2u
#define IDEM_PAGE   4096u
#ifndef IDEM_WAYS
#define IDEM_WAYS 16u
#endif
#ifndef IDEM_ROUNDS
#define IDEM_ROUNDS 4 /* of idem_begin(): beaten so often, somebody else is at it */
#endif

/* A place's word: bits 0..3 state, 4..15 holder, 16..63 number of its claims so far. */
enum idem_state {
    IDEM_STATE_FREE,
    IDEM_STATE_WRITING, /* its key is not to be read yet */
    IDEM_STATE_CLAIMED, /* shown; whether the key is its own is being found out */
    IDEM_STATE_RUNNING,
    IDEM_STATE_SENT,
    IDEM_STATE_DONE,
    IDEM_STATE_LOST
};

#define HOLDER_NOBODY 4095u

struct idem_head {
    alignas(64) _Atomic uint64_t word;
    _Atomic uint64_t key[2];
    _Atomic uint64_t request;
    _Atomic uint64_t until_ms;   /* monotonic end of its time */
    _Atomic uint64_t deployment; /* from SENT on; 0: not known */
    _Atomic uint64_t status;     /* this and the next: of DONE */
    _Atomic uint64_t len;
};

struct idem_body {
    alignas(IDEM_PAGE) _Atomic uint64_t nonce[IDEM_NONCE_MAX / 8 + 1];
    _Atomic uint64_t id[(IDEM_ID_MAX + 1) / 8];
    _Atomic uint64_t body[IDEM_ANSWER_MAX / 8];
};

struct idem {
    uint32_t magic;
    uint32_t layout; /* raise it with any change of the region */
    uint64_t size;   /* bytes, the whole region */
    uint64_t bucket_mask;
    uint64_t num_places;
    uint64_t heads, bodies; /* offsets */
    uint64_t since_ms; /* all before it is the same in each program that could use the region */
    alignas(64) struct {
        _Atomic uint64_t evicted;
        _Atomic uint64_t blind_until_ms; /* this and the others only grow */
        _Atomic uint64_t lost_ms;
        _Atomic uint64_t unsure_until_ms;
        _Atomic uint64_t suspect_until_ms;
    } shared;
};

static_assert(sizeof(struct idem_head) == 64, "layout of the idem region");
static_assert(sizeof(struct idem_body) == IDEM_PAGE, "layout of the idem region");
static_assert(sizeof(struct idem) == 128, "layout of the idem region");
static_assert(IDEM_ANSWER_MAX % 8 == 0 && (IDEM_ID_MAX + 1) % 8 == 0, "texts are kept in words");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "no lock that a killed process could keep");

/* Where a process may be overtaken, or die, with an effect on others: the test's scheduler stands
 * here. */
#ifndef IDEM_STEP
#define IDEM_STEP() ((void)0)
#endif

static inline uint64_t look(const _Atomic uint64_t *word)
{
    IDEM_STEP();
    return atomic_load_explicit(word, memory_order_seq_cst);
}

static inline void publish(_Atomic uint64_t *word, uint64_t value)
{
    IDEM_STEP();
    atomic_store_explicit(word, value, memory_order_seq_cst);
}

static inline bool swap(_Atomic uint64_t *word, uint64_t *old, uint64_t new)
{
    IDEM_STEP();
    return atomic_compare_exchange_strong_explicit(word, old, new, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

/* Of what is read while its place may be given to another one: who sees a new value sees the new
 * word too, so that reading the word once more tells. */
static inline uint64_t peek(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}
