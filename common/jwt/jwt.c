/* See jwt.h. */
#include "jwt/jwt.h"

#include <math.h>
#include <string.h>
#include <strings.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "jwt/base64url.h"

#define MAX_HEADER_VALUES 32
#define MAX_CLAIM_VALUES  1024
#define MAX_TIME_S        253402300800.0 /* the year 10,000 */
#define ES256_HALF        32
#define PSS_SALT          32

const char *jwt_verdict_text(enum jwt_verdict verdict)
{
    static const char *const texts[] = {
        [JWT_GOOD] = "is good",
        [JWT_MALFORMED] = "is malformed",
        [JWT_WRONG_ALG] = "is not signed with RS256, PS256 or ES256",
        [JWT_WRONG_TYPE] = "is of another type than JWT and at+jwt",
        [JWT_CRITICAL] = "asks for extensions that are not known here",
        [JWT_WRONG_ISSUER] = "is of another issuer",
        [JWT_WRONG_AUDIENCE] = "is for another audience",
        [JWT_NO_EXPIRY] = "never expires",
        [JWT_EXPIRED] = "has expired",
        [JWT_NOT_YET] = "is not valid yet",
        [JWT_UNKNOWN_KEY] = "names no key of the issuer",
        [JWT_BAD_SIGNATURE] = "has a wrong signature",
        [JWT_NO_MEMORY] = "could not be checked",
    };

    return texts[verdict];
}

bool jwt_looks_like_one(const char *token, size_t len)
{
    const char *first = memchr(token, '.', len), *second, *end = token + len;

    if (first == NULL)
        return false;
    second = memchr(first + 1, '.', (size_t)(end - first - 1));
    return second != NULL && memchr(second + 1, '.', (size_t)(end - second - 1)) == NULL;
}

/* --- parts --- */

/* A part that is a JSON object without a member that stands twice. */
static struct json *read_object(struct json_doc *doc, const char *text, size_t len, size_t most,
                                enum jwt_verdict *verdict)
{
    unsigned char bytes[JWT_MAX_TOKEN];
    size_t size = base64url_size(len);
    struct json_error error;
    struct json *root;

    *verdict = JWT_MALFORMED;
    if (size > sizeof(bytes) || base64url_read(text, len, bytes) != 0)
        return NULL;
    root = json_parse_most(doc, (const char *)bytes, size, most, &error);
    if (json_doc_failed(doc))
        *verdict = JWT_NO_MEMORY;
    return json_is(root, JSON_OBJECT) && !json_doc_repeats(doc) ? root : NULL;
}

/* "application/" before a type may be left out, and its case says nothing (RFC 7515 section 4.1.9).
 * */
static bool is_our_type(const struct json *typ)
{
    size_t len = 0;
    const char *text = json_str(typ, &len);

    if (typ == NULL)
        return true;
    if (text == NULL || strlen(text) != len)
        return false;
    if (strncasecmp(text, "application/", 12) == 0)
        text += 12;
    return strcasecmp(text, "JWT") == 0 || strcasecmp(text, "at+jwt") == 0;
}

/* @return whether the name is absent or one that a key can have */
static bool read_kid(const struct json *kid, struct jwt *out)
{
    size_t len = 0;
    const char *text = json_str(kid, &len);

    if (kid == NULL)
        return true;
    if (text == NULL || len == 0 || len > JWKS_MAX_KID || strlen(text) != len)
        return false;
    memcpy(out->kid, text, len + 1);
    return true;
}

static enum jwt_verdict read_header(const struct json *header, struct jwt *out)
{
    unsigned alg = jwt_alg_find(json_get_str(header, "alg"));

    if (alg == 0)
        return JWT_WRONG_ALG;
    out->alg = (enum jwt_alg)alg;
    if (json_get(header, "crit") != NULL)
        return JWT_CRITICAL;
    if (!is_our_type(json_get(header, "typ")))
        return JWT_WRONG_TYPE;
    return read_kid(json_get(header, "kid"), out) ? JWT_GOOD : JWT_MALFORMED;
}

static enum jwt_verdict read_signature(const char *text, size_t len, struct jwt *out)
{
    out->signature_len = base64url_size(len);
    if (out->signature_len == 0 || out->signature_len > sizeof(out->signature) ||
        base64url_read(text, len, out->signature) != 0)
        return JWT_MALFORMED;
    return JWT_GOOD;
}

