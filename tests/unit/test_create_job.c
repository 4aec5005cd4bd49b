/* A create, step by step: each step's exits, a refusal that moves the file, and in every step the
 * client that leaves and the call that cannot be begun for want of memory. */
#include "create_client.h"

/* --- one step after the other --- */

static void a_create_is_sent_once_to_where_its_file_is(void **state)
{
    (void)state;
    begin();
    assert_int_equal(sum_of(0).reserved, TOKENS); /* counted before it is sent */
    assert_int_equal(rt.operations, 1);
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 1);
    assert_int_equal(answered.deployment, 0);
    assert_non_null(strstr(answered.body, file_id));
    assert_null(strstr(answered.body, MARKER_KEY));
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_body_that_is_wrong_asks_nobody(void **state)
{
    (void)state;
    begin_with("{\"endpoint\":\"/v1/chat/completions\",\"completion_window\":\"24h\"}");
    is_answered(400, "missing_required_parameter");
    assert_int_equal(num_calls, 0);
}

static void an_id_that_is_forged_is_not_found_and_asks_nobody(void **state)
{
    char forged[IDS_MAX + 1];

    (void)state;
    snprintf(forged, sizeof(forged), "%s", file_id);
    forged[strlen(forged) - 1] = forged[strlen(forged) - 1] == 'a' ? 'b' : 'a';
    begin_for(forged);
    is_answered(404, "");
    assert_int_equal(num_calls, 0);
}

static void the_account_of_an_id_without_a_tag_is_found_first(void **state)
{
    (void)state;
    provider[1].lacks_file = provider[2].lacks_file = true;
    begin_for(FILE_ID);
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 1);
    assert_int_equal(num_asked[0][ASKED_CREATE], 1);
}

static void a_file_that_no_account_has_is_not_found(void **state)
{
    (void)state;
    provider[0].lacks_file = provider[1].lacks_file = provider[2].lacks_file = true;
    begin_for(FILE_ID);
    run();
    is_answered(404, "");
    assert_int_equal(creates(), 0);
    assert_int_equal(answered.deployment, MODEL_NO_INDEX);
}

static void a_file_that_is_not_known_is_peeked_at_first(void **state)
{
    (void)state;
    facts_forget(&rt, 0, FILE_ID);
    begin();
    assert_int_equal(creates(), 0);
    assert_non_null(open_call());
    assert_int_equal(sum_of(0).reserved, 0);
    run();
    is_answered(200, "");
    assert_true(sum_of(0).reserved > 0);
}

static void a_request_that_was_answered_gets_that_answer_again(void **state)
{
    (void)state;
    sent_header[0] = "idempotency-key";
    sent_header[1] = "k";
    begin();
    run();
    is_answered(200, "");
    memset(&answered, 0, sizeof(answered));
    begin();
    run();
    is_answered(200, "");
    assert_non_null(strstr(answered.headers, "idempotent-replayed: true"));
    assert_non_null(strstr(answered.body, "batch-1"));
    assert_int_equal(creates(), 1);
}

/* --- no room, and refusals --- */

static void a_deployment_that_the_ledger_knows_to_be_full_is_not_asked(void **state)
{
    (void)state;
    limit(0, TOKENS / 2);
    limit(1, 10 * TOKENS);
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[0][ASKED_CREATE], 0);
    assert_int_equal(num_asked[1][ASKED_CREATE], 1);
    assert_non_null(strstr(created, "copy-1"));
    assert_non_null(strstr(answered.body, file_id)); /* the client's own file */
    assert_int_equal(sum_of(1).reserved, TOKENS);
}

static void a_refusal_for_want_of_room_moves_the_file_and_the_tokens(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    begin();
    until_asked(1, ASKED_UPLOAD);
    assert_int_equal(sum_of(0).reserved, 0);
    assert_int_equal(sum_of(1).reserved, TOKENS);
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 2);
    assert_int_equal(answered.deployment, 1);
    assert_int_equal(num_asked[0][ASKED_CONTENT], 1);
}

