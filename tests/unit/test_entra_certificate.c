/* Keys and certificates in all the ways in which people put them into a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/ec.h>

#include "entra/entra_certificate.h"
#include "entra_world.h"
#include "jwt/jwt.h"

static EVP_PKEY *key, *other_key;
static X509 *leaf, *other;
static char *leaf_text, *other_text, *key_text;

static int set_up(void **unused)
{
    (void)unused;
    key = make_rsa(2048);
    other_key = make_rsa(2048);
    leaf = make_certificate(key, "app", other_key, "authority");
    other = make_certificate(other_key, "authority", other_key, "authority");
    leaf_text = certificate_pem(leaf);
    other_text = certificate_pem(other);
    key_text = key_pem(key, NULL);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(leaf_text);
    free(other_text);
    free(key_text);
    X509_free(leaf);
    X509_free(other);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    return 0;
}

/* Read it, and let it sign: the certificate's key has to fit. */
static void assert_signs(const char *bytes, size_t len, const char *password)
{
    struct entra_claims claims = {
        .audience = "https://a", .client_id = "c", .jti = "j", .now_unix_s = BEGINS_UTC};
    struct secret pass = SECRET_NONE, token = SECRET_NONE;
    struct entra_certificate *c;
    struct entra_error error = {""};
    struct jwt jwt;

    if (password != NULL)
        assert_int_equal(secret_set(&pass, password, strlen(password)), 0);
    if (entra_certificate_read(bytes, len, &pass, &c, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(entra_certificate_ends(c), BEGINS_UTC + LIVES_S);
    assert_int_equal(entra_certificate_sign(c, &claims, &token, &error), 0);
    assert_int_equal(jwt_read(token.data, token.len, &jwt), JWT_GOOD);
    assert_int_equal(jwt_is_signed(&jwt, key), JWT_GOOD);
    jwt_deinit(&jwt);
    secret_clear(&token);
    secret_clear(&pass);
    entra_certificate_free(c);
}

static void assert_refused(const char *bytes, size_t len, const char *password, const char *why)
{
    struct secret pass = SECRET_NONE;
    struct entra_certificate *c;
    struct entra_error error = {""};
    int64_t ends = 0;

    if (password != NULL)
        assert_int_equal(secret_set(&pass, password, strlen(password)), 0);
    assert_int_equal(entra_certificate_read(bytes, len, &pass, &c, &error), ERR_INVALID);
    assert_null(c);
    assert_string_equal(error.message, why);
    error.message[0] = '\0';
    assert_int_equal(entra_certificate_check(bytes, len, &pass, &ends, &error), ERR_INVALID);
    assert_string_equal(error.message, why);
    secret_clear(&pass);
}

static void assert_pem_refused(const char *a, const char *b, const char *c, const char *why)
{
    char *pem = joined(a, b, c);

    assert_refused(pem, strlen(pem), NULL, why);
    free(pem);
}

static void test_entra_7_key_and_certificate_stand_in_either_order(void **unused)
{
    char *first = joined(key_text, leaf_text, other_text),
         *last = joined(other_text, leaf_text, key_text),
         *noted = joined("Bag Attributes\n  friendlyName: app\n", leaf_text, key_text);

    (void)unused;
    assert_signs(first, strlen(first), NULL);
    assert_signs(last, strlen(last), NULL);
    assert_signs(noted, strlen(noted), NULL);
    free(first);
    free(last);
    free(noted);
}

static void test_the_older_form_of_an_rsa_key_is_read_too(void **unused)
{
    char *old = old_key_pem(key, NULL), *pem = joined(leaf_text, old, "");

    (void)unused;
    assert_signs(pem, strlen(pem), NULL);
    free(pem);
    free(old);
}

static void test_an_encrypted_key_opens_with_its_password_alone(void **unused)
{
    char *sealed = key_pem(key, "pass word"), *pem = joined(sealed, leaf_text, "");

    (void)unused;
    assert_signs(pem, strlen(pem), "pass word");
    assert_refused(pem, strlen(pem), "pass-word",
                   "its private key does not open with the password");
    assert_refused(pem, strlen(pem), NULL,
                   "its private key is encrypted, and there is no password");
    free(sealed);
    free(pem);
}

static void test_the_old_way_to_encrypt_a_key_is_refused_with_the_way_out(void **unused)
{
    char *sealed = old_key_pem(key, "password"), *pem = joined(sealed, leaf_text, "");

    (void)unused;
    assert_refused(pem, strlen(pem), "password",
                   "its private key is encrypted in the old form (DEK-Info), which is not taken; "
                   "openssl pkcs8 -topk8 -in OLD -out NEW makes the new one");
    free(sealed);
    free(pem);
}

static void test_a_password_where_none_is_needed_harms_nobody(void **unused)
{
    char *pem = joined(leaf_text, key_text, "");

    (void)unused;
    assert_signs(pem, strlen(pem), "not needed");
    free(pem);
}

static void test_entra_7_what_is_missing_or_does_not_fit_is_told(void **unused)
{
    (void)unused;
    assert_pem_refused(key_text, "", "", "it has a private key and no certificate");
    assert_pem_refused(leaf_text, "", "", "it has no private key");
    assert_pem_refused(key_text, other_text, "",
                       "none of its certificates (1) fits its private key");
    assert_pem_refused(key_text, other_text, other_text,
                       "none of its certificates (2) fits its private key");
    assert_pem_refused(key_text, key_text, leaf_text, "it has more than one private key");
    assert_pem_refused("", "", "", "it is neither PEM nor PFX");
    assert_pem_refused("{}", "", "", "it is neither PEM nor PFX");
}

static void test_a_key_of_another_kind_is_refused(void **unused)
{
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    X509 *x = make_certificate(ec, "app", ec, "app");
    char *k = key_pem(ec, NULL), *old = old_key_pem(ec, NULL), *c = certificate_pem(x);

    (void)unused;
    assert_pem_refused(k, c, "", "its private key is not RSA, the only kind that is taken");
    assert_pem_refused(old, c, "", "its private key is not RSA, the only kind that is taken");
    free(k);
    free(old);
    free(c);
    X509_free(x);
    EVP_PKEY_free(ec);
}

static void test_a_key_that_is_too_short_is_refused(void **unused)
{
    EVP_PKEY *small = make_rsa(1024);
    X509 *x = make_certificate(small, "app", small, "app");
    char *k = key_pem(small, NULL), *c = certificate_pem(x);

    (void)unused;
    assert_pem_refused(k, c, "", "its private key has 1024 bits; 2048 to 8192 are taken");
    free(k);
    free(c);
    X509_free(x);
    EVP_PKEY_free(small);
}

static void test_pem_that_is_damaged_is_refused(void **unused)
{
    char *pem = joined(leaf_text, key_text, "");

    (void)unused;
    assert_refused(pem, strlen(pem) - 40, NULL, "its PEM is damaged");
    memcpy(strstr(pem, "-----END"), "-----END X", 10);
    assert_refused(pem, strlen(pem), NULL, "its PEM is damaged");
    free(pem);
    assert_pem_refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", leaf_text,
                       "", "its private key cannot be read");
    assert_pem_refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key_text,
                       "", "one of its certificates cannot be read");
    assert_pem_refused("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                       leaf_text, "", "its private key cannot be read");
}

static void test_more_certificates_than_anybody_needs_are_refused(void **unused)
{
    char *pem = joined(key_text, "", "");

    (void)unused;
    for (int i = 0; i <= ENTRA_MAX_CERTIFICATES; i++) {
        char *longer = joined(pem, other_text, "");

        free(pem);
        pem = longer;
    }
    assert_refused(pem, strlen(pem), NULL, "it has more than 16 certificates");
    free(pem);
}

static void test_a_pfx_opens_with_its_password(void **unused)
{
    size_t len, open_len;
    char *pfx = pfx_of(key, leaf, other, "secret", 0, 0, &len),
         *open = pfx_of(key, leaf, other, "", 0, 0, &open_len);

    (void)unused;
    assert_signs(pfx, len, "secret");
    assert_signs(open, open_len, NULL);
    assert_refused(pfx, len, "another", "its password is another one");
    assert_refused(pfx, len, NULL, "its password is another one");
    assert_refused(pfx, len - 1, "secret", "it is neither PEM nor PFX");
    free(pfx);
    free(open);
}

static void test_a_pfx_without_key_or_certificate_is_refused(void **unused)
{
    size_t len;
    char *pfx = pfx_of(NULL, leaf, NULL, "secret", 0, 0, &len);

    (void)unused;
    assert_refused(pfx, len, "secret", "it has no private key");
    free(pfx);
    pfx = pfx_of(key, NULL, NULL, "secret", 0, 0, &len);
    assert_refused(pfx, len, "secret", "it has a private key and no certificate");
    free(pfx);
}

static void test_a_password_that_is_hashed_for_ever_is_refused_at_once(void **unused)
{
    static const struct {
        int rounds, mac_rounds;
    } cases[] = {{1000001, 1}, {1, 1000001}};
    char *sealed = slow_key_pem(key, "secret", 1000001), *pem = joined(sealed, leaf_text, "");

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        size_t len;
        char *pfx = pfx_of(key, leaf, NULL, "secret", cases[i].rounds, cases[i].mac_rounds, &len);

        assert_refused(pfx, len, "secret", "its password is hashed more than 1000000 times");
        free(pfx);
    }
    assert_refused(pem, strlen(pem), "secret", "its password is hashed more than 1000000 times");
    free(sealed);
    free(pem);
}

