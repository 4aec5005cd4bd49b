/* The expected load of uploads: tokens that are not enqueued yet but soon will be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balancer/quota.h"

#define NOW 100000000u

static struct quota *quota;

static int setup(void **state)
{
    struct quota_terms terms = {.fingerprint = 7, .limit = 1000};

    (void)state;
    if (quota_new(2, 8, &quota) != 0)
        return 1;
    quota_bind(quota, 0, &terms);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    quota_free(quota);
    return 0;
}

static struct quota_sum sum_at(uint64_t now_ms)
{
    struct quota_sum sum;

    quota_read(quota, 0, now_ms, &sum);
    return sum;
}

static void an_expected_load_counts_until_it_is_redeemed(void **state)
{
    (void)state;
    quota_add_expected(quota, 0, 300, NOW);
    quota_add_expected(quota, 0, 200, NOW);
    assert_int_equal(sum_at(NOW).expected, 500);
    assert_int_equal(sum_at(NOW).reserved, 0);
    quota_take_expected(quota, 0, 300, NOW);
    assert_int_equal(sum_at(NOW).expected, 200);
    quota_take_expected(quota, 0, 300, NOW); /* twice for one: never below nothing */
    assert_int_equal(sum_at(NOW).expected, 0);
}

static void an_expected_load_that_nobody_redeems_fades(void **state)
{
    (void)state;
    quota_add_expected(quota, 0, 800, NOW);
    assert_int_equal(sum_at(NOW).expected, 800);
    assert_in_range(sum_at(NOW + QUOTA_EXPECTED_MS / 2).expected, 550, 580);
    assert_in_range(sum_at(NOW + QUOTA_EXPECTED_MS).expected, 390, 410);
    assert_in_range(sum_at(NOW + 2 * QUOTA_EXPECTED_MS).expected, 195, 205);
    assert_in_range(sum_at(NOW + QUOTA_EXPECTED_END_MS - 5000).expected, 0, 1);
    quota_add_expected(quota, 0, QUOTA_MAX_TOKENS / 16, NOW);
    assert_true(sum_at(NOW + QUOTA_EXPECTED_END_MS - 5000).expected > 0);
    assert_int_equal(sum_at(NOW + QUOTA_EXPECTED_END_MS + 5000).expected, 0);
}

static void expected_loads_fade_also_while_new_ones_come(void **state)
{
    uint64_t now_ms = NOW;

    (void)state;
    for (int i = 0; i < 1000; i++, now_ms += QUOTA_EXPECTED_MS / 2)
        quota_add_expected(quota, 0, 100, now_ms);
    assert_in_range(sum_at(now_ms).expected, 200, 300); /* 100 / (1 - 2^-0.5), half a time later */
}

static void an_expected_load_keeps_no_create_out(void **state)
{
    struct quota_claim claim;

    (void)state;
    quota_add_expected(quota, 0, 1000, NOW);
    assert_int_equal(quota_reserve(quota, 1, 0, 1000, 0, NOW, &claim), 0);
}

static void another_deployment_in_the_column_starts_without_expected_load(void **state)
{
    struct quota_terms other = {.fingerprint = 8};

    (void)state;
    quota_add_expected(quota, 0, 300, NOW);
    quota_bind(quota, 0, &other);
    assert_int_equal(sum_at(NOW).expected, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_expected_load_counts_until_it_is_redeemed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_expected_load_that_nobody_redeems_fades, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(expected_loads_fade_also_while_new_ones_come, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_expected_load_keeps_no_create_out, setup, teardown),
        cmocka_unit_test_setup_teardown(
            another_deployment_in_the_column_starts_without_expected_load, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
