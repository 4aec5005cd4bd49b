/* See memo.h. The region is a header and buckets of four entries, an entry is a cache line. All
 * words are read and written one by one and in any order; what does not fit together does not have
 * the checksum. */
#include "balancer/memo.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "checksum.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define MEMO_MAGIC  0x4d4d5154u /* "TQMM" */
#define MEMO_LAYOUT 1u
#define WAYS        4u /* entries where a key may be */
#define MAX_ENTRIES (1u << 24)

struct entry {
    alignas(CACHE_LINE) _Atomic uint64_t key; /* 0: empty */
    _Atomic uint64_t time_ms;                 /* of the memo_put() */
    _Atomic uint64_t value[MEMO_WORDS];
    _Atomic uint64_t sum; /* of all the others */
};

struct memo {
    struct shm_head region;
    uint64_t bucket_mask;
    alignas(CACHE_LINE) struct entry entries[];
};

/* An entry as it was read, torn or not. */
struct copy {
    uint64_t key, time_ms, value[MEMO_WORDS], sum;
};

static_assert(sizeof(struct entry) == CACHE_LINE, "layout of the memo region");
static_assert(sizeof(struct memo) == CACHE_LINE, "layout of the memo region");

static uint64_t sum_of(uint64_t key, uint64_t time_ms, const uint64_t value[MEMO_WORDS])
{
    uint64_t sum = checksum_add(key, time_ms);

    for (unsigned i = 0; i < MEMO_WORDS; i++)
        sum = checksum_add(sum, value[i]);
    return sum;
}

static struct entry *bucket_of(const struct memo *memo, uint64_t key)
{
    return (struct entry *)memo->entries + (key & memo->bucket_mask) * WAYS;
}

/* Returns whether the copy is whole. */
static bool read_entry(const struct entry *e, struct copy *copy)
{
    copy->key = load_relaxed(&e->key);
    copy->time_ms = load_relaxed(&e->time_ms);
    for (unsigned i = 0; i < MEMO_WORDS; i++)
        copy->value[i] = load_relaxed(&e->value[i]);
    copy->sum = load_relaxed(&e->sum);
    return copy->key != 0 && copy->sum == sum_of(copy->key, copy->time_ms, copy->value);
}

/* What a region of that many entries begins with. */
static int fill_head(struct memo *head, uint32_t entries)
{
    uint64_t buckets = shm_buckets(entries, WAYS);

    if (entries == 0 || entries > MAX_ENTRIES)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->region = (struct shm_head){.magic = MEMO_MAGIC,
                                     .layout = MEMO_LAYOUT,
                                     .size = sizeof(*head) + buckets * WAYS * sizeof(struct entry)};
    head->bucket_mask = buckets - 1;
    return 0;
}

static int make(uint32_t entries, int fd, struct memo **out)
{
    struct memo head;
    void *region;
    int ret = fill_head(&head, entries);

    if (ret == 0)
        ret = shm_region_open("tranche-memo", fd, &head, sizeof(head), &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int memo_new(uint32_t entries, struct memo **out)
{
    return make(entries, SHM_NEW, out);
}

int memo_adopt(int fd, uint32_t entries, struct memo **out)
{
    return make(entries, fd, out);
}

void memo_free(struct memo *memo)
{
    shm_region_free(memo);
}

uint64_t memo_key(uint32_t kind, uint64_t place, const char *text, uint64_t len)
{
    uint64_t h = checksum_add(checksum_mix(kind, len) + kind, place), word;

    for (; len >= sizeof(word); text += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, text, sizeof(word));
        h = checksum_add(h, word);
    }
    word = 0;
    if (len > 0)
        memcpy(&word, text, len);
    h = checksum_mix(checksum_add(h, word), UINT64_C(0x94d049bb133111eb));
    return h != 0 ? h : 1;
}

/* Where to write: see memo_put(). */
static struct entry *entry_for(struct memo *memo, uint64_t key)
{
    struct entry *bucket = bucket_of(memo, key), *best = NULL;
    uint64_t best_ms = UINT64_MAX;

    for (unsigned i = 0; i < WAYS; i++) {
        struct copy copy;
        uint64_t time_ms = read_entry(&bucket[i], &copy) ? copy.time_ms : 0;

        if (copy.key == key)
            return &bucket[i];
        if (time_ms < best_ms || best == NULL) {
            best = &bucket[i];
            best_ms = time_ms;
        }
    }
    return best;
}

void memo_put(struct memo *memo, uint64_t key, const uint64_t value[MEMO_WORDS], uint64_t now_ms)
{
    struct entry *bucket = bucket_of(memo, key), *e = entry_for(memo, key);

    assert(key != 0); /* means an empty entry; memo_key() makes none */
    for (unsigned i = 0; i < WAYS; i++) {
        /* There twice if two wrote it at the same time: the older one must not come back. */
        if (&bucket[i] != e && load_relaxed(&bucket[i].key) == key)
            store_relaxed(&bucket[i].key, 0);
    }
    store_relaxed(&e->key, key);
    store_relaxed(&e->time_ms, now_ms);
    for (unsigned i = 0; i < MEMO_WORDS; i++)
        store_relaxed(&e->value[i], value[i]);
    store_relaxed(&e->sum, sum_of(key, now_ms, value));
}

bool memo_get(const struct memo *memo, uint64_t key, uint64_t max_age_ms, uint64_t now_ms,
              uint64_t value[MEMO_WORDS])
{
    const struct entry *bucket = bucket_of(memo, key);

    for (unsigned i = 0; i < WAYS; i++) {
        struct copy copy;

        if (load_relaxed(&bucket[i].key) != key || !read_entry(&bucket[i], &copy) ||
            copy.key != key)
            continue;
        if (max_age_ms != 0 && now_ms > copy.time_ms && now_ms - copy.time_ms > max_age_ms)
            continue;
        memcpy(value, copy.value, sizeof(copy.value));
        return true;
    }
    return false;
}

void memo_drop(struct memo *memo, uint64_t key)
{
    struct entry *bucket = bucket_of(memo, key);

    for (unsigned i = 0; i < WAYS; i++) {
        if (load_relaxed(&bucket[i].key) == key)
            store_relaxed(&bucket[i].key, 0);
    }
}
