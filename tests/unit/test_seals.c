/* What a configuration's keys become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/seals.h"

#define CONTEXT "tranche id seal"

static struct secret seal_keys[9];
static struct config config;
static struct ids_seals seals;
static const struct secret none = SECRET_NONE;

static int set_up(void **state)
{
    (void)state;
    config = (struct config){0};
    seals = (struct ids_seals){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < config.num_seal_keys; i++)
        secret_clear(&seal_keys[i]);
    secret_clear(&config.master_key);
    ids_seals_clear(&seals);
    return 0;
}

static void give_seal_keys(size_t num)
{
    char text[] = "a key of which there are several: 0";

    for (size_t i = 0; i < num; i++) {
        text[sizeof(text) - 2] = (char)('0' + i);
        assert_int_equal(secret_set(&seal_keys[i], text, sizeof(text) - 1), 0);
    }
    config.seal_keys = seal_keys;
    config.num_seal_keys = num;
}

static struct hmac_key as_it_is(const char *text)
{
    struct ids_seals one = {0};

    assert_int_equal(ids_seals_add(&one, text, strlen(text), CONTEXT), 0);
    return one.key[0];
}

static void a_stretched_master_key_mints_and_the_key_itself_only_opens(void **state)
{
    struct hmac_key plain = as_it_is("sk-master");

    (void)state;
    assert_int_equal(secret_set(&config.master_key, "sk-master", 9), 0);
    assert_int_equal(seals_derive(&config, &none, &seals), 0);
    assert_int_equal(seals.num, 2);
    assert_memory_not_equal(&seals.key[0], &plain, sizeof(plain));
    assert_memory_equal(&seals.key[1], &plain, sizeof(plain));
}

static void the_first_of_several_mints_and_all_open_in_both_forms(void **state)
{
    struct ids_seals again = {0};

    (void)state;
    assert_int_equal(secret_set(&config.master_key, "sk-master", 9), 0);
    give_seal_keys(3);
    assert_int_equal(seals_derive(&config, &none, &seals), 0);
    assert_int_equal(seals.num, 6);
    assert_int_equal(seals_num_keys(&config), 3);
    for (size_t i = 0; i < 3; i++) {
        struct hmac_key plain = as_it_is(seal_keys[i].data);

        assert_memory_equal(&seals.key[3 + i], &plain, sizeof(plain));
    }
    assert_int_equal(seals_derive(&config, &none, &again), 0); /* another node */
    assert_memory_equal(again.key, seals.key, sizeof(seals.key));
}

static void eight_keys_fit_and_nine_are_too_many(void **state)
{
    struct ids_seals more = {0};

    (void)state;
    give_seal_keys(8);
    assert_int_equal(seals_derive(&config, &none, &seals), 0);
    assert_int_equal(seals.num, IDS_MAX_SEALS);
    assert_int_equal(secret_set(&seal_keys[8], "x", 1), 0);
    config.num_seal_keys = 9;
    assert_int_equal(seals_derive(&config, &none, &more), ERR_LIMIT);
}

static void a_random_seal_needs_no_stretching(void **state)
{
    struct secret fallback = SECRET_NONE;
    struct hmac_key plain = as_it_is("random");

    (void)state;
    assert_int_equal(secret_set(&fallback, "random", 6), 0);
    assert_int_equal(seals_derive(&config, &fallback, &seals), 0);
    assert_int_equal(seals.num, 1);
    assert_memory_equal(&seals.key[0], &plain, sizeof(plain));
    secret_clear(&fallback);
}

static void without_any_key_there_is_no_seal(void **state)
{
    (void)state;
    assert_int_equal(seals_derive(&config, &none, &seals), 0);
    assert_int_equal(seals.num, 0);
    assert_int_equal(seals_num_keys(&config), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stretched_master_key_mints_and_the_key_itself_only_opens,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_of_several_mints_and_all_open_in_both_forms,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(eight_keys_fit_and_nine_are_too_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_random_seal_needs_no_stretching, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_any_key_there_is_no_seal, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
