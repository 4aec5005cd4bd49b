/* base64url without padding (RFC 4648 section 5, RFC 7515 section 2), read strictly: one text for
 * one sequence of bytes, so that nothing can be spelt twice. */
#pragma once

#include <stddef.h>

#include "common/err.h"

/** How many bytes `len` characters stand for, when they are good. */
static inline size_t base64url_size(size_t len)
{
    return len / 4 * 3 + (len % 4 > 1 ? len % 4 - 1 : 0);
}

/** Decode. Refused: a character that is none of the alphabet (white space and "=" are none), a
 * length that nothing has, bits that are set behind the last byte.
 *  @param out  base64url_size(len) bytes
 *  @return 0, ERR_SYNTAX */
MUST_USE int base64url_read(const char *text, size_t len, unsigned char *out);

/** How many characters `len` bytes become. */
static inline size_t base64url_length(size_t len)
{
    return len / 3 * 4 + (len % 3 > 0 ? len % 3 + 1 : 0);
}

/** Encode. @param out  base64url_length(len) characters; no NUL is written */
void base64url_write(const unsigned char *bytes, size_t len, char *out);
