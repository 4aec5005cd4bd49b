/* See poll_cache.h. The region is a header, buckets of eight keys, each a cache line, and the
 * entries, a page each, in the same order: most polls find no key and read one line. Between them
 * stand the moments at which objects changed, by a part of their keys: see poll_cache_change(). */
#include "balancer/poll_cache.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "checksum.h"
#include "balancer/memo.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define POLL_MAGIC  0x43505154u /* "TQPC" */
#define POLL_LAYOUT 2u
#define PAGE        4096
#define WAYS        8u
#define MAX_ENTRIES (1u << 20)
#define CHANGES     4096u /* words; a power of two */
#define TEXT_WORDS  (POLL_CACHE_TEXT / sizeof(uint64_t))
#define ENDED       (UINT64_C(1) << 32) /* beside the length */

struct entry {
    alignas(PAGE) _Atomic uint64_t key;
    _Atomic uint64_t time_ms;
    _Atomic uint64_t shape;  /* length, ENDED */
    _Atomic uint64_t moment; /* at which it was asked for; of one that has ended it says nothing */
    _Atomic uint64_t sum;    /* of all the others */
    _Atomic uint64_t text[TEXT_WORDS];
};

struct bucket {
    alignas(CACHE_LINE) _Atomic uint64_t key[WAYS]; /* 0: free */
};

struct changes {
    alignas(CACHE_LINE) _Atomic uint64_t last; /* moment; all of them are in one order */
    alignas(CACHE_LINE) _Atomic uint64_t of[CHANGES];
};

struct poll_cache {
    struct shm_head region;
    uint64_t bucket_mask;
    uint64_t entries, changes; /* offsets */
    struct bucket buckets[];
};

static_assert(sizeof(struct entry) == PAGE && sizeof(struct bucket) == CACHE_LINE &&
                  sizeof(struct poll_cache) == CACHE_LINE,
              "layout of the region");

/* What a region of that many entries begins with. */
static int fill_head(struct poll_cache *head, uint32_t entries)
{
    uint64_t buckets = shm_buckets(entries, WAYS);

    if (entries == 0 || entries > MAX_ENTRIES)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->bucket_mask = buckets - 1;
    head->changes = sizeof(*head) + buckets * sizeof(struct bucket);
    head->entries = shm_round_up(head->changes + sizeof(struct changes), PAGE);
    head->region = (struct shm_head){.magic = POLL_MAGIC,
                                     .layout = POLL_LAYOUT,
                                     .size = head->entries + buckets * WAYS * sizeof(struct entry)};
    return 0;
}

