/* When batches are asked about, and what is made of what is seen: the decisions of the due list, of
 * the keeper's half and of the prober's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "server/keeper/batches.h"
#include "server/keeper/deletions.h"
#include "server/upkeep/due.h"

#define SECOND  1000u
#define MINUTE  60000u
#define DAY_MS  INT64_C(86400000)
#define ENDED_S UINT64_C(1800000000)

/* ---- how often ---- */

static void a_batch_is_asked_about_less_and_less_often(void **state)
{
    struct batches_pace pace = {.poll_ms = batches_first_ms(MINUTE), .left_ms = DAY_MS};
    const uint32_t expected[] = {45000, 67500, 101250, 151875, 227812, 300000, 300000};

    (void)state;
    assert_int_equal(pace.poll_ms, 30 * SECOND);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        pace.poll_ms = batches_next_ms(&pace, MINUTE);
        assert_int_equal(pace.poll_ms, expected[i]);
    }
}

static void its_last_hours_have_few_looks(void **state)
{
    struct batches_pace pace = {.poll_ms = 5 * MINUTE, .left_ms = BATCHES_LAST_MS - 1};

    (void)state;
    assert_int_equal(batches_next_ms(&pace, MINUTE), 10 * MINUTE);
    pace.poll_ms = 10 * MINUTE;
    assert_int_equal(batches_next_ms(&pace, MINUTE), 10 * MINUTE);
    pace.left_ms = -1; /* nobody knows when it ends */
    assert_int_equal(batches_next_ms(&pace, MINUTE), 5 * MINUTE);
    pace.left_ms = 0;
    pace.poll_ms = 0; /* it was never looked at */
    assert_int_equal(batches_next_ms(&pace, MINUTE), 30 * SECOND);
}

static void files_that_are_missing_are_asked_for_ever_more_seldom(void **state)
{
    struct batches_pace pace = {.poll_ms = 30 * SECOND, .left_ms = -1, .ended = true};

    (void)state;
    assert_int_equal(batches_next_ms(&pace, MINUTE), 45 * SECOND);
    pace.poll_ms = 9 * MINUTE;
    assert_int_equal(batches_next_ms(&pace, MINUTE), 10 * MINUTE);
    pace.poll_ms = UINT32_MAX;
    assert_int_equal(batches_next_ms(&pace, MINUTE), 10 * MINUTE);
}

/* ---- what it says ---- */

static void a_status_is_one_of_eight(void **state)
{
    (void)state;
    assert_string_equal(batches_status("completed"), "completed");
    assert_string_equal(batches_status("Cancelling"), "cancelling");
    assert_string_equal(batches_status("queued"), "in_progress");
    assert_string_equal(batches_status(""), "in_progress");
}

static struct wire_seen ended(const char *status)
{
    return (struct wire_seen){
        .status = status, .output = "", .completed = 3, .total = 3, .finished_s = ENDED_S};
}

static void a_completed_batch_is_told_of_when_its_output_is_there(void **state)
{
    struct wire_seen seen = ended("completed");
    int64_t ended_ms = (int64_t)ENDED_S * 1000;

    (void)state;
    assert_false(batches_may_tell(&seen, ended_ms + 1));
    assert_true(batches_may_tell(&seen, ended_ms + BATCHES_OUTPUT_MS + 1)); /* it never comes */
    seen.output = "file-out";
    assert_true(batches_may_tell(&seen, ended_ms + 1));
    seen = ended("completed");
    seen.completed = 0; /* all of its requests failed: there is none */
    assert_true(batches_may_tell(&seen, ended_ms + 1));
    seen = ended("expired");
    assert_true(batches_may_tell(&seen, ended_ms + 1));
}

/* ---- what it used ---- */

static void its_usage_is_its_own_word_or_in_its_output(void **state)
{
    struct wire_seen seen = ended("completed");

    (void)state;
    assert_int_equal(due_usage_of(&seen, true, ENDED_S), DUE_IS_KNOWN);
    assert_int_equal(due_usage_of(&seen, false, ENDED_S), DUE_WAIT);
    assert_int_equal(due_usage_of(&seen, false, ENDED_S + DUE_OUTPUT_S), DUE_WAIT);
    assert_int_equal(due_usage_of(&seen, false, ENDED_S + DUE_OUTPUT_S + 1), DUE_NOTHING);
    seen.output = "file-out";
    assert_int_equal(due_usage_of(&seen, false, ENDED_S), DUE_READ);
    assert_int_equal(due_usage_of(&seen, false, ENDED_S + DUE_OUTPUT_S + 1), DUE_READ);
    assert_int_equal(due_usage_of(&seen, false, ENDED_S + 3 * DUE_OUTPUT_S), DUE_NOTHING);
}

