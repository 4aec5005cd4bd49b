/* A hash table from text to a pointer: open addressing, no removal. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t hash;
    const char *key; /* borrowed; lives as long as the value; NULL: free slot */
    size_t len;
    void *value;
};

struct map {
    struct map_slot *slots; /* owned */
    size_t cap;             /* a power of two, or 0 */
    size_t n;
};

uint64_t map_hash(const char *key, size_t len);

/** NULL when absent. */
void *map_get(const struct map *map, const char *key, size_t len);

/** Add a key that is not there yet. */
void map_put(struct map *map, const char *key, size_t len, void *value);

/** Forget everything; keys and values are the caller's. */
void map_clear(struct map *map);
