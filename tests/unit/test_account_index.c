/* The hash index by which accounts of long lists are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/account_index.h"

#define NUM    5000
#define HASHES 7 /* so that nearly all are equal */

static void what_was_added_with_a_hash_is_found_and_nothing_else(void **state)
{
    struct account_index index = {0};
    uint32_t number;

    (void)state;
    for (uint32_t i = 0; i < NUM; i++)
        assert_int_equal(account_index_add(&index, i % HASHES, i), 0);
    for (uint32_t hash = 0; hash < HASHES; hash++) {
        unsigned char seen[NUM] = {0};
        size_t at = 0, found = 0;

        for (; account_index_next(&index, hash, &at, &number); found++) {
            assert_int_equal(number % HASHES, hash);
            assert_int_equal(seen[number]++, 0);
        }
        assert_int_equal(found, NUM / HASHES + (hash < NUM % HASHES));
    }
    for (size_t at = 0; account_index_next(&index, HASHES, &at, &number);)
        fail();
    account_index_deinit(&index);
}

static void nothing_is_found_in_an_empty_one(void **state)
{
    struct account_index index = {0};
    uint32_t number;
    size_t at = 0;

    (void)state;
    assert_false(account_index_next(&index, 0, &at, &number));
    account_index_deinit(&index);
}

static void texts_side_by_side_are_told_apart(void **state)
{
    uint32_t ab_c = account_hash(account_hash(ACCOUNT_HASH, "ab", 2), "c", 1);

    (void)state;
    assert_int_not_equal(ab_c, account_hash(account_hash(ACCOUNT_HASH, "a", 1), "bc", 2));
    assert_int_not_equal(ab_c, account_hash(ACCOUNT_HASH, "abc", 3));
    assert_int_not_equal(account_hash(ACCOUNT_HASH, NULL, 0), account_hash(ACCOUNT_HASH, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_with_a_hash_is_found_and_nothing_else),
        cmocka_unit_test(nothing_is_found_in_an_empty_one),
        cmocka_unit_test(texts_side_by_side_are_told_apart),
    };

    return cmocka_run_group_tests_name("account_index", tests, NULL, NULL);
}
