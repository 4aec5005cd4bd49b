/* See account_index.h. */
#include "account_index.h"

#include <stdlib.h>

#define FIRST 64

struct account_slot {
    uint32_t hash, number_1; /* number + 1; 0: free */
};

static void put(struct account_slot *slots, size_t cap, struct account_slot slot)
{
    size_t at = slot.hash & (cap - 1);

    while (slots[at].number_1 != 0)
        at = (at + 1) & (cap - 1);
    slots[at] = slot;
}

static int grow(struct account_index *index)
{
    size_t cap = index->cap > 0 ? index->cap * 2 : FIRST;
    struct account_slot *slots = calloc(cap, sizeof(*slots));

    if (slots == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < index->cap; i++)
        if (index->slots[i].number_1 != 0)
            put(slots, cap, index->slots[i]);
    free(index->slots);
    index->slots = slots;
    index->cap = cap;
    return 0;
}

int account_index_add(struct account_index *index, uint32_t hash, uint32_t number)
{
    if (2 * (index->num + 1) > index->cap && grow(index) != 0)
        return ERR_NOMEM;
    put(index->slots, index->cap, (struct account_slot){hash, number + 1});
    index->num++;
    return 0;
}

bool account_index_next(const struct account_index *index, uint32_t hash, size_t *at,
                        uint32_t *number)
{
    while (index->cap > 0) {
        const struct account_slot *slot = &index->slots[(hash + (*at)++) & (index->cap - 1)];

        if (slot->number_1 == 0)
            return false;
        *number = slot->number_1 - 1;
        if (slot->hash == hash)
            return true;
    }
    return false;
}

void account_index_deinit(struct account_index *index)
{
    free(index->slots);
    *index = (struct account_index){0};
}

uint32_t account_hash(uint32_t hash, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; p != NULL && i < len; i++)
        hash = (hash ^ p[i]) * UINT32_C(16777619);
    return (hash ^ (p != NULL ? 256 : 257)) * UINT32_C(16777619);
}
