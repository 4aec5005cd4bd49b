/* See map.h. */
#include "map.h"

#include <stdlib.h>
#include <string.h>

#include "sim.h"

uint64_t map_hash(const char *key, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then one mixing step for the low bits */

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)key[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ (h >> 29);
}

static struct map_slot *slot_of(const struct map *map, const char *key, size_t len, uint64_t hash)
{
    size_t i = hash & (map->cap - 1);

    while (map->slots[i].key != NULL) {
        struct map_slot *s = &map->slots[i];
        if (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0)
            return s;
        i = (i + 1) & (map->cap - 1);
    }
    return &map->slots[i];
}

void *map_get(const struct map *map, const char *key, size_t len)
{
    if (map->cap == 0)
        return NULL;
    struct map_slot *s = slot_of(map, key, len, map_hash(key, len));
    return s->key == NULL ? NULL : s->value;
}

static void grow(struct map *map)
{
    struct map old = *map;

    map->cap = old.cap == 0 ? 64 : old.cap * 2;
    map->slots = sim_alloc(map->cap * sizeof(*map->slots));
    for (size_t i = 0; i < old.cap; i++) {
        const struct map_slot *s = &old.slots[i];
        if (s->key != NULL)
            *slot_of(map, s->key, s->len, s->hash) = *s;
    }
    free(old.slots);
}

void map_put(struct map *map, const char *key, size_t len, void *value)
{
    if ((map->n + 1) * 2 > map->cap)
        grow(map);
    uint64_t hash = map_hash(key, len);
    struct map_slot *s = slot_of(map, key, len, hash);
    if (s->key == NULL)
        map->n++;
    *s = (struct map_slot){.hash = hash, .key = key, .len = len, .value = value};
}

void map_clear(struct map *map)
{
    free(map->slots);
    *map = (struct map){0};
}
