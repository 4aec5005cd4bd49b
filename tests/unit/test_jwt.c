/* Published vectors, then what a stranger may send: every rule of RFC 8725 that concerns us. */
#include "jwt/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/hmac.h>

#include "jwt/base64url.h"
#include "tests/unit/jwt_sign.h"

#define NOW 1900000000

/* --- published --- */

/* RFC 7515 appendix A.2: its key and its token. */
#define A2_N                                                                                       \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4" \
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re" \
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX" \
    "FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
#define A2_TOKEN                                                                                   \
    "eyJhbGciOiJSUzI1NiJ9"                                                                         \
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV" \
    "lfQ"                                                                                          \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp" \
    "5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHl" \
    "b1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9Q" \
    "OYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"

/* Appendix A.3. */
#define A3_KEY                                                                                     \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define A3_TOKEN                                                                                   \
    "eyJhbGciOiJFUzI1NiJ9"                                                                         \
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV" \
    "lfQ"                                                                                          \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

/* RFC 7520 section 4.1, whose payload is no JSON; the key is that of figure 4. */
#define COOKBOOK_N                                                                                 \
    "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmS" \
    "CpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-Of" \
    "VfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKw" \
    "uCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"
#define COOKBOOK_SIGNED                                                                            \
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9"                     \
    ".SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb25" \
    "0byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2h" \
    "lcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
#define COOKBOOK_SIGNATURE                                                                         \
    "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xugl" \
    "II7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x" \
    "8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE" \
    "_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"

static struct jwks set_of(const char *format, ...) __attribute__((format(printf, 1, 2)));

static struct jwks set_of(const char *format, ...)
{
    static struct jwks set;
    struct jwks_error error;
    char text[8192];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    memset(&set, 0, sizeof(set));
    if (jwks_read(text, strlen(text), &set, &error) != 0)
        fail_msg("%s", error.message);
    return set;
}

static struct jwks rsa_set(const char *kid, const char *n)
{
    return set_of("{\"keys\":[{\"kty\":\"RSA\",%s\"n\":\"%s\",\"e\":\"AQAB\"}]}", kid, n);
}

/* The published tokens name no audience: header, claims and signature are looked at. */
static enum jwt_verdict read_and_check(const char *token, const struct jwks *set)
{
    struct jwt jwt;
    EVP_PKEY *key;
    enum jwt_verdict verdict = jwt_read(token, strlen(token), &jwt);
    int found = verdict == JWT_GOOD ? jwt_find_key(&jwt, set) : -1;

    if (found >= 0) {
        key = jwt_open_key(&set->keys[found]);
        verdict = jwt_is_signed(&jwt, key);
        EVP_PKEY_free(key);
    } else if (verdict == JWT_GOOD) {
        verdict = JWT_UNKNOWN_KEY;
    }
    jwt_deinit(&jwt);
    return verdict;
}

static void the_tokens_of_rfc_7515_are_good(void **state)
{
    struct jwks rsa = rsa_set("", A2_N), ec = set_of("{\"keys\":[%s]}", A3_KEY);
    struct jwt jwt;

    (void)state;
    assert_int_equal(read_and_check(A2_TOKEN, &rsa), JWT_GOOD);
    assert_int_equal(read_and_check(A3_TOKEN, &ec), JWT_GOOD);
    assert_int_equal(jwt_read(A3_TOKEN, strlen(A3_TOKEN), &jwt), JWT_GOOD);
    assert_string_equal(json_get_str(jwt.claims, "iss"), "joe");
    jwt_deinit(&jwt);
}

static void a_changed_letter_of_a_published_token_is_seen(void **state)
{
    struct jwks rsa = rsa_set("", A2_N);
    char token[] = A2_TOKEN;

    (void)state;
    for (size_t i = strlen("eyJhbGciOiJSUzI1NiJ9."); i < sizeof(token) - 1; i += 7) {
        char was = token[i];

        if (was == '.')
            continue;
        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(read_and_check(token, &rsa), JWT_GOOD);
        token[i] = was;
    }
}

