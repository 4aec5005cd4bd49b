/* The watch over the ledger, with an hour in a line: what is asked, how often, and what becomes of
 * a reservation. */
#include "upkeep_world.h"

#include "upkeep/watch.h"

static struct watch_item item(const char *id, uint64_t age_ms, bool orphan)
{
    struct watch_item i = {.view = {.orphan = orphan,
                                    .begun_ms = START_MS - age_ms,
                                    .orphan_ms = orphan ? START_MS - age_ms : 0}};

    snprintf(i.view.id, sizeof(i.view.id), "%s", id);
    return i;
}

/* --- decisions --- */

static void a_few_reservations_are_asked_for_one_by_one(void **state)
{
    struct watch_item items[] = {item("a", 0, false), item("b", 0, false), item("c", 0, false),
                                 item("d", 0, false)};

    (void)state;
    assert_false(watch_wants_list(items, 3));
    assert_true(watch_wants_list(items, 4));
}

static void an_orphan_is_looked_for_in_the_list(void **state)
{
    struct watch_item items[] = {item("", 0, true)};

    (void)state;
    assert_true(watch_wants_list(items, 1));
    assert_true(watch_reads_on(items, 1, 0, START_MS));
    items[0].found = true;
    assert_false(watch_reads_on(items, 1, 0, START_MS));
}

static void the_next_page_is_read_as_long_as_enough_is_missing(void **state)
{
    struct watch_item items[] = {item("a", HOUR, false), item("b", HOUR, false),
                                 item("c", HOUR, false), item("d", HOUR, false)};

    (void)state;
    assert_true(watch_reads_on(items, 4, MINUTE, START_MS));
    items[2].found = true;
    assert_false(watch_reads_on(items, 4, MINUTE, START_MS));
}

static void pages_older_than_what_is_missing_are_not_read(void **state)
{
    struct watch_item items[] = {item("", HOUR, true)};

    (void)state;
    assert_true(watch_reads_on(items, 1, HOUR + WATCH_SLACK_MS, START_MS));
    assert_false(watch_reads_on(items, 1, HOUR + WATCH_SLACK_MS + 1, START_MS));
}

static void an_orphan_is_given_up_when_half_a_minute_has_not_shown_it(void **state)
{
    struct watch_item young = item("", WATCH_ORPHAN_MS, true);
    struct watch_item old = item("", WATCH_ORPHAN_MS + 1, true);

    (void)state;
    assert_false(watch_gives_up(&young, WATCH_ORPHAN_MS, true, 0, START_MS));
    assert_true(watch_gives_up(&old, WATCH_ORPHAN_MS, true, 0, START_MS));
    old.found = true;
    assert_false(watch_gives_up(&old, WATCH_ORPHAN_MS, true, 0, START_MS));
}

static void an_orphan_is_kept_when_the_list_was_not_read_far_enough(void **state)
{
    struct watch_item old = item("", HOUR, true);

    (void)state;
    assert_false(watch_gives_up(&old, WATCH_ORPHAN_MS, false, HOUR, START_MS));
    assert_true(watch_gives_up(&old, WATCH_ORPHAN_MS, false, HOUR + WATCH_SLACK_MS + 1, START_MS));
}

static void who_asks_more_often_gives_up_sooner(void **state)
{
    (void)state;
    assert_int_equal(watch_patience_ms(60000), 30000);
    assert_int_equal(watch_patience_ms(3600000), 30000);
    assert_int_equal(watch_patience_ms(20000), 10000);
    assert_int_equal(watch_patience_ms(100), 2000);
}

static void only_an_orphan_is_given_up(void **state)
{
    struct watch_item known = item("a", HOUR, false), named = item("a", HOUR, true);

    (void)state;
    assert_false(watch_gives_up(&known, WATCH_ORPHAN_MS, true, 0, START_MS));
    assert_false(watch_gives_up(&named, WATCH_ORPHAN_MS, true, 0, START_MS));
}

