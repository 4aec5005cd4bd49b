/* The ledger's region, on which five files stand: quota_table.c (entries and their index),
 * quota_learn.c (what is known about a column), quota_scopes.c (sums of keys and teams) and, on
 * these three, quota.c (reservations) and quota_repair.c (they add up). Nobody else includes this, but the tests that run every order
 * of steps.
 *
 *   struct quota                  header, and the words that all share
 *   struct quota_ratio [RATIOS]   tokens per unit of a feature of a model
 *   struct quota_column [columns] what is known about one deployment
 *   uint64_t names [scopes]       whose sums the row of the same number has
 *   struct quota_scope_row [scopes]
 *   uint64_t index [buckets][8]   hash to entry
 *   struct reservation [entries]  the table: the truth, of which E, the index and the sums of
 *                                 scopes are derived
 *
 * The index only makes a look-up fast. A word is the upper 40 bits of a key and an entry + 1; a key
 * lives in one of two buckets, which are cache lines, so nothing is ever moved and no tombstone is
 * needed. Should both be full, `overflowed` tells readers to walk the table instead. A word whose
 * entry has neither that key nor that token is vacant: who dies leaves nothing in the way. */
#pragma once

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/shm_region.h"
#include "common/shm_words.h"
#include "entry_word.h"

#define QUOTA_MAGIC    0x54515141u /* "AQQT" */
#define QUOTA_LAYOUT   7u
#define RATIOS         256u
#define BUCKET         8u
/* Of an id; a longer one is kept by its hash only */
#define QUOTA_ID_WORDS 7u

/* Of an entry's word, entry_word.h. */
enum quota_state {
    QUOTA_FREE,
    QUOTA_RESERVING, /* not counted for certain; nothing was sent */
    QUOTA_RESERVED,  /* counted; nothing was sent */
    QUOTA_SENT,      /* counted; the create is in flight */
    QUOTA_LIVE,      /* counted; the batch is known */
    QUOTA_ORPHAN,    /* counted; what became of the create nobody knows */
    QUOTA_RELEASING, /* not counted for certain */
    QUOTA_REFUNDING  /* counted at its deployment, but not for certain in its scopes */
};

#define AHEAD_UNKNOWN UINT64_MAX

struct reservation {
    alignas(CACHE_LINE) _Atomic uint64_t word;
    _Atomic uint64_t key;      /* hash of column and id; 0: no id yet */
    _Atomic uint64_t token;    /* hash of column and the caller's token; 0: none */
    _Atomic uint64_t tokens;   /* fixed from RESERVED on */
    _Atomic uint64_t begun_ms; /* of the create */
    _Atomic uint64_t lease_ms; /* monotonic end */
    _Atomic uint64_t asked_ms; /* last time somebody looked upstream, compare-and-swap */
    _Atomic uint32_t column;
    /* LIVE: minute of the last progress that counted, compare-and-swap; ORPHAN: second since which
     * it is one */
    _Atomic uint32_t stamp;
    /* Up to here a poll looks at it, from here on more seldom: another cache line. */
    _Atomic uint64_t ahead; /* what was enqueued there before it; AHEAD_UNKNOWN */
    /* Rows + 1 of the key (lower 32 bits) and of the team in which it is counted; 0: none. Fixed
     * from RESERVED on, but by a refund */
    _Atomic uint64_t scopes;
    _Atomic uint64_t id[QUOTA_ID_WORDS]; /* the last one is in a third cache line */
};

/* COLUMN_MANY: a wildcard, of which nothing is learned */
enum column_flag { COLUMN_ASK_FIRST = 1, COLUMN_MANY = 2 };

struct quota_column {
    alignas(CACHE_LINE) _Atomic uint64_t fingerprint; /* this and the next four: the master's */
    _Atomic uint64_t limit;
    _Atomic uint64_t lease_ms;
    _Atomic uint64_t flags; /* enum column_flag */
    _Atomic uint64_t alias; /* the column + 1 of the deployment that this row is too; 0: its own */
    /* The keeper's: tokens of batches of other gateways over one database, beyond those that are
     * counted here */
    _Atomic uint64_t elsewhere;
    /* Any process's: tokens (40 bits) and the time of that (24 bits of 4,096 ms) */
    _Atomic uint64_t expected;
    _Atomic uint64_t rebuilt; /* the prober's; 1: its unfinished batches were adopted */
    struct {
        /* E: tokens (44 bits) and version (20), which each change raises */
        _Atomic uint64_t enqueued;
        /* Tokens (43 bits), whether a refusal told them (1) and when (20 bits of 65,536 ms); 0:
         * unknown */
        _Atomic uint64_t limit_learned;
        _Atomic uint64_t drain;   /* bits of a double, tokens/s; 0: unknown */
        _Atomic uint64_t foreign; /* tokens (40 bits) and the time of that (24 bits of 4,096 ms) */
        /* The last one seen: tokens (44) and E's version then (20); 0: none */
        _Atomic uint64_t header;
        _Atomic uint64_t full_until; /* monotonic ms (56 bits) and refusals in a row (8) */
        _Atomic uint64_t full_tokens;
        _Atomic uint64_t placed; /* hour (24 bits) and count (40) */
    } shared;
};