static void the_signature_of_rfc_7520_is_good(void **state)
{
    struct jwks set =
        rsa_set("\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",", COOKBOOK_N);
    struct jwt jwt = {.alg = JWT_RS256,
                      .kid = "bilbo.baggins@hobbiton.example",
                      .token = COOKBOOK_SIGNED,
                      .signed_len = strlen(COOKBOOK_SIGNED),
                      .signature_len = 256};
    EVP_PKEY *key;

    (void)state;
    assert_int_equal(jwt_find_key(&jwt, &set), 0);
    assert_int_equal(base64url_read(COOKBOOK_SIGNATURE, strlen(COOKBOOK_SIGNATURE), jwt.signature),
                     0);
    key = jwt_open_key(&set.keys[0]);
    assert_int_equal(jwt_is_signed(&jwt, key), JWT_GOOD);
    jwt.alg = JWT_PS256;
    assert_int_equal(jwt_is_signed(&jwt, key), JWT_BAD_SIGNATURE);
    EVP_PKEY_free(key);
}

static void base64url_is_read_in_one_way_only(void **state)
{
    static const char *const wrong[] = {"A",   "AAAAA", "AA==", "AA=",  "A A",   "AB",
                                        "AAB", "A+A",   "A/A",  "AA\n", "AAAA\n"};
    unsigned char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(base64url_read(wrong[i], strlen(wrong[i]), out), ERR_SYNTAX);
    assert_int_equal(base64url_read("Zm9vYg", 6, out), 0); /* RFC 4648 section 10 */
    assert_memory_equal(out, "foob", 4);
    assert_int_equal(base64url_read("-_8", 3, out), 0);
    assert_memory_equal(out, "\xfb\xff", 2);
    assert_int_equal(base64url_size(6), 4);
    assert_int_equal(base64url_read("", 0, out), 0);
}

/* --- a world with three keys --- */

struct world {
    EVP_PKEY *rsa, *ec;
    struct jwks set;
};

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char rsa[2048], ec[512];

    w->rsa = EVP_RSA_gen(2048);
    w->ec = EVP_EC_gen("P-256");
    rsa_jwk(w->rsa, "r", "", rsa, sizeof(rsa));
    ec_jwk(w->ec, "P-256", 32, "e", ec, sizeof(ec));
    w->set = set_of("{\"keys\":[%s,%s]}", rsa, ec);
    assert_int_equal(w->set.num, 2);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    EVP_PKEY_free(w->rsa);
    EVP_PKEY_free(w->ec);
    free(w);
    return 0;
}

static enum jwt_verdict verdict_of(const struct world *w, const char *token)
{
    static const char *const audiences[] = {"tranche", "other"};
    struct jwt_policy policy = {
        .issuer = "https://issuer", .audiences = audiences, .num_audiences = 2};
    struct jwt jwt;
    enum jwt_verdict verdict = jwt_verify(token, strlen(token), &w->set, &policy, NOW, &jwt);

    jwt_deinit(&jwt);
    return verdict;
}

#define GOOD_CLAIMS "{\"iss\":\"https://issuer\",\"aud\":\"tranche\",\"exp\":1900000300}"
#define RS256_R     "{\"alg\":\"RS256\",\"kid\":\"r\"}"
#define ES256_E     "{\"alg\":\"ES256\",\"kid\":\"e\"}"

static enum jwt_verdict claims(const struct world *w, const char *text)
{
    return verdict_of(w, sign_token(w->ec, "ES256", 0, ES256_E, text));
}

static enum jwt_verdict header(const struct world *w, const char *text)
{
    return verdict_of(w, sign_token(w->rsa, "RS256", 0, text, GOOD_CLAIMS));
}

