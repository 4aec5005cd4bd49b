/* Published vectors, and OpenSSL's own HMAC as a referee for every length. */
#include "crypto/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define MAX_TEXT 300

static void assert_hex(const unsigned char *hash, const char *hex)
{
    char text[2 * SHA256_BYTES + 1];

    for (size_t i = 0; i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    assert_string_equal(text, hex);
}

static void assert_hash(const char *text, const char *hex)
{
    struct sha256_piece piece = {text, strlen(text)};
    unsigned char hash[SHA256_BYTES];

    sha256_of(&piece, 1, hash);
    assert_hex(hash, hex);
}

/* NIST's examples for FIPS 180-4. */
static void texts_hash_as_nist_says(void **state)
{
    (void)state;
    assert_hash("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hash("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* A key that is shorter than a block is padded with zeroes, so these do as keys of 32 bytes. */
static void assert_mac(const char *key, size_t key_len, const char *text, size_t len,
                       const char *hex)
{
    struct sha256_piece piece = {text, len};
    unsigned char mac[SHA256_BYTES], bytes[SHA256_BYTES] = {0};
    struct hmac_key ready;

    memcpy(bytes, key, key_len);
    hmac_key_init(&ready, bytes);
    hmac_sha256(&ready, &piece, 1, mac);
    assert_hex(mac, hex);
}

static void macs_are_those_of_rfc_4231(void **state)
{
    char key[25], text[50];

    (void)state;
    memset(key, 0x0b, 20);
    assert_mac(key, 20, "Hi There", 8,
               "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_mac("Jefe", 4, "what do ya want for nothing?", 28,
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 20);
    memset(text, 0xdd, 50);
    assert_mac(key, 20, text, 50,
               "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    for (int i = 0; i < 25; i++)
        key[i] = (char)(i + 1);
    memset(text, 0xcd, 50);
    assert_mac(key, 25, text, 50,
               "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

static void the_mac_of_any_length_in_any_pieces_is_that_of_the_library(void **state)
{
    unsigned char key[SHA256_BYTES], text[MAX_TEXT], expected[SHA256_BYTES], mac[SHA256_BYTES];
    struct hmac_key ready;
    unsigned int size;

    (void)state;
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (unsigned char)(i * 37 + 11);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (unsigned char)(i * 101 + 3);
    hmac_key_init(&ready, key);
    for (size_t len = 0; len <= sizeof(text); len++) {
        struct sha256_piece pieces[] = {
            {text, len / 3}, {text + len / 3, len / 2 - len / 3}, {text + len / 2, len - len / 2}};

        assert_non_null(HMAC(EVP_sha256(), key, sizeof(key), text, len, expected, &size));
        hmac_sha256(&ready, pieces, 3, mac);
        assert_memory_equal(mac, expected, sizeof(mac));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_hash_as_nist_says),
        cmocka_unit_test(macs_are_those_of_rfc_4231),
        cmocka_unit_test(the_mac_of_any_length_in_any_pieces_is_that_of_the_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
