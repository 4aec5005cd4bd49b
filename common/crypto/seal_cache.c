/* See seal_cache.h. The region is a header and buckets, each a cache line with two entries, of
 * which the first is the younger one.
 *
 * An entry's three words are read and written one by one and in any order. The name is kept XORed
 * with the seal, so that words of two entries make up a third one's with a probability of 2^-64:
 * what is torn is no entry. */
#include "crypto/seal_cache.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "common/shm_region.h"
#include "common/shm_words.h"

#define SEAL_MAGIC  0x43535154u /* "TQSC" */
#define SEAL_LAYOUT 1u
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
    struct shm_head region; /* another layout also where names or seals are made otherwise */
    uint64_t bucket_mask;
    struct bucket buckets[];
};

struct copy {
    uint64_t lo, hi, seal;
};

static_assert(sizeof(struct bucket) == CACHE_LINE && sizeof(struct seal_cache) == CACHE_LINE,
              "layout of the region");
static_assert(SEAL_CACHE_TEXT_MAX % PAIR == 0, "the key covers whole pairs");

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
    uint64_t buckets = shm_buckets(entries, WAYS);

    if (entries == 0 || entries > MAX_ENTRIES)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->region = (struct shm_head){.magic = SEAL_MAGIC,
                                     .layout = SEAL_LAYOUT,
                                     .size = sizeof(*head) + buckets * sizeof(struct bucket)};
    head->bucket_mask = buckets - 1;
    return 0;
}

static int make(uint32_t entries, int fd, struct seal_cache **out)
{
    struct seal_cache head;
    void *region;
    int ret = fill_head(&head, entries);

    if (ret == 0)
        ret = shm_region_open("tranche-seals", fd, &head, sizeof(head), &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int seal_cache_new(uint32_t entries, struct seal_cache **out)
{
    return make(entries, SHM_NEW, out);
}

int seal_cache_adopt(int fd, uint32_t entries, struct seal_cache **out)
{
    return make(entries, fd, out);
}

void seal_cache_free(struct seal_cache *cache)
{
    shm_region_free(cache);
}

static struct bucket *bucket_of(const struct seal_cache *cache, const struct seal_name *name)
{
    return (struct bucket *)cache->buckets + ((name->lo ^ name->hi) & cache->bucket_mask);
}

static struct copy read_entry(const struct entry *e)
{
    struct copy copy = {
        .lo = load_relaxed(&e->lo),
        .hi = load_relaxed(&e->hi),
        .seal = load_relaxed(&e->seal),
    };

    copy.lo ^= copy.seal;
    copy.hi ^= copy.seal;
    return copy;
}

static void write_entry(struct entry *e, const struct copy *copy)
{
    store_relaxed(&e->lo, copy->lo ^ copy->seal);
    store_relaxed(&e->hi, copy->hi ^ copy->seal);
    store_relaxed(&e->seal, copy->seal);
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
