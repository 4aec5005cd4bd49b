/* Open addressing with linear probing, the entries in the order of their hashes (Amble and Knuth,
 * "Ordered hash tables", 1974). So the table can be nine tenths full, of any size, and grow by
 * little within its own memory: what follows each other follows each other in a larger one too.
 *
 * A slot is a number of 80 bits, kept as its upper 64 and its lower 16: the beginning of the hash,
 * then the mark in the last `mark_bits`. The hash (siphash.h) is keyed, because whoever uploads a
 * file chooses its ids. */
#include "idset.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#include "common/siphash.h"

enum {
    SLOT_BYTES = 10,
    FIRST_ROOM = 256,
    LARGE_ROOM = 33211, /* from here on memory counts more than time; one of the steps */
    TAIL = 64,          /* slots behind `room`, for what is pushed over the end */
    MIN_MARK_BITS = 16,
    MAX_MARK_BITS = 24
};

static void hash(const uint64_t key[2], const char *text, size_t len, uint64_t out[2])
{
    struct siphash s;
    uint64_t word;
    size_t at;

    siphash_begin(&s, key);
    for (at = 0; at + sizeof(word) <= len; at += sizeof(word)) {
        memcpy(&word, text + at, sizeof(word));
        siphash_word(&s, word);
    }
    word = 0;
    memcpy(&word, text + at, len - at);
    siphash_finish(&s, word, len, out);
}

int idset_init(struct idset *set, uint64_t max_mark)
{
    memset(set, 0, sizeof(*set));
    set->mark_bits = MIN_MARK_BITS;
    while (set->mark_bits < MAX_MARK_BITS && max_mark >> set->mark_bits != 0)
        set->mark_bits++;
    return getrandom(set->key, sizeof(set->key), 0) == sizeof(set->key) ? 0 : ERR_IO;
}

void idset_deinit(struct idset *set)
{
    free(set->slots);
    set->slots = NULL;
    set->room = set->count = 0;
}

size_t idset_bytes(const struct idset *set)
{
    return set->slots != NULL ? (set->room + TAIL) * SLOT_BYTES : 0;
}

/* --- slots --- */

struct entry {
    uint64_t high;
    uint16_t low;
};

static unsigned char *slot_at(const struct idset *set, size_t i)
{
    return set->slots + i * SLOT_BYTES;
}

static struct entry get(const struct idset *set, size_t i)
{
    struct entry e;

    memcpy(&e.high, slot_at(set, i), sizeof(e.high));
    memcpy(&e.low, slot_at(set, i) + sizeof(e.high), sizeof(e.low));
    return e;
}

static void put(struct idset *set, size_t i, struct entry e)
{
    memcpy(slot_at(set, i), &e.high, sizeof(e.high));
    memcpy(slot_at(set, i) + sizeof(e.high), &e.low, sizeof(e.low));
}

static uint32_t mark_of(const struct idset *set, struct entry e)
{
    return (uint32_t)((e.high << 16 | e.low) & ((UINT64_C(1) << set->mark_bits) - 1));
}

/* Marks are not 0. */
static bool is_free(struct entry e)
{
    return e.low == 0 && e.high == 0;
}

static uint64_t tag_of(const struct idset *set, struct entry e)
{
    return e.high >> (set->mark_bits - 16);
}

static struct entry make_entry(const struct idset *set, uint64_t hash, uint64_t mark)
{
    uint64_t most = (UINT64_C(1) << set->mark_bits) - 1, kept = mark < most ? mark : most;
    unsigned shift = set->mark_bits - 16;

    return (struct entry){(hash >> shift) << shift | kept >> 16, (uint16_t)kept};
}

/* Where an entry would stand alone; never decreases with the hash. */
static size_t home_of(const struct idset *set, struct entry e)
{
    return (size_t)((e.high >> 32) * set->room >> 32);
}

/* --- growing --- */

/* All entries to the end, in their order. */
static void pack(struct idset *set, size_t old_slots)
{
    size_t to = set->room + TAIL;

    for (size_t i = old_slots; i-- > 0;) {
        struct entry e = get(set, i);

        if (!is_free(e))
            put(set, --to, e);
    }
}

/* From the end to where they belong. No entry's home is behind the place that it is moved from: in
 * the smaller table it was not behind that of the packed entries, and a home moves by no more than
 * the table grows. So no place is written before it was read. */
static void spread(struct idset *set)
{
    size_t slots = set->room + TAIL, at = 0;

    for (size_t i = slots - set->count; i < slots; i++) {
        struct entry e = get(set, i);
        size_t home = home_of(set, e);

        assert(home <= i);
        for (; at < home; at++)
            put(set, at, (struct entry){0, 0});
        put(set, at++, e);
    }
    memset(slot_at(set, at), 0, (slots - at) * SLOT_BYTES);
}

static int grow(struct idset *set)
{
    size_t old = set->room != 0 ? set->room + TAIL : 0, room = FIRST_ROOM;
    unsigned char *slots;

    if (set->room != 0)
        room = set->room + set->room / (set->room < LARGE_ROOM ? 2 : 16);
    slots = realloc(set->slots, (room + TAIL) * SLOT_BYTES);
    if (slots == NULL)
        return ERR_NOMEM;
    set->slots = slots;
    set->room = room;
    pack(set, old);
    spread(set);
    return 0;
}

/* --- adding --- */

/* Push what stands from `at` up to the next free slot by one. @return false: none is free up to the
 * end */
static bool make_place(struct idset *set, size_t at)
{
    size_t end = at;

    while (end < set->room + TAIL && !is_free(get(set, end)))
        end++;
    if (end == set->room + TAIL)
        return false;
    memmove(slot_at(set, at + 1), slot_at(set, at), (end - at) * SLOT_BYTES);
    return true;
}

/* The place of the first entry that is not before this one; it may be free, or behind the end. */
static size_t find(const struct idset *set, struct entry wanted)
{
    size_t i = home_of(set, wanted);

    for (; i < set->room + TAIL; i++) {
        struct entry e = get(set, i);

        if (is_free(e) || tag_of(set, e) >= tag_of(set, wanted))
            break;
    }
    return i;
}

int idset_add(struct idset *set, const char *text, size_t len, uint64_t mark, uint32_t *first)
{
    struct entry e, there;
    uint64_t bits[2];
    size_t at;

    if (set->count >= set->room / 10 * 9 && grow(set) != 0)
        return ERR_NOMEM;
    hash(set->key, text, len, bits);
    e = make_entry(set, bits[0], mark);
    at = find(set, e);
    if (at < set->room + TAIL) {
        there = get(set, at);
        if (!is_free(there) && tag_of(set, there) == tag_of(set, e)) {
            *first = mark_of(set, there);
            return ERR_DUPLICATE;
        }
    }
    while (!make_place(set, at)) {
        if (grow(set) != 0)
            return ERR_NOMEM;
        at = find(set, e);
    }
    put(set, at, e);
    set->count++;
    return 0;
}
