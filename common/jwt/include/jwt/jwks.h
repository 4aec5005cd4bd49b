/* An issuer's public keys: JSON Web Key Sets (RFC 7517, RFC 7518 section 6) become keys that
 * OpenSSL reads, as plain records that fit into shared memory. What is not for our three algorithms
 * is passed over: sets hold keys for encryption and for algorithms to come. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define JWKS_MAX_BYTES (1u << 20) /* of a set's text */
#define JWKS_MAX_KEYS  64
#define JWKS_MAX_KID   255
#define JWKS_MAX_DER   600  /* an RSA key of 4,096 bits has 550 */
#define JWKS_MIN_RSA   2048 /* bits (RFC 7518 section 3.3) */
#define JWKS_MAX_RSA   4096 /* a signature of a longer one costs a turn of the loop too much */
#define JWKS_MAX_RSA_E 32   /* bits of the exponent: 65,537 has 17 */

/* The algorithms that are taken (tenants statement A56), as bits. */
enum jwt_alg { JWT_RS256 = 1 << 0, JWT_PS256 = 1 << 1, JWT_ES256 = 1 << 2 };

struct jwks_key {
    uint16_t der_len;
    uint8_t kid_len;                 /* bytes; 0: it has no name */
    uint8_t algs;                    /* enum jwt_alg: what it may verify */
    char kid[JWKS_MAX_KID + 1];      /* NUL-terminated */
    unsigned char der[JWKS_MAX_DER]; /* SubjectPublicKeyInfo (RFC 5280 section 4.1) */
};

struct jwks {
    uint32_t num;
    uint32_t num_passed; /* keys that were passed over */
    struct jwks_key keys[JWKS_MAX_KEYS];
};

struct jwks_error {
    char message[256]; /* one line without a full stop */
};

/** Append the keys of a text to a set. Passed over and counted: kinds, curves and algorithms that
 * are not ours, keys for other uses than signatures, keys that are no good (RSA below 2,048 or
 * above 4,096 bits, a point that is not on its curve), names that an earlier key of that kind has,
 * names longer than JWKS_MAX_KID, and what is more than JWKS_MAX_KEYS. OpenSSL's checks take 3 ms a
 * key of 2,048 bits, 15 of 4,096: not for a worker.
 *
 * @param set    the caller's; begins zeroed; unchanged on an error
 * @param error  filled on an error
 * @return 0; ERR_SYNTAX: no key set, or a member stands twice; ERR_NOT_FOUND: not one key that can
 *         be used; ERR_LIMIT: longer than JWKS_MAX_BYTES, or too many values; ERR_NOMEM */
MUST_USE int jwks_read(const char *text, size_t len, struct jwks *set, struct jwks_error *error);

/** "RS256"; NULL: none of ours. @return an enum jwt_alg or 0 */
unsigned jwt_alg_find(const char *name);
