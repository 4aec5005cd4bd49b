/* The public keys of a tokens' issuer, in shared memory: the keeper fetches them, workers verify with
 * them. One region for each generation, which has one keeper at a time.
 *
 *   word ──► copy 0 │ keys │     the one that is read
 *            copy 1 │ keys │     the one that is written next
 *
 * As in rights.h a new set is written whole into the copy that nobody reads, then the word turns: a
 * keeper that was killed leaves the set that there was. Beside it stands when the issuer last said
 * that the set is right, and a bell that workers ring when a token names a key that they do not have:
 *
 *   worker  ring ──► `rung` n                       keeper  looks, asks the issuer, `heard` n
 *           waits until `heard` has reached n ◄──────────────────────────────────┘             */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "jwt/jwks.h"

struct issuer_keys; /* the region */

/** Without a set. Before the fork. @return 0, ERR_NOMEM */
MUST_USE int issuer_keys_new(struct issuer_keys **out);
void issuer_keys_free(struct issuer_keys *keys); /* NULL is fine */

/** Make `set` the one that is read. The same set again changes no number. One writer.
 *  @param now_unix_s  when its issuer said so: issuer_keys_confirmed() */
void issuer_keys_publish(struct issuer_keys *keys, const struct jwks *set, int64_t now_unix_s);

/** Take over what another region has, if it has a set: the next generation begins with the keys that
 * the one before had of the same issuer. */
void issuer_keys_copy(struct issuer_keys *to, const struct issuer_keys *from);

/** The number of the set that is read; 0: there is none yet. */
uint64_t issuer_keys_number(const struct issuer_keys *keys);

/** The set. Some 55 KiB are copied: when its number is another one than before.
 *  @return its number; 0: there is none, `out` is untouched */
uint64_t issuer_keys_read(const struct issuer_keys *keys, struct jwks *out);

/** When the issuer last said that the set is right, in Unix seconds; 0: never. */
int64_t issuer_keys_confirmed(const struct issuer_keys *keys);

/** Of a worker: ask for the issuer's keys of now. @return what `heard` will reach */
uint64_t issuer_keys_ring(struct issuer_keys *keys);

/** How often the bell rang, and up to which of these the set is no older than the ring. */
uint64_t issuer_keys_rung(const struct issuer_keys *keys);
uint64_t issuer_keys_heard(const struct issuer_keys *keys);

/** Of the keeper: everybody who rang up to here has his answer in the set. */
void issuer_keys_hear(struct issuer_keys *keys, uint64_t rung);

/** Of the keeper, when it begins to ask the issuer, and when it has its answer or none; of workers,
 * whether a ring could change anything: within `apart_ms` of the last question it could not.
 *  @param now_ms  monotonic */
void issuer_keys_begin(struct issuer_keys *keys, uint64_t now_ms);
bool issuer_keys_may_ask(const struct issuer_keys *keys, uint64_t now_ms, uint64_t apart_ms);