static void a_batch_is_gone_when_its_provider_has_said_so_twice(void **state)
{
    struct watch_gone *gone = calloc(1, sizeof(*gone));

    (void)state;
    assert_false(watch_gone_again(gone, 0, "a"));
    assert_false(watch_gone_again(gone, 1, "a"));
    assert_false(watch_gone_again(gone, 0, "b"));
    assert_true(watch_gone_again(gone, 0, "a"));
    watch_gone_not(gone, 0, "b");
    assert_false(watch_gone_again(gone, 0, "b"));
    free(gone);
}

static void more_than_can_be_remembered_costs_only_another_question(void **state)
{
    struct watch_gone *gone = calloc(1, sizeof(*gone));
    char id[16];

    (void)state;
    for (int i = 0; i <= WATCH_REMEMBER_GONE; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        assert_false(watch_gone_again(gone, 0, id));
    }
    assert_false(watch_gone_again(gone, 0, "b0"));
    assert_true(watch_gone_again(gone, 0, "b200"));
    free(gone);
}

/* --- the watch at work --- */

static void begin(void)
{
    assert_int_equal(watch_start(&w->upkeep), 0);
}

static void a_batch_that_ended_unseen_frees_its_tokens_within_a_minute(void **state)
{
    (void)state;
    reserve(2, "b1", 500, false);
    batch(1, "b1", "completed", 60);
    begin();
    pass(&w->loop, MINUTE - 1);
    assert_int_equal(w->num_calls, 0);
    assert_int_equal(enqueued(2), 500);
    pass(&w->loop, 10 * SECOND);
    assert_int_equal(enqueued(2), 0);
    assert_int_equal(w->num_calls, 1);
    assert_string_equal(w->calls[0].id, "b1");
    assert_true(w->calls[0].upkeep);
}

static void failed_expired_and_cancelled_ones_are_released_too(void **state)
{
    static const char *const statuses[] = {"Failed", "expired", "CANCELLED"};
    char id[8];

    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 500, false);
        batch(1, id, statuses[i], 60);
    }
    begin();
    pass(&w->loop, 2 * MINUTE);
    assert_int_equal(enqueued(2), 0);
}

static void one_that_runs_is_asked_about_once_a_minute_and_not_more(void **state)
{
    struct thing *t;

    (void)state;
    reserve(2, "b1", 500, false);
    t = batch(1, "b1", "in_progress", 60);
    t->total = 10;
    begin();
    pass(&w->loop, HOUR);
    assert_in_range(w->num_calls, 50, 60);
    for (size_t i = 1; i < w->num_calls; i++)
        assert_true(w->calls[i].at_ms - w->calls[i - 1].at_ms >= MINUTE - 6 * SECOND);
    assert_int_equal(enqueued(2), 500);
}

static void one_that_a_client_polls_is_left_alone(void **state)
{
    (void)state;
    reserve(2, "b1", 500, false);
    batch(1, "b1", "in_progress", 60);
    begin();
    for (int i = 0; i < 30; i++) {
        pass(&w->loop, 30 * SECOND);
        assert_true(quota_progress(w->quota, w->columns[2], "b1", 2, 1, 10, w->loop.now_ms));
    }
    assert_int_equal(w->num_calls, 0);
}

static void many_are_answered_by_one_list(void **state)
{
    char id[16];

    (void)state;
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 10, false);
        batch(1, id, i % 2 ? "completed" : "in_progress", 60);
    }
    begin();
    pass(&w->loop, MINUTE + 30 * SECOND);
    assert_int_equal(w->num_calls, 1);
    assert_int_equal(enqueued(2), 250);
}

static void those_that_the_list_does_not_show_are_asked_for_singly(void **state)
{
    char id[16];

    (void)state;
    for (int i = 0; i < 1500; i++) { /* of others, and younger */
        snprintf(id, sizeof(id), "x%d", i);
        batch(1, id, "completed", 30);
    }
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 10, false);
        batch(1, id, "completed", 60);
    }
    begin();
    pass(&w->loop, MINUTE + 30 * SECOND);
    assert_int_equal(enqueued(2), 0);
    assert_int_equal(lists_of(1), WATCH_MAX_PAGES);
    assert_int_equal(calls_to(1), WATCH_MAX_PAGES + 5);
}

