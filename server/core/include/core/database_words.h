/* What the keeper knows of its database and of the fleet, for /health and /metrics of any process: in
 * `struct shared`. Each word has one writer, the keeper that has the word; where no database is
 * configured all of them are 0. Nobody asks the database for them. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/shm.h"
#include "common/shm_words.h"
#include "core/problem.h"

#define DATABASE_NODES   64 /* of the fleet that are shown; more are counted */
#define DATABASE_BUCKETS 12 /* of times of reservations; the last one has no bound */

/* What this node may grant alone while the database is away, of all keys or all teams together. */
struct lease_words {
    _Atomic uint64_t scopes;                /* of how many */
    _Atomic uint64_t tokens, batches, nano; /* of those that have such a limit; nano-dollars */
};

struct database_words {
    alignas(CACHE_LINE) _Atomic uint32_t configured; /* 1: there is a database of our own */
    _Atomic uint32_t up;                             /* 1: the last call reached it */
    _Atomic uint32_t journal;         /* 1: batches are written there (tranche_settings.journal) */
    _Atomic uint32_t nodes, nodes_up; /* of the fleet: that are known, that live; this one too */
    _Atomic uint64_t contact_ms; /* monotonic ms of the last call that reached it; 0: none has */
    _Atomic uint64_t keys_generation; /* of the keys that were read last */
    _Atomic uint64_t clock_skew_ms;   /* that its clock is ahead of ours, as an int64_t */
    /* Batches that are watched: that have not ended, that have and whose usage is not known yet,
     * that nobody has claimed although they are due, and for how long the first of these is */
    _Atomic uint64_t open, unmeasured, due, late_ms;
    _Atomic uint64_t claimed;        /* by any node, now */
    _Atomic uint64_t claims_expired; /* that this node had, and others have taken over, or may */
    _Atomic uint64_t outage_grants;  /* creates granted out of this node's shares (C30) */
    struct lease_words key_leases, team_leases;
    _Atomic uint32_t leases_counted; /* 1: nobody else grants those (`leases: counted`) */
    _Atomic uint64_t drift_tokens;   /* that sums of limits were off, up or down, when repaired */
    /* Tries of webhooks that are due, and for how long the first of these has been; endpoints, and
     * those of them that are switched off */
    _Atomic uint64_t hooks_due, hooks_late_ms, hooks, hooks_off;
    /* Files, and batches with files, that are to be deleted (delete_after), and for how long the first
     * of these should be gone */
    _Atomic uint64_t deletions, deletions_late_ms;
    _Atomic uint64_t spool_bytes; /* that wait for the database on this node's disk */
    _Atomic uint64_t reserved[DATABASE_BUCKETS]; /* reservations, by the time that they took */
    _Atomic uint64_t reserve_us;                 /* all of them together */
    struct problem why;                          /* why it is down */
    struct problem node[DATABASE_NODES];         /* each as a JSON object; the rest is not set */
};

/** The upper bound of a bucket, in microseconds; UINT64_MAX: of the last one. */
static inline uint64_t database_bucket_us(size_t i)
{
    static const uint64_t bounds[DATABASE_BUCKETS - 1] = {
        1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2000000};

    return i < DATABASE_BUCKETS - 1 ? bounds[i] : UINT64_MAX;
}

/** Keeper: a reservation took so long, from the question's arrival to its answer. */
static inline void database_reserved(struct database_words *words, uint64_t us)
{
    size_t i = 0;

    while (us > database_bucket_us(i))
        i++;
    add_relaxed(&words->reserved[i], 1);
    add_relaxed(&words->reserve_us, us);
}
