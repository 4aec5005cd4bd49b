/* The region of rights.h: a header and two copies. All offsets are derived of `max_keys`; what a
 * copy says of itself (how many slots, where a list is) is held against them before it is used, as
 * a copy may be read while it is written.
 *
 *   head │ word │ copy 0                                        │ copy 1 ...
 *                 facts │ index: slots │ keys │ teams │ lists
 *
 * A slot has 32 bits of the hash and the key's row + 1. A list is what a key or a team may use. */
#pragma once

#include <assert.h>
#include <stdalign.h>

#include "balancer/rights.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define RIGHTS_MAGIC  0x54525154u /* "TQRT" */
#define RIGHTS_LAYOUT 3u
#define RIGHTS_NAME   64 /* bytes of a team's name that is cut to size */
#define RIGHTS_ALIAS  44 /* of a key's */
#define NO_TEAM       UINT32_MAX

/* Rows of keys that a table for so many keys has: a team has one under its id, and one under its
 * alias, by which tokens find it. */
#define RIGHTS_ROWS(max_keys) (3 * (uint64_t)(max_keys))

/* What a copy says of itself. */
struct rights_facts {
    uint64_t writer;
    uint64_t complete;
    uint64_t num_keys;
    uint64_t mask; /* slots of its index, less one */
};

/* Rows are read and written word by word. A key's is two cache lines: of 100,000 keys most are in no
 * cache, and each line is waited for. What many keys have alike stands in the lists, once. */
struct key_row {
    alignas(CACHE_LINE) unsigned char hash[RIGHTS_HASH_BYTES];
    uint64_t key, team_owner; /* team_owner: 0: of no team */
    int64_t expires_unix_ms;
    uint32_t list;      /* words in the lists: which models, ... */
    uint32_t limits;    /* ... which limits, ... */
    uint32_t team_name; /* ... and its team's name */
    uint32_t team;      /* its row; NO_TEAM: of none, or of one that no source tells of */
    uint32_t routes;
    uint8_t admin, blocked, source;
    char tail[RIGHTS_TAIL + 1];
    char alias[RIGHTS_ALIAS];
};

struct team_row {
    alignas(CACHE_LINE) struct rights_limits limits;
    uint64_t list;
    uint64_t blocked;
};

/* The first word of a list. Its names follow, then its aliases, each a pair of names; a name is a
 * word with its length and whether it is a pattern (then without its star), and its text. */
#define LIST_ALL        UINT64_C(1)
#define LIST_OF_TEAM    UINT64_C(2)
#define LIST_NAMES(w)   (uint32_t)((w) >> 2 & UINT64_C(0x3fffffff))
#define LIST_ALIASES(w) (uint32_t)((w) >> 32)
#define NAME_PATTERN    UINT64_C(0x100000000)
#define NAME_LEN(w)     (uint32_t)(w)

struct rights_table {
    alignas(CACHE_LINE) struct shm_head region;
    _Atomic uint64_t word; /* states published; odd: copy 1 is read. 0: none yet */
    uint64_t max_keys;
    uint64_t max_slots;   /* a power of two */
    uint64_t copy_bytes;  /* of each; the first one begins behind this header */
    uint64_t keys, teams; /* offsets in a copy */
    uint64_t lists;       /* the same; this and the next are not needed to find a key */
    uint64_t list_words;  /* room for lists */
};

struct rights_copy {
    alignas(CACHE_LINE) _Atomic uint64_t facts[sizeof(struct rights_facts) / sizeof(uint64_t)];
    alignas(CACHE_LINE) _Atomic uint64_t slots[];
};

static_assert(sizeof(struct key_row) == 2 * CACHE_LINE &&
                  sizeof(struct team_row) == 2 * CACHE_LINE &&
                  sizeof(struct rights_table) == 2 * CACHE_LINE &&
                  sizeof(struct rights_copy) == CACHE_LINE,
              "layout of the region");

/** The copy of a state by its number. */
static inline struct rights_copy *rights_copy_of(const struct rights_table *table, uint64_t state)
{
    return (struct rights_copy *)((char *)table + sizeof(*table) + (state & 1) * table->copy_bytes);
}

static inline _Atomic uint64_t *rights_key_row(const struct rights_table *table,
                                               const struct rights_copy *copy, uint64_t row)
{
    return (_Atomic uint64_t *)((char *)copy + table->keys + row * sizeof(struct key_row));
}

static inline _Atomic uint64_t *rights_team_row(const struct rights_table *table,
                                                const struct rights_copy *copy, uint64_t row)
{
    return (_Atomic uint64_t *)((char *)copy + table->teams + row * sizeof(struct team_row));
}

static inline _Atomic uint64_t *rights_lists(const struct rights_table *table,
                                             const struct rights_copy *copy)
{
    return (_Atomic uint64_t *)((char *)copy + table->lists);
}

/* A slot's upper half; the lower bits choose the slot. */
static inline uint64_t rights_mark(uint64_t hash_word)
{
    return hash_word & UINT64_C(0xffffffff00000000);
}

/** @param bytes  a multiple of eight */
static inline void rights_read(void *to, const _Atomic uint64_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++) {
        uint64_t word = load_acquire_part(&from[i]);

        __builtin_memcpy((char *)to + i * sizeof(word), &word, sizeof(word));
    }
}

static inline void rights_write(_Atomic uint64_t *to, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++) {
        uint64_t word;

        __builtin_memcpy(&word, (const char *)from + i * sizeof(word), sizeof(word));
        store_release_part(&to[i], word);
    }
}

/** What a team is found by: see rights_find_team(). No text has this hash that anybody could find,
 * so that no key opens it. */
void rights_hash_team(const char *name, size_t len, bool is_alias,
                      unsigned char out[RIGHTS_HASH_BYTES]);