static void a_copy_that_is_refused_is_made_at_the_next_one_without_reading_again(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    provider[1].upload = 500;
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(answered.deployment, 2);
    assert_int_equal(num_asked[0][ASKED_CONTENT], 1);
    assert_int_equal(sum_of(1).reserved, 0);
    assert_int_equal(sum_of(2).reserved, TOKENS);
}

static void a_copy_whose_create_is_refused_too_is_deleted(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    refuses(1, 1, 400, FULL);
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[1][ASKED_DELETE], 1);
    assert_int_equal(answered.deployment, 2);
}

static void nobody_who_has_room_is_a_429_and_nothing_is_held(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ACCOUNTS; i++)
        refuses(i, 1, 400, FULL);
    begin();
    run();
    is_answered(429, "token_limit_exceeded");
    assert_int_equal(creates(), ACCOUNTS);
    assert_int_equal(num_asked[1][ASKED_DELETE] + num_asked[2][ASKED_DELETE], 2);
    holds_nothing();
}

static void
what_the_provider_finds_wrong_with_the_request_is_answered_and_goes_nowhere(void **state)
{
    (void)state;
    refuses(0, 1, 400, WRONG);
    begin();
    run();
    is_answered(400, "invalidPayload");
    assert_int_equal(creates(), 1);
    assert_int_equal(num_asked[0][ASKED_FILE], 1); /* was it pending? */
    holds_nothing();
}

static void what_was_refused_a_moment_ago_is_not_asked_again(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    begin();
    run();
    memset(&answered, 0, sizeof(answered));
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[0][ASKED_CREATE], 1);
    assert_int_equal(num_asked[1][ASKED_CREATE], 2);
}

/* As the master does when a worker is gone: what was not sent is given back. */
static void a_create_whose_reservation_is_gone_is_not_sent(void **state)
{
    (void)state;
    begin();
    quota_undo_holder(inherited.quota, rt.slot, now_ms);
    run();
    assert_int_equal(answered.num, 1);
    assert_true(answered.status >= 500);
    assert_int_equal(made, 0);
    holds_nothing();
}

static void a_create_that_was_begun_is_counted_whatever_becomes_of_its_worker(void **state)
{
    struct upstream_call *call;

    (void)state;
    begin();
    call = until_asked(0, ASKED_CREATE);
    assert_true(call->request.on_begin(call->request.arg));
    quota_undo_holder(inherited.quota, rt.slot, now_ms);
    assert_int_equal(sum_of(0).reserved, TOKENS);
    end_call(call, UPSTREAM_BROKEN, 0, NULL);
    run();
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

/* --- a file that is pending --- */

static void a_file_that_is_pending_is_waited_for_and_the_create_sent_once_more(void **state)
{
    (void)state;
    refuses(0, 1, 400, WRONG);
    provider[0].pending = 2;
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 2);
    assert_int_equal(num_asked[0][ASKED_FILE], 3);
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_file_that_is_so_young_that_it_may_have_been_pending_is_tried_once_more(void **state)
{
    (void)state;
    provider[0].young = true;
    refuses(0, 2, 400, WRONG);
    begin();
    run();
    is_answered(400, "invalidPayload");
    assert_int_equal(creates(), 2);
    assert_int_equal(num_asked[0][ASKED_FILE], 1); /* its state is known by now */
    holds_nothing();
}

static void what_is_known_of_a_file_is_not_known_of_its_copy(void **state)
{
    (void)state;
    provider[0].young = provider[1].young = true;
    refuses(0, 2, 400, WRONG);
    refuses(1, 1, 400, WRONG);
    begin();
    step();
    step();
    refuses(0, 1, 400, FULL); /* sent once more */
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[0][ASKED_CREATE], 2);
    assert_int_equal(num_asked[1][ASKED_CREATE], 2);
}

static void a_file_that_stays_pending_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    provider[0].pending = 1000;
    refuses(0, 1000, 400, WRONG);
    begin();
    run();
    is_answered(503, "file_not_processed");
    assert_int_equal(creates(), 1);
    holds_nothing();
}

