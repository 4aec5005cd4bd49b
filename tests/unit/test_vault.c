/* Texts that only who has a seal key reads again. */
#include "crypto/vault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const unsigned char key_a[VAULT_KEY_BYTES] = {1}, key_b[VAULT_KEY_BYTES] = {2};

static struct vault vault_of(const unsigned char *first, const unsigned char *second)
{
    struct vault vault = {0};

    assert_int_equal(vault_add(&vault, first), 0);
    if (second != NULL)
        assert_int_equal(vault_add(&vault, second), 0);
    return vault;
}

static char *seal(const struct vault *vault, const char *what, const char *text)
{
    struct strbuf out = STRBUF_INIT;

    assert_int_equal(vault_seal(vault, what, text, strlen(text), &out), 0);
    return strbuf_take(&out);
}

static void what_was_sealed_opens_and_shows_nothing(void **state)
{
    struct vault vault = vault_of(key_a, NULL);
    char *sealed = seal(&vault, "a row", "whsec_secret"), *again;
    char text[64];

    (void)state;
    assert_null(strstr(sealed, "secret"));
    assert_int_equal(vault_open(&vault, "a row", sealed, text, sizeof(text)), 0);
    assert_string_equal(text, "whsec_secret");
    again = seal(&vault, "a row", "whsec_secret");
    assert_string_not_equal(sealed, again); /* each has a nonce of its own */
    free(sealed);
    free(again);
    sealed = seal(&vault, "a row", "");
    assert_int_equal(vault_open(&vault, "a row", sealed, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    free(sealed);
}

static void it_is_nothing_in_another_row(void **state)
{
    struct vault vault = vault_of(key_a, NULL);
    char *sealed = seal(&vault, "a row", "text");
    char text[64] = "before";

    (void)state;
    assert_int_equal(vault_open(&vault, "another row", sealed, text, sizeof(text)), ERR_FORGED);
    assert_string_equal(text, "");
    free(sealed);
}

static void a_changed_character_is_seen(void **state)
{
    struct vault vault = vault_of(key_a, NULL);
    char *sealed = seal(&vault, "a row", "8 bytes."); /* whole groups: no bit of it is unused */
    char text[64];

    (void)state;
    for (size_t i = 0; i < strlen(sealed); i++) {
        char was = sealed[i];

        sealed[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(vault_open(&vault, "a row", sealed, text, sizeof(text)), 0);
        sealed[i] = was;
    }
    assert_int_equal(vault_open(&vault, "a row", sealed, text, sizeof(text)), 0);
    for (size_t len = strlen(sealed); len-- > 0;) {
        sealed[len] = '\0';
        assert_int_not_equal(vault_open(&vault, "a row", sealed, text, sizeof(text)), 0);
    }
    free(sealed);
}

static void all_keys_open_and_the_first_seals(void **state)
{
    struct vault old = vault_of(key_a, NULL), both = vault_of(key_b, key_a);
    struct vault new = vault_of(key_b, NULL);
    char *sealed = seal(&old, "a row", "text"), *anew = seal(&both, "a row", "text");
    char text[64];

    (void)state;
    assert_true(vault_is_current(&old, sealed));
    assert_false(vault_is_current(&both, sealed));
    assert_true(vault_is_current(&both, anew));
    assert_int_equal(vault_open(&both, "a row", sealed, text, sizeof(text)), 0);
    assert_int_equal(vault_open(&new, "a row", anew, text, sizeof(text)), 0);
    assert_int_equal(vault_open(&new, "a row", sealed, text, sizeof(text)), ERR_NOT_FOUND);
    free(sealed);
    free(anew);
}

static void bounds_are_kept(void **state)
{
    struct vault vault = {0};
    struct strbuf out = STRBUF_INIT;
    char text[5], *sealed;

    (void)state;
    assert_int_equal(vault_seal(&vault, "x", "text", 4, &out), ERR_INVALID);
    for (unsigned i = 0; i < VAULT_MAX_KEYS; i++) {
        unsigned char key[VAULT_KEY_BYTES] = {(unsigned char)i};

        assert_int_equal(vault_add(&vault, key), 0);
    }
    assert_int_equal(vault_add(&vault, key_a), ERR_LIMIT);
    sealed = seal(&vault, "x", "text");
    assert_int_equal(vault_open(&vault, "x", sealed, text, sizeof(text)), 0);
    assert_int_equal(vault_open(&vault, "x", sealed, text, 4), ERR_LIMIT);
    assert_int_equal(vault_open(&vault, "x", "", text, sizeof(text)), ERR_SYNTAX);
    assert_int_equal(vault_open(&vault, "x", "v1.", text, sizeof(text)), ERR_SYNTAX);
    assert_int_equal(vault_open(&vault, "x", "v2.00000000.AAAA", text, sizeof(text)), ERR_SYNTAX);
    free(sealed);
    vault_clear(&vault);
    assert_int_equal(vault.num, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_opens_and_shows_nothing),
        cmocka_unit_test(it_is_nothing_in_another_row),
        cmocka_unit_test(a_changed_character_is_seen),
        cmocka_unit_test(all_keys_open_and_the_first_seals),
        cmocka_unit_test(bounds_are_kept),
    };

    return cmocka_run_group_tests_name("vault", tests, NULL, NULL);
}
