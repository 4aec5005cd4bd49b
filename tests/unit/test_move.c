/* Copying an input file to another account: describe, read, store, each with its exits. */
#include "create_world.h"

#include "objects/move.h"
#include "objects/file_slots.h"

static struct move *move;
static unsigned ended;
static enum move_end last_end;
static char last_copy[64];
static struct failure last_why;

static void on_moved(void *arg, enum move_end end, const char *copy, const struct failure *why)
{
    assert_ptr_equal(arg, &ended);
    ended++;
    last_end = end;
    last_why = *why;
    snprintf(last_copy, sizeof(last_copy), "%s", copy != NULL ? copy : "");
}

static int set_up(void **state)
{
    world_set_up(state);
    ended = 0;
    move = move_new(&rt, NULL, 0, FILE_ID, on_moved, &ended);
    assert_non_null(move);
    return 0;
}

static int tear_down(void **state)
{
    move_free(move);
    move = NULL;
    return world_tear_down(state);
}

static void move_file_to(uint32_t account)
{
    unsigned before = ended;

    assert_int_equal(move_to(move, account), 0);
    assert_int_equal(ended, before); /* never from inside */
    run();
    assert_int_equal(ended, before + 1);
}

static void is_copied(const char *copy)
{
    assert_int_equal(last_end, MOVE_DONE);
    assert_string_equal(last_copy, copy);
}

static void fails_with(enum move_end end, int status, const char *code)
{
    assert_int_equal(last_end, end);
    assert_int_equal(last_why.status, status);
    assert_string_equal(last_why.code, code);
}

static void a_copy_names_the_deployment_that_gets_it(void **state)
{
    (void)state;
    move_file_to(1);
    is_copied("copy-1");
    assert_non_null(strstr(uploaded, "\"model\":\"m1\""));
    assert_null(strstr(uploaded, "\"m0\""));
    assert_non_null(strstr(uploaded, "filename=\"in.jsonl\""));
}

static void a_file_is_read_once_for_all_its_copies(void **state)
{
    (void)state;
    move_file_to(1);
    move_file_to(2);
    is_copied("copy-2");
    assert_non_null(strstr(uploaded, "\"model\":\"m2\""));
    assert_int_equal(num_asked[0][ASKED_FILE], 1);
    assert_int_equal(num_asked[0][ASKED_CONTENT], 1);
}

static void what_was_learned_of_a_copy_is_known_where_it_is(void **state)
{
    struct facts facts;

    (void)state;
    slots_set(inherited.slots, columns[1], SLOTS_LASTING, 5);
    move_file_to(1);
    assert_int_equal(slots_held(inherited.slots, columns[1], SLOTS_LASTING), 6);
    assert_true(facts_recall(&rt, 1, "copy-1", &facts));
    assert_int_equal(facts.lines, 1);
    assert_true(facts.counted);
    assert_int_equal(facts.slot, SLOTS_LASTING);
}

static void a_copy_lives_about_as_long_as_its_file(void **state)
{
    char file[64];

    (void)state;
    snprintf(file, sizeof(file), "\"expires_at\":%lld,", (long long)time(NULL) + 20 * 86400);
    provider[0].file = file;
    move_file_to(1);
    assert_non_null(strstr(uploaded, "expires_after[anchor]"));
    assert_non_null(strstr(uploaded, "\r\n\r\n17")); /* seconds, a little less than 1,728,000 */
}

static void a_file_that_is_not_there_cannot_be_moved(void **state)
{
    (void)state;
    provider[0].lacks_file = true;
    move_file_to(1);
    fails_with(MOVE_IMPOSSIBLE, 404, "");
    assert_int_equal(num_asked[1][ASKED_UPLOAD], 0);
}

static void a_read_that_fails_is_tried_three_times(void **state)
{
    (void)state;
    provider[0].fails = 2;
    move_file_to(1);
    is_copied("copy-1");
    assert_int_equal(num_asked[0][ASKED_FILE], 3);
    assert_int_equal(num_asked[0][ASKED_CONTENT], 1);
}

static void a_read_that_fails_for_the_third_time_ends_it(void **state)
{
    (void)state;
    provider[0].fails = 3;
    move_file_to(1);
    fails_with(MOVE_IMPOSSIBLE, 500, "");
    assert_int_equal(num_asked[0][ASKED_FILE], 3);
    assert_int_equal(num_asked[0][ASKED_CONTENT], 0);
}

static void a_read_that_breaks_begins_anew_and_keeps_nothing_of_before(void **state)
{
    (void)state;
    provider[0].breaks = 2;
    move_file_to(1);
    is_copied("copy-1");
    assert_int_equal(num_asked[0][ASKED_CONTENT], 3);
    assert_non_null(strstr(uploaded, "\"m1\""));
    assert_ptr_equal(strstr(strstr(uploaded, "custom_id") + 1, "custom_id"), NULL); /* one line */
}

