/* Keys and tokens. They live in memory that core dumps leave out and, as far as RLIMIT_MEMLOCK
 * lets, that is not swapped out, are wiped when they end, are compared in constant time, and are
 * never printed: logs and reports say SECRET_MASK. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SECRET_MASK       "***"
#define SECRET_STRONG_MIN 16 /* bytes of a key that people may choose */

struct secret {
    /* Owned, NUL-terminated, in a page of its own that is kept out of cores; NULL: none */
    char *data;
    size_t len; /* bytes, without the NUL */
};

#define SECRET_NONE                                                                                \
    {                                                                                              \
        0                                                                                          \
    }

/** Copy `len` bytes into `s` (which must be empty). Returns 0 or ERR_NOMEM. `text` is the caller's
 * to wipe. An empty text gives a secret that secret_is_set() calls unset. */
int secret_set(struct secret *s, const char *text, size_t len);

/** Make `s` (which must be empty) hold `len` bytes of zeroes, for the caller to fill. Returns 0 or
 * ERR_NOMEM. */
int secret_room(struct secret *s, size_t len);

/** Wipe and free; `s` is empty afterwards. Safe on an empty one. */
void secret_clear(struct secret *s);

/** Whether it holds at least one byte. */
bool secret_is_set(const struct secret *s);

/** Compare with `len` bytes a client sent, in time that depends on `len` alone (both sides are
 * hashed with a per-process key first, so that neither content nor length leaks). An unset secret
 * equals nothing. */
bool secret_equal(const struct secret *s, const char *text, size_t len);

/** Whether a text looks like a key that was pasted where something else belongs: it begins as
 * OpenAI's keys or as a token do, or is a long word of letters and digits without any separator. */
bool secret_looks_like_one(const char *text);

/** Whether it would be found by who tries keys: shorter than SECRET_STRONG_MIN, of few different
 * characters, or one that documentation and examples use. An unset one is none, and not weak. */
bool secret_is_weak(const struct secret *s);

/** Wipe `len` bytes in a way that the compiler keeps. */
void secret_wipe(void *bytes, size_t len);
