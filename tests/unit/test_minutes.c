/* Minutes of the page's plots: who counts, what is forgotten, how right a quantile is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/minutes.h"

#define MINUTE 60000u
#define NOW    (UINT64_C(1000) * MINUTE + 5000)

static struct minutes_row *row, *other;

static int setup(void **state)
{
    (void)state;
    row = calloc(2, sizeof(*row));
    other = row + 1;
    return row == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(row);
    return 0;
}

static void rows_are_added_up_minute_by_minute(void **state)
{
    struct minutes_sum sums[MINUTES_SHOWN] = {0};

    (void)state;
    minutes_note(row, 1000, false, NOW - MINUTE);
    minutes_note(row, 1000, true, NOW);
    minutes_note(other, 2000, false, NOW);
    minutes_add(row, NOW, sums);
    minutes_add(other, NOW, sums);
    assert_int_equal(sums[0].requests, 2);
    assert_int_equal(sums[0].failed, 1);
    assert_int_equal(sums[1].requests, 1);
    assert_int_equal(sums[1].failed, 0);
    assert_int_equal(sums[2].requests, 0);
}

static void what_is_older_than_an_hour_is_not_shown(void **state)
{
    struct minutes_sum sums[MINUTES_SHOWN] = {0};

    (void)state;
    minutes_note(row, 1000, false, NOW);
    minutes_add(row, NOW + 60 * MINUTE, sums);
    assert_int_equal(sums[60].requests, 1);
    memset(sums, 0, sizeof(sums));
    minutes_add(row, NOW + 61 * MINUTE, sums);
    for (unsigned i = 0; i < MINUTES_SHOWN; i++)
        assert_int_equal(sums[i].requests, 0);
}

static void a_place_is_emptied_when_its_minute_comes_round_again(void **state)
{
    struct minutes_sum sums[MINUTES_SHOWN] = {0};

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        minutes_note(row, 1000, true, NOW);
    minutes_note(row, 5, false, NOW + MINUTES_KEPT * MINUTE);
    minutes_add(row, NOW + MINUTES_KEPT * MINUTE, sums);
    assert_int_equal(sums[0].requests, 1);
    assert_int_equal(sums[0].failed, 0);
}

static void the_first_minutes_of_a_machine_are_minutes_too(void **state)
{
    struct minutes_sum sums[MINUTES_SHOWN] = {0};

    (void)state;
    minutes_note(row, 1000, false, 0);
    minutes_add(row, 0, sums);
    assert_int_equal(sums[0].requests, 1);
}

static void a_quantile_is_right_to_a_fifth_of_itself(void **state)
{
    (void)state;
    for (uint64_t us = 70; us < UINT64_C(700) * 1000000; us += us / 7 + 1) {
        struct minutes_sum sums[MINUTES_SHOWN] = {0};
        uint64_t found;

        memset(row, 0, sizeof(*row));
        minutes_note(row, us, false, NOW);
        minutes_add(row, NOW, sums);
        found = minutes_quantile_us(&sums[0], 500);
        assert_in_range(found, us - us / 5, us + us / 5);
    }
}

static void quantiles_are_those_of_all_that_were_counted(void **state)
{
    struct minutes_sum sums[MINUTES_SHOWN] = {0};

    (void)state;
    assert_int_equal(minutes_quantile_us(&sums[0], 990), 0);
    for (unsigned i = 0; i < 98; i++)
        minutes_note(row, 1000, false, NOW);
    for (unsigned i = 0; i < 2; i++)
        minutes_note(row, UINT64_C(50) * 1000000, false, NOW);
    minutes_note(other, UINT64_MAX, false, NOW); /* beyond all bounds */
    minutes_note(other, 0, false, NOW);
    minutes_add(row, NOW, sums);
    assert_in_range(minutes_quantile_us(&sums[0], 500), 800, 1200);
    assert_in_range(minutes_quantile_us(&sums[0], 980), 800, 1200);
    assert_in_range(minutes_quantile_us(&sums[0], 990), 40000000, 60000000);
    memset(sums, 0, sizeof(sums));
    minutes_add(other, NOW, sums);
    assert_in_range(minutes_quantile_us(&sums[0], 0), 1, 64);
    assert_true(minutes_quantile_us(&sums[0], 1000) > UINT64_C(500) * 1000000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_are_added_up_minute_by_minute),
        TEST(what_is_older_than_an_hour_is_not_shown),
        TEST(a_place_is_emptied_when_its_minute_comes_round_again),
        TEST(the_first_minutes_of_a_machine_are_minutes_too),
        TEST(a_quantile_is_right_to_a_fifth_of_itself),
        TEST(quantiles_are_those_of_all_that_were_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
