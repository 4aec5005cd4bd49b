/* quota_learn: limits that a provider named, what others enqueued, refusals, drain rates, and how
 * many tokens a byte of a file counts. */
#include "quota_world.h"

/* --- limits, foreign work, refusals --- */

static void a_limit_that_a_refusal_named_is_forgotten_after_an_hour(void **state)
{
    (void)state;
    bind_column(0, 9, 0);
    quota_learn_refused(q, 0, 70, NOW);
    assert_int_equal(sum_at(0, NOW).limit, 70);
    assert_int_equal(sum_at(0, NOW + HOUR - 66000).limit, 70);
    assert_int_equal(try_reserve(0, 71, NOW + HOUR - 66000), ERR_LIMIT);
    assert_int_equal(sum_at(0, NOW + HOUR + 66000).limit, 0);
    assert_int_equal(try_reserve(0, 71, NOW + HOUR + 66000),
                     0);                               /* the provider is asked anew ... */
    quota_learn_refused(q, 0, 70, NOW + HOUR + 66000); /* ... and still refuses */
    assert_int_equal(try_reserve(0, 71, NOW + 2 * HOUR), ERR_LIMIT);
    assert_int_equal(sum_at(0, NOW + 5 * HOUR).limit, 0);
}

static void a_header_replaces_what_a_refusal_said_and_does_not_age(void **state)
{
    (void)state;
    bind_column(0, 9, 0);
    assert_int_equal(quota_limit_from(q, 0, NOW), QUOTA_LIMIT_UNKNOWN);
    quota_learn_refused(q, 0, 70, NOW);
    assert_int_equal(quota_limit_from(q, 0, NOW), QUOTA_LIMIT_REFUSAL);
    quota_learn_limit(q, 0, 90);
    assert_int_equal(sum_at(0, NOW).limit, 90);
    assert_int_equal(quota_limit_from(q, 0, NOW), QUOTA_LIMIT_HEADER);
    assert_int_equal(sum_at(0, NOW + 1000 * (uint64_t)HOUR).limit, 90);
    bind_column(0, 9, 80); /* configured, and lower */
    assert_int_equal(sum_at(0, NOW).limit, 80);
    assert_int_equal(quota_limit_from(q, 0, NOW), QUOTA_LIMIT_CONFIGURED);
    quota_learn_refused(q, 0, QUOTA_MAX_TOKENS + 5, NOW);
    bind_column(0, 9, 0);
    assert_int_equal(sum_at(0, NOW).limit, QUOTA_MAX_TOKENS);
}

static void the_lower_of_configured_and_learned_limit_counts(void **state)
{
    (void)state;
    quota_learn_limit(q, 0, 0);
    assert_int_equal(sum_at(0, NOW).limit, 100);
    quota_learn_limit(q, 0, 500);
    assert_int_equal(sum_at(0, NOW).limit, 100);
    quota_learn_limit(q, 0, 50);
    assert_int_equal(sum_at(0, NOW).limit, 50);
    assert_int_equal(try_reserve(0, 51, NOW), ERR_LIMIT);
    bind_column(3, 9, 0);
    assert_int_equal(sum_at(3, NOW).limit, 0);
    quota_learn_limit(q, 3, 70);
    assert_int_equal(sum_at(3, NOW).limit, 70);
}

static void what_others_enqueued_counts_and_drains(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 100); /* prior: 100 tokens/s */
    must_live(0, 1000, "batch_1", NOW);
    quota_learn_enqueued(q, 0, 28800 * 100 - 500, NOW);
    assert_int_equal(sum_at(0, NOW).foreign, 28800 * 100 - 1500);
    assert_int_equal(try_reserve(0, 600, NOW), ERR_LIMIT);
    assert_in_range(sum_at(0, NOW + MINUTE).foreign, 28800 * 100 - 1500 - 6500,
                    28800 * 100 - 1500 - 5500);
    assert_int_equal(try_reserve(0, 600, NOW + MINUTE), 0);
    assert_int_equal(sum_at(0, NOW + 9 * HOUR).foreign, 0);
    quota_learn_enqueued(q, 0, 5, NOW); /* less than ours: nothing of others */
    assert_int_equal(sum_at(0, NOW).foreign, 0);
}

