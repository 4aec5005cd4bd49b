/* Seals that were computed before, for all processes: what is polled every few seconds is not put
 * through SHA-256 every few seconds. A lossy table in shared memory, as balancer/memo.h is one: an
 * entry may vanish at any time, and nothing is wrong without it, only slower.
 *
 * A text is known by its name, which is NH of UMAC (RFC 4418 section 5.2.2), here over words of 64
 * bits in pairs of neighbours: a universal hash under a secret key, for which two texts, whoever
 * chose them, have one name with a probability of 2^-64 at most. An entry proves its own seal and
 * no other: who claims a seal has that one entry's name to hit, however many there are. That is as
 * hard as guessing a seal, so what is accepted here was sealed here; therefore the seal is no part
 * of the text that is named. Names stay among our processes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define SEAL_CACHE_TEXT_MAX 544 /* bytes of a text that has a name: the longest id, or marker */

/* Random words, as secret as the seal key that they are derived from: one for each of a text. */
struct seal_namer {
    uint64_t word[SEAL_CACHE_TEXT_MAX / sizeof(uint64_t)];
};

struct seal_name {
    uint64_t lo, hi;
};

/** @param kind  8 bits that keep the uses apart
 *  @return false: it is longer than SEAL_CACHE_TEXT_MAX */
bool seal_cache_name(const struct seal_namer *namer, unsigned kind, const void *text, size_t len,
                     struct seal_name *out);

struct seal_cache; /* the region */

/** Room for that many seals (rounded up to a power of two), 32 bytes each once they exist.
 *  @return 0, ERR_INVALID (0, or more than 16 million), ERR_NOMEM */
MUST_USE int seal_cache_new(uint32_t entries, struct seal_cache **out);
void seal_cache_free(struct seal_cache *cache); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what seal_cache
 * _new() would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int seal_cache_adopt(int fd, uint32_t entries, struct seal_cache **out);

/** Remember a seal, in the place of the one that was put there before the last. */
void seal_cache_put(struct seal_cache *cache, const struct seal_name *name, uint64_t seal);

/** @return whether it is there; `seal` is untouched otherwise */
bool seal_cache_get(const struct seal_cache *cache, const struct seal_name *name, uint64_t *seal);

/** Whether exactly this seal is there. Its time does not depend on whether it is, nor on which of
 * its bits differ. */
bool seal_cache_proves(const struct seal_cache *cache, const struct seal_name *name, uint64_t seal);