static void a_missing_batch_is_released_when_its_provider_says_so_twice(void **state)
{
    (void)state;
    reserve(2, "b1", 500, false);
    begin();
    pass(&w->loop, MINUTE + 20 * SECOND);
    assert_int_equal(w->num_calls, 1);
    assert_int_equal(enqueued(2), 500);
    pass(&w->loop, MINUTE);
    assert_int_equal(w->num_calls, 2);
    assert_int_equal(enqueued(2), 0);
}

static void a_slow_refusal_keeps_jobs_of_its_size_away(void **state)
{
    struct quota_sum sum;

    (void)state;
    reserve(2, "b1", 5000, false);
    reserve(2, "b2", 300000, false); /* which runs on, and held the room */
    batch(1, "b2", "in_progress", 60);
    batch(1, "b1", "failed", 60)->error = "token_limit_exceeded";
    begin();
    pass(&w->loop, MINUTE + 20 * SECOND);
    quota_read(w->quota, w->columns[2], w->loop.now_ms, &sum);
    assert_int_equal(sum.reserved, 300000);
    assert_int_equal(sum.full_tokens, 5000);
    assert_true(sum.full_for_ms > 0);
}

static void an_orphan_is_found_by_its_marker_and_lives_on(void **state)
{
    (void)state;
    reserve(2, "b1", 500, true);
    our_batch(1, 2, "b1", "in_progress", 60, 500);
    begin();
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(enqueued(2), 500);
    assert_int_equal(w->num_calls, 1);
    assert_true(
        quota_release(w->quota, ROW, w->columns[2], "b1", 2, QUOTA_FINISHED, w->loop.now_ms));
    assert_int_equal(enqueued(2), 0);
}

static void an_orphan_that_has_ended_meanwhile_is_released(void **state)
{
    (void)state;
    reserve(2, "b1", 500, true);
    our_batch(1, 2, "b1", "completed", 60, 500);
    begin();
    pass(&w->loop, 2 * SECOND);
    assert_int_equal(enqueued(2), 0);
}

static void an_orphan_that_never_appears_is_released_after_half_a_minute(void **state)
{
    (void)state;
    reserve(2, "b1", 500, true);
    begin();
    pass(&w->loop, WATCH_ORPHAN_MS);
    assert_int_equal(enqueued(2), 500);
    assert_in_range(w->num_calls, 4, 5); /* after 1, 3, 7 and 15 seconds */
    pass(&w->loop, 3 * SECOND);
    assert_int_equal(enqueued(2), 0);
}

/* Sixteen pairs of the client's left no room for a marker: nothing could find it. */
static void an_orphan_without_a_marker_is_released_after_half_a_minute(void **state)
{
    struct quota_claim claim;

    (void)state;
    assert_int_equal(quota_reserve(w->quota, 1, w->columns[2], 500, 0, w->loop.now_ms, &claim), 0);
    assert_true(quota_sent(w->quota, &claim));
    quota_abandon(w->quota, &claim, w->loop.now_ms);
    begin();
    pass(&w->loop, WATCH_ORPHAN_MS + 3 * SECOND);
    assert_int_equal(enqueued(2), 0);
}

/* As the master does it once a second. */
static void pass_with_master(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += SECOND) {
        pass(&w->loop, SECOND);
        (void)quota_expire(w->quota, ROW, w->loop.now_ms);
    }
}

static void an_orphan_ends_within_minutes_although_its_account_does_not_answer(void **state)
{
    (void)state;
    reserve(2, "b1", 500, true);
    w->fail_times = 10000;
    begin();
    pass_with_master(QUOTA_ORPHAN_KEEP_MS - SECOND);
    assert_int_equal(enqueued(2), 500);
    pass_with_master(2 * SECOND);
    assert_int_equal(enqueued(2), 0);
}

