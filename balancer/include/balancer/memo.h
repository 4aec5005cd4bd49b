/* What workers have found out and others may use: a lossy table in shared memory. An entry may
 * vanish at any time (another one took its place, a writer was killed half way), so nothing may be
 * wrong without it, only slower. Used for the facts of input files, and for which account an id
 * without a tag lives on.
 *
 * No locks and no order of steps: an entry carries a checksum of its words, so that one that two
 * writers wrote at once, or one half, is no entry. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define MEMO_WORDS 5 /* of a value */

struct memo; /* the region */

/** Room for that many entries (rounded up to a power of two, four at least). Pages that nobody
 * needed cost nothing.
 *  @return 0, ERR_INVALID (0, or more than 16 million), ERR_NOMEM */
MUST_USE int memo_new(uint32_t entries, struct memo **out);
void memo_free(struct memo *memo); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what memo _new()
 * would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int memo_adopt(int fd, uint32_t entries, struct memo **out);

/** The key of a text. Fast, and no match for somebody who looks for two texts with one key: what a
 * stranger chooses freely (other than an id whose seal was checked) is not to be recalled by it.
 *  @param kind   keeps the uses apart
 *  @param place  further number that names the thing (an account's fingerprint)
 *  @return never 0 */
uint64_t memo_key(uint32_t kind, uint64_t place, const char *text, uint64_t len);

/** Remember. Of the four entries where the key may be its own is taken, else an empty or torn one,
 * else the one that was written longest ago. */
void memo_put(struct memo *memo, uint64_t key, const uint64_t value[MEMO_WORDS], uint64_t now_ms);

/** Recall. @param max_age_ms  0: any age @return whether it is there; `value` is untouched
 * otherwise */
bool memo_get(const struct memo *memo, uint64_t key, uint64_t max_age_ms, uint64_t now_ms,
              uint64_t value[MEMO_WORDS]);

/** Forget. */
void memo_drop(struct memo *memo, uint64_t key);