static void each_of_the_three_algorithms_is_taken(void **state)
{
    const struct world *w = *state;

    assert_int_equal(header(w, RS256_R), JWT_GOOD);
    assert_int_equal(verdict_of(w, sign_token(w->rsa, "PS256", 32,
                                              "{\"alg\":\"PS256\",\"kid\":\"r\"}", GOOD_CLAIMS)),
                     JWT_GOOD);
    assert_int_equal(claims(w, GOOD_CLAIMS), JWT_GOOD);
}

static void a_salt_of_another_length_is_refused(void **state)
{
    static const int salts[] = {0, 20, 31, 33, 64};
    const struct world *w = *state;

    for (size_t i = 0; i < sizeof(salts) / sizeof(salts[0]); i++)
        assert_int_equal(
            verdict_of(w, sign_token(w->rsa, "PS256", salts[i], "{\"alg\":\"PS256\",\"kid\":\"r\"}",
                                     GOOD_CLAIMS)),
            JWT_BAD_SIGNATURE);
}

static void no_other_algorithm_is_taken(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"kid\":\"r\"}",
        "{\"alg\":\"None\",\"kid\":\"r\"}",
        "{\"alg\":\"NONE\"}",
        "{\"alg\":\"\",\"kid\":\"r\"}",
        "{\"kid\":\"r\"}",
        "{\"alg\":null,\"kid\":\"r\"}",
        "{\"alg\":[\"RS256\"],\"kid\":\"r\"}",
        "{\"alg\":\"rs256\",\"kid\":\"r\"}",
        "{\"alg\":\"RS384\",\"kid\":\"r\"}",
        "{\"alg\":\"RS512\",\"kid\":\"r\"}",
        "{\"alg\":\"PS384\",\"kid\":\"r\"}",
        "{\"alg\":\"HS256\",\"kid\":\"r\"}",
        "{\"alg\":\"ES384\",\"kid\":\"e\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"r\"}",
        "{\"alg\":\"RS256 \",\"kid\":\"r\"}",
    };
    const struct world *w = *state;

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        assert_int_equal(header(w, headers[i]), JWT_WRONG_ALG);
}

/* RFC 8725 section 2.1: the public key, which everybody has, as the secret of an HMAC. */
static void a_public_key_is_no_secret(void **state)
{
    const struct world *w = *state;
    const struct jwks_key *key = &w->set.keys[0];
    static const char *const headers[] = {"{\"alg\":\"HS256\",\"kid\":\"r\"}", RS256_R, ES256_E};
    unsigned char mac[32];
    char token[1024], encoded[64];

    for (size_t i = 0; i < 3; i++) {
        b64_write((const unsigned char *)headers[i], strlen(headers[i]), token);
        strcat(token, ".");
        b64_write((const unsigned char *)GOOD_CLAIMS, strlen(GOOD_CLAIMS), token + strlen(token));
        HMAC(EVP_sha256(), key->der, key->der_len, (unsigned char *)token, strlen(token), mac,
             NULL);
        b64_write(mac, 32, encoded);
        strcat(strcat(token, "."), encoded);
        assert_int_equal(verdict_of(w, token), i == 0 ? JWT_WRONG_ALG : JWT_BAD_SIGNATURE);
    }
}

static void an_algorithm_of_the_other_kind_of_key_is_refused(void **state)
{
    const struct world *w = *state;

    assert_int_equal(header(w, "{\"alg\":\"ES256\",\"kid\":\"r\"}"), JWT_UNKNOWN_KEY);
    assert_int_equal(header(w, "{\"alg\":\"ES256\",\"kid\":\"e\"}"), JWT_BAD_SIGNATURE);
    assert_int_equal(header(w, "{\"alg\":\"PS256\",\"kid\":\"r\"}"), JWT_BAD_SIGNATURE);
    assert_int_equal(verdict_of(w, sign_token(w->ec, "ES256", 0,
                                              "{\"alg\":\"RS256\",\"kid\":\"e\"}", GOOD_CLAIMS)),
                     JWT_UNKNOWN_KEY);
}

