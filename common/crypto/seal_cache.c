/* See seal_cache.h. The region is a header and buckets, each a cache line with two entries, of
 * which the first is the younger one.
 *
 * An entry's three words are read and written one by one and in any order. The name is kept XORed
 * with the seal, so that words of two entries make up a third one's with a probability of 2^-64:
 * what is torn is no entry. */
#include "crypto/seal_cache.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "common/shm.h"

#define SEAL_MAGIC  0x43535154u /* "TQSC" */
#define SEAL_LAYOUT 1u
#define CACHE_LINE  64
#define WAYS        2u
#define MAX_ENTRIES (1u << 24)
#define PAIR        (2 * sizeof(uint64_t)) /* bytes that one product takes in */

struct entry {
    _Atomic uint64_t lo, hi; /* XOR seal */
    _Atomic uint64_t seal;
    uint64_t unused;
};

struct bucket {
    alignas(CACHE_LINE) struct entry entry[WAYS];
};

struct seal_cache {
    uint32_t magic;
    uint32_t layout; /* raise it with any change of the region, or of what names and seals are */
    uint64_t size;   /* bytes, the whole region */
    uint64_t bucket_mask;
    struct bucket buckets[];
};

struct copy {
    uint64_t lo, hi, seal;
};

static_assert(sizeof(struct bucket) == CACHE_LINE && sizeof(struct seal_cache) == CACHE_LINE,
              "layout of the region");
static_assert(SEAL_CACHE_TEXT_MAX % PAIR == 0, "the key covers whole pairs");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "no lock that a killed process could keep");

static unsigned __int128 product_of(const struct seal_namer *namer, size_t nth, const void *pair)
{
    uint64_t words[2];

    memcpy(words, pair, sizeof(words));
    return (unsigned __int128)(words[0] + namer->word[2 * nth]) *
           (words[1] + namer->word[2 * nth + 1]);
}

/* The length is added to NH, as in RFC 4418 section 5.2.1, since the padding is zeroes; in bytes,
 * with the kind below it. */
bool seal_cache_name(const struct seal_namer *namer, unsigned kind, const void *text, size_t len,
                     struct seal_name *out)
{
    const unsigned char *at = text;
    unsigned __int128 sum = (uint64_t)len << 8 | kind;
    unsigned char last[PAIR] = {0};
    size_t pairs = len / PAIR;

    if (len > SEAL_CACHE_TEXT_MAX)
        return false;
    for (size_t i = 0; i < pairs; i++)
        sum += product_of(namer, i, at + i * PAIR);
    if (len % PAIR != 0) {
        memcpy(last, at + pairs * PAIR, len % PAIR);
        sum += product_of(namer, pairs, last);
    }
    *out = (struct seal_name){.lo = (uint64_t)sum, .hi = (uint64_t)(sum >> 64)};
    return true;
}

/* What a region of that many entries begins with. */
static int fill_head(struct seal_cache *head, uint32_t entries)
{
    uint64_t buckets = 1;

    if (entries == 0 || entries > MAX_ENTRIES)
        return ERR_INVALID;
    while (buckets * WAYS < entries)
        buckets *= 2;
    memset(head, 0, sizeof(*head));
    head->magic = SEAL_MAGIC;
    head->layout = SEAL_LAYOUT;
    head->size = sizeof(*head) + buckets * sizeof(struct bucket);
    head->bucket_mask = buckets - 1;
    return 0;
}

int seal_cache_new(uint32_t entries, struct seal_cache **out)
{
    struct seal_cache head, *cache;

    if (fill_head(&head, entries) != 0)
        return ERR_INVALID;
    cache = shm_new_lasting("tranche-seals", head.size);
    if (cache == NULL)
        return ERR_NOMEM;
    memcpy(cache, &head, sizeof(head));
    *out = cache;
    return 0;
}

int seal_cache_adopt(int fd, uint32_t entries, struct seal_cache **out)
{
    struct seal_cache head = {0};
    void *region;
    int ret = fill_head(&head, entries);

    if (ret == 0)
        ret = shm_adopt(fd, &head, sizeof(head), head.size, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

void seal_cache_free(struct seal_cache *cache)
{
    if (cache != NULL)
        shm_free(cache, cache->size);
}

static struct bucket *bucket_of(const struct seal_cache *cache, const struct seal_name *name)
{
    return (struct bucket *)cache->buckets + ((name->lo ^ name->hi) & cache->bucket_mask);
}

static struct copy read_entry(const struct entry *e)
{
    struct copy copy = {
        .lo = atomic_load_explicit(&e->lo, memory_order_relaxed),
        .hi = atomic_load_explicit(&e->hi, memory_order_relaxed),
        .seal = atomic_load_explicit(&e->seal, memory_order_relaxed),
    };

    copy.lo ^= copy.seal;
    copy.hi ^= copy.seal;
    return copy;
}

static void write_entry(struct entry *e, const struct copy *copy)
{
    atomic_store_explicit(&e->lo, copy->lo ^ copy->seal, memory_order_relaxed);
    atomic_store_explicit(&e->hi, copy->hi ^ copy->seal, memory_order_relaxed);
    atomic_store_explicit(&e->seal, copy->seal, memory_order_relaxed);
}

void seal_cache_put(struct seal_cache *cache, const struct seal_name *name, uint64_t seal)
{
    struct bucket *bucket = bucket_of(cache, name);
    struct copy young = read_entry(&bucket->entry[0]);

    write_entry(&bucket->entry[1], &young);
    write_entry(&bucket->entry[0], &(struct copy){name->lo, name->hi, seal});
}

bool seal_cache_get(const struct seal_cache *cache, const struct seal_name *name, uint64_t *seal)
{
    const struct bucket *bucket = bucket_of(cache, name);

    for (unsigned i = 0; i < WAYS; i++) {
        struct copy copy = read_entry(&bucket->entry[i]);

        if (copy.lo == name->lo && copy.hi == name->hi) {
            *seal = copy.seal;
            return true;
        }
    }
    return false;
}

bool seal_cache_proves(const struct seal_cache *cache, const struct seal_name *name, uint64_t seal)
{
    const struct bucket *bucket = bucket_of(cache, name);
    uint64_t differs[WAYS];

    for (unsigned i = 0; i < WAYS; i++) {
        struct copy copy = read_entry(&bucket->entry[i]);

        differs[i] = (copy.lo ^ name->lo) | (copy.hi ^ name->hi) | (copy.seal ^ seal);
    }
    return (differs[0] == 0) | (differs[1] == 0);
}
