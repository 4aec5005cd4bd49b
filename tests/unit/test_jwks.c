/* What an issuer publishes: the keys that are ours are taken, the others passed over. */
#include "jwt/jwks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "jwt/jwt.h"
#include "tests/unit/jwt_sign.h"

static struct jwks set;
static struct jwks_error error;
static EVP_PKEY *rsa, *ec;
static char rsa_text[4096], ec_text[512];

static int make_keys(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    rsa_jwk(rsa, "r", "", rsa_text, sizeof(rsa_text));
    ec_jwk(ec, "P-256", 32, "e", ec_text, sizeof(ec_text));
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    return 0;
}

static int read_text(const char *text)
{
    memset(&set, 0, sizeof(set));
    return jwks_read(text, strlen(text), &set, &error);
}

static int read_keys(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int read_keys(const char *format, ...)
{
    static char keys[32768], text[33000];
    va_list args;

    va_start(args, format);
    vsnprintf(keys, sizeof(keys), format, args);
    va_end(args);
    snprintf(text, sizeof(text), "{\"keys\":[%s]}", keys);
    return read_text(text);
}

static void keys_come_out_as_openssl_reads_them(void **state)
{
    EVP_PKEY *opened;

    (void)state;
    assert_int_equal(read_keys("%s,%s", rsa_text, ec_text), 0);
    assert_int_equal(set.num, 2);
    assert_int_equal(set.num_passed, 0);
    assert_string_equal(set.keys[0].kid, "r");
    assert_int_equal(set.keys[0].algs, JWT_RS256 | JWT_PS256);
    assert_int_equal(set.keys[1].algs, JWT_ES256);
    opened = jwt_open_key(&set.keys[0]);
    assert_int_equal(EVP_PKEY_eq(opened, rsa), 1);
    EVP_PKEY_free(opened);
    opened = jwt_open_key(&set.keys[1]);
    assert_int_equal(EVP_PKEY_eq(opened, ec), 1);
    EVP_PKEY_free(opened);
}

static bool is_taken(const char *kind, const char *more)
{
    char text[8192];

    if (strcmp(kind, "RSA") == 0) {
        rsa_jwk(rsa, "r", more, text, sizeof(text));
    } else {
        strcpy(text, ec_text);
        strcpy(strrchr(text, '}'), more);
        strcat(text, "}");
    }
    if (read_keys("%s", text) == 0)
        return true;
    assert_int_equal(set.num, 0);
    return false;
}

static void a_key_serves_what_it_is_for(void **state)
{
    (void)state;
    assert_true(is_taken("RSA", ",\"use\":\"sig\""));
    assert_false(is_taken("RSA", ",\"use\":\"enc\""));
    assert_false(is_taken("RSA", ",\"use\":7"));
    assert_true(is_taken("RSA", ",\"key_ops\":[\"encrypt\",\"verify\"]"));
    assert_false(is_taken("RSA", ",\"key_ops\":[\"encrypt\"]"));
    assert_false(is_taken("RSA", ",\"key_ops\":[]"));
    assert_false(is_taken("RSA", ",\"key_ops\":\"verify\""));
    assert_false(is_taken("RSA", ",\"key_ops\":{\"a\":\"verify\"}"));
    assert_true(is_taken("RSA", ",\"alg\":\"PS256\""));
    assert_int_equal(set.keys[0].algs, JWT_PS256);
    assert_true(is_taken("EC", ",\"alg\":\"ES256\""));
    assert_false(is_taken("EC", ",\"alg\":\"RS256\""));
    assert_false(is_taken("RSA", ",\"alg\":\"ES256\""));
    assert_false(is_taken("RSA", ",\"alg\":\"RS512\""));
    assert_false(is_taken("RSA", ",\"alg\":\"RSA-OAEP\""));
    assert_false(is_taken("RSA", ",\"alg\":null"));
}

static void kinds_that_are_not_ours_are_passed_over(void **state)
{
    (void)state;
    assert_int_equal(read_keys("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"},{\"kty\":"
                               "\"oct\",\"k\":\"AA\"},7,null,{},"
                               "[],{\"kty\":7},%s",
                               ec_text),
                     0);
    assert_int_equal(set.num, 1);
    assert_int_equal(set.num_passed, 7);
}

static void rsa_of(const char *n, const char *e, int wanted)
{
    assert_int_equal(read_keys("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", n, e), wanted);
}

static void rsa_keys_are_long_enough_and_not_too_long(void **state)
{
    static const int bits[] = {1024, 2047, 2048, 3072, 4096};
    char n[2048];

    (void)state;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        EVP_PKEY *key = EVP_RSA_gen((unsigned)bits[i]);
        bool good = bits[i] >= 2048;

        b64_number(key, OSSL_PKEY_PARAM_RSA_N, 0, n);
        rsa_of(n, "AQAB", good ? 0 : ERR_NOT_FOUND);
        if (good)
            assert_true(set.keys[0].der_len > 0 && set.keys[0].der_len <= JWKS_MAX_DER);
        EVP_PKEY_free(key);
    }
    memset(n, '_', 1366); /* 8,192 bits and some */
    n[1366] = '\0';
    rsa_of(n, "AQAB", ERR_NOT_FOUND);
}

