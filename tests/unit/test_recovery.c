/* An empty ledger and full accounts: what is adopted, how far back is read, and when again. */
#include "upkeep_world.h"

#include "upkeep/recovery.h"

/* A second time: as the next prober would. */
static void begin(void)
{
    free(w->upkeep.recovery);
    assert_int_equal(recovery_start(&w->upkeep), 0);
    pass(&w->loop, 10 * SECOND);
}

/* --- how far back --- */

static void what_may_have_expired_is_not_read(void **state)
{
    struct recovery_tally young = {.unfinished = true, .newest_age_ms = QUOTA_LEASE_MS};
    struct recovery_tally old = {.unfinished = true, .newest_age_ms = QUOTA_LEASE_MS + 1};

    (void)state;
    assert_true(recovery_reads_on(false, &young));
    assert_false(recovery_reads_on(false, &old));
}

static void where_no_job_expires_an_old_page_counts_as_long_as_something_on_it_runs(void **state)
{
    struct recovery_tally running = {.unfinished = true, .newest_age_ms = 10 * QUOTA_LEASE_MS};
    struct recovery_tally done = {.unfinished = false, .newest_age_ms = QUOTA_LEASE_MS + 1};
    struct recovery_tally young = {.unfinished = false, .newest_age_ms = QUOTA_LEASE_MS};

    (void)state;
    assert_true(recovery_reads_on(true, &running));
    assert_false(recovery_reads_on(true, &done));
    assert_true(recovery_reads_on(true, &young));
}

/* --- at work --- */

static void unfinished_batches_are_adopted_by_the_deployment_of_their_marker(void **state)
{
    (void)state;
    our_batch(0, 0, "b1", "in_progress", 60, 100);
    our_batch(0, 1, "b2", "validating", 3600, 20);
    our_batch(0, 1, "b3", "completed", 7200, 3);
    our_batch(2, 3, "b4", "finalizing", 60, 4000);
    begin();
    assert_int_equal(enqueued(0), 100);
    assert_int_equal(enqueued(1), 20);
    assert_int_equal(enqueued(3), 4000);
}

static void batches_of_others_are_left_out(void **state)
{
    struct thing *forged;

    (void)state;
    batch(0, "b1", "in_progress", 60);
    our_batch(0, 77, "b2", "in_progress", 60, 100); /* of a deployment that is configured nowhere */
    our_batch(0, 0, "b3", "in_progress", 60, 0);    /* its tokens are not known */
    forged = our_batch(0, 0, "b4", "in_progress", 60, 100);
    forged->marker[strlen(forged->marker) - 1] ^= 1;
    begin();
    assert_int_equal(enqueued(0) + enqueued(1), 0);
    assert_true(quota_is_recovered(w->quota, w->columns[0]));
}

static void a_long_list_is_read_to_its_last_unfinished_batch(void **state)
{
    char id[16];

    (void)state;
    for (unsigned i = 0; i < 450; i++) {
        snprintf(id, sizeof(id), "b%u", i);
        our_batch(0, 0, id, i % 150 == 149 ? "in_progress" : "completed", i * 10, 7);
    }
    begin();
    assert_int_equal(enqueued(0), 21);
    assert_int_equal(calls_to(0), 5);
}

static void a_list_that_begins_with_its_cursor_is_read_to_its_end(void **state)
{
    (void)state;
    w->inclusive = true;
    for (unsigned i = 0; i < 250; i++) {
        char id[16];

        snprintf(id, sizeof(id), "b%u", i);
        our_batch(0, 0, id, "in_progress", 60, 100);
    }
    begin();
    assert_int_equal(enqueued(0), 250 * 100);
    assert_int_equal(lists_of(0), 3);
}

static void an_azure_list_is_read_until_a_page_has_nothing_unfinished(void **state)
{
    char id[16];

    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        snprintf(id, sizeof(id), "b%u", i);
        our_batch(0, 0, id, i == 50 || i == 150 ? "in_progress" : "completed", 30 * 3600 + i, 7);
    }
    begin();
    assert_int_equal(enqueued(0), 14);
    assert_int_equal(calls_to(0), 3);
}