static void what_is_no_batch_file_cannot_be_moved(void **state)
{
    (void)state;
    provider[0].content = "no lines of JSON\n";
    move_file_to(1);
    fails_with(MOVE_IMPOSSIBLE, 503, "file_not_movable");
    assert_int_equal(atomic_load(&shared.slots[0].spool_bytes), 0);
}

static void a_file_for_which_the_spool_has_no_room_cannot_be_moved(void **state)
{
    (void)state;
    config.limits.spool_bytes = 10;
    move_file_to(1);
    fails_with(MOVE_IMPOSSIBLE, 503, "file_not_movable");
    assert_int_equal(num_asked[1][ASKED_UPLOAD], 0);
}

static void a_copy_that_is_refused_is_sent_once_and_may_go_to_another_one(void **state)
{
    (void)state;
    provider[1].upload = 500;
    move_file_to(1);
    fails_with(MOVE_NOT_THERE, 500, "");
    assert_int_equal(num_asked[1][ASKED_UPLOAD], 1); /* an upload is not repeated */
    move_file_to(2);
    is_copied("copy-2");
}

static void a_copy_whose_answer_has_no_id_is_of_no_use(void **state)
{
    (void)state;
    provider[1].names_no_copy = true;
    move_file_to(1);
    fails_with(MOVE_NOT_THERE, 0, ""); /* whoever asked has words for it */
}

/* --- it ends before its end --- */

/* @return false: it had ended by then */
static bool freed_after(void **state, unsigned events)
{
    bool was_under_way;

    set_up(state);
    provider[0].fails = 1;
    assert_int_equal(move_to(move, 1), 0);
    for (unsigned i = 0; i < events && ended == 0; i++)
        assert_true(step());
    was_under_way = ended == 0;
    move_free(move);
    move = NULL;
    world_is_quiet();
    run();
    assert_int_equal(ended, was_under_way ? 0 : 1);
    tear_down(state);
    return was_under_way;
}

static void it_may_be_freed_at_every_step_and_never_calls_back(void **state)
{
    unsigned events = 0;

    while (freed_after(state, events))
        events++;
    assert_in_range(events, 6, 20); /* begin, describe, wait, describe, read, store */
}

static bool call_fails(void **state, unsigned nth)
{
    bool failed;

    set_up(state);
    call_that_fails = nth;
    move_file_to(1);
    failed = call_that_fails == 0;
    if (failed)
        fails_with(MOVE_IMPOSSIBLE, 500, "out_of_memory");
    tear_down(state);
    return failed;
}

static void a_call_that_cannot_be_begun_ends_it(void **state)
{
    unsigned nth = 1;

    while (call_fails(state, nth))
        nth++;
    assert_int_equal(nth, 4); /* describe, read, store */
}

static void a_pause_that_cannot_be_begun_ends_it_with_the_providers_words(void **state)
{
    (void)state;
    provider[0].fails = 1;
    timer_that_fails = 2; /* the first one begins it */
    move_file_to(1);
    fails_with(MOVE_IMPOSSIBLE, 500, "");
}

static void nothing_is_begun_without_a_timer(void **state)
{
    (void)state;
    timer_that_fails = 1;
    assert_int_equal(move_to(move, 1), ERR_NOMEM);
    assert_int_equal(num_calls, 0);
}

static void a_copy_counts_as_what_it_will_be(void **state)
{
    struct facts facts = {.counted = true, .slot = SLOTS_EXPIRING};

    (void)state;
    assert_int_equal(move_slot_kind(&rt, &facts, 1), SLOTS_EXPIRING);
    facts.slot = SLOTS_LASTING;
    assert_int_equal(move_slot_kind(&rt, &facts, 1), SLOTS_LASTING);
    config.azure_file_expiry_s = 86400;
    assert_int_equal(move_slot_kind(&rt, &facts, 1), SLOTS_EXPIRING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_names_the_deployment_that_gets_it),
        TEST(a_file_is_read_once_for_all_its_copies),
        TEST(what_was_learned_of_a_copy_is_known_where_it_is),
        TEST(a_copy_lives_about_as_long_as_its_file),
        TEST(a_file_that_is_not_there_cannot_be_moved),
        TEST(a_read_that_fails_is_tried_three_times),
        TEST(a_read_that_fails_for_the_third_time_ends_it),
        TEST(a_read_that_breaks_begins_anew_and_keeps_nothing_of_before),
        TEST(what_is_no_batch_file_cannot_be_moved),
        TEST(a_file_for_which_the_spool_has_no_room_cannot_be_moved),
        TEST(a_copy_that_is_refused_is_sent_once_and_may_go_to_another_one),
        TEST(a_copy_whose_answer_has_no_id_is_of_no_use),
        cmocka_unit_test(it_may_be_freed_at_every_step_and_never_calls_back), /* many worlds */
        cmocka_unit_test(a_call_that_cannot_be_begun_ends_it),                /* many worlds */
        TEST(a_pause_that_cannot_be_begun_ends_it_with_the_providers_words),
        TEST(nothing_is_begun_without_a_timer),
        TEST(a_copy_counts_as_what_it_will_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
