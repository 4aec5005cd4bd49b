/* A strict decoder of the chunked transfer coding (RFC 9112, 7.1): sizes are 1 to 15 hex digits,
 * lines end in CRLF, extensions are ignored within bounds, trailers are checked and dropped. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CHUNKED_MAX_EXTENSION 256  /* bytes of one chunk's */
#define CHUNKED_MAX_TRAILERS  8192 /* bytes, all */

/* Zero-initialise. */
struct chunked {
    int state;
    unsigned digits;
    uint32_t extra; /* bytes of the extension or of the trailers */
    uint64_t left;  /* bytes to come in this chunk */
};

enum chunked_result { CHUNKED_MORE, CHUNKED_END, CHUNKED_BAD };

/**
 * Decode in place: the payload among `len` raw bytes is moved to the front of `bytes`.
 *
 *  @param used  raw bytes taken; all but at CHUNKED_END (what follows is the next message) and
 *         CHUNKED_BAD
 * @param out   payload bytes, valid with every result
 */
enum chunked_result chunked_decode(struct chunked *c, char *bytes, size_t len, size_t *used,
                                   size_t *out);
