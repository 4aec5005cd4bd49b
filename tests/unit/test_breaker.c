/* breaker: when a deployment rests, for how long, and who may probe it. What happens at the same
 * time is in test_breaker_orders.c. */
#include "breaker_world.h"

static void a_fresh_word_is_up_and_admits(void **state)
{
    struct breaker_view v = view_of(0);

    (void)state;
    assert_int_equal(v.state, BREAKER_CLOSED);
    assert_int_equal(v.reason, OUTCOME_OK);
    assert_true(breaker_admits(0, 0));
}

/* memcmp() would look at the padding. */
static void assert_same(const struct breaker_view *a, const struct breaker_view *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->failures, b->failures);
    assert_int_equal(a->rounds, b->rounds);
    assert_int_equal(a->firm, b->firm);
    assert_int_equal(a->until_ms, b->until_ms);
    assert_int_equal(a->minute, b->minute);
    assert_int_equal(a->minute_tries, b->minute_tries);
    assert_int_equal(a->minute_failures, b->minute_failures);
}

static void what_is_packed_is_unpacked_and_what_is_too_great_is_cut(void **state)
{
    const struct breaker_view in = {.state = BREAKER_HALF_OPEN,
                                    .reason = OUTCOME_CANCELLED,
                                    .failures = 255,
                                    .rounds = 63,
                                    .firm = true,
                                    .until_ms = UINT64_C(0x7ffffffffff)};
    const struct breaker_view up = {.reason = OUTCOME_TIMEOUT,
                                    .failures = 255,
                                    .rounds = 63,
                                    .minute = 0x7fff,
                                    .minute_tries = 16383,
                                    .minute_failures = 16382};
    const struct breaker_view great = {.state = BREAKER_OPEN,
                                       .reason = OUTCOME_TIMEOUT,
                                       .failures = 1000,
                                       .rounds = 1000,
                                       .until_ms = UINT64_MAX};
    const struct breaker_view great_up = {
        .minute = 0x18001, .minute_tries = 20000, .minute_failures = 20000};
    struct breaker_view out;

    (void)state;
    out = view_of(breaker_pack(&in));
    assert_same(&in, &out);
    out = view_of(breaker_pack(&up));
    assert_same(&up, &out);
    out = view_of(breaker_pack(&great_up));
    assert_int_equal(out.state, BREAKER_CLOSED);
    assert_int_equal(out.failures, 0);
    assert_int_equal(out.minute, 1);
    assert_int_equal(out.minute_tries, 16383);
    assert_int_equal(out.minute_failures, 16383);
    out = view_of(breaker_pack(&great));
    assert_int_equal(out.state, BREAKER_OPEN);
    assert_int_equal(out.reason, OUTCOME_TIMEOUT);
    assert_int_equal(out.failures, 255);
    assert_int_equal(out.rounds, 63);
    assert_true(out.until_ms == (UINT64_C(1) << 43) - 1);
}

static void three_failures_in_a_row_are_forgiven_and_the_fourth_begins_a_rest(void **state)
{
    static const enum outcome bad[] = {OUTCOME_AUTH,      OUTCOME_RATE_LIMIT, OUTCOME_TIMEOUT,
                                       OUTCOME_CONNECT,   OUTCOME_BROKEN,     OUTCOME_SERVER_ERROR,
                                       OUTCOME_BAD_ANSWER};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t w = 0;

        for (int n = 0; n < 3; n++) {
            w = next(w, bad[i], NOW);
            assert_int_equal(view_of(w).state, BREAKER_CLOSED);
            assert_true(breaker_admits(w, NOW));
        }
        w = next(w, bad[i], NOW);
        assert_int_equal(view_of(w).state, BREAKER_OPEN);
        assert_int_equal(view_of(w).reason, bad[i]);
        assert_int_equal(view_of(w).failures, 4);
        assert_false(breaker_admits(w, NOW));
    }
}

