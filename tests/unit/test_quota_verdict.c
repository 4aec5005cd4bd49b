/* quota, as a create sees it: the choice by expected completion, and what is said where nothing
 * fits. */
#include "quota_world.h"

/* --- the choice --- */

static uint32_t choose(struct pick_candidate *c, uint32_t n, uint64_t tokens, double random)
{
    for (uint32_t i = 0; i < n; i++) {
        c[i].deployment = i;
        c[i].admitted = true;
    }
    return pick_next(pick_policy_find("quota-aware"), c, n, tokens, random);
}

static void the_least_expected_completion_is_chosen(void **state)
{
    struct pick_candidate c[3] = {{.limit = 1000, .enqueued = 500, .drain_rate = 10},   /* 60 s */
                                  {.limit = 1000, .enqueued = 100, .drain_rate = 2},    /* 100 s */
                                  {.limit = 9000, .enqueued = 5000, .drain_rate = 90}}; /* 56 s */

    (void)state;
    assert_int_equal(choose(c, 3, 100, 0.5), 2);
    c[2].enqueued = 6000;
    assert_int_equal(choose(c, 3, 100, 0.5), 0);
    assert_int_equal(choose(c, 3, 501, 0.5), 2); /* where it fits, however long */
    c[0].health = 0.25;
    assert_int_equal(choose(c, 3, 100, 0.5), 2);
    assert_int_equal(choose(c, 3, 9000, 0.5), MODEL_NO_INDEX);
}

static void a_rate_that_is_not_known_is_the_limit_in_eight_hours(void **state)
{
    struct pick_candidate c[2] = {{.limit = 20 * M, .enqueued = 3 * M},
                                  {.limit = 5 * M, .enqueued = M}};

    (void)state;
    assert_int_equal(choose(c, 2, 100000, 0.5), 0);
    c[1].enqueued = M / 2;
    assert_int_equal(choose(c, 2, 100000, 0.5), 1);
    c[1].limit = 0; /* unlimited: drains like the common limit */
    c[1].enqueued = 20 * M;
    assert_int_equal(choose(c, 2, 100000, 0.5), 1);
}

static void what_was_just_refused_is_not_tried_again_for_a_while(void **state)
{
    struct pick_candidate c[2] = {{.enqueued = 0, .full_tokens = 50, .full_for_ms = 1},
                                  {.enqueued = 1000}};

    (void)state;
    assert_int_equal(choose(c, 2, 50, 0.5), 1);
    assert_int_equal(choose(c, 2, 49, 0.5), 0);
}

static void no_strategy_sends_a_job_where_it_does_not_fit(void **state)
{
    struct pick_candidate c[2] = {
        {.admitted = true, .limit = 100, .enqueued = 51},
        {.deployment = 1, .admitted = true, .limit = 100, .tokens_minute = 9}};

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pick_next(pick_policy_find("simple-shuffle"), c, 2, 50, i / 10.0), 1);
    assert_int_equal(pick_next(pick_policy_find("usage-based-routing"), c, 2, 50, 0), 1);
    assert_int_equal(pick_next(pick_policy_find("usage-based-routing"), c, 2, 49, 0), 0);
}

/* Idle ones with rates in proportion would all go to the largest: those that are equal take turns.
 */
static void equals_take_turns_by_their_limits_without_clumps(void **state)
{
    struct pick_candidate c[3] = {{.limit = 400, .drain_rate = 1},
                                  {.limit = 200, .drain_rate = 1},
                                  {.limit = 100, .drain_rate = 1}};
    uint32_t first_seven[3] = {0}, last = 9;

    (void)state;
    for (int i = 0; i < 700; i++) {
        uint32_t d = choose(c, 3, 10, 0.5);

        assert_true(d < 3 && !(d == last && d != 0));
        last = d;
        c[d].placed++;
        if (i < 7)
            first_seven[d]++;
    }
    assert_int_equal(first_seven[0], 4);
    assert_int_equal(first_seven[1], 2);
    assert_int_equal(first_seven[2], 1);
    assert_in_range(c[0].placed, 399, 401);
    assert_in_range(c[1].placed, 199, 201);
}

static void equals_in_turn_too_are_drawn_by_lot(void **state)
{
    struct pick_candidate c[4] = {
        {.limit = 100}, {.limit = 100}, {.limit = 100, .enqueued = 1}, {.limit = 100}};

    (void)state;
    assert_int_equal(choose(c, 4, 10, 0), 0);
    assert_int_equal(choose(c, 4, 10, 0.5), 1);
    assert_int_equal(choose(c, 4, 10, 0.99), 3);
    assert_int_equal(choose(c, 4, 0, 0.99), 3); /* an upload of unknown size */
}

/* --- the verdict --- */

static const char *const names[] = {"east", "west"};

static void a_job_larger_than_every_limit_never_fits_and_all_limits_are_named(void **state)
{
    struct pick_candidate c[2] = {{.limit = 100}, {.limit = 2000}};
    char text[256];
    uint64_t wait_ms = 7;

    (void)state;
    assert_int_equal(quota_verdict(c, 2, 2001, &wait_ms), QUOTA_NEVER_FITS);
    assert_int_equal(wait_ms, 0);
    quota_explain(c, 2, names, 2, 2001, text, sizeof(text));
    assert_string_equal(text,
                        "This batch is about 2001 enqueued tokens, more than the limit of every "
                        "deployment of this model: east 100, west 2000. Split its input file.");
    quota_explain(c, 2, names, 2, 2001, text, 40);
    assert_int_equal(strlen(text), 39);
    assert_string_equal(text + 36, "...");
}

