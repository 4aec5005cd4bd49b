/* When a token is asked for, renewed and used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "entra/entra_when.h"

#define S      UINT64_C(1000) /* milliseconds */
#define NOW    (5000 * S)
#define FIRST  UINT64_C(0)
#define LATEST UINT64_MAX

static struct entra_state obtained(uint32_t lives_s, uint32_t refresh_s, uint64_t random)
{
    struct entra_state state = {0};

    entra_when_obtained(&state, lives_s, refresh_s, NOW, random);
    return state;
}

/* Seconds from when the token came; without jitter. */
static uint64_t renewal_of(uint32_t lives_s, uint32_t refresh_s)
{
    struct entra_state state = obtained(lives_s, refresh_s, FIRST);

    return (entra_when_next(&state, NOW) - NOW) / S;
}

static void test_a_credential_that_never_had_a_token_is_asked_at_once(void **unused)
{
    struct entra_state state = {0};

    (void)unused;
    assert_int_equal(entra_when_use(&state, NOW), ENTRA_USE_NONE);
    assert_int_equal(entra_when_next(&state, NOW), NOW);
    assert_int_equal(entra_when_retry_after_s(&state, NOW), 1);
}

static void test_entra_11_a_token_is_fresh_until_five_minutes_before_its_end(void **unused)
{
    struct entra_state state = obtained(3600, 0, FIRST);

    (void)unused;
    assert_int_equal(entra_when_use(&state, NOW), ENTRA_USE_FRESH);
    assert_int_equal(entra_when_use(&state, NOW + 3300 * S - 1), ENTRA_USE_FRESH);
    assert_int_equal(entra_when_use(&state, NOW + 3300 * S), ENTRA_USE_OLD);
    assert_int_equal(entra_when_use(&state, NOW + 3600 * S - 1), ENTRA_USE_OLD);
    assert_int_equal(entra_when_use(&state, NOW + 3600 * S), ENTRA_USE_NONE);
}

static void test_entra_11_it_is_renewed_in_its_last_tenth(void **unused)
{
    (void)unused;
    assert_int_equal(renewal_of(3600, 0), 3240);
    assert_int_equal(renewal_of(7200, 0), 6480);
}

static void test_entra_11_one_of_over_two_hours_is_renewed_at_half_of_them(void **unused)
{
    (void)unused;
    assert_int_equal(renewal_of(7202, 0), 3601);
    assert_int_equal(renewal_of(86400, 0), 43200);
}

static void test_entra_11_refresh_in_goes_before_both(void **unused)
{
    (void)unused;
    assert_int_equal(renewal_of(86400, 7000), 7000);
    assert_int_equal(renewal_of(3600, 1800), 1800);
    assert_int_equal(renewal_of(86400, 50000), 50000);
}

static void test_entra_11_a_refresh_in_of_nonsense_neither_hurries_nor_delays(void **unused)
{
    (void)unused;
    assert_int_equal(renewal_of(3600, 1), 60);
    assert_int_equal(renewal_of(3600, 3600), 3240);
    assert_int_equal(renewal_of(3600, UINT32_MAX), 3240);
}

static void test_entra_11_a_short_life_is_used_to_its_half_and_renewed_then(void **unused)
{
    struct entra_state state = obtained(100, 0, FIRST);

    (void)unused;
    assert_int_equal(renewal_of(600, 0), 300);
    assert_int_equal(renewal_of(300, 0), 150);
    assert_int_equal(renewal_of(100, 0), 50);
    assert_int_equal(renewal_of(1, 0), 1);
    assert_int_equal(entra_when_use(&state, NOW + 50 * S - 1), ENTRA_USE_FRESH);
    assert_int_equal(entra_when_use(&state, NOW + 50 * S), ENTRA_USE_OLD);
}