static void a_success_between_failures_starts_the_count_anew(void **state)
{
    uint64_t w = 0;

    (void)state;
    for (int n = 0; n < 3; n++)
        w = next(w, OUTCOME_TIMEOUT, NOW);
    w = next(w, OUTCOME_OK, NOW);
    assert_int_equal(view_of(w).failures, 0);
    for (int n = 0; n < 3; n++)
        w = next(w, OUTCOME_TIMEOUT, NOW);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
}

static void a_cancelled_try_counts_neither_way(void **state)
{
    uint64_t w = next(0, OUTCOME_TIMEOUT, NOW), cooling = cooling_word();

    (void)state;
    assert_true(next(w, OUTCOME_CANCELLED, NOW) == w);
    assert_true(next(cooling, OUTCOME_CANCELLED, NOW) == cooling);
    assert_true(next(0, OUTCOME_CANCELLED, NOW) == 0);
}

static void without_allowed_fails_the_first_failure_begins_a_rest(void **state)
{
    const struct breaker_policy strict = breaker_policy(0, 5000);

    (void)state;
    assert_int_equal(view_of(breaker_next(0, &strict, OUTCOME_CONNECT, -1, 1, NOW)).state,
                     BREAKER_OPEN);
}

static void each_kind_of_failure_has_a_number_of_its_own(void **state)
{
    struct breaker_policy own = policy;
    uint64_t w = 0;

    (void)state;
    own.allowed[OUTCOME_AUTH] = 0;
    own.allowed[OUTCOME_RATE_LIMIT] = 1000000;
    for (int i = 0; i < 300; i++)
        w = breaker_next(w, &own, OUTCOME_RATE_LIMIT, -1, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    /* They are counted together, and measured by the last one. */
    assert_int_equal(view_of(breaker_next(w, &own, OUTCOME_CONNECT, -1, 7, NOW)).state,
                     BREAKER_OPEN);
    assert_int_equal(view_of(breaker_next(0, &own, OUTCOME_AUTH, -1, 7, NOW)).state, BREAKER_OPEN);
    assert_int_equal(view_of(breaker_next(0, &own, OUTCOME_CONNECT, -1, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void where_the_operator_says_nothing_a_refused_key_alone_begins_a_rest(void **state)
{
    struct breaker_policy none = breaker_policy_default(5000);
    uint64_t w = breaker_next(0, &none, OUTCOME_AUTH, -1, 7, NOW);

    (void)state;
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    assert_int_equal(view_of(w).failures, 1);
    assert_in_range(view_of(w).until_ms, NOW + 4000, NOW + 6000);
    for (int outcome = OUTCOME_RATE_LIMIT; outcome <= OUTCOME_BAD_ANSWER; outcome++) {
        w = 0;
        for (int i = 0; i < 3; i++)
            w = breaker_next(w, &none, (enum outcome)outcome, -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        w = breaker_next(w, &none, (enum outcome)outcome, -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_OPEN);
    }
}

static void where_the_operator_says_nothing_more_than_half_of_five_tries_begins_a_rest(void **state)
{
    static const enum outcome outcomes[] = {OUTCOME_TIMEOUT, OUTCOME_OK, OUTCOME_TIMEOUT,
                                            OUTCOME_OK, OUTCOME_TIMEOUT};
    struct breaker_policy none = breaker_policy_default(5000);
    uint64_t w = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        w = breaker_next(w, &none, outcomes[i], -1, 7, NOW);
    }
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
}

static void where_rests_are_disabled_nothing_begins_one(void **state)
{
    struct breaker_policy none = breaker_policy(0, 5000);
    uint64_t w = 0;

    (void)state;
    none.never_rests = none.per_minute = true;
    for (int i = 0; i < 300; i++) {
        enum outcome outcome = (enum outcome)(OUTCOME_AUTH + i % (OUTCOME_BAD_ANSWER));

        w = breaker_next(w, &none, outcome, i % 2 == 0 ? 9000 : -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        assert_int_equal(view_of(w).reason, outcome);
    }
    assert_int_equal(view_of(w).failures, 255);
    assert_int_equal(view_of(breaker_next(w, &none, OUTCOME_OK, -1, 7, NOW)).failures, 0);
}

static void where_rests_are_disabled_a_rest_from_before_ends_with_the_next_try(void **state)
{
    struct breaker_policy none = policy;
    uint64_t throttled = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 60000, 7, NOW);

    (void)state;
    none.never_rests = true;
    assert_int_equal(view_of(throttled).state, BREAKER_OPEN);
    assert_int_equal(view_of(breaker_next(throttled, &none, OUTCOME_OK, -1, 7, NOW)).state,
                     BREAKER_CLOSED);
    assert_int_equal(view_of(breaker_next(throttled, &none, OUTCOME_AUTH, -1, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void a_row_with_a_time_of_its_own_rests_for_that_whatever_its_provider_asks_for(void **state)
{
    struct breaker_policy own = breaker_policy(3, 20000);
    uint64_t w = breaker_next(0, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW);

    (void)state;
    assert_int_equal(view_of(w).until_ms, NOW + 120000);
    own.own_time = true;
    w = breaker_next(0, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_OPEN); /* at once all the same */
    assert_true(view_of(w).firm);
    assert_in_range(view_of(w).until_ms, NOW + 16000, NOW + 24000);
    assert_true(breaker_next(w, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW + 1) ==
                breaker_next(w, &own, OUTCOME_RATE_LIMIT, -1, 7, NOW + 1));
    w = breaker_next(0, &own, OUTCOME_SERVER_ERROR, 1, 7, NOW);
    assert_in_range(view_of(w).until_ms, NOW + 16000, NOW + 24000);
    own.cooldown_ms = 0;
    assert_int_equal(view_of(breaker_next(0, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void with_a_number_per_minute_successes_between_do_not_help(void **state)
{
    struct breaker_policy per_minute = policy;
    uint64_t w = 0;

    (void)state;
    per_minute.per_minute = true;
    for (int i = 0; i < 3; i++) {
        w = breaker_next(w, &per_minute, OUTCOME_TIMEOUT, -1, 7, NOW + i);
        w = breaker_next(w, &per_minute, OUTCOME_OK, -1, 7, NOW + i);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    }
    assert_int_equal(
        view_of(breaker_next(w, &per_minute, OUTCOME_TIMEOUT, -1, 7, NOW + 60000)).state,
        BREAKER_CLOSED); /* of another minute */
    w = breaker_next(w, &per_minute, OUTCOME_TIMEOUT, -1, 7, NOW + 3);
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    assert_int_equal(view_of(w).failures, 1);
    assert_int_equal(view_of(next(w, OUTCOME_OK, NOW + 4)).state, BREAKER_CLOSED);
}

/* Ninety percent of the polls of a minute go through: that is no reason to rest. */
static void a_share_of_failures_begins_a_rest_only_above_half_and_from_five_tries_on(void **state)
{
    static const struct {
        const char *tries; /* in time: + a success, - a failure */
        enum breaker_state end;
    } cases[] = {{"-+-", BREAKER_CLOSED},       {"-+--", BREAKER_CLOSED},
                 {"-+-+-", BREAKER_OPEN},       {"+++---", BREAKER_CLOSED},
                 {"+++--+-+-", BREAKER_CLOSED}, {"+--+--", BREAKER_OPEN},
                 {"++++++++-", BREAKER_CLOSED}, {"-++-++-++-++-", BREAKER_CLOSED},
                 {"+-+--+--", BREAKER_OPEN},    {"-+--+-+", BREAKER_OPEN}};
    struct breaker_policy rate = policy;

    (void)state;
    rate.rate_percent = 50;
    rate.rate_min = 5;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t w = 0;

        for (const char *c = cases[i].tries; *c != '\0'; c++)
            w = breaker_next(w, &rate, *c == '+' ? OUTCOME_OK : OUTCOME_SERVER_ERROR, -1, 7, NOW);
        if (view_of(w).state != cases[i].end)
            fail_msg("%s: %s", cases[i].tries, breaker_state_name(view_of(w).state));
    }
}

static void a_share_is_of_one_minute_and_a_rest_for_it_is_sat_out(void **state)
{
    struct breaker_policy rate = policy;
    uint64_t w = 0, until;

    (void)state;
    rate.rate_percent = 50;
    rate.rate_min = 5;
    for (int i = 0; i < 4; i++)
        w = breaker_next(w, &rate, i % 2 == 0 ? OUTCOME_TIMEOUT : OUTCOME_OK, -1, 7, NOW);
    assert_int_equal(view_of(w).minute_tries, 4);
    assert_int_equal(view_of(w).minute_failures, 2);
    assert_int_equal(view_of(breaker_next(w, &rate, OUTCOME_TIMEOUT, -1, 7, NOW + 60000)).state,
                     BREAKER_CLOSED);
    w = breaker_next(w, &rate, OUTCOME_TIMEOUT, -1, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    until = view_of(w).until_ms;
    assert_true(breaker_next(w, &rate, OUTCOME_OK, -1, 7, until - 1) == w);
    w = breaker_next(w, &rate, OUTCOME_OK, -1, 7, until);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    assert_int_equal(view_of(w).minute_tries, 1);
    assert_int_equal(view_of(w).minute_failures, 0);
}

static void a_minute_of_very_many_tries_keeps_its_share(void **state)
{
    struct breaker_policy rate = policy;
    uint64_t w = 0;

    (void)state;
    rate.rate_percent = 50;
    rate.rate_min = 5;
    for (int i = 0; i < 100000; i++) {
        w = breaker_next(w, &rate, i % 3 == 0 ? OUTCOME_TIMEOUT : OUTCOME_OK, -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        assert_true(view_of(w).minute_failures <= view_of(w).minute_tries);
    }
    assert_in_range(view_of(w).minute_failures * 100 / view_of(w).minute_tries, 30, 35);
}

static void where_nobody_asks_for_a_share_successes_are_not_written_down(void **state)
{
    (void)state;
    assert_true(next(0, OUTCOME_OK, NOW) == 0);
}

static void a_cooldown_time_of_none_means_no_rests_but_those_asked_for(void **state)
{
    const struct breaker_policy none = breaker_policy(0, 0);
    uint64_t w = 0;

    (void)state;
    for (int i = 0; i < 10; i++)
        w = breaker_next(w, &none, OUTCOME_SERVER_ERROR, -1, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    w = breaker_next(w, &none, OUTCOME_RATE_LIMIT, 4000, 7, NOW);
    assert_int_equal(view_of(w).until_ms, NOW + 4000);
    w = breaker_next(w, &none, OUTCOME_SERVER_ERROR, -1, 7, NOW + 4000);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    assert_int_equal(view_of(w).rounds, 0);
}

static void a_cooldown_time_above_five_minutes_is_kept_but_not_grown(void **state)
{
    const struct breaker_policy slow = breaker_policy(0, 600000);
    uint64_t w = breaker_next(0, &slow, OUTCOME_CONNECT, -1, 7, NOW), until = view_of(w).until_ms;

    (void)state;
    assert_in_range(until - NOW, 480000, 600000);
    w = breaker_next(w, &slow, OUTCOME_CONNECT, -1, 7, until);
    assert_in_range(view_of(w).until_ms - until, 480000, 600000);
    w = breaker_next(0, &slow, OUTCOME_RATE_LIMIT, 600000, 7, NOW);
    assert_int_equal(view_of(w).until_ms, NOW + 300000);
}

static void a_throttled_deployment_rests_for_as_long_as_retry_after_says(void **state)
{
    uint64_t w = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 42000, 7, NOW);

    (void)state;
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    assert_int_equal(view_of(w).until_ms, NOW + 42000);
    assert_false(breaker_admits(w, NOW + 41999));
    assert_true(breaker_admits(w, NOW + 42000));
    w = breaker_next(0, &policy, OUTCOME_SERVER_ERROR, 1500, 7, NOW);
    assert_int_equal(view_of(w).until_ms, NOW + 1500);
}

static void a_retry_after_of_days_is_cut_to_five_minutes_and_one_of_zero_is_none(void **state)
{
    (void)state;
    assert_int_equal(
        view_of(breaker_next(0, &policy, OUTCOME_RATE_LIMIT, INT64_MAX, 7, NOW)).until_ms,
        NOW + 300000);
    assert_int_equal(view_of(breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 0, 7, NOW)).state,
                     BREAKER_CLOSED);
    assert_int_equal(view_of(breaker_next(0, &policy, OUTCOME_RATE_LIMIT, INT64_MIN, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void a_retry_after_of_another_failure_is_not_believed(void **state)
{
    (void)state;
    assert_int_equal(view_of(breaker_next(0, &policy, OUTCOME_AUTH, 42000, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void a_success_from_before_does_not_end_a_rest_that_a_429_began(void **state)
{
    uint64_t w = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 42000, 7, NOW);

    (void)state;
    assert_true(next(w, OUTCOME_OK, NOW + 100) == w);
    assert_int_equal(view_of(next(w, OUTCOME_OK, NOW + 42000)).state, BREAKER_CLOSED);
}

static void a_success_ends_any_other_rest(void **state)
{
    (void)state;
    assert_int_equal(view_of(next(cooling_word(), OUTCOME_OK, NOW + 1)).state, BREAKER_CLOSED);
}

/* Ten uploads were under way when it went down: that is one outage, not ten. */
static void late_failures_of_one_outage_do_not_prolong_the_rest(void **state)
{
    uint64_t w = cooling_word(), until = view_of(w).until_ms;

    (void)state;
    for (int i = 0; i < 6; i++)
        w = next(w, OUTCOME_BROKEN, NOW + 1000);
    assert_int_equal(view_of(w).until_ms, until);
    assert_int_equal(view_of(w).rounds, 1);
    assert_int_equal(view_of(w).reason, OUTCOME_SERVER_ERROR);
    assert_int_equal(view_of(w).failures, 10);
}

static void a_later_end_named_during_a_rest_prolongs_it_and_an_earlier_one_does_not(void **state)
{
    uint64_t w = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 20000, 7, NOW);

    (void)state;
    w = breaker_next(w, &policy, OUTCOME_RATE_LIMIT, 5000, 7, NOW + 1000);
    assert_int_equal(view_of(w).until_ms, NOW + 20000);
    w = breaker_next(w, &policy, OUTCOME_RATE_LIMIT, 30000, 7, NOW + 1000);
    assert_int_equal(view_of(w).until_ms, NOW + 31000);
    assert_int_equal(view_of(w).rounds, 1);
}

static void each_rest_in_a_row_is_about_twice_as_long_up_to_five_minutes(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 200; seed++) {
        uint64_t now = NOW, w = 0, expected = 5000;

        for (int i = 0; i < 3; i++)
            w = breaker_next(w, &policy, OUTCOME_CONNECT, -1, seed, now);
        for (uint32_t round = 1; round <= 100; round++) {
            uint64_t rest;

            w = breaker_next(w, &policy, OUTCOME_CONNECT, -1, seed, now);
            rest = view_of(w).until_ms - now;
            assert_int_equal(view_of(w).state, BREAKER_OPEN);
            assert_int_equal(view_of(w).rounds, round < 63 ? round : 63);
            assert_in_range(rest, expected * 8 / 10,
                            expected * 12 / 10 < 300000 ? expected * 12 / 10 : 300000);
            expected = expected * 2 < 300000 ? expected * 2 : 300000;
            now = view_of(w).until_ms;
        }
    }
}

static void deployments_that_failed_together_do_not_come_back_together(void **state)
{
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    for (uint32_t seed = 0; seed < 32; seed++) {
        uint64_t w = 0, until;

        for (int i = 0; i < 4; i++)
            w = breaker_next(w, &policy, OUTCOME_CONNECT, -1, seed, NOW);
        until = view_of(w).until_ms;
        least = until < least ? until : least;
        most = until > most ? until : most;
    }
    assert_true(most - least > 1000);
}

static void a_rest_over_admits_one_probe_that_closes_or_rests_again(void **state)
{
    uint64_t later = view_of(cooling_word()).until_ms;

    (void)state;
    atomic_store(&health, cooling_word());
    assert_false(breaker_enter(&health, later - 1));
    assert_true(breaker_enter(&health, later));
    assert_int_equal(view_of(health).state, BREAKER_HALF_OPEN);
    assert_false(breaker_admits(health, later));
    assert_false(breaker_enter(&health, later));
    assert_int_equal(view_of(next(health, OUTCOME_OK, later + 9)).state, BREAKER_CLOSED);
    assert_int_equal(view_of(next(health, OUTCOME_OK, later + 9)).rounds, 0);
    assert_int_equal(view_of(next(health, OUTCOME_TIMEOUT, later + 9)).state, BREAKER_OPEN);
    assert_int_equal(view_of(next(health, OUTCOME_TIMEOUT, later + 9)).rounds, 2);
}

static void a_probe_given_back_is_free_at_once(void **state)
{
    uint64_t later = NOW + 1000000;

    (void)state;
    atomic_store(&health, cooling_word());
    assert_true(breaker_enter(&health, later));
    atomic_store(&health, next(health, OUTCOME_CANCELLED, later + 5));
    assert_int_equal(view_of(health).state, BREAKER_OPEN);
    assert_true(breaker_enter(&health, later + 5));
    assert_false(breaker_enter(&health, later + 5));
}

static void a_prober_that_never_comes_back_is_replaced_after_a_minute(void **state)
{
    uint64_t later = NOW + 1000000;

    (void)state;
    atomic_store(&health, cooling_word());
    assert_true(breaker_enter(&health, later));
    assert_false(breaker_enter(&health, later + 59999));
    assert_true(breaker_enter(&health, later + 60000));
    assert_false(breaker_enter(&health, later + 60000));
}

static void a_change_of_state_is_told_once_with_both_sides(void **state)
{
    struct breaker_view before, after;

    (void)state;
    atomic_store(&health, 0);
    for (int i = 0; i < 3; i++)
        assert_false(
            breaker_record(&health, &policy, OUTCOME_CONNECT, -1, 7, NOW, &before, &after));
    assert_true(breaker_record(&health, &policy, OUTCOME_CONNECT, -1, 7, NOW, &before, &after));
    assert_int_equal(before.state, BREAKER_CLOSED);
    assert_int_equal(before.failures, 3);
    assert_int_equal(after.state, BREAKER_OPEN);
    assert_int_equal(after.failures, 4);
    assert_false(breaker_record(&health, &policy, OUTCOME_CONNECT, -1, 7, NOW, &before, &after));
    assert_true(breaker_record(&health, &policy, OUTCOME_OK, -1, 7, NOW, &before, &after));
    assert_int_equal(after.state, BREAKER_CLOSED);
    assert_false(breaker_record(&health, &policy, OUTCOME_OK, -1, 7, NOW, &before, &after));
}

/* From any word that can be reached, each outcome at each time leads to a word in which everything
 * holds. */
static void check_any_sequence(const struct breaker_policy *p)
{
    static const int64_t waits[] = {-1, 0, 1, 300001};
    uint64_t now = NOW, w = 0;
    uint32_t x = 1;

    for (int i = 0; i < 200000; i++) {
        struct breaker_view v;

        x = x * 1664525u + 1013904223u;
        now += x >> 29 == 0 ? 400000 : x >> 16 & 0xfff;
        atomic_store(&health, w);
        if (x >> 8 & 1)
            breaker_enter(&health, now);
        w = breaker_next(health, p, (enum outcome)((x >> 9) % OUTCOME_COUNT), waits[x >> 20 & 3], x,
                         now);
        v = view_of(w);
        assert_true(breaker_admits(w, now + 300000));
        assert_true(v.until_ms <= now + 300000);
        assert_true((v.state == BREAKER_CLOSED) == (v.rounds == 0));
        assert_true(v.state != BREAKER_CLOSED || (v.failures <= 3 && v.until_ms == 0 && !v.firm));
        assert_true(v.minute_failures <= v.minute_tries);
        assert_true(!p->per_minute || v.minute_failures <= 3);
        assert_true(v.state == BREAKER_CLOSED || v.minute_tries == 0);
    }
}

static void no_sequence_of_outcomes_leaves_a_deployment_out_for_ever(void **state)
{
    struct breaker_policy p = policy;

    (void)state;
    check_any_sequence(&p);
    p.rate_percent = 50;
    p.rate_min = 5;
    check_any_sequence(&p);
    p.per_minute = true;
    check_any_sequence(&p);
    p.rate_percent = 0;
    check_any_sequence(&p);
}

static void what_rests_by_hand_rests_to_its_end_whatever_succeeds(void **state)
{
    struct breaker_view before, after;
    uint64_t word;

    (void)state;
    atomic_store(&health, 0);
    breaker_rest_by_hand(&health, NOW + 900000);
    word = atomic_load(&health);
    assert_false(breaker_admits(word, NOW + 899999));
    assert_true(breaker_admits(word, NOW + 900000));
    assert_int_equal(view_of(word).reason, OUTCOME_CANCELLED);
    assert_false(breaker_record(&health, &policy, OUTCOME_OK, -1, 7, NOW + 1000, &before, &after));
    assert_false(
        breaker_record(&health, &policy, OUTCOME_TIMEOUT, -1, 7, NOW + 2000, &before, &after));
    assert_false(breaker_admits(atomic_load(&health), NOW + 899999));
    assert_int_equal(view_of(atomic_load(&health)).reason, OUTCOME_CANCELLED);
}

static void it_rests_by_hand_until_a_provider_asks_for_longer(void **state)
{
    struct breaker_view before, after;

    (void)state;
    atomic_store(&health, 0);
    breaker_rest_by_hand(&health, NOW + 100000);
    breaker_record(&health, &policy, OUTCOME_RATE_LIMIT, 50000, 7, NOW + 1000, &before, &after);
    assert_true(breaker_rests_by_hand(&after));
    breaker_record(&health, &policy, OUTCOME_RATE_LIMIT, 150000, 7, NOW + 1000, &before, &after);
    assert_false(breaker_rests_by_hand(&after));
    assert_int_equal(after.until_ms, NOW + 151000);
    breaker_unpack(0, &after);
    assert_false(breaker_rests_by_hand(&after));
}

static void a_rest_by_hand_does_not_shorten_a_longer_one(void **state)
{
    const struct breaker_view longer = {
        .state = BREAKER_OPEN, .reason = OUTCOME_SERVER_ERROR, .until_ms = NOW + 3600000};
    struct breaker_view before, after;

    (void)state;
    atomic_store(&health, breaker_pack(&longer));
    breaker_rest_by_hand(&health, NOW + 900000);
    assert_false(breaker_record(&health, &policy, OUTCOME_OK, -1, 7, NOW + 1000, &before, &after));
    assert_false(breaker_admits(atomic_load(&health), NOW + 3599999));
    assert_int_equal(view_of(atomic_load(&health)).reason, OUTCOME_SERVER_ERROR);
    atomic_store(&health, cooling_word());
    breaker_rest_by_hand(&health, NOW + 900000);
    assert_false(breaker_admits(atomic_load(&health), NOW + 899999));
    assert_int_equal(view_of(atomic_load(&health)).reason, OUTCOME_CANCELLED);
}

static void what_is_brought_back_by_hand_is_admitted_at_once(void **state)
{
    (void)state;
    atomic_store(&health, cooling_word());
    breaker_mend_by_hand(&health);
    assert_true(breaker_admits(atomic_load(&health), NOW));
    assert_int_equal(view_of(atomic_load(&health)).failures, 0);
    breaker_rest_by_hand(&health, NOW + 900000);
    breaker_mend_by_hand(&health);
    assert_true(breaker_admits(atomic_load(&health), NOW));
}

static void every_state_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
    assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half-open");
    assert_string_equal(breaker_state_name((enum breaker_state)3), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_word_is_up_and_admits),
        cmocka_unit_test(what_is_packed_is_unpacked_and_what_is_too_great_is_cut),
        cmocka_unit_test(three_failures_in_a_row_are_forgiven_and_the_fourth_begins_a_rest),
        cmocka_unit_test(a_success_between_failures_starts_the_count_anew),
        cmocka_unit_test(a_cancelled_try_counts_neither_way),
        cmocka_unit_test(without_allowed_fails_the_first_failure_begins_a_rest),
        cmocka_unit_test(each_kind_of_failure_has_a_number_of_its_own),
        cmocka_unit_test(where_the_operator_says_nothing_a_refused_key_alone_begins_a_rest),
        cmocka_unit_test(
            where_the_operator_says_nothing_more_than_half_of_five_tries_begins_a_rest),
        cmocka_unit_test(where_rests_are_disabled_nothing_begins_one),
        cmocka_unit_test(where_rests_are_disabled_a_rest_from_before_ends_with_the_next_try),
        cmocka_unit_test(
            a_row_with_a_time_of_its_own_rests_for_that_whatever_its_provider_asks_for),
        cmocka_unit_test(with_a_number_per_minute_successes_between_do_not_help),
        cmocka_unit_test(a_share_of_failures_begins_a_rest_only_above_half_and_from_five_tries_on),
        cmocka_unit_test(a_share_is_of_one_minute_and_a_rest_for_it_is_sat_out),
        cmocka_unit_test(a_minute_of_very_many_tries_keeps_its_share),
        cmocka_unit_test(where_nobody_asks_for_a_share_successes_are_not_written_down),
        cmocka_unit_test(a_cooldown_time_of_none_means_no_rests_but_those_asked_for),
        cmocka_unit_test(a_cooldown_time_above_five_minutes_is_kept_but_not_grown),
        cmocka_unit_test(a_throttled_deployment_rests_for_as_long_as_retry_after_says),
        cmocka_unit_test(a_retry_after_of_days_is_cut_to_five_minutes_and_one_of_zero_is_none),
        cmocka_unit_test(a_retry_after_of_another_failure_is_not_believed),
        cmocka_unit_test(a_success_from_before_does_not_end_a_rest_that_a_429_began),
        cmocka_unit_test(a_success_ends_any_other_rest),
        cmocka_unit_test(late_failures_of_one_outage_do_not_prolong_the_rest),
        cmocka_unit_test(a_later_end_named_during_a_rest_prolongs_it_and_an_earlier_one_does_not),
        cmocka_unit_test(each_rest_in_a_row_is_about_twice_as_long_up_to_five_minutes),
        cmocka_unit_test(deployments_that_failed_together_do_not_come_back_together),
        cmocka_unit_test(a_rest_over_admits_one_probe_that_closes_or_rests_again),
        cmocka_unit_test(a_probe_given_back_is_free_at_once),
        cmocka_unit_test(a_prober_that_never_comes_back_is_replaced_after_a_minute),
        cmocka_unit_test(a_change_of_state_is_told_once_with_both_sides),
        cmocka_unit_test(no_sequence_of_outcomes_leaves_a_deployment_out_for_ever),
        cmocka_unit_test(what_rests_by_hand_rests_to_its_end_whatever_succeeds),
        cmocka_unit_test(it_rests_by_hand_until_a_provider_asks_for_longer),
        cmocka_unit_test(a_rest_by_hand_does_not_shorten_a_longer_one),
        cmocka_unit_test(what_is_brought_back_by_hand_is_admitted_at_once),
        cmocka_unit_test(every_state_has_a_name),
    };

    policy = breaker_policy(3, 5000);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