static void a_header_tells_what_one_job_counts_when_nothing_else_moved(void **state)
{
    (void)state;
    must_live(0, 10, "batch_1", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 12, NOW), 0); /* the first one tells nothing */
    must_live(0, 10, "batch_2", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 27, NOW), 15);
    must_live(0, 10, "batch_3", NOW);
    must_live(0, 10, "batch_4", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 60, NOW), 0);
    must_live(0, 10, "batch_5", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 55, NOW), 0); /* others ended meanwhile */
}

static void a_deployment_that_says_it_is_full_is_full_for_jobs_of_that_size(void **state)
{
    struct quota_claim claim;

    (void)state;
    must_live(0, 20, "batch_1", NOW);
    claim = must_reserve(0, 40, NOW);
    quota_cancel(q, 1, &claim, NOW);
    assert_true(quota_full(q, 0, 40, NOW));
    assert_int_equal(sum_at(0, NOW).foreign, 41);
    assert_int_equal(try_reserve(0, 40, NOW), ERR_LIMIT);
    assert_int_equal(try_reserve(0, 39, NOW), 0);
    must_live(1, 90, "batch_2", NOW);
    assert_false(quota_full(q, 1, 101, NOW)); /* larger than the limit: that says nothing */
    assert_int_equal(sum_at(1, NOW).foreign, 0);
}

/* "200000 of 200000 free", and a batch of 5 tokens was refused: an estimate was too low, and it was
 * held against everybody. */
static void a_job_that_was_refused_where_nothing_is_enqueued_closes_it_to_nobody(void **state)
{
    (void)state;
    bind_column(0, 100, 200000);
    for (int i = 0; i < 10; i++)
        assert_false(quota_full(q, 0, 2, NOW + (uint64_t)i));
    assert_int_equal(sum_at(0, NOW).foreign, 0);
    assert_int_equal(sum_at(0, NOW).full_for_ms, 0);
    assert_int_equal(try_reserve(0, 5, NOW), 0);
    assert_int_equal(try_reserve(0, 190000, NOW), 0);
    bind_column(1, 101, 0); /* of no known limit */
    assert_false(quota_full(q, 1, 2, NOW));
    assert_int_equal(try_reserve(1, 5, NOW), 0);
}

static void a_refusal_is_believed_as_far_as_four_times_the_ledger_makes_it_likely(void **state)
{
    (void)state;
    bind_column(0, 100, 1000);
    must_live(0, 200, "batch_1", NOW);
    assert_false(quota_full(q, 0, 200, NOW)); /* 800 + 200 would fit */
    assert_int_equal(sum_at(0, NOW).full_for_ms, 0);
    assert_true(quota_full(q, 0, 201, NOW));
    assert_int_equal(sum_at(0, NOW).full_tokens, 201);
    bind_column(1, 101, 0);
    must_live(1, 100, "batch_2", NOW);
    assert_false(quota_full(q, 1, 101, NOW)); /* of no known limit: it is not known to hold that */
    assert_true(quota_full(q, 1, 100, NOW));
}

/* What a refusal made us believe of others is no ground to believe the next one. */
static void refusals_do_not_vouch_for_each_other(void **state)
{
    (void)state;
    bind_column(0, 100, 1000);
    must_live(0, 100, "batch_1", NOW);
    assert_true(quota_full(q, 0, 700, NOW));
    for (uint64_t tokens = 600; tokens > 0; tokens -= 100)
        assert_false(quota_full(q, 0, tokens, NOW));
    assert_int_equal(sum_at(0, NOW).full_tokens, 700);
    assert_int_equal(try_reserve(0, 600, NOW), 0);
}

