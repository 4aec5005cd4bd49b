/* meters: rates, gauges and places, by one process; by several at once: test_meters_orders.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/meters.h"
#include "common/shm.h"
#include "hammer.h"

#define NOW  UINT64_C(1000000000)
#define ANN  UINT64_C(0x1111222233334444)
#define BEN  UINT64_C(0x9999888877776666)
#define HUGE UINT64_MAX

static struct meters *m;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(meters_new(64, 16, &m), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    meters_free(m);
    return 0;
}

static bool pass(uint64_t limit, uint64_t now_ms)
{
    uint64_t wait_ms;

    return meters_pass(m, meters_find(m, ANN, now_ms), METERS_PER_MINUTE, limit, HUGE, now_ms,
                       &wait_ms);
}

static void a_minutes_requests_may_come_at_once_and_then_at_the_rate(void **state)
{
    uint64_t wait_ms = 0;
    uint32_t place = meters_find(m, ANN, NOW);

    (void)state;
    for (int i = 0; i < 6; i++)
        assert_true(pass(6, NOW));
    assert_false(meters_pass(m, place, METERS_PER_MINUTE, 6, HUGE, NOW, &wait_ms));
    assert_int_equal(wait_ms, 10000);
    assert_false(pass(6, NOW + 9999));
    assert_true(pass(6, NOW + 10000));
    assert_false(pass(6, NOW + 10001));
    for (int i = 0; i < 6; i++) /* full again, and no fuller than that */
        assert_true(pass(6, NOW + 3600000));
    assert_false(pass(6, NOW + 3600000));
}

static void a_burst_may_be_smaller_or_larger_than_a_second_has(void **state)
{
    uint32_t place = meters_find(m, ANN, NOW), other = meters_find(m, BEN, NOW);
    uint64_t wait_ms = 0;

    (void)state;
    assert_true(meters_pass(m, place, METERS_PER_SECOND, 10, 1, NOW, &wait_ms));
    assert_false(meters_pass(m, place, METERS_PER_SECOND, 10, 1, NOW, &wait_ms));
    assert_int_equal(wait_ms, 100);
    assert_true(meters_pass(m, place, METERS_PER_SECOND, 10, 1, NOW + 100, &wait_ms));
    for (int i = 0; i < 50; i++)
        assert_true(meters_pass(m, other, METERS_PER_SECOND, 10, 50, NOW, &wait_ms));
    assert_false(meters_pass(m, other, METERS_PER_SECOND, 10, 50, NOW, &wait_ms));
}

static void no_limit_lets_all_pass_and_zero_none(void **state)
{
    uint64_t wait_ms = 0;
    uint32_t place = meters_find(m, ANN, NOW);

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_true(meters_pass(m, place, METERS_PER_MINUTE, HUGE, HUGE, NOW, &wait_ms));
    assert_false(meters_pass(m, place, METERS_PER_MINUTE, 0, HUGE, NOW, &wait_ms));
    assert_int_equal(wait_ms, 60000);
    /* more than there are nanoseconds: as good as none */
    assert_true(meters_pass(m, place, METERS_PER_SECOND, HUGE - 1, HUGE, NOW, &wait_ms));
    /* a burst that no word could count */
    assert_true(meters_pass(m, place, METERS_PER_SECOND, 1, HUGE - 1, NOW, &wait_ms));
}

static void what_was_refused_elsewhere_is_given_back(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_true(pass(2, NOW));
        meters_unpass(m, meters_find(m, ANN, NOW), METERS_PER_MINUTE, 2);
    }
    assert_true(pass(2, NOW));
    assert_true(pass(2, NOW));
    assert_false(pass(2, NOW));
}

static void a_limit_that_is_raised_holds_at_once(void **state)
{
    uint64_t wait_ms = 0;
    uint32_t place = meters_find(m, ANN, NOW);

    (void)state;
    for (int i = 0; i < 500; i++) /* now far ahead: 500 s */
        assert_true(meters_pass(m, place, METERS_PER_SECOND, 1, 1000, NOW, &wait_ms));
    assert_false(meters_pass(m, place, METERS_PER_SECOND, 100, 100, NOW, &wait_ms));
    assert_true(meters_pass(m, place, METERS_PER_SECOND, 100, 100, NOW + 10, &wait_ms));
}

static void keys_and_rates_are_counted_apart(void **state)
{
    uint64_t wait_ms = 0;
    uint32_t ann = meters_find(m, ANN, NOW), ben = meters_find(m, BEN, NOW);

    (void)state;
    assert_true(ann != ben);
    assert_int_equal(meters_find(m, ANN, NOW + 500), ann);
    assert_true(meters_pass(m, ann, METERS_PER_MINUTE, 1, HUGE, NOW, &wait_ms));
    assert_false(meters_pass(m, ann, METERS_PER_MINUTE, 1, HUGE, NOW, &wait_ms));
    assert_true(meters_pass(m, ann, METERS_PER_SECOND, 1, HUGE, NOW, &wait_ms));
    assert_true(meters_pass(m, ben, METERS_PER_MINUTE, 1, HUGE, NOW, &wait_ms));
}