static void test_the_check_tells_when_a_certificate_ends(void **unused)
{
    char *pem = joined(leaf_text, key_text, "");
    struct entra_error error = {""};
    int64_t ends = 0;

    (void)unused;
    assert_int_equal(entra_certificate_check(pem, strlen(pem), NULL, &ends, &error), 0);
    assert_int_equal(ends, BEGINS_UTC + LIVES_S);
    assert_int_equal(entra_certificate_check(pem, strlen(pem), NULL, NULL, &error), 0);
    free(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entra_7_key_and_certificate_stand_in_either_order),
        cmocka_unit_test(test_the_older_form_of_an_rsa_key_is_read_too),
        cmocka_unit_test(test_an_encrypted_key_opens_with_its_password_alone),
        cmocka_unit_test(test_the_old_way_to_encrypt_a_key_is_refused_with_the_way_out),
        cmocka_unit_test(test_a_password_where_none_is_needed_harms_nobody),
        cmocka_unit_test(test_entra_7_what_is_missing_or_does_not_fit_is_told),
        cmocka_unit_test(test_a_key_of_another_kind_is_refused),
        cmocka_unit_test(test_a_key_that_is_too_short_is_refused),
        cmocka_unit_test(test_pem_that_is_damaged_is_refused),
        cmocka_unit_test(test_more_certificates_than_anybody_needs_are_refused),
        cmocka_unit_test(test_a_pfx_opens_with_its_password),
        cmocka_unit_test(test_a_pfx_without_key_or_certificate_is_refused),
        cmocka_unit_test(test_a_password_that_is_hashed_for_ever_is_refused_at_once),
        cmocka_unit_test(test_the_check_tells_when_a_certificate_ends),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