static void a_small_job_probes_at_once_whatever_was_refused(void **state)
{
    (void)state;
    bind_column(0, 100, 256000);
    must_live(0, 100000, "batch_1", NOW);
    assert_true(quota_full(q, 0, 2, NOW)); /* it was taken for next to nothing */
    assert_int_equal(sum_at(0, NOW).full_tokens, 1000);
    assert_int_equal(try_reserve(0, 999, NOW), 0);
    assert_int_equal(try_reserve(0, 1000, NOW), ERR_LIMIT);
}

static void a_refused_size_rests_a_minute_then_two_up_to_sixteen(void **state)
{
    static const uint64_t minutes[] = {1, 2, 4, 8, 16, 16};
    uint64_t now = NOW;

    (void)state;
    bind_column(0, 100, 0); /* no limit is known: only the refusal is */
    must_live(0, 50, "batch_1", NOW);
    for (size_t i = 0; i < sizeof(minutes) / sizeof(minutes[0]); i++) {
        quota_full(q, 0, 40, now);
        quota_full(q, 0, 50, now + 1); /* was under way at the same time */
        assert_int_equal(sum_at(0, now).full_for_ms, minutes[i] * MINUTE);
        assert_int_equal(sum_at(0, now).full_tokens, 40);
        now += minutes[i] * MINUTE;
        assert_int_equal(try_reserve(0, 40, now - 1), ERR_LIMIT);
        assert_int_equal(sum_at(0, now).full_for_ms, 0);
    }
    quota_full(q, 0, 40, now + HOUR); /* long after: the first of another row */
    assert_int_equal(sum_at(0, now + HOUR).full_for_ms, MINUTE);
    quota_full(q, 0, 30, now + HOUR + 1);
    assert_int_equal(try_reserve(0, 30, now + HOUR + 1), ERR_LIMIT);
    assert_int_equal(try_reserve(0, 29, now + HOUR + 1), 0);
}

static void an_accepted_job_of_that_size_ends_the_row_of_refusals(void **state)
{
    (void)state;
    bind_column(0, 100, 0);
    must_live(0, 39, "batch_0", NOW);
    must_live(0, 39, "batch_00", NOW);
    quota_full(q, 0, 40, NOW);
    must_live(0, 39, "batch_1", NOW + MINUTE);
    quota_full(q, 0, 40, NOW + MINUTE);
    assert_int_equal(sum_at(0, NOW + MINUTE).full_for_ms, 2 * MINUTE);
    must_live(0, 40, "batch_2", NOW + 3 * MINUTE);
    quota_full(q, 0, 40, NOW + 3 * MINUTE);
    assert_int_equal(sum_at(0, NOW + 3 * MINUTE).full_for_ms, MINUTE);
}

/* --- drain rates --- */

static void before_anything_finished_a_limit_drains_in_eight_hours(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    assert_true(sum_at(0, NOW).drain_rate == 50);
    bind_column(3, 9, 0);
    assert_true(sum_at(3, NOW).drain_rate == (double)PICK_PRIOR_LIMIT / 28800);
}

static void finished_jobs_move_the_drain_rate_to_what_makes_the_expectation_true(void **state)
{
    uint64_t now = NOW;

    (void)state;
    bind_column(0, 100, 28800 * 50);
    for (int i = 0; i < 60; i++) {
        must_live(0, 400000, "batch_1", now);
        must_live(0, 400000, "batch_2", now);
        release(0, "batch_1", QUOTA_FINISHED, now + 4000 * 1000u); /* 100 tokens/s */
        release(0, "batch_2", QUOTA_FINISHED, now + 8000 * 1000u);
        now += 10 * HOUR;
    }
    assert_true(fabs(sum_at(0, now).drain_rate - 100) < 0.1);
}