static void all_processes_together_hold_no_more_than_the_limit(void **state)
{
    uint32_t place = meters_find(m, ANN, NOW);

    (void)state;
    assert_true(meters_hold(m, 0, place, METERS_REQUESTS, 1, 2));
    assert_true(meters_hold(m, 15, place, METERS_REQUESTS, 1, 2));
    assert_false(meters_hold(m, 3, place, METERS_REQUESTS, 1, 2));
    assert_int_equal(meters_held(m, place, METERS_REQUESTS), 2);
    assert_true(meters_hold(m, 3, place, METERS_UPLOADS, 1, 1)); /* another gauge */
    assert_true(meters_hold(m, 3, place, METERS_BYTES, 1000, 1000));
    assert_false(meters_hold(m, 0, place, METERS_BYTES, 1, 1000));
    assert_false(meters_hold(m, 0, place, METERS_BYTES, HUGE, HUGE));
    meters_release(m, 0, place, METERS_REQUESTS, 1);
    meters_release(m, 3, place, METERS_BYTES, 600);
    assert_int_equal(meters_held(m, place, METERS_REQUESTS), 1);
    assert_int_equal(meters_held(m, place, METERS_UPLOADS), 1);
    assert_int_equal(meters_held(m, place, METERS_BYTES), 400);
    assert_true(meters_hold(m, 0, place, METERS_BYTES, 600, 1000));
}

static void a_dead_process_holds_nothing(void **state)
{
    uint32_t ann = meters_find(m, ANN, NOW), ben = meters_find(m, BEN, NOW);

    (void)state;
    assert_true(meters_hold(m, 5, ann, METERS_REQUESTS, 7, HUGE));
    assert_true(meters_hold(m, 5, ben, METERS_UPLOADS, 2, HUGE));
    assert_true(meters_hold(m, 5, ben, METERS_BYTES, 1 << 20, HUGE));
    assert_true(meters_hold(m, 6, ben, METERS_BYTES, 5, HUGE));
    meters_clear_holder(m, 5);
    meters_clear_holder(m, 9); /* never held anything */
    assert_int_equal(meters_held(m, ann, METERS_REQUESTS), 0);
    assert_int_equal(meters_held(m, ben, METERS_UPLOADS), 0);
    assert_int_equal(meters_held(m, ben, METERS_BYTES), 5);
}

/* Scopes of one bucket: the region has eight of them. */
static uint64_t in_bucket(uint64_t nth)
{
    return nth << 20 | 3;
}

static void a_place_that_nobody_asks_about_goes_to_another_scope(void **state)
{
    uint32_t first, last;

    (void)state;
    for (uint64_t i = 1; i <= 8; i++)
        assert_true(meters_find(m, in_bucket(i), NOW) != METERS_NO_PLACE);
    assert_int_equal(meters_find(m, in_bucket(9), NOW + METERS_IDLE_MS - 1), METERS_NO_PLACE);
    assert_int_equal(meters_unmeasured(m), 1);
    first = meters_find(m, in_bucket(1), NOW + METERS_IDLE_MS - 1); /* in use again */
    last = meters_find(m, in_bucket(9), NOW + 2 * METERS_IDLE_MS - 20000);
    assert_true(last != METERS_NO_PLACE && last != first);
    assert_int_equal(meters_find(m, in_bucket(1), NOW + 2 * METERS_IDLE_MS), first);
    assert_int_equal(meters_find(m, in_bucket(9), NOW + 2 * METERS_IDLE_MS), last);
}

static void a_place_where_something_is_held_or_owed_keeps_its_scope(void **state)
{
    uint64_t late = NOW + 4 * METERS_IDLE_MS, wait_ms = 0;
    uint32_t places[9];

    (void)state;
    for (uint64_t i = 1; i <= 8; i++) {
        places[i] = meters_find(m, in_bucket(i), NOW);
        if (i % 2 == 0)
            assert_true(
                meters_hold(m, (uint32_t)i, places[i], (enum meters_gauge)(i % 3), 1, HUGE));
        else
            for (int n = 0; n < 1000; n++) /* 1,000 s until its bucket is full */
                assert_true(meters_pass(m, places[i], METERS_PER_SECOND, 1, 1000, NOW, &wait_ms));
    }
    assert_int_equal(meters_find(m, in_bucket(9), late), METERS_NO_PLACE);
    meters_release(m, 4, places[4], (enum meters_gauge)(4 % 3), 1);
    assert_int_equal(meters_find(m, in_bucket(9), late), places[4]);
    assert_int_equal(meters_held(m, places[4], METERS_REQUESTS), 0);
    assert_int_equal(meters_find(m, in_bucket(10), NOW + 1000000 + METERS_IDLE_MS), places[1]);
}

