/* The region of idem.c, apart for the test that runs every order of steps.
 *
 *   struct idem                  header, and the words that all share
 *   struct idem_head [entries]   what a look-up needs: one cache line each
 *   struct idem_body [entries]   what is given back: one page each
 *
 * Entries are in buckets of IDEM_WAYS; a key has two buckets. */
#pragma once

#include <assert.h>
#include <stdalign.h>

#include "balancer/idem.h"
#include "common/shm_region.h"
#include "common/shm_words.h"
#include "entry_word.h"

#define IDEM_MAGIC  0x44495154u /* "TQID" */
#define IDEM_LAYOUT 2u
#define IDEM_PAGE   4096u
#ifndef IDEM_WAYS
#define IDEM_WAYS 16u
#endif
#ifndef IDEM_ROUNDS
#define IDEM_ROUNDS 4 /* of idem_begin(): beaten so often, somebody else is at it */
#endif

/* Of an entry's word, entry_word.h. */
enum idem_state {
    IDEM_STATE_FREE,
    IDEM_STATE_WRITING, /* its key is not to be read yet */
    IDEM_STATE_CLAIMED, /* shown; whether the key is its own is being found out */
    IDEM_STATE_RUNNING,
    IDEM_STATE_SENT,
    IDEM_STATE_DONE,
    IDEM_STATE_LOST
};

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
    struct shm_head region;
    uint64_t bucket_mask;
    uint64_t num_entries;
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