static void dropped_jobs_and_adopted_ones_say_nothing_about_it(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, M, "batch_1", NOW);
    release(0, "batch_1", QUOTA_DROPPED, NOW + 1000);
    assert_int_equal(adopt(0, 0, "batch_2", M, NOW), 0);
    release(0, "batch_2", QUOTA_FINISHED, NOW + 1000);
    assert_true(sum_at(0, NOW).drain_rate == 50);
}

static void a_tiny_job_that_waited_does_not_make_a_deployment_slow(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 500, "batch_1", NOW);
    release(0, "batch_1", QUOTA_FINISHED, NOW + HOUR);
    assert_true(sum_at(0, NOW).drain_rate > 49.9);
}

static void slow_progress_lowers_the_rate_and_good_progress_does_not_raise_it(void **state)
{
    double rate;

    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW); /* two hours at that rate */
    assert_true(progress(0, "batch_1", 0, 1000, NOW + 9 * MINUTE));
    assert_true(progress(0, "batch_1", 900, 1000, NOW + 30 * MINUTE));
    assert_true(sum_at(0, NOW).drain_rate == 50);
    assert_true(progress(0, "batch_1", 300, 1000, NOW + 2 * HOUR)); /* 15 tokens/s */
    rate = sum_at(0, NOW).drain_rate;
    assert_true(fabs(rate - (50 - 35 * 0.125)) < 0.01);
    assert_true(progress(0, "batch_1", 300, 1000, NOW + 2 * HOUR + 1)); /* again too early */
    assert_true(sum_at(0, NOW).drain_rate == rate);
}

static void a_job_that_is_late_without_any_line_done_lowers_it_too(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    progress(0, "batch_1", 0, 1000, NOW + HOUR);
    assert_true(sum_at(0, NOW).drain_rate == 50);
    progress(0, "batch_1", 0, 1000, NOW + 4 * HOUR);
    assert_true(sum_at(0, NOW).drain_rate < 50);
    for (uint64_t t = 5; t < 2000; t++)
        progress(0, "batch_1", 1, UINT64_MAX, NOW + t * HOUR);
    assert_true(sum_at(0, NOW).drain_rate > 360000 / 172800.0 - 0.01);
}

static void nonsense_about_progress_changes_nothing(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    assert_true(progress(0, "batch_1", 5, 0, NOW + 3 * HOUR));
    assert_true(progress(0, "batch_1", 5, 1, NOW + HOUR));
    assert_true(sum_at(0, NOW).drain_rate == 50);
    assert_false(progress(0, "batch_unknown", 5, 10, NOW + 3 * HOUR));
}

static uint64_t tokens_of(uint64_t model, enum feature feature, uint64_t units)
{
    struct features features = {{0}};

    features.units[feature] = units;
    return quota_tokens(q, model, &features);
}

static void learn(uint64_t model, enum feature feature, uint64_t units, uint64_t tokens)
{
    struct features features = {{0}};

    features.units[feature] = units;
    quota_learn_rate(q, model, &features, tokens);
}

static void tokens_per_byte_are_learned_for_each_model(void **state)
{
    (void)state;
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 1000), 250);
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 0), 1);
    for (int i = 0; i < 40; i++)
        learn(7, FEATURE_TEXT, 1000, 400);
    assert_in_range(tokens_of(7, FEATURE_TEXT, 1000), 399, 401);
    assert_int_equal(tokens_of(8, FEATURE_TEXT, 1000), 250);
    assert_true(tokens_of(7, FEATURE_TEXT, UINT64_MAX) == QUOTA_MAX_TOKENS);
    for (uint64_t model = 100; model < 1000; model++)
        learn(model, FEATURE_TEXT, 1000, 800); /* more models than rows: the prior for the rest */
    assert_in_range(tokens_of(7, FEATURE_TEXT, 1000), 399, 401);
}