static void test_entra_11_jitter_brings_renewals_forward_by_a_tenth_at_most(void **unused)
{
    uint64_t earliest = LATEST, latest = 0, random = 88172645463325252u;

    (void)unused;
    for (int i = 0; i < 200; i++) {
        struct entra_state state;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        state = obtained(3600, 0, random >> 16);
        earliest = state.renew_ms < earliest ? state.renew_ms : earliest;
        latest = state.renew_ms > latest ? state.renew_ms : latest;
    }
    assert_true(earliest >= NOW + 2916 * S && latest <= NOW + 3240 * S);
    assert_true(latest - earliest > 250 * S);
}

static uint64_t wait_after(struct entra_state *state, enum entra_outcome outcome, int64_t asked,
                           uint64_t random)
{
    entra_when_failed(state, outcome, asked, NOW, random);
    return entra_when_next(state, NOW) - NOW;
}

static void test_a_service_that_is_down_is_asked_after_1_2_4_to_60_seconds(void **unused)
{
    static const uint64_t waits[] = {1, 2, 4, 8, 16, 32, 48, 48, 48};
    struct entra_state state = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
        assert_int_equal(wait_after(&state, ENTRA_PASSING, -1, FIRST), waits[i] * S);
    state = (struct entra_state){0};
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        uint64_t wait = wait_after(&state, ENTRA_PASSING, -1, waits[i] * 250);

        assert_int_equal(wait, waits[i] * S + (waits[i] * 250) % (waits[i] * 250 + 1));
        assert_true(wait <= 60 * S);
    }
}

static void test_a_back_off_never_ends_however_often_it_fails(void **unused)
{
    struct entra_state state = {.failures = UINT32_MAX};

    (void)unused;
    assert_int_equal(wait_after(&state, ENTRA_PASSING, -1, FIRST), 48 * S);
    assert_int_equal(state.failures, UINT32_MAX);
}

static void test_entra_14_nobody_calls_before_the_wait_that_was_asked_for(void **unused)
{
    struct entra_state state = {0};

    (void)unused;
    assert_int_equal(wait_after(&state, ENTRA_THROTTLED, 60, FIRST), 60 * S);
    assert_true(wait_after(&state, ENTRA_THROTTLED, 60, 12345) >= 60 * S);
    assert_true(wait_after(&state, ENTRA_THROTTLED, 60, 6000) <= 65 * S);
    assert_int_equal(wait_after(&state, ENTRA_THROTTLED, 0, FIRST), 1 * S);
    assert_int_equal(wait_after(&state, ENTRA_THROTTLED, 1000000, FIRST), 3600 * S);
    assert_int_equal(wait_after(&state, ENTRA_THROTTLED, INT64_MAX / 1000, FIRST), 3600 * S);
    assert_int_equal(wait_after(&state, ENTRA_PASSING, 300, FIRST), 300 * S);
}

static void test_entra_14_a_429_that_names_no_wait_gets_five_seconds_and_more(void **unused)
{
    struct entra_state state = {0};

    (void)unused;
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_after(&state, ENTRA_THROTTLED, -1, FIRST), 5 * S);
    assert_int_equal(wait_after(&state, ENTRA_THROTTLED, -1, FIRST), 8 * S);
}

static void test_entra_14_a_wait_holds_even_when_the_token_is_thrown_away(void **unused)
{
    struct entra_state state = obtained(3600, 0, FIRST);

    (void)unused;
    (void)wait_after(&state, ENTRA_THROTTLED, 60, FIRST);
    entra_when_dropped(&state);
    assert_int_equal(entra_when_use(&state, NOW), ENTRA_USE_NONE);
    assert_int_equal(entra_when_next(&state, NOW), NOW + 60 * S);
    assert_int_equal(entra_when_retry_after_s(&state, NOW), 60);
    assert_int_equal(entra_when_retry_after_s(&state, NOW + 59 * S + 1), 1);
}

static void test_entra_15_what_is_final_is_asked_again_once_a_minute(void **unused)
{
    struct entra_state state = {0};

    (void)unused;
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_after(&state, ENTRA_FINAL, -1, LATEST), 60 * S);
}

