/* SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104) of texts in pieces. For what is hashed on every
 * request: a key is kept as the two states that follow its padded block, so that a short message
 * costs two blocks instead of four, and nothing is looked up or allocated. Cannot fail; any thread.
 *
 * The rounds are OpenSSL's, by the interface that version 3 calls deprecated and keeps: its
 * successor takes an algorithm look-up or a context's copy on each call, which costs more than the
 * rounds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

struct sha256_piece {
    const void *bytes;
    size_t len;
};

/** The hash of the pieces, one after the other. */
void sha256_of(const struct sha256_piece *pieces, size_t num, unsigned char out[SHA256_BYTES]);

/* A key, ready for use; as secret as the key itself. Plain memory: copy it, wipe it with
 * OPENSSL_cleanse(). */
struct hmac_key {
    uint32_t inner[8], outer[8]; /* hash states behind the block of the key and its padding */
};

/** A key of 32 bytes, the length that RFC 2104 section 3 recommends for this hash. */
void hmac_key_init(struct hmac_key *key, const unsigned char bytes[SHA256_BYTES]);

/** The MAC of the pieces, one after the other. */
void hmac_sha256(const struct hmac_key *key, const struct sha256_piece *pieces, size_t num,
                 unsigned char out[SHA256_BYTES]);