enum jwt_verdict jwt_read(const char *token, size_t len, struct jwt *out)
{
    const char *first, *second, *end = token + len;
    enum jwt_verdict verdict;
    struct json_doc *header;
    struct json *root;

    memset(out, 0, sizeof(*out));
    if (len > JWT_MAX_TOKEN || !jwt_looks_like_one(token, len))
        return JWT_MALFORMED;
    first = memchr(token, '.', len);
    second = memchr(first + 1, '.', (size_t)(end - first - 1));
    if (first - token > JWT_MAX_HEADER)
        return JWT_MALFORMED;
    out->token = token;
    out->signed_len = (size_t)(second - token);
    header = json_doc_new();
    out->doc = json_doc_new();
    if (header == NULL || out->doc == NULL) {
        json_doc_free(header);
        return JWT_NO_MEMORY;
    }
    root = read_object(header, token, (size_t)(first - token), MAX_HEADER_VALUES, &verdict);
    if (root != NULL)
        verdict = read_header(root, out);
    json_doc_free(header);
    if (verdict != JWT_GOOD ||
        (verdict = read_signature(second + 1, (size_t)(end - second - 1), out)) != JWT_GOOD)
        return verdict;
    out->claims =
        read_object(out->doc, first + 1, (size_t)(second - first - 1), MAX_CLAIM_VALUES, &verdict);
    return out->claims != NULL ? JWT_GOOD : verdict;
}

void jwt_deinit(struct jwt *jwt)
{
    json_doc_free(jwt->doc);
    jwt->doc = NULL;
    jwt->claims = NULL;
}

/* --- claims --- */

static bool is_text(const struct json *v, const char *wanted)
{
    size_t len = 0;
    const char *text = json_str(v, &len);

    return text != NULL && len == strlen(wanted) && memcmp(text, wanted, len) == 0;
}

static bool is_for_us(const struct json *one, const struct jwt_policy *policy)
{
    for (size_t i = 0; i < policy->num_audiences; i++)
        if (is_text(one, policy->audiences[i]))
            return true;
    return false;
}

/* A string, or an array of strings (RFC 7519 section 4.1.3). */
static enum jwt_verdict judge_audience(const struct json *aud, const struct jwt_policy *policy)
{
    enum jwt_verdict verdict = JWT_WRONG_AUDIENCE;

    if (!json_is(aud, JSON_ARRAY))
        return is_for_us(aud, policy) ? JWT_GOOD : JWT_WRONG_AUDIENCE;
    for (size_t i = 0; i < json_size(aud); i++) {
        if (!json_is(json_at(aud, i), JSON_STRING))
            return JWT_MALFORMED;
        if (is_for_us(json_at(aud, i), policy))
            verdict = JWT_GOOD;
    }
    return verdict;
}

/* @return whether it is absent or a time; `there` says which */
static bool read_time(const struct json *v, double *out, bool *there)
{
    *there = v != NULL;
    if (v == NULL)
        return true;
    return json_is(v, JSON_NUMBER) && json_double(v, out) && isfinite(*out) && *out >= 0 &&
           *out < MAX_TIME_S;
}

static enum jwt_verdict judge_times(struct jwt *jwt, int64_t now_unix_s)
{
    double exp = 0, nbf = 0, iat = 0, now = (double)now_unix_s;
    bool has_exp, has_nbf, has_iat;

    if (!read_time(json_get(jwt->claims, "exp"), &exp, &has_exp) ||
        !read_time(json_get(jwt->claims, "nbf"), &nbf, &has_nbf) ||
        !read_time(json_get(jwt->claims, "iat"), &iat, &has_iat))
        return JWT_MALFORMED;
    if (!has_exp)
        return JWT_NO_EXPIRY;
    jwt->expires_unix_s = (int64_t)exp;
    if (now >= exp + JWT_LEEWAY_S)
        return JWT_EXPIRED;
    if ((has_nbf && now + JWT_LEEWAY_S < nbf) || (has_iat && now + JWT_LEEWAY_S < iat))
        return JWT_NOT_YET;
    return JWT_GOOD;
}

enum jwt_verdict jwt_judge(struct jwt *jwt, const struct jwt_policy *policy, int64_t now_unix_s)
{
    enum jwt_verdict verdict;

    if (!is_text(json_get(jwt->claims, "iss"), policy->issuer))
        return JWT_WRONG_ISSUER;
    verdict = judge_audience(json_get(jwt->claims, "aud"), policy);
    return verdict != JWT_GOOD ? verdict : judge_times(jwt, now_unix_s);
}

