/* What batches looked like when they were last seen, in shared memory: for two uses.
 *
 * - **A batch that has ended has ended** (providers statement 112), whatever one of its provider's
 *   replicas says a moment later: of those that have, the object is kept, and nothing but a newer
 *   look at an ended one takes its place.
 * - Repeated polls within `poll_cache_ms` are answered without asking the provider. A cancel by any
 *   process of this node is seen at once: nobody is answered with what was asked for before it.
 *
 * A lossy table, as memo.h is one: an entry may vanish at any time, and then the provider is asked
 * and believed. No locks and no order of steps; what is torn does not have its checksum. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define POLL_CACHE_TEXT 4056 /* bytes of an object that is kept; of a longer one nothing is */

struct poll_cache; /* the region */

/** Room for that many objects of 4 KiB (rounded up to a power of two, eight at least). Pages that
 * nobody needed cost nothing.
 *  @return 0, ERR_INVALID (0, or more than a million), ERR_NOMEM */
MUST_USE int poll_cache_new(uint32_t entries, struct poll_cache **out);
void poll_cache_free(struct poll_cache *cache); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what poll_cache
 * _new() would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int poll_cache_adopt(int fd, uint32_t entries, struct poll_cache **out);

/** @param account  fingerprint of where the batch is
 *  @param id       native
 *  @return never 0 */
uint64_t poll_cache_key(uint64_t account, const char *id, size_t len);

/* --- what changed --- */

/** The moment of now, in the order in which this node changed objects; later ones are larger.
 * Whoever asks a provider notes it before. */
uint64_t poll_cache_moment(const struct poll_cache *cache);

/** This node knows what became of a cancel or delete: what was asked for before may be of the time
 * before it. To be called before anybody hears of the answer, whatever it says. */
void poll_cache_change(struct poll_cache *cache, uint64_t key);

/** Whether what was asked for at that moment may stand for the object now: this node did not change
 * it since. Of two keys with one word in the table each counts as changed when the other is. */
bool poll_cache_is_current(const struct poll_cache *cache, uint64_t key, uint64_t moment);

/* --- the table --- */

/** Keep an object, as its provider sent it. Of the eight entries where its key may be its own is
 * taken, else an empty one, else that of a running batch, else of an ended one, each time the one
 * that was seen longest ago. A running one never takes the place of the same one ended, and is not
 * kept when it is not current.
 *  @param moment  poll_cache_moment() from before it was asked for; of an ended one it means nothing */
void poll_cache_put(struct poll_cache *cache, uint64_t key, bool ended, const char *text,
                    size_t len, uint64_t now_ms, uint64_t moment);

struct poll_seen {
    bool ended;
    uint64_t age_ms;
    size_t len;
    char text[POLL_CACHE_TEXT];
};

/** Recall. Two ids may have one key: see that `text` has the right one in it. A running one is there
 * as long as it is current.
 *  @return whether it is there; `out` is not to be looked at otherwise */
bool poll_cache_get(const struct poll_cache *cache, uint64_t key, uint64_t now_ms,
                    struct poll_seen *out);

/** The same without the text, and unproved: it may be of an entry that is torn. For deciding
 * whether poll_cache_get() or poll_cache_put() is worth its microsecond. */
bool poll_cache_peek(const struct poll_cache *cache, uint64_t key, uint64_t now_ms, bool *ended,
                     uint64_t *age_ms);