static void test_entra_6_an_assertion_that_is_over_is_tried_once_more_at_once(void **unused)
{
    struct entra_state state = {0};

    (void)unused;
    assert_int_equal(wait_after(&state, ENTRA_OUT_OF_TIME, -1, FIRST), 0);
    assert_int_equal(wait_after(&state, ENTRA_OUT_OF_TIME, -1, FIRST), 60 * S);
    assert_int_equal(wait_after(&state, ENTRA_OUT_OF_TIME, -1, FIRST), 60 * S);
    entra_when_obtained(&state, 3600, 0, NOW, FIRST);
    assert_int_equal(wait_after(&state, ENTRA_OUT_OF_TIME, -1, FIRST), 3240 * S);
    assert_int_equal(state.wait_ms, NOW);
}

static void test_entra_13_a_renewal_that_fails_changes_nothing_of_the_token(void **unused)
{
    struct entra_state state = obtained(3600, 0, FIRST), before = state;
    uint64_t then = NOW + 3400 * S;

    (void)unused;
    entra_when_failed(&state, ENTRA_PASSING, -1, then, FIRST);
    assert_int_equal(state.ends_ms, before.ends_ms);
    assert_int_equal(entra_when_use(&state, then), ENTRA_USE_OLD);
    assert_int_equal(entra_when_use(&state, NOW + 3600 * S - 1), ENTRA_USE_OLD);
    assert_int_equal(entra_when_next(&state, then), then + 1 * S);
}

static void test_a_token_ends_all_waits_and_counts(void **unused)
{
    struct entra_state state = {0};

    (void)unused;
    (void)wait_after(&state, ENTRA_PASSING, -1, FIRST);
    (void)wait_after(&state, ENTRA_FINAL, -1, FIRST);
    entra_when_obtained(&state, 3600, 0, NOW, FIRST);
    assert_int_equal(state.failures, 0);
    assert_int_equal(state.wait_ms, 0);
    assert_int_equal(wait_after(&state, ENTRA_PASSING, -1, FIRST), 3240 * S);
}

static void test_entra_16_a_token_that_was_thrown_away_is_due_at_once(void **unused)
{
    struct entra_state state = obtained(3600, 0, FIRST);

    (void)unused;
    entra_when_dropped(&state);
    assert_int_equal(entra_when_next(&state, NOW), NOW);
    assert_int_equal(entra_when_use(&state, NOW), ENTRA_USE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_credential_that_never_had_a_token_is_asked_at_once),
        cmocka_unit_test(test_entra_11_a_token_is_fresh_until_five_minutes_before_its_end),
        cmocka_unit_test(test_entra_11_it_is_renewed_in_its_last_tenth),
        cmocka_unit_test(test_entra_11_one_of_over_two_hours_is_renewed_at_half_of_them),
        cmocka_unit_test(test_entra_11_refresh_in_goes_before_both),
        cmocka_unit_test(test_entra_11_a_refresh_in_of_nonsense_neither_hurries_nor_delays),
        cmocka_unit_test(test_entra_11_a_short_life_is_used_to_its_half_and_renewed_then),
        cmocka_unit_test(test_entra_11_jitter_brings_renewals_forward_by_a_tenth_at_most),
        cmocka_unit_test(test_a_service_that_is_down_is_asked_after_1_2_4_to_60_seconds),
        cmocka_unit_test(test_a_back_off_never_ends_however_often_it_fails),
        cmocka_unit_test(test_entra_14_nobody_calls_before_the_wait_that_was_asked_for),
        cmocka_unit_test(test_entra_14_a_429_that_names_no_wait_gets_five_seconds_and_more),
        cmocka_unit_test(test_entra_14_a_wait_holds_even_when_the_token_is_thrown_away),
        cmocka_unit_test(test_entra_15_what_is_final_is_asked_again_once_a_minute),
        cmocka_unit_test(test_entra_6_an_assertion_that_is_over_is_tried_once_more_at_once),
        cmocka_unit_test(test_entra_13_a_renewal_that_fails_changes_nothing_of_the_token),
        cmocka_unit_test(test_a_token_ends_all_waits_and_counts),
        cmocka_unit_test(test_entra_16_a_token_that_was_thrown_away_is_due_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