/* --- an answer that is lost --- */

static void a_batch_whose_answer_was_lost_is_found_by_its_marker(void **state)
{
    (void)state;
    provider[0].loses_answer = provider[0].lists_it = true;
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 1);
    assert_non_null(strstr(answered.body, "batch-1"));
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_batch_that_is_not_found_is_not_made_again_and_its_tokens_stay_counted(void **state)
{
    (void)state;
    provider[0].loses_answer = true;
    begin();
    run();
    is_answered(502, "create_outcome_unknown");
    assert_true(answered.failure.should_not_retry);
    assert_int_equal(creates(), 1);
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_refusal_in_foreign_words_is_one_when_the_batch_is_not_there(void **state)
{
    (void)state;
    refuses(0, 1, 403, "<html>no</html>");
    begin();
    run();
    assert_int_equal(answered.num, 1);
    assert_true(num_asked[0][ASKED_LIST] > 0);
    assert_int_equal(num_asked[0][ASKED_CREATE], 1);
    assert_int_equal(sum_of(0).reserved, 0);
}

/* --- the client leaves --- */

/* Everything that may happen on the way, in one create. */
static void make_it_hard(void)
{
    provider[0].pending = 2; /* when it is found, and after the first refusal */
    refuses(0, 2, 400, WRONG);
    provider[1].lacks_file = provider[2].lacks_file = true;
}

/* From the first account to the second, and there it is lost and found. */
static void make_it_move(void)
{
    refuses(0, 1, 400, FULL);
    provider[1].loses_answer = provider[1].lists_it = true;
    facts_forget(&rt, 0, FILE_ID);
}

/* @return false: it had ended before so many events */
static bool leaves_after(unsigned events)
{
    for (unsigned i = 0; i < events && relay.op != NULL; i++)
        assert_true(step());
    if (relay.op == NULL)
        return false;
    leave();
    return true;
}

/* What is reserved has been made, or nobody can know. */
static void only_what_was_made_is_counted(unsigned creates_then)
{
    unsigned more = creates() - creates_then;

    assert_int_equal(more, 0); /* nothing new is sent for nobody */
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        assert_true(sum_of(i).reserved == 0 || num_asked[i][ASKED_CREATE] > 0);
}

static bool client_leaves(void **state, void (*make)(void), const char *id, unsigned events)
{
    unsigned creates_then;
    bool left;

    set_up(state);
    make();
    begin_for(id != NULL ? id : file_id);
    left = leaves_after(events);
    creates_then = creates();
    run();
    if (left) {
        assert_int_equal(answered.num, 0);
        only_what_was_made_is_counted(creates_then);
    }
    world_is_quiet();
    tear_down(state);
    return left;
}

static void a_client_may_leave_at_every_step(void **state)
{
    unsigned hard = 0, moved = 0;

    while (client_leaves(state, make_it_hard, FILE_ID, hard))
        hard++;
    while (client_leaves(state, make_it_move, NULL, moved))
        moved++;
    assert_in_range(hard, 6, 30);  /* find, send, ask, wait, ask, send */
    assert_in_range(moved, 7, 30); /* peek, send, copy: begin, describe, read, store; send, lost */
}

static void a_batch_whose_client_left_is_counted_when_it_is_made(void **state)
{
    (void)state;
    begin();
    leave();
    run();
    assert_int_equal(creates(), 1);
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_lost_batch_is_looked_for_although_its_client_left(void **state)
{
    (void)state;
    provider[0].loses_answer = provider[0].lists_it = true;
    begin();
    until_asked(0, ASKED_LIST);
    leave();
    run();
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_copy_whose_client_left_while_it_was_pending_is_deleted(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    refuses(1, 1, 400, WRONG);
    provider[1].pending = 10;
    begin();
    until_asked(1, ASKED_FILE);
    step();
    leave(); /* it waits */
    run();
    assert_int_equal(num_asked[1][ASKED_DELETE], 1);
    holds_nothing();
}

static void a_refusal_for_nobody_goes_nowhere_else(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    begin();
    leave();
    run();
    assert_int_equal(creates(), 1);
    holds_nothing();
}

/* --- out of memory --- */

/* @return false: there were fewer calls */
static bool call_fails(void **state, void (*make)(void), const char *id, unsigned nth)
{
    bool failed;

    set_up(state);
    make();
    call_that_fails = nth;
    begin_for(id != NULL ? id : file_id);
    run();
    failed = call_that_fails == 0;
    assert_int_equal(answered.num, 1);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        assert_true(sum_of(i).reserved == 0 || num_asked[i][ASKED_CREATE] > 0);
    world_is_quiet();
    call_that_fails = 0;
    tear_down(state);
    return failed;
}

static void a_call_that_cannot_be_begun_is_one_answer_and_nothing_is_held(void **state)
{
    unsigned hard = 1, moved = 1;

    while (call_fails(state, make_it_hard, FILE_ID, hard))
        hard++;
    while (call_fails(state, make_it_move, NULL, moved))
        moved++;
    assert_in_range(hard, 5, 30);
    assert_in_range(moved, 5, 30);
}

static void a_create_that_cannot_be_begun_was_not_sent(void **state)
{
    (void)state;
    call_that_fails = 1;
    begin();
    is_answered(500, "out_of_memory");
    assert_int_equal(creates(), 0);
    holds_nothing();
}

static void a_create_that_cannot_be_sent_once_more_was_refused(void **state)
{
    (void)state;
    provider[0].young = true;
    refuses(0, 1, 400, WRONG);
    begin();
    call_that_fails = 3; /* the create, its file, the create */
    run();
    is_answered(400, "invalidPayload");
    assert_int_equal(creates(), 1);
    holds_nothing();
}

static void timers_that_cannot_be_started_end_it_too(void **state)
{
    unsigned nth = 1;

    for (bool failed = true; failed; nth++) {
        set_up(state);
        make_it_hard();
        timer_that_fails = nth;
        begin_for(FILE_ID);
        run();
        failed = timers_begun >= nth;
        assert_int_equal(answered.num, 1);
        holds_nothing();
        tear_down(state);
    }
}

static void a_copy_that_cannot_be_begun_is_one_answer(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    timer_that_fails = 1; /* the move's */
    begin();
    run();
    is_answered(500, "out_of_memory");
    holds_nothing();
}

/* --- tenants --- */

static void is_denied(const char *message)
{
    is_answered(403, "403");
    assert_string_equal(answered.failure.type, "key_model_access_denied");
    assert_string_equal(answered.failure.message, message);
    assert_int_equal(creates(), 0);
    holds_nothing();
}

static void a_key_of_the_files_group_makes_its_batch(void **state)
{
    (void)state;
    ask_as("g");
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 1);
}

static void a_key_of_other_groups_makes_none_and_asks_nobody(void **state)
{
    (void)state;
    ask_as("other");
    begin();
    is_denied("Batch input file references a model the caller is not authorized to use: model=g, "
              "reason=key_model_access_denied, line=1");
    assert_int_equal(num_calls, 0);
}

static void a_key_that_was_narrowed_meanwhile_counts_as_it_is_now(void **state)
{
    (void)state;
    ask_as("g");
    file_model_remember(&rt, 0, FILE_ID, "g");
    ask_as("other");
    begin();
    is_denied("Batch input file references a model the caller is not authorized to use: model=g, "
              "reason=key_model_access_denied, line=1");
}

static void the_lines_tell_a_model_that_is_not_known_any_more(void **state)
{
    (void)state;
    ask_as("other");
    facts_forget(&rt, 0, FILE_ID);
    begin();
    assert_non_null(open_call()); /* the beginning of the file */
    run();
    is_denied("Batch input file references a model the caller is not authorized to use: model=g, "
              "reason=key_model_access_denied, line=1");
}

static void a_model_that_nobody_can_tell_is_allowed_to_who_may_use_all_alone(void **state)
{
    (void)state;
    provider[0].fails = 1;
    ask_as("g");
    facts_forget(&rt, 0, FILE_ID);
    begin();
    run();
    is_denied("Which model the batch's input file is for cannot be told, and this API key may use "
              "only some.");
    ask_as("*");
    memset(&answered, 0, sizeof(answered));
    begin();
    run();
    is_answered(200, "");
}

static void blobs_are_for_those_who_see_all(void **state)
{
    (void)state;
    ask_as("*");
    begin_with("{\"input_blob\":\"https://x/in\",\"endpoint\":\"/v1/chat/completions\","
               "\"completion_window\":\"24h\"}");
    is_answered(403, "403");
    assert_string_equal(answered.failure.param, "input_blob");
    assert_int_equal(num_calls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_create_is_sent_once_to_where_its_file_is),
        TEST(a_body_that_is_wrong_asks_nobody),
        TEST(an_id_that_is_forged_is_not_found_and_asks_nobody),
        TEST(the_account_of_an_id_without_a_tag_is_found_first),
        TEST(a_file_that_no_account_has_is_not_found),
        TEST(a_file_that_is_not_known_is_peeked_at_first),
        TEST(a_request_that_was_answered_gets_that_answer_again),
        TEST(a_deployment_that_the_ledger_knows_to_be_full_is_not_asked),
        TEST(a_refusal_for_want_of_room_moves_the_file_and_the_tokens),
        TEST(a_copy_that_is_refused_is_made_at_the_next_one_without_reading_again),
        TEST(a_copy_whose_create_is_refused_too_is_deleted),
        TEST(nobody_who_has_room_is_a_429_and_nothing_is_held),
        TEST(what_the_provider_finds_wrong_with_the_request_is_answered_and_goes_nowhere),
        TEST(what_was_refused_a_moment_ago_is_not_asked_again),
        TEST(a_create_whose_reservation_is_gone_is_not_sent),
        TEST(a_create_that_was_begun_is_counted_whatever_becomes_of_its_worker),
        TEST(a_file_that_is_pending_is_waited_for_and_the_create_sent_once_more),
        TEST(what_is_known_of_a_file_is_not_known_of_its_copy),
        TEST(a_file_that_is_so_young_that_it_may_have_been_pending_is_tried_once_more),
        TEST(a_file_that_stays_pending_is_not_waited_for_for_ever),
        TEST(a_batch_whose_answer_was_lost_is_found_by_its_marker),
        TEST(a_batch_that_is_not_found_is_not_made_again_and_its_tokens_stay_counted),
        TEST(a_refusal_in_foreign_words_is_one_when_the_batch_is_not_there),
        cmocka_unit_test(a_client_may_leave_at_every_step), /* many worlds */
        TEST(a_batch_whose_client_left_is_counted_when_it_is_made),
        TEST(a_lost_batch_is_looked_for_although_its_client_left),
        TEST(a_copy_whose_client_left_while_it_was_pending_is_deleted),
        TEST(a_refusal_for_nobody_goes_nowhere_else),
        cmocka_unit_test(
            a_call_that_cannot_be_begun_is_one_answer_and_nothing_is_held), /* many worlds */
        TEST(a_create_that_cannot_be_begun_was_not_sent),
        TEST(a_create_that_cannot_be_sent_once_more_was_refused),
        cmocka_unit_test(timers_that_cannot_be_started_end_it_too), /* many worlds */
        TEST(a_copy_that_cannot_be_begun_is_one_answer),
        TEST(a_key_of_the_files_group_makes_its_batch),
        TEST(a_key_of_other_groups_makes_none_and_asks_nobody),
        TEST(a_key_that_was_narrowed_meanwhile_counts_as_it_is_now),
        TEST(the_lines_tell_a_model_that_is_not_known_any_more),
        TEST(a_model_that_nobody_can_tell_is_allowed_to_who_may_use_all_alone),
        TEST(blobs_are_for_those_who_see_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