static const char *es256_with(const unsigned char *signature, size_t len)
{
    static char token[1024];
    char encoded[256];

    b64_write((const unsigned char *)ES256_E, strlen(ES256_E), token);
    strcat(token, ".");
    b64_write((const unsigned char *)GOOD_CLAIMS, strlen(GOOD_CLAIMS), token + strlen(token));
    b64_write(signature, len, encoded);
    return strcat(strcat(token, "."), encoded);
}

/* CVE-2022-21449 and its kin: numbers that are out of their range. */
static void a_signature_of_nothing_is_refused(void **state)
{
    static const unsigned char order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,
                                            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                            0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                            0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    const struct world *w = *state;
    unsigned char rs[65] = {0};

    assert_int_equal(verdict_of(w, es256_with(rs, 64)), JWT_BAD_SIGNATURE);
    rs[31] = 1;
    assert_int_equal(verdict_of(w, es256_with(rs, 64)), JWT_BAD_SIGNATURE);
    memset(rs, 0, sizeof(rs));
    rs[63] = 1;
    assert_int_equal(verdict_of(w, es256_with(rs, 64)), JWT_BAD_SIGNATURE);
    memcpy(rs, order, 32);
    memcpy(rs + 32, order, 32);
    assert_int_equal(verdict_of(w, es256_with(rs, 64)), JWT_BAD_SIGNATURE);
    memset(rs, 0xff, sizeof(rs));
    assert_int_equal(verdict_of(w, es256_with(rs, 64)), JWT_BAD_SIGNATURE);
    assert_int_equal(verdict_of(w, es256_with(rs, 63)), JWT_BAD_SIGNATURE);
    assert_int_equal(verdict_of(w, es256_with(rs, 65)), JWT_BAD_SIGNATURE);
    assert_int_equal(verdict_of(w, es256_with(rs, 0)), JWT_MALFORMED);
}

/* JOSE has r and s; who sends DER, as other systems do, spells a signature a second way. */
static void a_signature_as_der_is_refused(void **state)
{
    const struct world *w = *state;
    const char *token = es256_with((const unsigned char *)"", 0);
    unsigned char der[256];
    size_t len = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, w->ec), 1);
    assert_int_equal(
        EVP_DigestSign(ctx, der, &len, (const unsigned char *)token, strlen(token) - 1), 1);
    EVP_MD_CTX_free(ctx);
    assert_int_equal(verdict_of(w, es256_with(der, len)), JWT_BAD_SIGNATURE);
}

static void a_byte_behind_a_signature_is_refused(void **state)
{
    const struct world *w = *state;
    const char *token = es256_with((const unsigned char *)"", 0);
    unsigned char rs[1024] = {0};

    sign_bytes(w->ec, "ES256", 0, token, strlen(token) - 1, rs);
    assert_int_equal(verdict_of(w, es256_with(rs, 64)), JWT_GOOD);
    assert_int_equal(verdict_of(w, es256_with(rs, 65)), JWT_BAD_SIGNATURE);
}

static void a_token_that_is_cut_is_refused(void **state)
{
    const struct world *w = *state;
    char token[2048];

    strcpy(token, sign_token(w->rsa, "RS256", 0, RS256_R, GOOD_CLAIMS));
    for (size_t len = strlen(token); len-- > 0;) {
        token[len] = '\0';
        assert_int_not_equal(verdict_of(w, token), JWT_GOOD);
    }
}

static void parts_that_are_no_token_are_refused(void **state)
{
    static const char *const texts[] = {
        "",      ".",       "..",         "...",           "a.b",          "a.b.c.d",
        "a.b.c", "AA.AA.A", "e30.e30.AA", "bnVsbA.e30.AA", "W10.e30.AAAA", "e30..AAAA"};
    const struct world *w = *state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_not_equal(verdict_of(w, texts[i]), JWT_GOOD);
    assert_true(jwt_looks_like_one("a.b.c", 5));
    assert_false(jwt_looks_like_one("a.b", 3));
    assert_false(jwt_looks_like_one("a.b.c.d.e", 9)); /* encrypted: RFC 7516 */
    assert_false(jwt_looks_like_one("sk-1234", 7));
}

