/* Open addressing with linear probing, at most four fifths full. The hash is SipHash-1-3 with 128
 * bits of output (Aumasson and Bernstein, 2012, with the finalisation of the reference
 * implementation's 128-bit variant): keyed, because whoever uploads a file chooses its ids. */
#include "common/idset.h"

#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

enum { FIRST_ROOM = 256 };

struct siphash {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void siphash_round(struct siphash *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void siphash_word(struct siphash *s, uint64_t word)
{
    s->v3 ^= word;
    siphash_round(s);
    s->v0 ^= word;
}

static uint64_t siphash_end(struct siphash *s)
{
    siphash_round(s);
    siphash_round(s);
    siphash_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

static void hash(const uint64_t key[2], const char *text, size_t len, uint64_t out[2])
{
    struct siphash s = {
        key[0] ^ UINT64_C(0x736f6d6570736575),
        key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
        key[0] ^ UINT64_C(0x6c7967656e657261),
        key[1] ^ UINT64_C(0x7465646279746573),
    };
    uint64_t word;
    size_t at;

    for (at = 0; at + sizeof(word) <= len; at += sizeof(word)) {
        memcpy(&word, text + at, sizeof(word));
        siphash_word(&s, word);
    }
    word = 0;
    memcpy(&word, text + at, len - at);
    siphash_word(&s, word | (uint64_t)len << 56);
    s.v2 ^= 0xee;
    out[0] = siphash_end(&s);
    s.v1 ^= 0xdd;
    out[1] = siphash_end(&s);
}

int idset_init(struct idset *set)
{
    memset(set, 0, sizeof(*set));
    return getrandom(set->key, sizeof(set->key), 0) == sizeof(set->key) ? 0 : ERR_IO;
}

void idset_deinit(struct idset *set)
{
    free(set->slots);
    set->slots = NULL;
    set->room = set->count = 0;
}

static bool same_tag(const struct idset_slot *a, const struct idset_slot *b)
{
    return a->tag[0] == b->tag[0] && a->tag[1] == b->tag[1] && a->tag[2] == b->tag[2];
}

/* The slot of an equal entry, or the free one where it belongs. */
static struct idset_slot *find(struct idset_slot *slots, size_t room,
                               const struct idset_slot *entry)
{
    size_t i = entry->tag[0] & (room - 1);

    while (slots[i].mark != 0 && !same_tag(&slots[i], entry))
        i = (i + 1) & (room - 1);
    return &slots[i];
}

static int grow(struct idset *set)
{
    size_t room = set->room != 0 ? set->room * 2 : FIRST_ROOM, i;
    struct idset_slot *slots = calloc(room, sizeof(*slots));

    if (slots == NULL)
        return ERR_NOMEM;
    for (i = 0; i < set->room; i++)
        if (set->slots[i].mark != 0)
            *find(slots, room, &set->slots[i]) = set->slots[i];
    free(set->slots);
    set->slots = slots;
    set->room = room;
    return 0;
}

int idset_add(struct idset *set, const char *text, size_t len, uint32_t mark, uint32_t *first)
{
    struct idset_slot entry = {.mark = mark}, *slot;
    uint64_t bits[2];

    if (set->count >= set->room / 5 * 4 && grow(set) != 0)
        return ERR_NOMEM;
    hash(set->key, text, len, bits);
    memcpy(entry.tag, bits, sizeof(entry.tag));
    slot = find(set->slots, set->room, &entry);
    if (slot->mark != 0) {
        *first = slot->mark;
        return ERR_DUPLICATE;
    }
    *slot = entry;
    set->count++;
    return 0;
}