static int make(uint32_t entries, int fd, struct poll_cache **out)
{
    struct poll_cache head;
    void *region;
    int ret = fill_head(&head, entries);

    if (ret == 0)
        ret = shm_region_open("tranche-polls", fd, &head, sizeof(head), &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int poll_cache_new(uint32_t entries, struct poll_cache **out)
{
    return make(entries, SHM_NEW, out);
}

int poll_cache_adopt(int fd, uint32_t entries, struct poll_cache **out)
{
    return make(entries, fd, out);
}

void poll_cache_free(struct poll_cache *cache)
{
    shm_region_free(cache);
}

uint64_t poll_cache_key(uint64_t account, const char *id, size_t len)
{
    return memo_key('p', account, id, len);
}

static struct bucket *bucket_of(const struct poll_cache *cache, uint64_t key)
{
    return (struct bucket *)cache->buckets + (key & cache->bucket_mask);
}

static struct entry *entry_at(const struct poll_cache *cache, uint64_t key, unsigned way)
{
    return (struct entry *)((char *)cache + cache->entries) + (key & cache->bucket_mask) * WAYS +
           way;
}

/* Of the words that were read or are to be written. */
static uint64_t sum_of(uint64_t key, uint64_t time_ms, uint64_t shape, uint64_t moment,
                       const uint64_t *text, size_t words)
{
    uint64_t sum = checksum_add(checksum_add(checksum_add(key, time_ms), shape), moment);

    for (size_t i = 0; i < words; i++)
        sum = checksum_add(sum, text[i]);
    return sum;
}

static size_t words_of(uint64_t len)
{
    return (len + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

/* Another process may be ahead. */
static uint64_t age_of(uint64_t time_ms, uint64_t now_ms)
{
    return now_ms > time_ms ? now_ms - time_ms : 0;
}

/* @return whether the entry is that key's, and whole */
static bool read_entry(const struct entry *e, uint64_t key, uint64_t now_ms, uint64_t *moment,
                       struct poll_seen *out)
{
    uint64_t time_ms = load_relaxed(&e->time_ms), shape = load_relaxed(&e->shape),
             sum = load_relaxed(&e->sum);
    uint64_t text[TEXT_WORDS], len = shape & ~ENDED;

    if (load_relaxed(&e->key) != key || len > POLL_CACHE_TEXT)
        return false;
    for (size_t i = 0; i < words_of(len); i++)
        text[i] = load_relaxed(&e->text[i]);
    *moment = load_relaxed(&e->moment);
    if (sum != sum_of(key, time_ms, shape, *moment, text, words_of(len)))
        return false;
    out->ended = (shape & ENDED) != 0;
    out->age_ms = age_of(time_ms, now_ms);
    out->len = len;
    memcpy(out->text, text, len);
    return true;
}

static void write_entry(struct entry *e, uint64_t key, bool ended, const char *bytes, size_t len,
                        uint64_t now_ms, uint64_t moment)
{
    uint64_t text[TEXT_WORDS], shape = len | (ended ? ENDED : 0);
    size_t words = words_of(len);

    if (words > 0)
        text[words - 1] = 0;
    memcpy(text, bytes, len);
    store_relaxed(&e->key, key);
    store_relaxed(&e->time_ms, now_ms);
    store_relaxed(&e->shape, shape);
    store_relaxed(&e->moment, moment);
    for (size_t i = 0; i < words; i++)
        store_relaxed(&e->text[i], text[i]);
    store_relaxed(&e->sum, sum_of(key, now_ms, shape, moment, text, words));
}

/* --- what changed --- */

static struct changes *changes_of(const struct poll_cache *cache)
{
    return (struct changes *)((char *)cache + cache->changes);
}

/* The buckets are chosen by other bits. */
static _Atomic uint64_t *change_of(const struct poll_cache *cache, uint64_t key)
{
    return &changes_of(cache)->of[key >> 32 & (CHANGES - 1)];
}

uint64_t poll_cache_moment(const struct poll_cache *cache)
{
    return load_seq_cst(&changes_of(cache)->last);
}

/* Nothing of the table is touched: what was put in before is not current any more, nor is what is
 * put in behind this by who asked before. */
void poll_cache_change(struct poll_cache *cache, uint64_t key)
{
    uint64_t moment = atomic_fetch_add(&changes_of(cache)->last, 1) + 1, old = 0;

    while (old < moment && !cas_seq_cst(change_of(cache, key), &old, moment))
        ;
}

bool poll_cache_is_current(const struct poll_cache *cache, uint64_t key, uint64_t moment)
{
    return load_seq_cst(change_of(cache, key)) <= moment;
}

/* --- the table --- */

bool poll_cache_get(const struct poll_cache *cache, uint64_t key, uint64_t now_ms,
                    struct poll_seen *out)
{
    const struct bucket *bucket = bucket_of(cache, key);
    uint64_t moment;

    for (unsigned i = 0; i < WAYS; i++)
        if (load_relaxed(&bucket->key[i]) == key &&
            read_entry(entry_at(cache, key, i), key, now_ms, &moment, out) &&
            (out->ended || poll_cache_is_current(cache, key, moment)))
            return true;
    return false;
}

bool poll_cache_peek(const struct poll_cache *cache, uint64_t key, uint64_t now_ms, bool *ended,
                     uint64_t *age_ms)
{
    const struct bucket *bucket = bucket_of(cache, key);

    for (unsigned i = 0; i < WAYS; i++) {
        const struct entry *e = entry_at(cache, key, i);

        if (load_relaxed(&bucket->key[i]) != key)
            continue;
        *ended = (load_relaxed(&e->shape) & ENDED) != 0;
        *age_ms = age_of(load_relaxed(&e->time_ms), now_ms);
        return true;
    }
    return false;
}

/* Where to write: see poll_cache_put(). */
static unsigned way_for(const struct poll_cache *cache, uint64_t key)
{
    const struct bucket *bucket = bucket_of(cache, key);
    uint64_t best_rank = UINT64_MAX;
    unsigned best = 0;

    for (unsigned i = 0; i < WAYS; i++) {
        const struct entry *e = entry_at(cache, key, i);
        uint64_t found = load_relaxed(&bucket->key[i]), rank = 0;

        if (found == key)
            return i;
        if (found != 0) /* the running ones first; of equals the one seen longest ago */
            rank = 1 + (load_relaxed(&e->time_ms) | (load_relaxed(&e->shape) & ENDED) << 30);
        if (rank < best_rank) {
            best_rank = rank;
            best = i;
        }
    }
    return best;
}

void poll_cache_put(struct poll_cache *cache, uint64_t key, bool ended, const char *text,
                    size_t len, uint64_t now_ms, uint64_t moment)
{
    struct bucket *bucket = bucket_of(cache, key);
    struct poll_seen seen;
    unsigned way;

    assert(key != 0); /* means a free entry; poll_cache_key() makes none */
    if (len > POLL_CACHE_TEXT)
        return;
    if (!ended && (!poll_cache_is_current(cache, key, moment) ||
                   (poll_cache_get(cache, key, now_ms, &seen) && seen.ended)))
        return;
    way = way_for(cache, key);
    for (unsigned i = 0; i < WAYS; i++) {
        /* There twice if two wrote it at the same time: the older one must not come back. */
        if (i != way && load_relaxed(&bucket->key[i]) == key)
            store_relaxed(&bucket->key[i], 0);
    }
    write_entry(entry_at(cache, key, way), key, ended, text, len, now_ms, moment);
    store_relaxed(&bucket->key[way], key);
}