static void what_did_nothing_used_nothing(void **state)
{
    struct wire_seen seen = ended("failed");

    (void)state;
    seen.completed = seen.total = 0;
    assert_int_equal(due_usage_of(&seen, false, ENDED_S), DUE_NOTHING);
    seen = ended("cancelled"); /* partial work is billed */
    assert_int_equal(due_usage_of(&seen, false, ENDED_S), DUE_WAIT);
    seen.output = "file-out";
    assert_int_equal(due_usage_of(&seen, false, ENDED_S), DUE_READ);
}

static void an_output_may_be_the_slower_the_longer_ago_its_batch_has_ended(void **state)
{
    const uint64_t hour_s = 3600, hour_ms = 3600 * SECOND;

    (void)state;
    assert_false(due_pass_yields(DUE_STILL_MS, ENDED_S, ENDED_S));
    assert_true(due_pass_yields(DUE_STILL_MS + 1, ENDED_S, ENDED_S));
    assert_true(due_pass_yields(DUE_STILL_MS + 1, ENDED_S, ENDED_S - hour_s)); /* other clocks */
    assert_false(due_pass_yields(hour_ms, ENDED_S, ENDED_S + 4 * hour_s));
    assert_true(due_pass_yields(hour_ms + 1, ENDED_S, ENDED_S + 4 * hour_s));
    /* As long as it is asked for it has a bound, and one of half a day at the end. */
    assert_false(due_pass_yields(12 * hour_ms, ENDED_S, ENDED_S + 2 * (uint64_t)DUE_OUTPUT_S));
    assert_true(due_pass_yields(12 * hour_ms + 1, ENDED_S, ENDED_S + 2 * (uint64_t)DUE_OUTPUT_S));
    assert_false(due_pass_yields(6 * hour_ms, 0, ENDED_S));
    assert_true(due_pass_yields(6 * hour_ms + 1, 0, ENDED_S));
}

/* ---- creates of unknown outcome ---- */

static void a_create_was_not_made_when_its_time_was_read_twice(void **state)
{
    const uint64_t age_ms = 2 * DUE_FIND_MS;
    struct wire_due due = {
        .task = WIRE_FIND, .created_s = ENDED_S, .now_s = ENDED_S + age_ms / 1000, .tries = 1};

    (void)state;
    assert_true(due_was_not_made(&due, true, 0));
    assert_false(due_was_not_made(&due, false, age_ms + DUE_FIND_SLACK_MS));
    assert_true(due_was_not_made(&due, false, age_ms + DUE_FIND_SLACK_MS + 1));
    due.tries = 0;
    assert_false(due_was_not_made(&due, true, 0)); /* a list may be behind */
    due.tries = 1;
    due.now_s = ENDED_S + DUE_FIND_MS / 1000;
    assert_false(due_was_not_made(&due, true, 0)); /* it may be under way */
}

/* ---- files that go ---- */

static void a_file_that_is_gone_is_as_good_as_deleted(void **state)
{
    (void)state;
    assert_int_equal(due_deleted(true, false), WIRE_DELETED);
    assert_int_equal(due_deleted(false, true), WIRE_GONE);
    assert_int_equal(due_deleted(false, false), WIRE_NOT_NOW);
}

static void a_file_of_another_owner_is_not_the_batchs_to_delete(void **state)
{
    (void)state;
    assert_false(due_is_foreign(7, 7));
    assert_true(due_is_foreign(7, 8));
    assert_true(due_is_foreign(7, 0)); /* the master key's batch had a tenant's file */
    assert_false(due_is_foreign(0, 7));
    assert_false(due_is_foreign(0, 0));
}

static void batches_go_before_files_that_are_deleted(void **state)
{
    (void)state;
    assert_int_equal(deletions_share(WIRE_MAX_DUE), DELETIONS_AT_ONCE);
    assert_int_equal(deletions_share(WIRE_MAX_DUE / 2 + 3), 3);
    assert_int_equal(deletions_share(WIRE_MAX_DUE / 2), 0);
    assert_int_equal(deletions_share(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_asked_about_less_and_less_often),
        cmocka_unit_test(its_last_hours_have_few_looks),
        cmocka_unit_test(files_that_are_missing_are_asked_for_ever_more_seldom),
        cmocka_unit_test(a_file_that_is_gone_is_as_good_as_deleted),
        cmocka_unit_test(a_file_of_another_owner_is_not_the_batchs_to_delete),
        cmocka_unit_test(batches_go_before_files_that_are_deleted),
        cmocka_unit_test(a_status_is_one_of_eight),
        cmocka_unit_test(a_completed_batch_is_told_of_when_its_output_is_there),
        cmocka_unit_test(an_output_may_be_the_slower_the_longer_ago_its_batch_has_ended),
        cmocka_unit_test(its_usage_is_its_own_word_or_in_its_output),
        cmocka_unit_test(what_did_nothing_used_nothing),
        cmocka_unit_test(a_create_was_not_made_when_its_time_was_read_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
