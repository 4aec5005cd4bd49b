/* See jwks.h. Keys are made by OpenSSL from their numbers, checked by it, and kept as it prints
 * them: nothing here computes with them. */
#include "jwt/jwks.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include "json/json.h"
#include "jwt/base64url.h"

#define NUMBER_MAX (JWKS_MAX_RSA / 8 + 1) /* bytes of one; some writers put a zero before it */
#define P256_BYTES 32

unsigned jwt_alg_find(const char *name)
{
    static const char *const names[] = {"RS256", "PS256", "ES256"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (name != NULL && strcmp(name, names[i]) == 0)
            return 1u << i;
    return 0;
}

/* A member of base64url. @return its bytes; 0: it is missing or no good */
static size_t read_bytes(const struct json *key, const char *name, unsigned char out[NUMBER_MAX])
{
    size_t len, size;
    const char *text = json_str(json_get(key, name), &len);

    if (text == NULL || (size = base64url_size(len)) > NUMBER_MAX ||
        base64url_read(text, len, out) != 0)
        return 0;
    return size;
}

/* --- what a key may be used for --- */

static bool is_for_signatures(const struct json *key)
{
    const struct json *use = json_get(key, "use"), *ops = json_get(key, "key_ops");
    const char *text = json_str(use, NULL);

    if (use != NULL && (text == NULL || strcmp(text, "sig") != 0))
        return false;
    for (size_t i = 0; i < json_size(ops); i++) {
        text = json_is(ops, JSON_ARRAY) ? json_str(json_at(ops, i), NULL) : NULL;
        if (text != NULL && strcmp(text, "verify") == 0)
            return true;
    }
    return ops == NULL;
}

/* @return the algorithms of `kind` that the key is not kept from */
static unsigned algs_of(const struct json *key, unsigned kind)
{
    const struct json *alg = json_get(key, "alg");

    return alg == NULL ? kind : kind & jwt_alg_find(json_str(alg, NULL));
}

/* --- keys --- */

/* @return owned; NULL: OpenSSL takes no such key */
static EVP_PKEY *key_of(const char *kind, OSSL_PARAM_BLD *parts)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(parts);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL), *check = NULL;
    EVP_PKEY *key = NULL;

    if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1)
        check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (check == NULL || EVP_PKEY_public_check(check) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static bool rsa_is_good(const BIGNUM *n, const BIGNUM *e)
{
    return n != NULL && e != NULL && BN_num_bits(n) >= JWKS_MIN_RSA &&
           BN_num_bits(n) <= JWKS_MAX_RSA && BN_is_odd(n) && BN_is_odd(e) && !BN_is_one(e) &&
           BN_num_bits(e) <= JWKS_MAX_RSA_E;
}

static EVP_PKEY *read_rsa(const struct json *jwk)
{
    unsigned char n_bytes[NUMBER_MAX], e_bytes[NUMBER_MAX];
    size_t n_len = read_bytes(jwk, "n", n_bytes), e_len = read_bytes(jwk, "e", e_bytes);
    BIGNUM *n = BN_bin2bn(n_bytes, (int)n_len, NULL), *e = BN_bin2bn(e_bytes, (int)e_len, NULL);
    OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;

    if (parts != NULL && n_len > 0 && e_len > 0 && rsa_is_good(n, e) &&
        OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        key = key_of("RSA", parts);
    OSSL_PARAM_BLD_free(parts);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *read_p256(const struct json *jwk)
{
    unsigned char x[NUMBER_MAX], y[NUMBER_MAX], point[1 + 2 * P256_BYTES];
    const char *curve = json_get_str(jwk, "crv");
    OSSL_PARAM_BLD *parts;
    EVP_PKEY *key = NULL;

    /* Exactly 32 bytes each (RFC 7518 section 6.2.1.2) */
    if (curve == NULL || strcmp(curve, "P-256") != 0 || read_bytes(jwk, "x", x) != P256_BYTES ||
        read_bytes(jwk, "y", y) != P256_BYTES)
        return NULL;
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x, P256_BYTES);
    memcpy(point + 1 + P256_BYTES, y, P256_BYTES);
    parts = OSSL_PARAM_BLD_new();
    if (parts != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(parts, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(parts, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
        key = key_of("EC", parts);
    OSSL_PARAM_BLD_free(parts);
    return key;
}

/* @return whether it fits */
static bool print_der(EVP_PKEY *key, struct jwks_key *out)
{
    unsigned char *at = out->der;
    int len = i2d_PUBKEY(key, NULL);

    if (len <= 0 || len > JWKS_MAX_DER)
        return false;
    out->der_len = (uint16_t)len;
    return i2d_PUBKEY(key, &at) == len;
}

/* --- sets --- */

/* @return whether the name is absent or good */
static bool read_kid(const struct json *jwk, struct jwks_key *out)
{
    const struct json *kid = json_get(jwk, "kid");
    size_t len = 0;
    const char *text = json_str(kid, &len);

    if (kid == NULL)
        return true;
    if (text == NULL || len == 0 || len > JWKS_MAX_KID || strlen(text) != len)
        return false;
    out->kid_len = (uint8_t)len;
    memcpy(out->kid, text, len);
    return true;
}

/* @return whether it is a key that can be used */
static bool read_key(const struct json *jwk, struct jwks_key *out)
{
    const char *kind = json_get_str(jwk, "kty");
    bool rsa = kind != NULL && strcmp(kind, "RSA") == 0;
    EVP_PKEY *key = NULL;
    bool good;

    if (!rsa && (kind == NULL || strcmp(kind, "EC") != 0))
        return false;
    memset(out, 0, sizeof(*out));
    out->algs = (uint8_t)algs_of(jwk, rsa ? JWT_RS256 | JWT_PS256 : JWT_ES256);
    if (out->algs == 0 || !is_for_signatures(jwk) || !read_kid(jwk, out))
        return false;
    key = rsa ? read_rsa(jwk) : read_p256(jwk);
    good = key != NULL && print_der(key, out);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return good;
}

/* Whether a set has a key of that name and kind: which of them is meant nobody could tell. */
static bool is_there(const struct jwks *set, const struct jwks_key *key)
{
    for (uint32_t i = 0; i < set->num; i++)
        if (key->kid_len != 0 && (set->keys[i].algs & key->algs) != 0 &&
            strcmp(set->keys[i].kid, key->kid) == 0)
            return true;
    return false;
}

static uint32_t take_keys(const struct json *keys, struct jwks *set)
{
    uint32_t before = set->num;

    for (size_t i = 0; i < json_size(keys); i++) {
        struct jwks_key key;

        if (set->num < JWKS_MAX_KEYS && read_key(json_at(keys, i), &key) && !is_there(set, &key))
            set->keys[set->num++] = key;
        else
            set->num_passed++;
    }
    return set->num - before;
}

static int refuse(struct jwks_error *error, int code, const char *why)
{
    snprintf(error->message, sizeof(error->message), "%s", why);
    return code;
}

static int read_parsed(const struct json_doc *doc, const struct json *root, struct jwks *set,
                       struct jwks_error *error)
{
    const struct json *keys = json_get(root, "keys");
    uint32_t passed = set->num_passed;

    if (!json_is(keys, JSON_ARRAY))
        return refuse(error, ERR_SYNTAX, "no key set: wanted an object with an array \"keys\"");
    if (json_doc_repeats(doc))
        return refuse(error, ERR_SYNTAX, "a member stands twice in one object");
    if (take_keys(keys, set) > 0)
        return 0;
    set->num_passed = passed;
    return refuse(
        error, ERR_NOT_FOUND,
        "no key that can be used: wanted an RSA key of 2,048 to 4,096 bits or an EC key on "
        "P-256, for signatures, with alg RS256, PS256, ES256 or none");
}

int jwks_read(const char *text, size_t len, struct jwks *set, struct jwks_error *error)
{
    struct json_error wrong = {0};
    struct json_doc *doc;
    struct json *root;
    int rc;

    if (len > JWKS_MAX_BYTES)
        return refuse(error, ERR_LIMIT, "longer than 1 MiB");
    doc = json_doc_new();
    if (doc == NULL)
        return refuse(error, ERR_NOMEM, err_str(ERR_NOMEM));
    root = json_parse(doc, text, len, &wrong);
    if (root != NULL)
        rc = read_parsed(doc, root, set, error);
    else
        rc = refuse(error,
                    json_doc_failed(doc) ? ERR_NOMEM
                    : wrong.over_limit   ? ERR_LIMIT
                                         : ERR_SYNTAX,
                    wrong.message);
    json_doc_free(doc);
    return rc;
}