static void long_tokens_and_headers_are_refused_unread(void **state)
{
    const struct world *w = *state;
    char text[16384];

    snprintf(text, sizeof(text), "{\"alg\":\"RS256\",\"kid\":\"r\",\"x\":\"%0800d\"}", 0);
    assert_int_equal(header(w, text), JWT_MALFORMED);
    snprintf(
        text, sizeof(text),
        "{\"iss\":\"https://issuer\",\"aud\":\"tranche\",\"exp\":1900000300,\"x\":\"%05000d\"}", 0);
    assert_int_equal(claims(w, text), JWT_GOOD);
    snprintf(
        text, sizeof(text),
        "{\"iss\":\"https://issuer\",\"aud\":\"tranche\",\"exp\":1900000300,\"x\":\"%06200d\"}", 0);
    assert_int_equal(claims(w, text), JWT_MALFORMED);
}

static void members_that_stand_twice_are_refused(void **state)
{
    const struct world *w = *state;

    assert_int_equal(header(w, "{\"alg\":\"HS256\",\"alg\":\"RS256\",\"kid\":\"r\"}"),
                     JWT_MALFORMED);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"\\u006bid\":\"r\"}"),
                     JWT_MALFORMED);
    assert_int_equal(
        claims(w,
               "{\"iss\":\"https://issuer\",\"aud\":\"x\",\"aud\":\"tranche\",\"exp\":1900000300}"),
        JWT_MALFORMED);
    assert_int_equal(claims(w, "{\"iss\":\"https://issuer\",\"aud\":\"tranche\",\"exp\":1900000300,"
                               "\"a\":{\"b\":1,\"b\":2}}"),
                     JWT_MALFORMED);
}

/* Whose key it is, a token does not say. */
static void keys_and_addresses_in_a_header_are_not_looked_at(void **state)
{
    const struct world *w = *state;
    EVP_PKEY *own = EVP_RSA_gen(2048);
    char jwk[2048], text[2200];

    snprintf(text, sizeof(text),
             "{\"alg\":\"RS256\",\"kid\":\"r\",\"jku\":\"http://127.0.0.1/k\"}");
    assert_int_equal(header(w, text), JWT_GOOD);
    assert_int_equal(verdict_of(w, sign_token(own, "RS256", 0, text, GOOD_CLAIMS)),
                     JWT_BAD_SIGNATURE);
    rsa_jwk(own, "r", "", jwk, sizeof(jwk));
    snprintf(text, sizeof(text), "{\"alg\":\"RS256\",\"kid\":\"r\",\"jwk\":%s}", jwk);
    assert_int_equal(verdict_of(w, sign_token(own, "RS256", 0, text, GOOD_CLAIMS)),
                     JWT_BAD_SIGNATURE);
    EVP_PKEY_free(own);
}

static void what_a_header_makes_critical_is_refused(void **state)
{
    const struct world *w = *state;

    assert_int_equal(
        header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":[\"b64\"],\"b64\":false}"),
        JWT_CRITICAL);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":[]}"), JWT_CRITICAL);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":null}"), JWT_CRITICAL);
}

static void tokens_for_something_else_are_refused(void **state)
{
    const struct world *w = *state;

    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"JWT\"}"), JWT_GOOD);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"application/at+jwt\"}"),
                     JWT_GOOD);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"logout+jwt\"}"),
                     JWT_WRONG_TYPE);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"dpop+jwt\"}"),
                     JWT_WRONG_TYPE);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":7}"), JWT_WRONG_TYPE);
}

/* --- claims --- */