static void one_odd_file_moves_nothing_beyond_the_fixed_bounds(void **state)
{
    (void)state;
    learn(7, FEATURE_TEXT, 1000, 0);
    learn(7, FEATURE_TEXT, 1000, 62); /* less than 1/16 */
    learn(7, FEATURE_TEXT, 1000, 1001);
    learn(7, FEATURE_TEXT, 0, 5);
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 1000), 250);
    for (int i = 0; i < 100; i++)
        learn(7, FEATURE_TEXT, 1000, 1000);
    assert_in_range(tokens_of(7, FEATURE_TEXT, 1000), 999, 1000);
}

static void batches_of_images_teach_nothing_about_text(void **state)
{
    const struct features images = {{[FEATURE_TEXT] = 200 * 20, [FEATURE_IMAGES] = 200 * 9}};

    (void)state;
    for (int i = 0; i < 40; i++)
        quota_learn_rate(q, 7, &images, 200 * 1100 + 1000);
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 4000000), 1000000);
    assert_in_range(tokens_of(7, FEATURE_IMAGES, 9), 1099, 1101);
    assert_int_equal(tokens_of(8, FEATURE_IMAGES, 9), 765);
}

static void a_file_of_several_kinds_teaches_nothing(void **state)
{
    const struct features mixed = {{[FEATURE_TEXT] = 2000, [FEATURE_IMAGES] = 9}};

    (void)state;
    quota_learn_rate(q, 7, &mixed, 5000);
    assert_int_equal(quota_tokens(q, 7, &mixed), 500 + 765);
    learn(7, FEATURE_IDS, 1000, 3000); /* a token is a token */
    assert_int_equal(tokens_of(7, FEATURE_IDS, 1000), 1000);
}

static void an_answer_to_the_watch_counts_as_progress(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    assert_true(quota_watch(q, &cursor, NOW + 2 * HOUR, &view));
    assert_true(progress(0, view.id, 300, 1000, NOW + 2 * HOUR + 5));
    assert_true(sum_at(0, NOW).drain_rate < 50);
}

static void a_clock_that_is_behind_the_reservation_does_no_harm(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    assert_true(progress(0, "batch_1", 1, 1000, NOW - HOUR));
    assert_true(release(0, "batch_1", QUOTA_FINISHED, NOW - HOUR));
    assert_true(sum_at(0, NOW).drain_rate == 50);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_limit_that_a_refusal_named_is_forgotten_after_an_hour,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_replaces_what_a_refusal_said_and_does_not_age,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_lower_of_configured_and_learned_limit_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_others_enqueued_counts_and_drains, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_tells_what_one_job_counts_when_nothing_else_moved,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_deployment_that_says_it_is_full_is_full_for_jobs_of_that_size, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_size_rests_a_minute_then_two_up_to_sixteen, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_accepted_job_of_that_size_ends_the_row_of_refusals,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(before_anything_finished_a_limit_drains_in_eight_hours,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            finished_jobs_move_the_drain_rate_to_what_makes_the_expectation_true, setup, teardown),
        cmocka_unit_test_setup_teardown(dropped_jobs_and_adopted_ones_say_nothing_about_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_tiny_job_that_waited_does_not_make_a_deployment_slow,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            slow_progress_lowers_the_rate_and_good_progress_does_not_raise_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_job_that_is_late_without_any_line_done_lowers_it_too,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_about_progress_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_to_the_watch_counts_as_progress, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_is_behind_the_reservation_does_no_harm, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_job_that_was_refused_where_nothing_is_enqueued_closes_it_to_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_refusal_is_believed_as_far_as_four_times_the_ledger_makes_it_likely, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_do_not_vouch_for_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_small_job_probes_at_once_whatever_was_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(tokens_per_byte_are_learned_for_each_model, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_odd_file_moves_nothing_beyond_the_fixed_bounds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(batches_of_images_teach_nothing_about_text, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_of_several_kinds_teaches_nothing, setup, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