static void odd_numbers_are_no_rsa_keys(void **state)
{
    static const char *const exponents[] = {
        "", "AA", "AQ", "Ag", "AAAA", "AQABAAAAAQ", "AQABAAAAAQAAAAAB", "AQA=", "AQ AB"};
    char n[2048];

    (void)state;
    b64_number(rsa, OSSL_PKEY_PARAM_RSA_N, 0, n);
    rsa_of(n, "Aw", 0); /* 3 */
    for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++)
        rsa_of(n, exponents[i], ERR_NOT_FOUND);
    n[strlen(n) - 2] = 'A'; /* the last six bits and two of those before: even */
    n[strlen(n) - 1] = 'A';
    rsa_of(n, "AQAB", ERR_NOT_FOUND);
    assert_int_equal(read_keys("{\"kty\":\"RSA\",\"e\":\"AQAB\"}"), ERR_NOT_FOUND);
    assert_int_equal(read_keys("{\"kty\":\"RSA\",\"n\":7,\"e\":\"AQAB\"}"), ERR_NOT_FOUND);
}

static void ec_of(const char *curve, const char *x, const char *y)
{
    assert_int_equal(
        read_keys("{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}", curve, x, y),
        ERR_NOT_FOUND);
}

static void a_point_lies_on_the_curve(void **state)
{
    char x[100], y[100], zero[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    EVP_PKEY *other = EVP_EC_gen("P-384"), *bitcoin = EVP_EC_gen("secp256k1");

    (void)state;
    b64_number(ec, OSSL_PKEY_PARAM_EC_PUB_X, 32, x);
    b64_number(ec, OSSL_PKEY_PARAM_EC_PUB_Y, 32, y);
    ec_of("P-384", x, y);
    ec_of("p-256", x, y);
    ec_of("secp256k1", x, y);
    ec_of("P-256", y, x);
    ec_of("P-256", x, x);
    ec_of("P-256", zero, zero); /* the point at infinity is no key */
    ec_of("P-256", x, "");
    y[strlen(y) - 4] = '\0'; /* 30 bytes */
    ec_of("P-256", x, y);
    b64_number(other, OSSL_PKEY_PARAM_EC_PUB_X, 48, x);
    b64_number(other, OSSL_PKEY_PARAM_EC_PUB_Y, 48, y);
    ec_of("P-256", x, y);
    b64_number(bitcoin, OSSL_PKEY_PARAM_EC_PUB_X, 32, x);
    b64_number(bitcoin, OSSL_PKEY_PARAM_EC_PUB_Y, 32, y);
    ec_of("P-256", x, y);
    EVP_PKEY_free(other);
    EVP_PKEY_free(bitcoin);
}

static void the_first_key_of_a_name_is_the_one(void **state)
{
    (void)state;
    assert_int_equal(read_keys("%s,%s,%s", rsa_text, rsa_text, ec_text), 0);
    assert_int_equal(set.num, 2);
    assert_int_equal(set.num_passed, 1);
}

static void names_are_short_texts(void **state)
{
    char longest[JWKS_MAX_KID + 2];

    (void)state;
    memset(longest, 'k', sizeof(longest));
    longest[JWKS_MAX_KID + 1] = '\0';
    rsa_jwk(rsa, longest, "", rsa_text, sizeof(rsa_text));
    assert_int_equal(read_keys("%s", rsa_text), ERR_NOT_FOUND);
    longest[JWKS_MAX_KID] = '\0';
    rsa_jwk(rsa, longest, "", rsa_text, sizeof(rsa_text));
    assert_int_equal(read_keys("%s", rsa_text), 0);
    assert_string_equal(set.keys[0].kid, longest);
    rsa_jwk(rsa, "", "", rsa_text, sizeof(rsa_text));
    assert_int_equal(read_keys("%s", rsa_text), ERR_NOT_FOUND);
    rsa_jwk(rsa, "r", "", rsa_text, sizeof(rsa_text));
}

static void a_set_has_an_end(void **state)
{
    static char text[JWKS_MAX_BYTES + 2], one[600];
    char *at = text + sprintf(text, "{\"keys\":[");

    (void)state;
    for (int i = 0; i < JWKS_MAX_KEYS + 5; i++) {
        char kid[16];

        snprintf(kid, sizeof(kid), "k%d", i);
        ec_jwk(ec, "P-256", 32, kid, one, sizeof(one));
        at += sprintf(at, "%s%s", i > 0 ? "," : "", one);
    }
    strcpy(at, "]}");
    assert_int_equal(read_text(text), 0);
    assert_int_equal(set.num, JWKS_MAX_KEYS);
    assert_int_equal(set.num_passed, 5);
    memset(text + strlen(text), ' ', sizeof(text) - strlen(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(read_text(text), ERR_LIMIT);
    at = text + sprintf(text, "{\"keys\":[");
    for (int i = 0; i < JSON_MAX_VALUES; i++)
        at += sprintf(at, "1,");
    strcpy(at, "1]}");
    assert_int_equal(read_text(text), ERR_LIMIT);
}

static void sets_of_several_addresses_add_up(void **state)
{
    char text[4096];

    (void)state;
    assert_int_equal(read_keys("%s", rsa_text), 0);
    snprintf(text, sizeof(text), "{\"keys\":[%s]}", ec_text);
    assert_int_equal(jwks_read(text, strlen(text), &set, &error), 0);
    assert_int_equal(set.num, 2);
    assert_int_equal(jwks_read("{}", 2, &set, &error), ERR_SYNTAX);
    assert_int_equal(set.num, 2);
}

static void what_is_no_set_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "<html>",
                                        "[]",
                                        "{}",
                                        "null",
                                        "{\"keys\":{}}",
                                        "{\"keys\":\"\"}",
                                        "{\"keys\":[],\"keys\":[]}"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        error.message[0] = '\0';
        assert_int_equal(read_text(texts[i]), ERR_SYNTAX);
        assert_string_not_equal(error.message, "");
    }
    assert_int_equal(read_text("{\"keys\":[]}"), ERR_NOT_FOUND);
    assert_int_equal(read_keys("{\"kty\":\"RSA\",\"kty\":\"EC\"}"), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_out_as_openssl_reads_them),
        cmocka_unit_test(a_key_serves_what_it_is_for),
        cmocka_unit_test(kinds_that_are_not_ours_are_passed_over),
        cmocka_unit_test(rsa_keys_are_long_enough_and_not_too_long),
        cmocka_unit_test(odd_numbers_are_no_rsa_keys),
        cmocka_unit_test(a_point_lies_on_the_curve),
        cmocka_unit_test(the_first_key_of_a_name_is_the_one),
        cmocka_unit_test(names_are_short_texts),
        cmocka_unit_test(a_set_has_an_end),
        cmocka_unit_test(sets_of_several_addresses_add_up),
        cmocka_unit_test(what_is_no_set_is_refused),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