static void the_issuer_is_exactly_that(void **state)
{
    const struct world *w = *state;

    assert_int_equal(
        claims(w, "{\"iss\":\"https://issuer/\",\"aud\":\"tranche\",\"exp\":1900000300}"),
        JWT_WRONG_ISSUER);
    assert_int_equal(
        claims(w, "{\"iss\":\"https://issuer\\u0000\",\"aud\":\"tranche\",\"exp\":1900000300}"),
        JWT_WRONG_ISSUER);
    assert_int_equal(
        claims(w, "{\"iss\":[\"https://issuer\"],\"aud\":\"tranche\",\"exp\":1900000300}"),
        JWT_WRONG_ISSUER);
    assert_int_equal(claims(w, "{\"aud\":\"tranche\",\"exp\":1900000300}"), JWT_WRONG_ISSUER);
}

static void the_audience_is_one_of_ours(void **state)
{
    const struct world *w = *state;

    assert_int_equal(claims(w, "{\"iss\":\"https://issuer\",\"aud\":\"other\",\"exp\":1900000300}"),
                     JWT_GOOD);
    assert_int_equal(
        claims(w, "{\"iss\":\"https://issuer\",\"aud\":[\"x\",\"tranche\"],\"exp\":1900000300}"),
        JWT_GOOD);
    assert_int_equal(
        claims(w, "{\"iss\":\"https://issuer\",\"aud\":[\"x\",\"tranch\"],\"exp\":1900000300}"),
        JWT_WRONG_AUDIENCE);
    assert_int_equal(claims(w, "{\"iss\":\"https://issuer\",\"aud\":[],\"exp\":1900000300}"),
                     JWT_WRONG_AUDIENCE);
    assert_int_equal(claims(w, "{\"iss\":\"https://issuer\",\"exp\":1900000300}"),
                     JWT_WRONG_AUDIENCE);
    assert_int_equal(
        claims(w, "{\"iss\":\"https://issuer\",\"aud\":{\"tranche\":1},\"exp\":1900000300}"),
        JWT_WRONG_AUDIENCE);
    assert_int_equal(
        claims(w, "{\"iss\":\"https://issuer\",\"aud\":[\"tranche\",1],\"exp\":1900000300}"),
        JWT_MALFORMED);
}

static enum jwt_verdict times(const struct world *w, const char *members)
{
    char text[256];

    snprintf(text, sizeof(text), "{\"iss\":\"https://issuer\",\"aud\":\"tranche\"%s}", members);
    return claims(w, text);
}

static void clocks_may_differ_by_a_minute(void **state)
{
    const struct world *w = *state;

    assert_int_equal(times(w, ",\"exp\":1899999941"), JWT_GOOD);
    assert_int_equal(times(w, ",\"exp\":1899999940"), JWT_EXPIRED);
    assert_int_equal(times(w, ",\"exp\":1900000300.5,\"nbf\":1900000060,\"iat\":1900000060"),
                     JWT_GOOD);
    assert_int_equal(times(w, ",\"exp\":1900000300,\"nbf\":1900000061"), JWT_NOT_YET);
    assert_int_equal(times(w, ",\"exp\":1900000300,\"iat\":1900000061"), JWT_NOT_YET);
}

static void a_token_has_an_end_that_is_a_time(void **state)
{
    static const char *const wrong[] = {
        "\"1900000300\"", "null",  "true",         "-1",
        "1e400",          "1e300", "[1900000300]", "99999999999999999999999999999999",
        "253402300800"};
    const struct world *w = *state;
    char text[128];

    assert_int_equal(times(w, ""), JWT_NO_EXPIRY);
    assert_int_equal(times(w, ",\"exp\":253402300799"), JWT_GOOD);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(text, sizeof(text), ",\"exp\":%s", wrong[i]);
        assert_int_equal(times(w, text), JWT_MALFORMED);
        snprintf(text, sizeof(text), ",\"exp\":1900000300,\"nbf\":%s", wrong[i]);
        assert_int_equal(times(w, text), JWT_MALFORMED);
    }
}

