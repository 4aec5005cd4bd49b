/* The ledger's table: entries, which one process at a time holds, and the index by which they are
 * found. It knows neither deployments nor E; what an entry's states mean is told in quota.h. */
#pragma once

#include "quota_region.h"

#define INDEX_ENTRY_BITS 24                                      /* of a word of the index */
#define QUOTA_TABLE_MAX  ((UINT64_C(1) << INDEX_ENTRY_BITS) - 2) /* entries */

static inline enum quota_state state_of(uint64_t word)
{
    return (enum quota_state)entry_state(word);
}

static inline bool is_counted(uint64_t word)
{
    enum quota_state state = state_of(word);

    return state == QUOTA_RESERVED || state == QUOTA_SENT || state == QUOTA_LIVE ||
           state == QUOTA_ORPHAN;
}

static inline struct reservation *entry_at(const struct quota *quota, uint64_t entry)
{
    assert(entry < quota->max_entries);
    return (struct reservation *)((char *)quota + quota->entries) + entry;
}

static inline uint64_t num_entries(const struct quota *quota)
{
    return load_acquire(&quota->shared.high);
}

static inline uint32_t column_of(const struct reservation *r)
{
    return load_acquire_part_32(&r->column);
}

/* Buckets of the index: a power of two, with four words for each entry. */
uint64_t quota_table_buckets(uint32_t entries);

/* --- the index --- */

/* Let the entry be found by that key; 0: by none. The entry has the key already. */
void quota_table_index(struct quota *quota, uint64_t key, uint64_t entry);

/* No longer. */
void quota_table_unindex(struct quota *quota, uint64_t key, uint64_t entry);

/* The entry with this key, and its word as it was then: a compare-and-swap from that word changes
 * this reservation or nothing. */
bool quota_table_find(const struct quota *quota, uint64_t key, uint64_t *entry, uint64_t *word);

/* Prefetch what quota_table_find() will read. */
void quota_table_expect(const struct quota *quota, uint64_t key);

/* What has no index word gets one, as far as there is room. The master's. */
void quota_table_mend_index(struct quota *quota);

/* --- entries --- */

/* Take a free entry: near the last one that was freed or taken, else one that was never used, so
 * that the table stays as short as it was ever full, else any. RESERVING, the holder's.
 * @return false: there is none */
bool quota_table_claim(struct quota *quota, uint32_t holder, uint64_t *entry, uint64_t *word);

/* Give an entry back, by the one who holds it in RESERVING or RELEASING. */
void quota_table_vacate(struct quota *quota, uint64_t entry, uint64_t word);

/* Fill an entry that is held in RESERVING: no key and no token yet. */
void quota_table_write(struct reservation *r, const struct quota_column *col, uint32_t column,
                       uint64_t tokens, uint64_t begun_ms, uint64_t now_ms);

/* The same of its id; one that is too long is not kept. */
void quota_table_write_id(struct reservation *r, const char *id, size_t len);
