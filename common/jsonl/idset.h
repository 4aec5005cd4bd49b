/* A set of strings of which only keyed hashes are kept: ten bytes each, however long the string,
 * and less than twelve with the room to grow. Two different strings are taken for the same with a
 * chance of 2^-63 a pair when marks are below 2^17 (2^-56 at worst), and nobody can find such a
 * pair without the key, which is random for each set. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct idset {
    unsigned char *slots; /* owned; NULL while empty */
    size_t room, count;   /* slots; those taken */
    unsigned mark_bits;
    uint64_t key[2];
};

/** Make an empty set with a fresh key. @param max_mark  the largest mark there will be
 * @return 0 or ERR_IO (no random bytes) */
MUST_USE int idset_init(struct idset *set, uint64_t max_mark);
void idset_deinit(struct idset *set);

/** Bytes that it has allocated. */
size_t idset_bytes(const struct idset *set);

/**
 * Add a string.
 *
 * @param mark   kept with a new string; at least 1. One that is larger than 2^24 - 1, or than was
 *               announced, is kept as the largest that fits
 * @param first  the mark of the equal one that is there already, with ERR_DUPLICATE
 * @return 0, ERR_DUPLICATE or ERR_NOMEM
 */
MUST_USE int idset_add(struct idset *set, const char *text, size_t len, uint64_t mark,
                       uint32_t *first);