/* What costs nothing is looked at first. */
static void a_forged_token_of_another_audience_costs_no_signature(void **state)
{
    const struct world *w = *state;

    assert_int_equal(
        verdict_of(w, sign_token(w->ec, "ES256", 0, RS256_R,
                                 "{\"iss\":\"https://issuer\",\"aud\":\"x\",\"exp\":1900000300}")),
        JWT_WRONG_AUDIENCE);
}

/* --- which key --- */

static void a_key_is_found_by_its_name(void **state)
{
    const struct world *w = *state;

    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"q\"}"), JWT_UNKNOWN_KEY);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"R\"}"), JWT_UNKNOWN_KEY);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"\"}"), JWT_MALFORMED);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":7}"), JWT_MALFORMED);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"r\\u0000\"}"), JWT_MALFORMED);
}

static void without_a_name_the_only_key_that_fits_is_taken(void **state)
{
    struct world *w = *state;
    struct jwks was = w->set;
    char one[2048], two[2048];

    assert_int_equal(header(w, "{\"alg\":\"RS256\"}"), JWT_GOOD);
    rsa_jwk(w->rsa, "a", "", one, sizeof(one));
    rsa_jwk(w->rsa, "b", "", two, sizeof(two));
    w->set = set_of("{\"keys\":[%s,%s]}", one, two);
    assert_int_equal(header(w, "{\"alg\":\"RS256\"}"), JWT_UNKNOWN_KEY);
    rsa_jwk(w->rsa, "b", ",\"alg\":\"PS256\"", two, sizeof(two));
    w->set = set_of("{\"keys\":[%s,%s]}", one, two);
    assert_int_equal(header(w, "{\"alg\":\"RS256\"}"), JWT_GOOD);
    assert_int_equal(header(w, "{\"alg\":\"RS256\",\"kid\":\"b\"}"), JWT_UNKNOWN_KEY);
    w->set = was;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tokens_of_rfc_7515_are_good),
        cmocka_unit_test(a_changed_letter_of_a_published_token_is_seen),
        cmocka_unit_test(the_signature_of_rfc_7520_is_good),
        cmocka_unit_test(base64url_is_read_in_one_way_only),
        cmocka_unit_test(each_of_the_three_algorithms_is_taken),
        cmocka_unit_test(a_salt_of_another_length_is_refused),
        cmocka_unit_test(no_other_algorithm_is_taken),
        cmocka_unit_test(a_public_key_is_no_secret),
        cmocka_unit_test(an_algorithm_of_the_other_kind_of_key_is_refused),
        cmocka_unit_test(a_signature_of_nothing_is_refused),
        cmocka_unit_test(a_signature_as_der_is_refused),
        cmocka_unit_test(a_byte_behind_a_signature_is_refused),
        cmocka_unit_test(a_token_that_is_cut_is_refused),
        cmocka_unit_test(parts_that_are_no_token_are_refused),
        cmocka_unit_test(long_tokens_and_headers_are_refused_unread),
        cmocka_unit_test(members_that_stand_twice_are_refused),
        cmocka_unit_test(keys_and_addresses_in_a_header_are_not_looked_at),
        cmocka_unit_test(what_a_header_makes_critical_is_refused),
        cmocka_unit_test(tokens_for_something_else_are_refused),
        cmocka_unit_test(the_issuer_is_exactly_that),
        cmocka_unit_test(the_audience_is_one_of_ours),
        cmocka_unit_test(clocks_may_differ_by_a_minute),
        cmocka_unit_test(a_token_has_an_end_that_is_a_time),
        cmocka_unit_test(a_forged_token_of_another_audience_costs_no_signature),
        cmocka_unit_test(a_key_is_found_by_its_name),
        cmocka_unit_test(without_a_name_the_only_key_that_fits_is_taken),
    };

    return cmocka_run_group_tests(tests, make_world, end_world);
}
