/* See quota_table.h. */
#include "quota_table.h"

#include <assert.h>
#include <string.h>

#define INDEX_ENTRY_MASK ((UINT64_C(1) << INDEX_ENTRY_BITS) - 1)
#define INDEX_WORDS      (2 * BUCKET) /* where a key may be */
#define NEAR_ENTRIES     64           /* looked at around the hint before a new one is used */

uint64_t quota_table_buckets(uint32_t entries)
{
    return shm_buckets((uint64_t)entries * 4, BUCKET);
}

/* --- the index --- */

/* A key's n-th word of its two buckets. */
static _Atomic uint64_t *index_at(const struct quota *quota, uint64_t key, unsigned n)
{
    uint64_t bucket = (n < BUCKET ? key : key >> INDEX_ENTRY_BITS) & quota->bucket_mask;

    return (_Atomic uint64_t *)((char *)quota + quota->index) + bucket * BUCKET + n % BUCKET;
}

static uint64_t index_word(uint64_t key, uint64_t entry)
{
    return key >> INDEX_ENTRY_BITS << INDEX_ENTRY_BITS | (entry + 1);
}

static bool has_tag(const _Atomic uint64_t *key, uint64_t tag)
{
    return load_relaxed(key) != 0 && load_relaxed(key) >> INDEX_ENTRY_BITS == tag;
}

/* Empty, or left behind by a process that died while it freed an entry. An entry has its keys
 * before they are in the index and keeps them until they are out of it. */
static bool is_vacant(const struct quota *quota, uint64_t word)
{
    const struct reservation *r;
    uint64_t tag = word >> INDEX_ENTRY_BITS;

    if (word == 0)
        return true;
    r = entry_at(quota, (word & INDEX_ENTRY_MASK) - 1);
    return !(has_tag(&r->key, tag) || has_tag(&r->token, tag));
}

/* Returns false when both buckets are full. */
static bool index_try_add(struct quota *quota, uint64_t key, uint64_t entry)
{
    for (unsigned i = 0; i < INDEX_WORDS; i++) {
        _Atomic uint64_t *at = index_at(quota, key, i);
        uint64_t old = load_acquire(at);

        while (is_vacant(quota, old)) {
            if (cas_acq_rel(at, &old, index_word(key, entry)))
                return true;
        }
    }
    return false;
}

static bool is_indexed(const struct quota *quota, uint64_t key, uint64_t entry)
{
    for (unsigned i = 0; i < INDEX_WORDS; i++) {
        if (load_acquire(index_at(quota, key, i)) == index_word(key, entry))
            return true;
    }
    return false;
}

void quota_table_index(struct quota *quota, uint64_t key, uint64_t entry)
{
    if (key != 0 && !index_try_add(quota, key, entry))
        add_acq_rel(&quota->shared.overflowed, 1);
}

void quota_table_unindex(struct quota *quota, uint64_t key, uint64_t entry)
{
    for (unsigned i = 0; i < INDEX_WORDS && key != 0; i++) {
        uint64_t word = index_word(key, entry);

        if (load_relaxed(index_at(quota, key, i)) == word)
            cas_acq_rel(index_at(quota, key, i), &word, 0);
    }
}

static bool is_at(const struct quota *quota, uint64_t entry, uint64_t key, uint64_t *word)
{
    const struct reservation *r = entry_at(quota, entry);

    *word = load_acquire(&r->word);
    return state_of(*word) != QUOTA_FREE &&
           (load_relaxed(&r->key) == key || load_relaxed(&r->token) == key);
}

bool quota_table_find(const struct quota *quota, uint64_t key, uint64_t *entry, uint64_t *word)
{
    assert(key != 0); /* an entry without a key has 0, and is nobody's to find */
    __builtin_prefetch((const void *)index_at(quota, key, BUCKET)); /* both are far away */
    for (unsigned i = 0; i < INDEX_WORDS; i++) {
        uint64_t indexed = load_acquire(index_at(quota, key, i));

        *entry = (indexed & INDEX_ENTRY_MASK) - 1;
        if (indexed != 0 && indexed >> INDEX_ENTRY_BITS == key >> INDEX_ENTRY_BITS &&
            is_at(quota, *entry, key, word))
            return true;
    }
    if (load_relaxed(&quota->shared.overflowed) == 0)
        return false;
    for (*entry = 0; *entry < num_entries(quota); ++*entry) {
        if (is_at(quota, *entry, key, word))
            return true;
    }
    return false;
}

