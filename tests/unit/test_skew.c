/* What is believed of a provider's clock: how far an answer proves it, when it is news, and what
 * was the lowest in a day. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "balancer/skew.h"

#define NOW_S  INT64_C(1800000000)
#define NOW_MS (NOW_S * 1000)
#define BEGUN  UINT64_C(1000000) /* monotonic */
#define HOUR   3600

/* An answer of a provider whose clock is so far ahead, that took so long. */
static struct skew_sample answer(int64_t ahead_s, int64_t took_ms)
{
    return (struct skew_sample){
        .date_s = NOW_S + ahead_s, .sent_ms = NOW_MS, .came_ms = NOW_MS + took_ms};
}

static int64_t after(int64_t before_s, int64_t ahead_s, int64_t took_ms)
{
    struct skew_sample sample = answer(ahead_s, took_ms);

    return skew_after(before_s, &sample);
}

static bool learn(struct skew *skew, int64_t ahead_s, uint64_t now_ms)
{
    struct skew_sample sample = answer(ahead_s, 0);

    return skew_learn(skew, &sample, now_ms);
}

static void a_clock_that_is_right_is_never_suspected(void **state)
{
    (void)state;
    assert_int_equal(after(0, 0, 0), 0);
    assert_int_equal(after(0, 0, 999), 0);
    assert_int_equal(after(0, 3, 5000), 0); /* made three of the five seconds later */
}

static void an_answer_moves_it_as_far_as_it_proves(void **state)
{
    (void)state;
    assert_int_equal(after(0, 900, 0), 900);
    assert_int_equal(after(0, -900, 0), -899); /* it was made within the second that is told */
    assert_int_equal(after(0, 900, 60000), 840);
    assert_int_equal(after(0, -900, 60000), -899);
    assert_int_equal(after(870, 900, 60000), 870); /* nothing speaks against it */
    assert_int_equal(after(93600, 0, 0), 1);
}

static void a_time_that_no_clock_tells_proves_nothing(void **state)
{
    struct skew_sample odd = {.date_s = INT64_MAX, .sent_ms = NOW_MS, .came_ms = NOW_MS};

    (void)state;
    assert_int_equal(after(7, -NOW_S, 0), 7);
    assert_int_equal(after(7, SKEW_MAX_S + 1, 0), 7);
    assert_int_equal(after(7, SKEW_MAX_S, 0), SKEW_MAX_S);
    assert_int_equal(after(7, 900, -1), 7); /* our own clock was put back meanwhile */
    assert_int_equal(skew_after(7, &odd), 7);
    odd.date_s = -1;
    assert_int_equal(skew_after(7, &odd), 7);
}

static void a_skew_is_news_once_until_it_changes(void **state)
{
    struct skew skew = {0};

    (void)state;
    assert_false(learn(&skew, SKEW_WARN_S, BEGUN));
    assert_true(learn(&skew, 900, BEGUN));
    assert_false(learn(&skew, 901, BEGUN));
    assert_false(learn(&skew, 900 + SKEW_WARN_S, BEGUN));
    assert_true(learn(&skew, 901 + SKEW_WARN_S, BEGUN));
    assert_true(learn(&skew, -900, BEGUN));
    assert_int_equal(skew_now_s(&skew), -899);
    assert_false(learn(&skew, -(SKEW_WARN_S - 1), BEGUN)); /* at the edge nothing is told */
    assert_true(learn(&skew, 0, BEGUN));
    assert_false(learn(&skew, 0, BEGUN));
}

static void the_lowest_of_a_day_is_kept(void **state)
{
    struct skew skew = {0};

    (void)state;
    assert_int_equal(skew_low_s(&skew), 0);
    learn(&skew, 900, BEGUN);
    assert_int_equal(skew_low_s(&skew), 0); /* nobody knows what was before */
    learn(&skew, -900, BEGUN);
    assert_int_equal(skew_low_s(&skew), -899);
    learn(&skew, 26 * HOUR, BEGUN + 1);
    assert_int_equal(skew_now_s(&skew), 26 * HOUR);
    assert_int_equal(skew_low_s(&skew), -899);
    learn(&skew, 26 * HOUR, BEGUN + SKEW_KEEP_MS - 120000);
    assert_int_equal(skew_low_s(&skew), -899);
    learn(&skew, 26 * HOUR, BEGUN + SKEW_KEEP_MS + 120000);
    assert_int_equal(skew_low_s(&skew), 26 * HOUR);
}

static void a_jump_ahead_forgets_nothing_however_long_it_was_right_before(void **state)
{
    struct skew skew = {0};

    (void)state;
    learn(&skew, 0, BEGUN);
    learn(&skew, 0, BEGUN + 10 * (uint64_t)SKEW_KEEP_MS);
    learn(&skew, 26 * HOUR, BEGUN + 20 * (uint64_t)SKEW_KEEP_MS);
    assert_in_range(skew_low_s(&skew), 0, 1);
}

static void a_process_that_looked_a_moment_earlier_does_not_end_the_day(void **state)
{
    struct skew skew = {0};

    (void)state;
    learn(&skew, -900, BEGUN + 60000);
    learn(&skew, 900, BEGUN);
    assert_int_equal(skew_low_s(&skew), -899);
}

static void what_is_forgotten_is_as_if_it_had_never_been(void **state)
{
    struct skew skew = {0};

    (void)state;
    learn(&skew, -900, BEGUN);
    skew_forget(&skew);
    assert_int_equal(skew_now_s(&skew), 0);
    assert_int_equal(skew_low_s(&skew), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_that_is_right_is_never_suspected),
        cmocka_unit_test(an_answer_moves_it_as_far_as_it_proves),
        cmocka_unit_test(a_time_that_no_clock_tells_proves_nothing),
        cmocka_unit_test(a_skew_is_news_once_until_it_changes),
        cmocka_unit_test(the_lowest_of_a_day_is_kept),
        cmocka_unit_test(a_jump_ahead_forgets_nothing_however_long_it_was_right_before),
        cmocka_unit_test(a_process_that_looked_a_moment_earlier_does_not_end_the_day),
        cmocka_unit_test(what_is_forgotten_is_as_if_it_had_never_been),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
