/* Texts of others must not carry our keys. Whatever a provider says may quote the key that it was
 * sent: in an error, in a batch's `errors`, in a header. So all secrets of a configuration are
 * compiled into one set, and every text that leaves (to a client, to the log) is searched for them
 * by value. What is found becomes SECRET_MASK; behind that, mask_guess() hides what merely looks
 * like a key.
 *
 * A secret is found as it is, in any case, percent-encoded, JSON-escaped (also "\x41" and
 * "&#65;"), in base64 (both alphabets, all three alignments) and in hex; and not only as a whole:
 * any MASK_PIECE bytes of it in a row.
 *
 * Short secrets are no secrets, and looking for them would change ids and ordinary words:
 *
 *   12 bytes or more, with a digit, or 20 or more   any 12 bytes of it, in all encodings
 *   12 to 19, no digit ("your-api-key-here")        the whole, as it is, where no letter or digit
 *                                                   joins it
 *   4 to 11, with a digit and a letter ("sk-1234")  the same; 8 or more in base64 and hex, too
 *   anything else ("test", "password", "1234")      not looked for
 *
 * Contents of files are never searched. Pure but for the set that mask_install() names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/secret.h"

#define MASK_PIECE 12 /* bytes of a secret in a row that are too many to show */

struct mask;

/** Compile a set. The set has copies of what it looks for, in memory that core dumps leave out.
 *  @param secrets  borrowed for the call; unset ones and repetitions are fine
 *  @return the set, mask_free() it; NULL: out of memory */
struct mask *mask_new(const struct secret *const *secrets, size_t num);

/** A set of names instead of secrets: each as it is, in any case, as a whole, where no letter, digit
 * or hyphen joins it; those of less than 4 bytes, or of the same few, are not looked for.
 *  @param words  borrowed for the call; repetitions are fine
 *  @return as mask_new() */
struct mask *mask_new_words(const char *const *words, size_t num);

/** Wipe and free; a set that was installed is no longer. NULL is fine. */
void mask_free(struct mask *mask);

/** Whether a text holds anything of the set. About a nanosecond a byte where it does not. */
bool mask_finds(const struct mask *mask, const char *text, size_t len);

/** Replace in place what a text holds of the set. It never becomes longer. When memory runs out the
 * whole text is replaced.
 *  @param mask  NULL: nothing is looked for
 *  @param size  bytes of the array `text`, at least `len`; a NUL is written behind the text when it
 *         has room
 *  @return the new length */
size_t mask_hide(const struct mask *mask, char *text, size_t len, size_t size);

/** Replace in place what looks like a key, whoever's: `sk-` and what hangs on it, JSON web tokens,
 * what follows "Bearer", and runs of 32 or more letters and digits shortly after the word "key".
 *  @return the new length */
size_t mask_guess(char *text, size_t len, size_t size);

/** The set that the error translator, the normaliser and the log of this process use from now on.
 * Borrowed until another one is installed; NULL: none. */
void mask_install(const struct mask *mask);
const struct mask *mask_installed(void);