/* A thousand newer ones are in the way: the list ends before it. */
static void orphans_end_within_minutes_whatever_the_clock_and_the_rate(void **state)
{
    static const int64_t skews[] = {0, 900, -900, 93600, -93600};
    char id[16];

    (void)state;
    for (int i = 0; i < 1500; i++) {
        snprintf(id, sizeof(id), "x%d", i);
        batch(1, id, "completed", 1);
    }
    begin();
    for (size_t i = 0; i < sizeof(skews) / sizeof(skews[0]); i++) {
        w->skew_s = skews[i];
        snprintf(id, sizeof(id), "b%zu", i);
        reserve(2, id, 500, true);
        pass_with_master(QUOTA_ORPHAN_KEEP_MS + 2 * SECOND);
        assert_int_equal(enqueued(2), 0);
    }
}

static void a_batch_of_an_orphan_that_was_given_up_is_counted_when_it_shows_itself(void **state)
{
    (void)state;
    reserve(2, "b1", 500, true);
    begin();
    pass(&w->loop, WATCH_ORPHAN_MS + 3 * SECOND);
    assert_int_equal(enqueued(2), 0);
    our_batch(1, 2, "b1", "in_progress", 60, 500);
    reserve(2, "b2", 10, true);
    pass(&w->loop, 3 * SECOND);
    assert_int_equal(enqueued(2), 510);
}

static void a_reservation_is_as_old_as_its_providers_clock_says(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    w->skew_s = -93600;
    reserve(2, "b1", 10, true); /* so that the list is asked for */
    our_batch(1, 2, "b2", "in_progress", 3600, 500);
    begin();
    pass(&w->loop, 3 * SECOND);
    (void)quota_expire(w->quota, ROW, w->loop.now_ms);
    assert_int_equal(enqueued(2), 510);
    pass(&w->loop, WATCH_ORPHAN_MS);
    while (quota_watch(w->quota, &cursor, w->loop.now_ms + 2 * HOUR, &view))
        assert_in_range(view.begun_ms, START_MS - HOUR - 2 * SECOND, START_MS - HOUR + 5 * SECOND);
}

static void a_batch_that_neither_list_nor_look_shows_is_released_at_once(void **state)
{
    char id[8];

    (void)state;
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 10, false);
    }
    begin();
    pass(&w->loop, MINUTE + 20 * SECOND);
    assert_int_equal(enqueued(2), 0);
}

static void a_list_also_shows_what_another_gateway_with_our_seals_runs(void **state)
{
    char id[16];

    (void)state;
    for (int i = 0; i < 4; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        reserve(0, id, 10, false);
        our_batch(0, 0, id, "in_progress", 60, 10);
    }
    our_batch(0, 1, "other", "in_progress", 60, 700);
    our_batch(0, 1, "over", "completed", 60, 900);
    begin();
    pass(&w->loop, MINUTE + 20 * SECOND);
    assert_int_equal(enqueued(0), 40);
    assert_int_equal(enqueued(1), 700);
}

static void an_account_that_fails_is_left_alone_as_long_as_it_asks_for(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char id[8];

        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 10, false);
        batch(1, id, "completed", 60);
    }
    w->fail_status = 429;
    w->fail_times = 1;
    w->retry_after = "250";
    begin();
    pass(&w->loop, MINUTE + 10 * SECOND);
    assert_int_equal(w->num_calls, 1);
    pass(&w->loop, 240 * SECOND);
    assert_int_equal(w->num_calls, 1);
    pass(&w->loop, 3 * MINUTE);
    assert_int_equal(w->num_calls, 4);
    assert_int_equal(enqueued(2), 0);
}

static void a_strange_answer_about_one_batch_does_not_end_the_round(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char id[8];

        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 10, false);
        batch(1, id, "completed", 60);
    }
    w->fail_status = 400;
    w->fail_times = 1;
    begin();
    pass(&w->loop, MINUTE + 20 * SECOND);
    assert_int_equal(w->num_calls, 3);
    assert_int_equal(enqueued(2), 10);
}

