/* A set of strings of which only keyed hashes are kept: 16 bytes each, however long the string. Two
 * different strings are taken for the same with a chance of 2^-96 a pair, and nobody can find such
 * a pair without the key, which is random for each set. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct idset_slot {
    uint32_t tag[3]; /* of the hash */
    uint32_t mark;   /* what the caller wants to know about the first one; 0: the slot is free */
};

struct idset {
    struct idset_slot *slots; /* owned; a power of two, NULL while empty */
    size_t room, count;
    uint64_t key[2];
};

/** Make an empty set with a fresh key. @return 0 or ERR_IO (no random bytes) */
MUST_USE int idset_init(struct idset *set);
void idset_deinit(struct idset *set);

/**
 * Add a string.
 *
 * @param mark   kept with a new string; at least 1
 * @param first  the mark of the equal one that is there already, with ERR_DUPLICATE
 * @return 0, ERR_DUPLICATE or ERR_NOMEM
 */
MUST_USE int idset_add(struct idset *set, const char *text, size_t len, uint32_t mark,
                       uint32_t *first);
