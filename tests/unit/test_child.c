/* The decisions about children, without any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <cmocka.h>

#include "master/child.h"

static void a_child_that_ends_for_the_first_time_is_replaced_at_once(void **state)
{
    uint32_t fast_ends = 0;

    (void)state;
    assert_int_equal(child_wait_ms(&fast_ends, 1000, 1001), 0);
}

static void
a_child_that_keeps_ending_fast_waits_twice_as_long_each_time_up_to_five_seconds(void **state)
{
    static const uint32_t expected[] = {0, 200, 400, 800, 1600, 3200, 5000, 5000};
    uint32_t fast_ends = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(child_wait_ms(&fast_ends, 1000, 1000 + CHILD_FAST_MS - 1), expected[i]);
}

static void a_place_never_gives_up_however_often_its_child_ends(void **state)
{
    uint32_t fast_ends = UINT32_MAX - 1;

    (void)state;
    assert_int_equal(child_wait_ms(&fast_ends, 0, 1), CHILD_MAX_WAIT_MS);
    assert_int_equal(child_wait_ms(&fast_ends, 0, 1), CHILD_MAX_WAIT_MS);
    assert_int_equal(fast_ends, UINT32_MAX);
}

static void a_child_that_lived_for_ten_seconds_clears_the_count(void **state)
{
    uint32_t fast_ends = 9;

    (void)state;
    assert_int_equal(child_wait_ms(&fast_ends, 1000, 1000 + CHILD_FAST_MS), 0);
    assert_int_equal(fast_ends, 0);
    assert_int_equal(child_wait_ms(&fast_ends, 20000, 20001), 0);
    assert_int_equal(child_wait_ms(&fast_ends, 20001, 20002), CHILD_FIRST_WAIT_MS);
}

/* Looks once a second from `from_ms` on; returns when the pulse is called still, or `to_ms`. */
static uint64_t watch(struct child_pulse *pulse, uint64_t beat_ms, uint64_t from_ms, uint64_t to_ms)
{
    for (uint64_t now = from_ms; now < to_ms; now += 1000)
        if (child_pulse_is_still(pulse, beat_ms, now))
            return now;
    return to_ms;
}

static void a_heartbeat_that_stands_still_for_thirty_seconds_is_noticed(void **state)
{
    struct child_pulse pulse;

    (void)state;
    child_pulse_start(&pulse, 1000);
    assert_int_equal(watch(&pulse, 1500, 2000, 90000), 2000 + CHILD_STILL_MS + 1000);
}

static void a_child_that_never_beats_is_noticed_too(void **state)
{
    struct child_pulse pulse;

    (void)state;
    child_pulse_start(&pulse, 1000);
    assert_int_equal(watch(&pulse, 0, 1000, 90000), 1000 + CHILD_STILL_MS + 1000);
}

static void a_beating_child_is_left_alone(void **state)
{
    struct child_pulse pulse;

    (void)state;
    child_pulse_start(&pulse, 0);
    for (uint64_t now = 1000; now < 200000; now += 1000)
        assert_false(child_pulse_is_still(&pulse, now - 1, now));
}

static void a_watcher_that_was_stopped_itself_blames_nobody_for_that_time(void **state)
{
    struct child_pulse pulse;

    (void)state;
    child_pulse_start(&pulse, 0);
    assert_false(child_pulse_is_still(&pulse, 900, 1000));
    /* Both were stopped for a minute, and the watcher comes back first. */
    assert_false(child_pulse_is_still(&pulse, 900, 61000));
    assert_false(child_pulse_is_still(&pulse, 900, 62000));
    assert_int_equal(watch(&pulse, 900, 63000, 200000), 61000 + CHILD_STILL_MS + 1000);
}

static void the_end_of_a_child_is_told_in_words(void **state)
{
    char text[CHILD_END_SIZE];

    (void)state;
    child_describe_end(3 << 8, text, sizeof(text));
    assert_string_equal(text, "exit code 3");
    child_describe_end(SIGKILL, text, sizeof(text));
    assert_string_equal(text, "signal 9 (Killed)");
    child_describe_end(SIGSEGV | 0x80, text, sizeof(text));
    assert_string_equal(text, "signal 11 (Segmentation fault, core dumped)");
    child_describe_end(SIGSYS | 0x80, text, sizeof(text));
    assert_string_equal(text, "signal 31 (Bad system call, core dumped): a call that is not on the "
                              "list of tranche_settings.seccomp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_that_ends_for_the_first_time_is_replaced_at_once),
        cmocka_unit_test(
            a_child_that_keeps_ending_fast_waits_twice_as_long_each_time_up_to_five_seconds),
        cmocka_unit_test(a_place_never_gives_up_however_often_its_child_ends),
        cmocka_unit_test(a_child_that_lived_for_ten_seconds_clears_the_count),
        cmocka_unit_test(a_heartbeat_that_stands_still_for_thirty_seconds_is_noticed),
        cmocka_unit_test(a_child_that_never_beats_is_noticed_too),
        cmocka_unit_test(a_beating_child_is_left_alone),
        cmocka_unit_test(a_watcher_that_was_stopped_itself_blames_nobody_for_that_time),
        cmocka_unit_test(the_end_of_a_child_is_told_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