static void what_another_process_read_of_the_clock_a_moment_later_is_not_old(void **state)
{
    uint64_t unit = UINT64_C(8192) * 4096; /* the stamps begin again here */

    (void)state;
    for (uint64_t i = 1; i <= 8; i++)
        assert_true(meters_find(m, in_bucket(i), unit) != METERS_NO_PLACE);
    assert_int_equal(meters_find(m, in_bucket(9), unit - 1), METERS_NO_PLACE);
    assert_true(meters_find(m, in_bucket(1), unit - 1) != METERS_NO_PLACE);
}

static void the_next_program_goes_on_with_what_is_held(void **state)
{
    struct meters *other = NULL;
    uint32_t place = meters_find(m, ANN, NOW);

    (void)state;
    assert_true(meters_hold(m, 2, place, METERS_UPLOADS, 3, HUGE));
    assert_int_equal(meters_adopt(dup(shm_fd(m)), 64, 17, &other), ERR_INVALID);
    assert_int_equal(meters_adopt(dup(shm_fd(m)), 65, 16, &other), ERR_INVALID);
    assert_int_equal(meters_adopt(-1, 64, 16, &other), ERR_NOT_FOUND);
    assert_int_equal(meters_adopt(dup(shm_fd(m)), 64, 16, &other), 0);
    assert_int_equal(meters_held(other, meters_find(other, ANN, NOW), METERS_UPLOADS), 3);
    meters_free(other);
}

static void odd_dimensions_are_refused(void **state)
{
    struct meters *none = NULL;

    (void)state;
    assert_int_equal(meters_new(0, 1, &none), ERR_INVALID);
    assert_int_equal(meters_new(1, 0, &none), ERR_INVALID);
    assert_int_equal(meters_new(1, 5000, &none), ERR_INVALID);
    assert_int_equal(meters_new(UINT32_MAX, 1, &none), ERR_INVALID);
    meters_free(NULL);
}

#define ROUNDS 20000

/* Half of the limit of all threads at once, so that many are refused. */
static void *hold_and_release(void *arg)
{
    uint32_t holder = (uint32_t)(uintptr_t)arg;
    uintptr_t wrong = 0;

    for (int i = 0; i < ROUNDS; i++) {
        uint32_t place = meters_find(m, ANN, NOW + (uint64_t)i);

        if (!meters_hold(m, holder, place, METERS_REQUESTS, 1, HAMMER_THREADS / 2))
            continue;
        wrong += meters_held(m, place, METERS_REQUESTS) < 1;
        meters_release(m, holder, place, METERS_REQUESTS, 1);
    }
    return (void *)wrong; /* NOLINT(performance-no-int-to-ptr) */
}

static void what_threads_hold_at_once_ends_at_zero(void **state)
{
    (void)state;
    hammer(hold_and_release);
    assert_int_equal(meters_held(m, meters_find(m, ANN, NOW), METERS_REQUESTS), 0);
}

static _Atomic uint64_t passed;

static void *pass_many(void *arg)
{
    uint64_t wait_ms;

    for (int i = 0; i < ROUNDS; i++)
        passed +=
            meters_pass(m, meters_find(m, BEN, NOW), METERS_PER_MINUTE, 1000, HUGE, NOW, &wait_ms);
    (void)arg;
    return NULL;
}

static void no_more_pass_than_the_limit_whoever_comes_at_once(void **state)
{
    (void)state;
    passed = 0;
    hammer(pass_many);
    assert_int_equal(passed, 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_minutes_requests_may_come_at_once_and_then_at_the_rate),
        T(a_burst_may_be_smaller_or_larger_than_a_second_has),
        T(no_limit_lets_all_pass_and_zero_none),
        T(what_was_refused_elsewhere_is_given_back),
        T(a_limit_that_is_raised_holds_at_once),
        T(keys_and_rates_are_counted_apart),
        T(all_processes_together_hold_no_more_than_the_limit),
        T(a_dead_process_holds_nothing),
        T(a_place_that_nobody_asks_about_goes_to_another_scope),
        T(a_place_where_something_is_held_or_owed_keeps_its_scope),
        T(what_another_process_read_of_the_clock_a_moment_later_is_not_old),
        T(the_next_program_goes_on_with_what_is_held),
        T(odd_dimensions_are_refused),
        T(what_threads_hold_at_once_ends_at_zero),
        T(no_more_pass_than_the_limit_whoever_comes_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