static void one_account_has_one_call_at_a_time(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char id[8];

        snprintf(id, sizeof(id), "b%d", i);
        reserve(2, id, 10, false);
        batch(1, id, "in_progress", 60);
    }
    begin();
    pass(&w->loop, 10 * MINUTE);
    assert_int_equal(w->most_in_flight[1], 1);
    assert_in_range(w->num_calls, 21, 30); /* a round begins up to 7 s after the minute */
}

static void a_deployment_that_was_taken_out_is_not_asked_for(void **state)
{
    struct quota_terms terms = {.fingerprint = 77};
    struct quota_claim claim;

    (void)state;
    quota_bind(w->quota, 40, &terms);
    assert_int_equal(quota_reserve(w->quota, 1, 40, 10, 0, w->loop.now_ms, &claim), 0);
    assert_int_equal(quota_commit(w->quota, &claim, "b1", 2), 0);
    begin();
    pass(&w->loop, 5 * MINUTE);
    assert_int_equal(w->num_calls, 0);
}

static void the_wait_after_a_failure_grows_and_has_a_bound(void **state)
{
    (void)state;
    assert_int_equal(upkeep_backoff_ms(OUTCOME_OK, -1, 0, 500), 0);
    assert_in_range(upkeep_backoff_ms(OUTCOME_SERVER_ERROR, -1, 1, 0), 750, 1250);
    assert_in_range(upkeep_backoff_ms(OUTCOME_CONNECT, -1, 3, 999), 3000, 5000);
    assert_in_range(upkeep_backoff_ms(OUTCOME_CONNECT, -1, 1000, 999), 48000, 80000);
    assert_in_range(upkeep_backoff_ms(OUTCOME_RATE_LIMIT, 30000, 9, 999), 30000, 33000);
}

int main(void)
{
#define P(name) cmocka_unit_test(name)
#define T(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)
    const struct CMUnitTest tests[] = {
        P(a_few_reservations_are_asked_for_one_by_one),
        P(an_orphan_is_looked_for_in_the_list),
        P(the_next_page_is_read_as_long_as_enough_is_missing),
        P(pages_older_than_what_is_missing_are_not_read),
        P(an_orphan_is_given_up_when_half_a_minute_has_not_shown_it),
        P(an_orphan_is_kept_when_the_list_was_not_read_far_enough),
        P(who_asks_more_often_gives_up_sooner),
        P(only_an_orphan_is_given_up),
        P(a_batch_is_gone_when_its_provider_has_said_so_twice),
        P(more_than_can_be_remembered_costs_only_another_question),
        P(the_wait_after_a_failure_grows_and_has_a_bound),
        T(a_batch_that_ended_unseen_frees_its_tokens_within_a_minute),
        T(failed_expired_and_cancelled_ones_are_released_too),
        T(one_that_runs_is_asked_about_once_a_minute_and_not_more),
        T(one_that_a_client_polls_is_left_alone),
        T(many_are_answered_by_one_list),
        T(those_that_the_list_does_not_show_are_asked_for_singly),
        T(a_missing_batch_is_released_when_its_provider_says_so_twice),
        T(a_slow_refusal_keeps_jobs_of_its_size_away),
        T(an_orphan_is_found_by_its_marker_and_lives_on),
        T(an_orphan_that_has_ended_meanwhile_is_released),
        T(an_orphan_that_never_appears_is_released_after_half_a_minute),
        T(an_orphan_without_a_marker_is_released_after_half_a_minute),
        T(an_orphan_ends_within_minutes_although_its_account_does_not_answer),
        T(orphans_end_within_minutes_whatever_the_clock_and_the_rate),
        T(a_batch_of_an_orphan_that_was_given_up_is_counted_when_it_shows_itself),
        T(a_reservation_is_as_old_as_its_providers_clock_says),
        T(a_batch_that_neither_list_nor_look_shows_is_released_at_once),
        T(a_list_also_shows_what_another_gateway_with_our_seals_runs),
        T(an_account_that_fails_is_left_alone_as_long_as_it_asks_for),
        T(a_strange_answer_about_one_batch_does_not_end_the_round),
        T(one_account_has_one_call_at_a_time),
        T(a_deployment_that_was_taken_out_is_not_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