static void a_job_that_does_not_fit_now_waits_until_the_first_has_drained_enough(void **state)
{
    struct pick_candidate c[2] = {{.limit = 1000, .enqueued = 900, .drain_rate = 2},
                                  {.limit = 2000, .enqueued = 1900, .drain_rate = 10}};
    char text[256];
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(quota_verdict(c, 2, 600, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 50000);
    assert_int_equal(quota_verdict(c, 2, 1500, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 140000);
    assert_int_equal(quota_verdict(c, 2, 101, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 1000);
    assert_int_equal(quota_verdict(c, 2, 100, &wait_ms), QUOTA_FITS);
    assert_int_equal(wait_ms, 0);
    quota_explain(c, 2, names, 2, 600, text, sizeof(text));
    assert_string_equal(
        text,
        "This batch is about 600 enqueued tokens, which no deployment of this model has room for "
        "now: east 100 of 1000 free, west 100 of 2000 free. Room is expected in 50 s.");
}

static void a_size_that_was_just_refused_waits_for_the_end_of_that_rest(void **state)
{
    struct pick_candidate c = {.full_tokens = 50, .full_for_ms = 30000};
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(quota_verdict(&c, 1, 50, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 30000);
    assert_int_equal(quota_verdict(&c, 1, 49, NULL), QUOTA_FITS);
}

/* An estimate is a guess: only what is certain is a final 400. */
static void a_job_that_may_be_smaller_than_it_looks_takes_all_of_the_largest(void **state)
{
    struct pick_candidate c[2] = {{.limit = 100}, {.limit = 1000, .unsure = true}};
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(pick_tokens(&c[1], 4000), 1000);
    assert_int_equal(pick_tokens(&c[1], 999), 999);
    assert_int_equal(pick_tokens(&c[0], 4000), 4000);
    assert_false(pick_fits(&c[0], 4000));
    assert_true(pick_fits(&c[1], 4000));
    assert_int_equal(quota_verdict(c, 2, 4000, &wait_ms), QUOTA_FITS);
    c[1].enqueued = 1;
    c[1].drain_rate = 0.01;
    assert_false(pick_fits(&c[1], 4000));
    assert_int_equal(quota_verdict(c, 2, 4000, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 100000);
    c[1].unsure = false;
    assert_int_equal(quota_verdict(c, 2, 4000, &wait_ms), QUOTA_NEVER_FITS);
}

/* Of a group of thousands the first ones are named: they alone were too small, and a batch that was
 * to wait was told to be split. */
static void the_verdict_is_about_all_though_only_the_first_are_named(void **state)
{
    struct pick_candidate c[2] = {{.limit = 100}, {.limit = 2000, .enqueued = 1900}};
    char text[256];

    (void)state;
    quota_explain(c, 2, names, 1, 600, text, sizeof(text));
    assert_null(strstr(text, "Split"));
    assert_non_null(strstr(text, "has room for now: east 100 of 100 free, and others. Room is"));
}

static void a_rest_is_not_told_as_room_that_is_free(void **state)
{
    struct pick_candidate c = {.limit = 200000, .full_tokens = 50, .full_for_ms = 30000};
    char text[256];

    (void)state;
    quota_explain(&c, 1, names, 1, 50, text, sizeof(text));
    assert_non_null(strstr(text, "east refused 50 just now, limit 200000"));
    assert_null(strstr(text, "200000 of 200000 free"));
}

static void
a_wait_is_at_most_a_day_and_nothing_to_choose_from_is_not_a_matter_of_tokens(void **state)
{
    struct pick_candidate c = {.limit = 1000, .enqueued = UINT64_MAX, .drain_rate = 1e-9};
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(quota_verdict(&c, 1, 1000, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 24 * HOUR);
    assert_int_equal(quota_verdict(NULL, 0, 1000, &wait_ms), QUOTA_FITS);
}

static void the_ledger_describes_a_candidate_for_the_choice(void **state)
{
    struct pick_candidate c = {.deployment = 5, .admitted = true};

    (void)state;
    must_live(0, 30, "batch_1", NOW);
    quota_learn_enqueued(q, 0, 50, NOW);
    quota_describe(q, 0, NOW, &c);
    assert_int_equal(c.enqueued, 50);
    assert_int_equal(c.limit, 100);
    assert_int_equal(c.placed, 1);
    assert_true(c.drain_rate == 100 / PICK_PRIOR_DRAIN_S);
    assert_int_equal(c.full_for_ms, 0);
    quota_full(q, 0, 60, NOW);
    quota_describe(q, 0, NOW + HOUR, &c);
    assert_int_equal(c.placed, 0);
    quota_describe(q, 0, NOW, &c);
    assert_int_equal(c.full_tokens, 60);
    assert_true(c.deployment == 5 && c.admitted);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_least_expected_completion_is_chosen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_that_is_not_known_is_the_limit_in_eight_hours, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_just_refused_is_not_tried_again_for_a_while, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_strategy_sends_a_job_where_it_does_not_fit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(equals_take_turns_by_their_limits_without_clumps, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(equals_in_turn_too_are_drawn_by_lot, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_that_may_be_smaller_than_it_looks_takes_all_of_the_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rest_is_not_told_as_room_that_is_free, setup, teardown),
        cmocka_unit_test_setup_teardown(the_verdict_is_about_all_though_only_the_first_are_named,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_larger_than_every_limit_never_fits_and_all_limits_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_that_does_not_fit_now_waits_until_the_first_has_drained_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(a_size_that_was_just_refused_waits_for_the_end_of_that_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_wait_is_at_most_a_day_and_nothing_to_choose_from_is_not_a_matter_of_tokens, setup,
            teardown),
        cmocka_unit_test_setup_teardown(the_ledger_describes_a_candidate_for_the_choice, setup,
                                        teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