/* --- signatures --- */

int jwt_find_key(const struct jwt *jwt, const struct jwks *keys)
{
    int found = -1;

    for (uint32_t i = 0; i < keys->num; i++) {
        const struct jwks_key *key = &keys->keys[i];

        if ((key->algs & jwt->alg) == 0)
            continue;
        if (jwt->kid[0] != '\0') {
            if (strcmp(key->kid, jwt->kid) == 0)
                return (int)i;
        } else if (found >= 0) {
            return -1; /* it could be of either */
        } else {
            found = (int)i;
        }
    }
    return found;
}

EVP_PKEY *jwt_open_key(const struct jwks_key *key)
{
    const unsigned char *at = key->der;
    EVP_PKEY *opened = d2i_PUBKEY(NULL, &at, key->der_len);

    ERR_clear_error();
    return opened;
}

/* OpenSSL takes ECDSA signatures as DER. @return bytes of `out`; 0: out of memory, or none */
static size_t es256_as_der(const unsigned char *raw, unsigned char *out, size_t room)
{
    BIGNUM *r = BN_bin2bn(raw, ES256_HALF, NULL),
           *s = BN_bin2bn(raw + ES256_HALF, ES256_HALF, NULL);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    int len = 0;

    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL; /* the signature's now */
        len = i2d_ECDSA_SIG(sig, NULL);
        len = len > 0 && (size_t)len <= room ? i2d_ECDSA_SIG(sig, &out) : 0;
    }
    ECDSA_SIG_free(sig);
    BN_free(r);
    BN_free(s);
    return len > 0 ? (size_t)len : 0;
}

static bool set_padding(EVP_PKEY_CTX *ctx, enum jwt_alg alg)
{
    if (alg == JWT_ES256)
        return true;
    if (alg == JWT_RS256)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, PSS_SALT) == 1;
}

/* The header chose the algorithm: the key must be of its kind, and the signature of the key's size.
 * */
static bool fits(const struct jwt *jwt, EVP_PKEY *key)
{
    if (jwt->alg == JWT_ES256)
        return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 8 * ES256_HALF &&
               jwt->signature_len == 2 * (size_t)ES256_HALF;
    return EVP_PKEY_is_a(key, "RSA") && jwt->signature_len == (size_t)EVP_PKEY_get_size(key);
}

enum jwt_verdict jwt_is_signed(const struct jwt *jwt, EVP_PKEY *key)
{
    unsigned char der[80]; /* of an ES256 signature: 72 at most */
    const unsigned char *signature = jwt->signature;
    size_t len = jwt->signature_len;
    enum jwt_verdict verdict = JWT_NO_MEMORY;
    EVP_PKEY_CTX *params = NULL;
    EVP_MD_CTX *ctx;

    if (!fits(jwt, key))
        return JWT_BAD_SIGNATURE;
    if (jwt->alg == JWT_ES256) {
        len = es256_as_der(jwt->signature, der, sizeof(der));
        signature = der;
    }
    ctx = EVP_MD_CTX_new();
    if (len > 0 && ctx != NULL &&
        EVP_DigestVerifyInit(ctx, &params, EVP_sha256(), NULL, key) == 1 &&
        set_padding(params, jwt->alg))
        verdict = EVP_DigestVerify(ctx, signature, len, (const unsigned char *)jwt->token,
                                   jwt->signed_len) == 1
                      ? JWT_GOOD
                      : JWT_BAD_SIGNATURE;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return verdict;
}

enum jwt_verdict jwt_verify(const char *token, size_t len, const struct jwks *keys,
                            const struct jwt_policy *policy, int64_t now_unix_s, struct jwt *out)
{
    enum jwt_verdict verdict = jwt_read(token, len, out);
    EVP_PKEY *key;
    int found;

    if (verdict != JWT_GOOD || (verdict = jwt_judge(out, policy, now_unix_s)) != JWT_GOOD)
        return verdict;
    found = jwt_find_key(out, keys);
    if (found < 0)
        return JWT_UNKNOWN_KEY;
    key = jwt_open_key(&keys->keys[found]);
    if (key == NULL)
        return JWT_NO_MEMORY;
    verdict = jwt_is_signed(out, key);
    EVP_PKEY_free(key);
    return verdict;
}