static void an_openai_list_is_read_no_further_than_a_batch_can_last(void **state)
{
    char id[16];

    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        snprintf(id, sizeof(id), "b%u", i);
        batch(2, id, "completed", i < 100 ? 60 : 30 * 3600);
    }
    begin();
    assert_int_equal(calls_to(2), 2);
}

static void a_second_recovery_changes_nothing(void **state)
{
    (void)state;
    our_batch(0, 0, "b1", "in_progress", 60, 100);
    begin();
    quota_bind(w->quota, w->columns[1], &(struct quota_terms){.fingerprint = 5000});
    quota_bind(w->quota, w->columns[1], &(struct quota_terms){.fingerprint = 1001});
    begin();
    assert_int_equal(calls_to(0), 2);
    assert_int_equal(enqueued(0), 100);
}

static void what_was_rebuilt_is_not_read_again(void **state)
{
    (void)state;
    begin();
    assert_int_equal(w->num_calls, ACCOUNTS);
    begin();
    assert_int_equal(w->num_calls, ACCOUNTS);
}

static void a_column_of_another_deployment_is_to_be_rebuilt(void **state)
{
    (void)state;
    begin();
    assert_true(quota_is_recovered(w->quota, w->columns[0]));
    quota_bind(w->quota, w->columns[0], &(struct quota_terms){.fingerprint = 1000});
    assert_true(quota_is_recovered(w->quota, w->columns[0]));
    quota_bind(w->quota, w->columns[0], &(struct quota_terms){.fingerprint = 5000});
    assert_false(quota_is_recovered(w->quota, w->columns[0]));
}

static void an_account_that_fails_is_tried_again_until_it_answers(void **state)
{
    (void)state;
    our_batch(0, 0, "b1", "in_progress", 60, 100);
    w->fail_status = 503;
    w->fail_times = 12;
    begin();
    pass(&w->loop, 5 * MINUTE);
    assert_int_equal(enqueued(0), 100);
    for (uint32_t i = 0; i < DEPLOYMENTS; i++)
        assert_true(quota_is_recovered(w->quota, w->columns[i]));
    assert_int_equal(w->num_calls, 12 + ACCOUNTS);
}

static void accounts_on_which_nothing_is_placed_are_not_read(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        w->upkeep.accounts[i].balanced = false;
    begin();
    assert_int_equal(w->num_calls, 0);
}

static void an_age_is_told_so_that_the_lease_ends_in_time(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    our_batch(2, 3, "b1", "in_progress", 10 * 3600, 100);
    begin();
    assert_true(quota_watch(w->quota, &cursor, w->loop.now_ms + MINUTE, &view));
    assert_in_range(w->loop.now_ms - view.begun_ms, 10 * HOUR, 10 * HOUR + MINUTE);
}

static void calls_carry_a_name_of_their_own(void **state)
{
    (void)state;
    begin();
    for (size_t i = 0; i < w->num_calls; i++)
        assert_true(w->calls[i].upkeep);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_have_expired_is_not_read),
        cmocka_unit_test(where_no_job_expires_an_old_page_counts_as_long_as_something_on_it_runs),
        T(unfinished_batches_are_adopted_by_the_deployment_of_their_marker),
        T(batches_of_others_are_left_out),
        T(a_long_list_is_read_to_its_last_unfinished_batch),
        T(a_list_that_begins_with_its_cursor_is_read_to_its_end),
        T(an_azure_list_is_read_until_a_page_has_nothing_unfinished),
        T(an_openai_list_is_read_no_further_than_a_batch_can_last),
        T(a_second_recovery_changes_nothing),
        T(what_was_rebuilt_is_not_read_again),
        T(a_column_of_another_deployment_is_to_be_rebuilt),
        T(an_account_that_fails_is_tried_again_until_it_answers),
        T(accounts_on_which_nothing_is_placed_are_not_read),
        T(an_age_is_told_so_that_the_lease_ends_in_time),
        T(calls_carry_a_name_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
