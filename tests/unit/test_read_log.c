/* What was read of an account's batches, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "once/read_log.h"

#define DAY_MS   (INT64_C(24) * 3600 * 1000)
#define SLACK_MS (READ_LOG_SLACK_S * INT64_C(1000))

static const char *nonce(unsigned n)
{
    static char text[MARKER_NONCE + 1];

    snprintf(text, sizeof(text), "%08x%08x%016x", 9u, n, 7u);
    return text;
}

static void what_was_never_read_excludes_nothing(void **state)
{
    struct read_log log = {0};

    (void)state;
    assert_false(read_log_excludes(&log, READ_LOG_NONCE, nonce(1), 0));
    read_log_add(&log, READ_LOG_NONCE, nonce(1));
    assert_false(read_log_excludes(&log, READ_LOG_NONCE, nonce(2), 0));
    read_log_deinit(&log);
}

static void a_day_that_was_read_excludes_what_was_not_in_it(void **state)
{
    struct read_log log = {0};

    (void)state;
    for (unsigned n = 1; n <= 5000; n++)
        read_log_add(&log, READ_LOG_NONCE, nonce(n));
    read_log_note(&log, log.forgotten, -DAY_MS, 1000);
    for (unsigned n = 1; n <= 5000; n++)
        assert_false(read_log_excludes(&log, READ_LOG_NONCE, nonce(n), -DAY_MS));
    assert_true(read_log_excludes(&log, READ_LOG_NONCE, nonce(5001), -DAY_MS));
    assert_true(read_log_excludes(&log, READ_LOG_NONCE, nonce(0), 0));
    read_log_deinit(&log);
}

static void a_short_read_says_nothing_of_the_time_before_it(void **state)
{
    struct read_log log = {0};

    (void)state;
    read_log_note(&log, log.forgotten, 1000, 2000);
    assert_false(read_log_excludes(&log, READ_LOG_NONCE, nonce(1), 999));
    assert_true(read_log_excludes(&log, READ_LOG_NONCE, nonce(1), 1000));
}

static void reads_that_meet_are_one(void **state)
{
    struct read_log log = {0};

    (void)state;
    read_log_note(&log, log.forgotten, 0, DAY_MS);
    read_log_note(&log, log.forgotten, DAY_MS - SLACK_MS, 2 * DAY_MS);
    assert_int_equal(log.to_ms, 2 * DAY_MS);
    assert_true(read_log_excludes(&log, READ_LOG_NONCE, nonce(1), 0));
    read_log_note(&log, log.forgotten, -DAY_MS, 2 * DAY_MS);
    assert_true(read_log_excludes(&log, READ_LOG_NONCE, nonce(1), -DAY_MS));
}

static void a_gap_between_two_reads_is_not_passed_over(void **state)
{
    struct read_log log = {0};

    (void)state;
    read_log_note(&log, log.forgotten, 0, DAY_MS);
    read_log_note(&log, log.forgotten, DAY_MS - SLACK_MS + 1, 2 * DAY_MS);
    assert_int_equal(log.to_ms, DAY_MS);
}

static void a_read_that_began_earlier_takes_nothing_back(void **state)
{
    struct read_log log = {0};

    (void)state;
    read_log_note(&log, log.forgotten, 0, DAY_MS);
    read_log_note(&log, log.forgotten, 0, DAY_MS - 1);
    assert_int_equal(log.to_ms, DAY_MS);
}

static void a_full_log_forgets_all_and_reads_under_way_are_not_noted(void **state)
{
    struct read_log log = {0};
    uint32_t before = log.forgotten;
    unsigned n = 1;

    (void)state;
    read_log_note(&log, before, 0, DAY_MS);
    while (log.forgotten == before && n < 2 * READ_LOG_MAX)
        read_log_add(&log, READ_LOG_NONCE, nonce(n++));
    assert_true(n > READ_LOG_MAX && n < 2 * READ_LOG_MAX);
    assert_false(read_log_excludes(&log, READ_LOG_NONCE, nonce(0), 0));
    read_log_note(&log, before, 0, DAY_MS);
    assert_false(read_log_excludes(&log, READ_LOG_NONCE, nonce(0), 0));
    read_log_note(&log, log.forgotten, 0, DAY_MS);
    assert_true(read_log_excludes(&log, READ_LOG_NONCE, nonce(0), 0));
    read_log_deinit(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_never_read_excludes_nothing),
        cmocka_unit_test(a_day_that_was_read_excludes_what_was_not_in_it),
        cmocka_unit_test(a_short_read_says_nothing_of_the_time_before_it),
        cmocka_unit_test(reads_that_meet_are_one),
        cmocka_unit_test(a_gap_between_two_reads_is_not_passed_over),
        cmocka_unit_test(a_read_that_began_earlier_takes_nothing_back),
        cmocka_unit_test(a_full_log_forgets_all_and_reads_under_way_are_not_noted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