void quota_table_expect(const struct quota *quota, uint64_t key)
{
    __builtin_prefetch((const void *)index_at(quota, key, 0));
    __builtin_prefetch((const void *)index_at(quota, key, BUCKET));
}

void quota_table_mend_index(struct quota *quota)
{
    uint64_t overflowed = load_acquire(&quota->shared.overflowed);
    bool all = true;

    for (uint64_t i = 0; i < num_entries(quota) && overflowed != 0; i++) {
        const struct reservation *r = entry_at(quota, i);
        uint64_t key = load_relaxed(&r->key) != 0 ? load_relaxed(&r->key) : load_relaxed(&r->token);

        if (is_counted(load_acquire(&r->word)) && key != 0 && !is_indexed(quota, key, i))
            all = index_try_add(quota, key, i) && all;
    }
    if (all && overflowed != 0)
        cas_acq_rel(&quota->shared.overflowed, &overflowed, 0);
}

/* --- entries --- */

static bool try_claim(struct quota *quota, uint64_t entry, uint32_t holder, uint64_t *word)
{
    struct reservation *r = entry_at(quota, entry);
    uint64_t old = load_acquire(&r->word);

    if (state_of(old) != QUOTA_FREE)
        return false;
    *word = entry_word_next(old, QUOTA_RESERVING, holder);
    if (!cas_acq_rel(&r->word, &old, *word))
        return false;
    store_relaxed(&quota->shared.hint, entry + 1);
    return true;
}

static bool claim_among(struct quota *quota, uint64_t first, uint64_t num, uint32_t holder,
                        uint64_t *entry, uint64_t *word)
{
    uint64_t high = num_entries(quota);

    for (uint64_t i = 0; i < num && i < high; i++) {
        *entry = (first + i) % high;
        if (try_claim(quota, *entry, holder, word))
            return true;
    }
    return false;
}

bool quota_table_claim(struct quota *quota, uint32_t holder, uint64_t *entry, uint64_t *word)
{
    assert(holder < HOLDER_MASTER); /* that one, and nobody, reserve nothing */
    if (claim_among(quota, load_relaxed(&quota->shared.hint), NEAR_ENTRIES, holder, entry, word))
        return true;
    *entry = num_entries(quota);
    while (*entry < quota->max_entries) {
        if (cas_acq_rel(&quota->shared.high, entry, *entry + 1) &&
            try_claim(quota, *entry, holder, word))
            return true;
    }
    return claim_among(quota, 0, quota->max_entries, holder, entry, word);
}

void quota_table_vacate(struct quota *quota, uint64_t entry, uint64_t word)
{
    struct reservation *r = entry_at(quota, entry);

    assert(state_of(word) == QUOTA_RESERVING || state_of(word) == QUOTA_RELEASING);
    quota_table_unindex(quota, load_relaxed(&r->key), entry);
    quota_table_unindex(quota, load_relaxed(&r->token), entry);
    store_relaxed(&r->key, 0);
    store_relaxed(&r->token, 0);
    store_release(&r->word, entry_word_in(word, QUOTA_FREE, 0));
    store_relaxed(&quota->shared.hint, entry);
}

void quota_table_write(struct reservation *r, const struct quota_column *col, uint32_t column,
                       uint64_t tokens, uint64_t begun_ms, uint64_t now_ms)
{
    store_release_part(&r->tokens, tokens);
    store_release_part(&r->begun_ms, begun_ms);
    store_release_part(&r->lease_ms, begun_ms + load_relaxed(&col->lease_ms));
    store_relaxed(&r->asked_ms, now_ms);
    store_release_part(&r->scopes, 0);
    store_release_part(&r->id[0], 0);
    store_relaxed_32(&r->stamp, 0);
    store_release_part_32(&r->column, column);
}

void quota_table_write_id(struct reservation *r, const char *id, size_t len)
{
    char text[QUOTA_ID_WORDS * 8] = "";
    uint64_t words[QUOTA_ID_WORDS];

    if (len < sizeof(text))
        memcpy(text, id, len);
    memcpy(words, text, sizeof(words));
    for (size_t i = 0; i < QUOTA_ID_WORDS; i++)
        store_release_part(&r->id[i], words[i]);
}