#define SCOPE_BUCKET  8u /* names in a cache line */
#define SCOPE_PER_LOT 4u /* columns that a row remembers */
#define SCOPES_LEAST  SCOPE_BUCKET
#define SCOPES_MOST   32768u

/* The sums of a key or a team: of its reservations that are RESERVED, SENT, LIVE or ORPHAN. */
struct quota_scope_row {
    /* Count (24 bits; all ones: closed), who closed it (12) and version (28), which each change
     * raises */
    _Atomic uint64_t batches;
    _Atomic uint64_t tokens; /* as E of a column */
    /* + 1; where its batches were placed last, one for each lot of columns; 0: none. Lossy */
    _Atomic uint32_t columns[SCOPE_PER_LOT];
    /* The keeper's: what the scope has at other gateways over one database. Tokens (44 bits) and the
     * number of the reading that told it (20) */
    _Atomic uint64_t elsewhere;
    _Atomic uint64_t batches_elsewhere;
    uint64_t reserved[2];
};

struct quota_ratio {
    _Atomic uint64_t model; /* and feature, hashed; 0: free */
    _Atomic uint64_t value; /* bits of a double, tokens per unit; 0: unknown */
};

struct quota {
    struct shm_head region;
    uint32_t max_columns;
    uint32_t max_entries;
    uint64_t bucket_mask;
    uint64_t columns, index, entries; /* offsets */
    uint64_t num_scopes;              /* a power of two */
    uint64_t names, scopes;           /* offsets */
    alignas(CACHE_LINE) struct {
        _Atomic uint64_t high;       /* entries ever used: nobody looks beyond */
        _Atomic uint64_t hint;       /* where a free one may be */
        _Atomic uint64_t overflowed; /* keys that found their buckets full */
        _Atomic uint64_t ask_ms;     /* between two questions about one reservation */
        _Atomic uint64_t named;      /* 1: rows of scopes have names */
        _Atomic uint64_t unscoped;   /* batches that a scope without a row does not count */
        uint64_t reserved[2];
    } shared;
    /* Creates refused for a key's tokens, a team's, a key's batches, a team's; no reader is in a
     * hurry */
    alignas(CACHE_LINE) _Atomic uint64_t refused[4];
    struct quota_ratio ratios[RATIOS];
};

static_assert(sizeof(struct reservation) == 192 &&
                  offsetof(struct reservation, ahead) == CACHE_LINE,
              "layout of the quota region");
static_assert(sizeof(struct quota_scope_row) == CACHE_LINE, "layout of the quota region");
static_assert(sizeof(struct quota_column) == 128, "layout of the quota region");
static_assert(sizeof(struct quota) == 256 + RATIOS * 16, "layout of the quota region");

#define ENQUEUED_BITS 44
#define ENQUEUED_MAX  ((UINT64_C(1) << ENQUEUED_BITS) - 1)

static inline uint64_t enqueued_of(uint64_t word)
{
    return word & ENQUEUED_MAX;
}

/* The word with other tokens; its version tells everybody that it changed. */
static inline uint64_t enqueued_next(uint64_t word, uint64_t tokens)
{
    return ((word >> ENQUEUED_BITS) + 1) << ENQUEUED_BITS | tokens;
}

/* What all gateways have beyond what is counted here: what is not there yet, or not here any more,
 * counts once. */
static inline uint64_t quota_beyond(uint64_t total, uint64_t ours)
{
    total = total < ENQUEUED_MAX / 2 ? total : ENQUEUED_MAX / 2;
    return total > ours ? total - ours : 0;
}

/* What is in a column itself: the master's, who binds and repairs them. */
static inline struct quota_column *quota_row_of(const struct quota *quota, uint32_t column)
{
    assert(column < quota->max_columns);
    return (struct quota_column *)((char *)quota + quota->columns) + column;
}

/* The one column in which all rows of a deployment are counted; of that one, itself. */
static inline uint32_t quota_canonical(const struct quota *quota, uint32_t column)
{
    uint64_t alias = load_relaxed(&quota_row_of(quota, column)->alias);

    return alias != 0 ? (uint32_t)(alias - 1) : column;
}

static inline struct quota_column *quota_column_of(const struct quota *quota, uint32_t column)
{
    return quota_row_of(quota, quota_canonical(quota, column));
}

/* Any bits to 64 good ones (the finisher of SplitMix64, public domain); never 0. */
static inline uint64_t quota_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return x != 0 ? x : 1;
}
