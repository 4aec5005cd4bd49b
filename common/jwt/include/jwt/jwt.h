/* JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, and whether one is good: a pure
 * function of the token, the issuer's keys, what is asked of it, and the time. Signatures are
 * OpenSSL's work (EVP); what stands here is what RFC 8725 asks of its user.
 *
 *   jwt_read()     three parts, base64url, JSON, header: costs no more than its bytes
 *   jwt_judge()    issuer, audience, times: before the signature, since it is a thousand times
 *                  cheaper, and what it tells about a forged token its forger knows
 *   jwt_find_key() by the key's name, and only among keys for the token's algorithm
 *   jwt_is_signed()  the signature: 17 us (RSA of 2,048 bits), 46 (ES256), 55 (RSA of 4,096)
 *
 * The header chooses among our three algorithms and among the issuer's keys, and nothing else: keys
 * and addresses in it (jwk, jku, x5c, x5u) are not looked at, `crit` is refused, as are algorithms
 * with a shared secret: a public key is no secret (RFC 8725 sections 2.1 and 3.1).
 *
 * Why not a library. Debian 12 has libjwt 1.10.2, cjose 0.6.2.1 and José 11, all over jansson: a
 * second JSON parser in the way of every request, which keeps the last of two members of one name
 * unless it is told otherwise, and has no bound of its own on values. That libjwt has neither key
 * sets nor PS256 (its 3.x has; no stable Debian has that); cjose and José bring encryption,
 * compression and shared secrets, which must never be reached from a request. What is left for us is
 * base64url, eight members and one call to EVP, and the JSON parser is the one that all other bodies
 * pass (json.h: bounded, fuzzed, it tells of members that stand twice). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>

#include "common/err.h"
#include "json/json.h"
#include "jwt/jwks.h"

#define JWT_MAX_TOKEN     8192 /* characters */
#define JWT_MAX_HEADER    1024 /* characters of its base64url */
#define JWT_MAX_SIGNATURE (JWKS_MAX_RSA / 8)
#define JWT_LEEWAY_S      60 /* that clocks may differ (tenants statement A56) */

enum jwt_verdict {
    JWT_GOOD,
    JWT_MALFORMED,  /* no token at all, too long, or its JSON breaks a rule */
    JWT_WRONG_ALG,  /* none, HS256, ... : not RS256, PS256 or ES256 */
    JWT_WRONG_TYPE, /* typ is neither JWT nor at+jwt: another kind of token of that issuer */
    JWT_CRITICAL,   /* it has `crit` */
    JWT_WRONG_ISSUER,
    JWT_WRONG_AUDIENCE,
    JWT_NO_EXPIRY,
    JWT_EXPIRED,
    JWT_NOT_YET,     /* nbf or iat lies ahead */
    JWT_UNKNOWN_KEY, /* no such key, or without a name more than one that fits */
    JWT_BAD_SIGNATURE,
    JWT_NO_MEMORY
};

/** One lower-case phrase for people, to follow "the token": "has expired". Names nothing of it. */
const char *jwt_verdict_text(enum jwt_verdict verdict);

struct jwt_policy {
    const char *issuer;           /* borrowed; exactly that */
    const char *const *audiences; /* borrowed; one of them */
    size_t num_audiences;
};

/* A token that was taken apart. */
struct jwt {
    enum jwt_alg alg;
    char kid[JWKS_MAX_KID + 1]; /* "": none */
    const char *token;          /* borrowed */
    size_t signed_len;          /* of its bytes that the signature covers */
    unsigned char signature[JWT_MAX_SIGNATURE];
    size_t signature_len;
    struct json_doc *doc;   /* owned */
    struct json *claims;    /* of `doc`; an object */
    int64_t expires_unix_s; /* jwt_judge() sets it */
};

/** Whether a credential has a token's form, three parts with dots between. */
bool jwt_looks_like_one(const char *token, size_t len);

/** Take a token apart. @param out  jwt_deinit() it, whatever is returned */
MUST_USE enum jwt_verdict jwt_read(const char *token, size_t len, struct jwt *out);
void jwt_deinit(struct jwt *jwt);

/** Whether its claims are as they must be: issuer, audience, `exp`, and `nbf` and `iat` where it
 * has them, with JWT_LEEWAY_S; numbers may have fractions (RFC 7519 section 2). Not the
 * signature. */
MUST_USE enum jwt_verdict jwt_judge(struct jwt *jwt, const struct jwt_policy *policy,
                                    int64_t now_unix_s);

/** The one key for it: of its name, or where it names none the only one for its algorithm.
 *  @return its index; -1: none */
int jwt_find_key(const struct jwt *jwt, const struct jwks *keys);

/** Open a key of a set, which jwks_read() has found good. @return owned; NULL: out of memory */
EVP_PKEY *jwt_open_key(const struct jwks_key *key);

/** Whether its signature is of that key. RS256: RFC 8017 section 8.2.2; PS256: 8.1.2 with SHA-256
 * in both places and a salt of 32 bytes (RFC 7518 section 3.5); ES256: r and s, 32 bytes each (RFC
 * 7518 section 3.4). */
MUST_USE enum jwt_verdict jwt_is_signed(const struct jwt *jwt, EVP_PKEY *key);

/** All of it. @param out  jwt_deinit() it, whatever is returned */
MUST_USE enum jwt_verdict jwt_verify(const char *token, size_t len, const struct jwks *keys,
                                     const struct jwt_policy *policy, int64_t now_unix_s,
                                     struct jwt *out);
