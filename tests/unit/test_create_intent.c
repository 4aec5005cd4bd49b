/* A create where there is a journal of batches: what the keeper is asked before it is sent, what it
 * hears afterwards, and what becomes of it while the database is away. */
#include "create_client.h"
#include "noted_journal.h"

static int begin_world(void **state)
{
    set_up(state);
    keeper_forgets();
    rt.journal = (struct journal *)&keeper;
    config.limits_open_when_down = config.idempotency_strict = config.journal = false;
    return 0;
}

static int end_world(void **state)
{
    for (unsigned i = 0; i < keeper.num; i++)
        assert_false(keeper_calls[i].open);
    keeper_counts_nothing();
    assert_int_equal(unsent_bury(&shared.unsent[rt.slot]), 0); /* nothing stays noted */
    return tear_down(state);
}

/* From now on a tenant asks whose key may have so many tokens enqueued. */
static void ask_limited(uint64_t tokens, uint64_t batches)
{
    ask_as("*");
    asking.rights.key_limits.enqueued_tokens = tokens;
    asking.rights.key_limits.open_batches = batches;
}

static void says(unsigned nth, struct wire_verdict verdict)
{
    keeper.verdicts[nth] = verdict;
}

/* --- without limits --- */

static void a_create_is_counted_for_all_nodes_before_it_is_sent(void **state)
{
    const struct noted_intent *noted;

    (void)state;
    limit(0, 5 * TOKENS);
    begin();
    assert_int_equal(keeper.num, 1);
    assert_int_equal(creates(), 0); /* it waits for the keeper */
    noted = last_intent();
    assert_int_equal(noted->intent.kind, WIRE_CREATE);
    assert_int_equal(strlen(noted->id), WIRE_ID);
    assert_string_equal(noted->claim, "");
    assert_int_equal(strlen(noted->nonce), MARKER_NONCE);
    assert_int_equal(noted->intent.tokens, TOKENS);
    assert_int_equal(noted->intent.deployment, 100);
    assert_int_equal(noted->intent.scopes[WIRE_DEPLOYMENT].name, 100);
    assert_int_equal(noted->intent.scopes[WIRE_DEPLOYMENT].tokens, 5 * TOKENS);
    assert_int_equal(noted->intent.scopes[WIRE_KEY].name, 0);
    assert_int_not_equal(noted->intent.ledger, 0);
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 1);
}

static void the_keeper_hears_of_the_batch_that_was_made(void **state)
{
    (void)state;
    begin();
    run();
    assert_int_equal(keeper.lives, 1);
    assert_int_equal(keeper.drops, 0);
    assert_string_equal(keeper.live_id, last_intent()->id);
    assert_string_equal(keeper.live_native, "batch-1");
    assert_string_equal(keeper.live_status, "validating");
    assert_string_equal(keeper.live_group, "g");
    assert_string_equal(keeper.live_answer, answered.body);
    assert_true(strncmp(keeper.live_client_id, "batch-1", 7) == 0);
    assert_int_equal(keeper.live.local, 0);
    assert_int_equal(keeper.live.tokens, TOKENS);
    assert_int_equal(keeper.live.deployment, 100);
    assert_int_equal(keeper.live.answer.status, 200);
    assert_int_equal(keeper.live.who.lines, 1);
}

static void what_a_key_and_its_team_may_goes_with_the_question(void **state)
{
    (void)state;
    ask_limited(7, 8);
    asking.rights.team = 99;
    asking.rights.team_limits.enqueued_tokens = 9 * TOKENS;
    asking.rights.key_limits.enqueued_tokens = 3 * TOKENS;
    asking.rights.team_limits.open_batches = RIGHTS_UNLIMITED;
    begin();
    assert_int_equal(last_intent()->intent.scopes[WIRE_KEY].name, asking.rights.key);
    assert_int_equal(last_intent()->intent.scopes[WIRE_KEY].tokens, 3 * TOKENS);
    assert_int_equal(last_intent()->intent.scopes[WIRE_KEY].batches, 8);
    assert_int_equal(last_intent()->intent.scopes[WIRE_TEAM].name, 99);
    assert_int_equal(last_intent()->intent.scopes[WIRE_TEAM].tokens, 9 * TOKENS);
    assert_true(last_intent()->intent.scopes[WIRE_TEAM].batches == WIRE_UNLIMITED);
    run();
    is_answered(200, "");
    assert_int_equal(keeper.live.who.key, asking.rights.key);
    assert_int_equal(keeper.live.who.team, 99);
}

static void a_deployment_that_other_nodes_have_filled_is_left_for_the_next(void **state)
{
    (void)state;
    says(0, (struct wire_verdict){.end = WIRE_FULL, .scope = WIRE_DEPLOYMENT});
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(answered.deployment, 1);
    assert_int_equal(creates(), 1);
    assert_int_equal(keeper.num, 2);
    assert_int_equal(keeper.drops, 0); /* nothing was counted there */
    assert_string_not_equal(keeper.intents[0].id, keeper.intents[1].id);
    assert_int_equal(keeper.intents[1].intent.deployment, 101);
    assert_int_equal(sum_of(0).reserved, 0);
    assert_int_equal(sum_of(1).reserved, TOKENS);
}

static void deployments_that_are_all_full_elsewhere_are_a_429(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ACCOUNTS; i++)
        says(i, (struct wire_verdict){.end = WIRE_FULL, .scope = WIRE_DEPLOYMENT});
    begin();
    run();
    is_answered(429, "token_limit_exceeded");
    assert_true(answered.failure.retry_after_ms > 0);
    assert_int_equal(creates(), 0);
    assert_int_equal(num_asked[1][ASKED_DELETE] + num_asked[2][ASKED_DELETE], 2); /* the copies */
    holds_nothing();
}

static void a_key_that_has_its_tokens_elsewhere_is_refused_in_the_same_words(void **state)
{
    (void)state;
    ask_limited(2 * TOKENS, RIGHTS_UNLIMITED);
    says(0, (struct wire_verdict){.end = WIRE_FULL,
                                  .scope = WIRE_KEY,
                                  .by = WIRE_BY_TOKENS,
                                  .used = 2 * TOKENS - 1,
                                  .limit = 2 * TOKENS});
    begin();
    run();
    is_answered(429, "429");
    assert_non_null(
        strstr(answered.failure.message, "Batch enqueued token limit exceeded for api_key"));
    assert_non_null(strstr(answered.failure.message, "only 1 enqueued tokens remaining"));
    assert_string_equal(answered.failure.rate_limit, "tokens");
    assert_int_equal(creates(), 0);
    assert_int_equal(keeper.drops, 0);
    holds_nothing();
}

static void a_team_that_has_its_batches_elsewhere_is_refused_in_the_same_words(void **state)
{
    (void)state;
    ask_limited(RIGHTS_UNLIMITED, RIGHTS_UNLIMITED);
    asking.rights.team = 99;
    snprintf(asking.rights.team_name, sizeof(asking.rights.team_name), "t-1");
    asking.rights.team_limits = asking.rights.key_limits;
    says(0,
         (struct wire_verdict){
             .end = WIRE_FULL, .scope = WIRE_TEAM, .by = WIRE_BY_BATCHES, .used = 3, .limit = 3});
    begin();
    run();
    is_answered(429, "429");
    assert_non_null(
        strstr(answered.failure.message, "Open batch limit exceeded for team: t-1. It has 3"));
    holds_nothing();
}

/* (tenants statement A27) */
static void a_budget_goes_with_the_question_and_one_that_is_spent_refuses(void **state)
{
    (void)state;
    ask_limited(RIGHTS_UNLIMITED, RIGHTS_UNLIMITED);
    asking.rights.key_limits.budget_nano = 340;
    asking.rights.key_limits.budget_period_s = 86400;
    config.budget_exceeded_status = 402;
    says(0,
         (struct wire_verdict){
             .end = WIRE_FULL, .scope = WIRE_KEY, .by = WIRE_BY_NANO, .used = 300, .limit = 340});
    begin();
    assert_int_equal(last_intent()->intent.scopes[WIRE_KEY].nano, 340);
    assert_int_equal(last_intent()->intent.scopes[WIRE_KEY].period_s, 86400);
    run();
    is_answered(402, "402");
    assert_string_equal(answered.failure.type, "budget_exceeded");
    assert_true(answered.failure.should_not_retry);
    assert_non_null(
        strstr(answered.failure.message, "Current cost: 0.0000003, Max budget: 0.00000034."));
    assert_int_equal(creates(), 0);
    holds_nothing();
}

static void a_refusal_of_the_provider_gives_the_count_back_and_the_next_one_is_counted(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    begin();
    until_asked(1, ASKED_CREATE);
    assert_int_equal(keeper.drops, 1);
    assert_int_equal(keeper.why, WIRE_WAS_REFUSED);
    assert_string_equal(keeper.drop_id, keeper.intents[0].id);
    run();
    is_answered(200, "");
    assert_int_equal(keeper.lives, 1);
    assert_string_equal(keeper.live_id, keeper.intents[1].id);
    assert_string_not_equal(keeper.intents[0].id, keeper.intents[1].id);
}

static void a_create_that_nobody_takes_is_taken_back(void **state)
{
    (void)state;
    refuses(0, 1, 400, WRONG);
    begin();
    run();
    is_answered(400, "invalidPayload");
    assert_int_equal(keeper.drops, 1);
    assert_int_equal(keeper.lives, 0);
}

static void a_create_that_is_sent_once_more_is_counted_once_more(void **state)
{
    (void)state;
    refuses(0, 1, 400, WRONG);
    provider[0].pending = 2;
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 2);
    assert_int_equal(keeper.num, 2);
    assert_int_equal(keeper.drops, 1);
    assert_string_equal(keeper.live_id, keeper.intents[1].id);
}

static void a_lost_answer_leaves_the_count_in_doubt(void **state)
{
    (void)state;
    provider[0].loses_answer = true;
    begin();
    run();
    is_answered(502, "create_outcome_unknown");
    assert_int_equal(keeper.drops, 1);
    assert_int_equal(keeper.why, WIRE_WAS_LOST);
    assert_string_equal(keeper.drop_id, last_intent()->id);
}

static void a_lost_answer_that_is_found_is_a_batch(void **state)
{
    (void)state;
    provider[0].loses_answer = provider[0].lists_it = true;
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(keeper.lives, 1);
    assert_int_equal(keeper.drops, 0);
}

static void a_grant_is_good_for_a_while_only(void **state)
{
    struct upstream_call *call;

    (void)state;
    begin();
    call = until_asked(0, ASKED_CREATE);
    now_ms += JOURNAL_GRANT_MS;
    respond(call);
    run();
    assert_int_equal(made, 0);
    assert_int_equal(answered.num, 1);
    assert_true(answered.status >= 500);
    assert_int_equal(keeper.drops, 1);
    holds_nothing();
}

/* --- its worker dies --- */

static const char *dead_one(void)
{
    static char id[UNSENT_ID + 1];
    enum unsent_kind kind;
    struct unsent_entry *entry = unsent_first_dead(&shared.unsent[rt.slot], &kind, id);

    if (entry == NULL)
        return NULL;
    assert_int_equal(kind, UNSENT_CREATE);
    unsent_forget(entry);
    return id;
}

static void until_its_first_byte_a_create_is_known_not_to_be_sent(void **state)
{
    (void)state;
    begin();
    assert_int_equal(unsent_bury(&shared.unsent[rt.slot]), 1); /* the keeper may have heard of it */
    assert_string_equal(dead_one(), last_intent()->id);
    assert_null(dead_one());
    run();
}

static void a_create_that_was_granted_is_known_not_to_be_sent_while_it_connects(void **state)
{
    struct upstream_call *call;

    (void)state;
    begin();
    call = until_asked(0, ASKED_CREATE);
    assert_int_equal(unsent_bury(&shared.unsent[rt.slot]), 1);
    assert_string_equal(dead_one(), last_intent()->id);
    respond(call);
    run();
}

static void a_create_whose_answer_is_waited_for_may_have_been_sent(void **state)
{
    (void)state;
    refuses(0, 1, 400, FULL);
    begin();
    until_asked(1, ASKED_CREATE); /* the first was sent, and is refused */
    assert_int_equal(unsent_bury(&shared.unsent[rt.slot]), 1);
    assert_string_equal(dead_one(), keeper.intents[1].id);
    run();
    assert_int_equal(unsent_bury(&shared.unsent[rt.slot]), 0);
}

/* --- the client leaves --- */

static void a_client_that_leaves_before_the_keeper_answers_has_made_nothing(void **state)
{
    (void)state;
    begin();
    leave();
    run();
    assert_int_equal(creates(), 0);
    assert_int_equal(keeper.drops, 1);
    assert_int_equal(keeper.why, WIRE_NOT_MADE);
    holds_nothing();
}

static bool leaves_after(unsigned events)
{
    for (unsigned i = 0; i < events && relay.op != NULL; i++)
        assert_true(step());
    if (relay.op == NULL)
        return false;
    leave();
    return true;
}

static void whenever_a_client_leaves_each_count_has_one_end(void **state)
{
    bool left = true;

    for (unsigned events = 0; left; events++) {
        begin_world(state);
        refuses(0, 1, 400, FULL);
        refuses(1, 1, 400, WRONG);
        provider[1].pending = 2;
        begin();
        left = leaves_after(events);
        run();
        end_world(state); /* asserts it */
    }
}

/* --- the database is away (journal statement C28) --- */

static void without_limits_a_create_goes_through_while_the_database_is_away(void **state)
{
    (void)state;
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(keeper.lives, 1);
    assert_int_equal(keeper.live.local, 1);
    assert_null(strstr(answered.headers, "idempotency"));
    assert_false(last_intent()->patient);
}

static void with_limits_it_is_a_503_that_may_be_tried_again(void **state)
{
    (void)state;
    ask_limited(9 * TOKENS, RIGHTS_UNLIMITED);
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    is_answered(503, "limits_unavailable");
    assert_true(last_intent()->patient); /* a keeper that comes late is better than that */
    assert_non_null(strstr(answered.headers, "x-should-retry: true"));
    assert_true(answered.failure.retry_after_ms > 0);
    assert_int_equal(creates(), 0);
    assert_int_equal(keeper.drops, 1); /* perhaps it was written before the answer was lost */
    assert_int_equal(keeper.why, WIRE_NOT_MADE);
    holds_nothing();
}

/* --- a batch's own endpoint --- */

#define GOOD_HOOK "{\"url\":\"https://h.example/\",\"secret\":\"a-secret-of-20-bytes\"}"

static void begin_with_hook(const char *hook)
{
    char body[1024];

    config.journal = true;
    snprintf(body, sizeof(body),
             "{\"input_file_id\":\"%s\",\"endpoint\":\"/v1/chat/completions\","
             "\"completion_window\":\"24h\",\"webhook\":%s}",
             file_id, hook);
    begin_with(body);
}

static void its_own_endpoint_goes_to_the_keeper_and_to_no_provider(void **state)
{
    (void)state;
    begin_with_hook(GOOD_HOOK);
    assert_string_equal(last_intent()->intent.hook_url, "https://h.example/");
    assert_string_equal(last_intent()->intent.hook_secret, "a-secret-of-20-bytes");
    assert_int_equal(last_intent()->intent.hook_types, 15);
    run();
    is_answered(200, "");
    assert_null(strstr(created, "webhook"));
    assert_null(strstr(created, "a-secret-of-20-bytes"));
}

static void a_request_with_another_endpoint_is_another_request(void **state)
{
    uint64_t with, other;

    (void)state;
    begin_with_hook(GOOD_HOOK);
    with = last_intent()->intent.request;
    run();
    answered.num = 0;
    begin_with_hook("{\"url\":\"https://i.example/\",\"secret\":\"a-secret-of-20-bytes\"}");
    other = last_intent()->intent.request;
    run();
    assert_true(with != other);
}

/* The provider has it in the batch's marker, where a secret could be tried on it. */
static void the_fingerprint_of_a_request_says_nothing_of_a_secret(void **state)
{
    uint64_t with, other;

    (void)state;
    begin_with_hook(GOOD_HOOK);
    with = last_intent()->intent.request;
    run();
    answered.num = 0;
    begin_with_hook("{\"url\":\"https://h.example/\",\"secret\":\"another-of-20-bytes!!\"}");
    other = last_intent()->intent.request;
    assert_string_equal(last_intent()->intent.hook_secret, "another-of-20-bytes!!");
    run();
    assert_true(with == other);
}

static void a_create_whose_endpoint_nobody_keeps_is_not_sent(void **state)
{
    (void)state;
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    begin_with_hook(GOOD_HOOK);
    run();
    is_answered(503, "503");
    assert_non_null(strstr(answered.failure.message, "leave out 'webhook'"));
    assert_int_equal(creates(), 0);
    holds_nothing();
}

static void an_endpoint_that_cannot_be_told_is_refused_at_once(void **state)
{
    (void)state;
    begin_with_hook("{\"url\":\"http://h.example/\",\"secret\":\"a-secret-of-20-bytes\"}");
    is_answered(400, "invalid_value");
    assert_string_equal(answered.failure.param, "webhook.url");
    assert_int_equal(keeper.num, 0);
}

static void what_no_keeper_has_seen_need_not_be_taken_back(void **state)
{
    (void)state;
    ask_limited(9 * TOKENS, RIGHTS_UNLIMITED);
    says(0, (struct wire_verdict){.end = WIRE_DOWN, .wait_ms = 1234});
    keeper.nobody[0] = true;
    begin();
    run();
    is_answered(503, "limits_unavailable");
    assert_int_equal(answered.failure.retry_after_ms, 1234);
    assert_int_equal(keeper.drops, 0);
}

static void the_operator_may_let_them_through(void **state)
{
    (void)state;
    ask_limited(9 * TOKENS, RIGHTS_UNLIMITED);
    config.limits_open_when_down = true;
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(keeper.live.local, 1);
    assert_false(last_intent()->patient);
}

static void a_share_of_this_node_is_as_good_as_a_grant(void **state)
{
    (void)state;
    ask_limited(9 * TOKENS, RIGHTS_UNLIMITED);
    says(0, (struct wire_verdict){.end = WIRE_GRANTED, .local = 1});
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(keeper.live.local, 1);
    assert_string_equal(keeper.live_id, last_intent()->id);
}

static void a_worker_that_cannot_ask_goes_on_as_if_nobody_answered(void **state)
{
    (void)state;
    keeper.full_at = 1;
    begin();
    run();
    is_answered(200, "");
    assert_string_equal(keeper.live_id, "");
    assert_int_equal(keeper.live.local, 1);
}

/* --- Idempotency-Key (journal statement C32) --- */

static void send_key(void)
{
    sent_header[0] = "idempotency-key";
    sent_header[1] = "k";
}

/* Another node: it knows nothing of what this one was asked. */
static void go_to_another_node(void)
{
    idem_free(inherited.idem);
    assert_int_equal(idem_new(16, &inherited.idem), 0);
    memset(&answered, 0, sizeof(answered));
}

static void a_key_is_taken_for_all_nodes_and_keeps_its_answer(void **state)
{
    (void)state;
    send_key();
    begin();
    assert_int_equal(keeper.num, 1);
    assert_string_equal(last_intent()->id, ""); /* the key alone */
    assert_int_equal(strlen(last_intent()->name), WIRE_ID);
    assert_int_equal(strlen(last_intent()->claim), WIRE_ID);
    run();
    is_answered(200, "");
    assert_int_equal(keeper.num, 2);
    assert_string_equal(keeper.intents[1].name, keeper.intents[0].name);
    assert_string_equal(keeper.intents[1].claim, keeper.intents[0].claim);
    assert_int_equal(keeper.intents[1].intent.request, keeper.intents[0].intent.request);
    assert_int_equal(keeper.lives, 1);
    assert_int_equal(keeper.drops, 0);
    assert_string_equal(keeper.live_name, keeper.intents[0].name);
    assert_string_equal(keeper.live_claim, keeper.intents[0].claim);
    assert_null(strstr(answered.headers, "idempotency: local"));
}

static void what_another_node_has_answered_is_answered_again(void **state)
{
    (void)state;
    send_key();
    says(0,
         (struct wire_verdict){
             .end = WIRE_DONE,
             .answer = {.status = 200, .deployment = 101, .id = "b-t", .body = "{\"id\":\"b\"}"}});
    begin();
    run();
    is_answered(200, "");
    assert_string_equal(answered.body, "{\"id\":\"b\"}");
    assert_non_null(strstr(answered.headers, "idempotent-replayed: true"));
    assert_int_equal(num_calls, 0);
    memset(&answered, 0, sizeof(answered));
    begin(); /* this node knows it by now */
    run();
    is_answered(200, "");
    assert_int_equal(keeper.num, 1);
    assert_int_equal(keeper.lives + keeper.drops, 0);
}

static void what_another_node_is_at_is_waited_for(void **state)
{
    (void)state;
    send_key();
    says(0, (struct wire_verdict){.end = WIRE_RUNNING, .wait_ms = 100});
    says(1, (struct wire_verdict){.end = WIRE_RUNNING});
    says(2, (struct wire_verdict){.end = WIRE_DONE, .answer = {.status = 200, .body = "{}"}});
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(keeper.num, 3);
    assert_int_equal(creates(), 0);
}

static void what_another_node_is_at_for_too_long_is_a_409(void **state)
{
    (void)state;
    send_key();
    for (unsigned i = 0; i < MAX_VERDICTS; i++)
        says(i, (struct wire_verdict){.end = WIRE_RUNNING, .wait_ms = 1000});
    begin();
    run();
    is_answered(409, "idempotency_in_progress");
    assert_true(answered.failure.retry_after_ms > 0);
    assert_int_equal(keeper.drops, 0);
}

static void a_key_of_another_request_is_a_409(void **state)
{
    (void)state;
    send_key();
    says(0, (struct wire_verdict){.end = WIRE_OTHER});
    begin();
    run();
    is_answered(409, "idempotency_key_reused");
    assert_int_equal(num_calls, 0);
    assert_int_equal(keeper.drops, 0);
}

static void a_key_whose_node_died_is_looked_for_and_found(void **state)
{
    char nonce[WIRE_ID + 1];

    (void)state;
    send_key();
    begin();
    run(); /* by the node that dies with the answer */
    snprintf(nonce, sizeof(nonce), "%s", last_intent()->nonce);
    go_to_another_node();
    provider[0].lists_it = true;
    says(2, (struct wire_verdict){.end = WIRE_LOST, .answer = {.nonce = nonce, .deployment = 100}});
    begin();
    run();
    is_answered(200, "");
    assert_non_null(strstr(answered.body, "batch-1"));
    assert_int_equal(creates(), 1);
    assert_int_equal(keeper.lives, 2); /* the answer is kept for all */
    assert_string_equal(keeper.live_claim, keeper.intents[2].claim);
    assert_int_equal(keeper.drops, 0);
}

static void a_key_whose_node_died_a_moment_ago_may_still_be_carried_out(void **state)
{
    (void)state;
    send_key();
    says(0, (struct wire_verdict){
                .end = WIRE_LOST,
                .answer = {.nonce = "00000000000000000000000000000001", .age_ms = 60000}});
    begin();
    run();
    is_answered(503, "repeat_unknown");
    assert_true(answered.failure.retry_after_ms > 0);
    assert_int_equal(creates(), 0);
    assert_int_equal(keeper.drops, 1);
    assert_int_equal(keeper.why, WIRE_WAS_LOST);
    assert_string_equal(keeper.drop_claim, keeper.intents[0].claim);
}

static void a_key_whose_node_died_long_ago_and_made_nothing_is_made(void **state)
{
    (void)state;
    send_key();
    says(0, (struct wire_verdict){.end = WIRE_LOST,
                                  .answer = {.nonce = "00000000000000000000000000000001",
                                             .age_ms = QUOTA_ORPHAN_KEEP_MS}});
    begin();
    run();
    is_answered(200, "");
    assert_int_equal(creates(), 1);
    assert_int_equal(keeper.num, 2);
    assert_int_equal(keeper.lives, 1);
    assert_int_equal(keeper.drops, 0);
}

static void a_keyed_create_that_is_refused_leaves_its_key_free(void **state)
{
    (void)state;
    send_key();
    refuses(0, 1, 400, WRONG);
    begin();
    run();
    is_answered(400, "invalidPayload");
    assert_int_equal(keeper.lives, 0);
    assert_true(keeper.drops > 0);
    assert_int_equal(keeper.why, WIRE_NOT_MADE);
    assert_string_equal(keeper.drop_claim, keeper.intents[0].claim);
}

static void a_keyed_create_whose_answer_was_lost_keeps_its_key_in_doubt(void **state)
{
    (void)state;
    send_key();
    provider[0].loses_answer = true;
    begin();
    run();
    is_answered(502, "create_outcome_unknown");
    assert_int_equal(keeper.why, WIRE_WAS_LOST);
}

static void a_new_key_is_this_nodes_alone_while_the_database_is_away(void **state)
{
    (void)state;
    send_key();
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    says(1, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    is_answered(200, "");
    assert_non_null(strstr(answered.headers, "idempotency: local\n"));
    assert_int_equal(keeper.lives, 1); /* when it is back it knows it */
    assert_string_equal(keeper.live_name, keeper.intents[0].name);
    memset(&answered, 0, sizeof(answered));
    begin();
    run();
    is_answered(200, "");
    assert_non_null(strstr(answered.headers, "idempotent-replayed: true"));
    assert_int_equal(creates(), 1);
}

static void who_wants_keys_to_be_strict_gets_a_503(void **state)
{
    (void)state;
    send_key();
    config.idempotency_strict = true;
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    is_answered(503, "idempotency_unavailable");
    assert_int_equal(num_calls, 0);
}

/* Its keeper may have left before it, and other nodes have the database. */
static void a_worker_that_is_ending_takes_no_new_key_without_the_database(void **state)
{
    (void)state;
    send_key();
    rt.draining = true;
    says(0, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    rt.draining = false;
    is_answered(503, "idempotency_unavailable");
    assert_int_equal(num_calls, 0);
}

static void a_key_that_was_taken_a_moment_ago_is_safe_without_the_database(void **state)
{
    (void)state;
    send_key();
    says(1, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    run();
    is_answered(200, "");
    assert_null(strstr(answered.headers, "idempotency: local"));
}

/* By then another node may have taken it for that of a dead one. */
static void a_key_that_was_taken_long_ago_is_not(void **state)
{
    (void)state;
    send_key();
    says(1, (struct wire_verdict){.end = WIRE_DOWN});
    begin();
    while (keeper.num < 2)
        assert_true(step());
    now_ms += JOURNAL_GRANT_MS;
    run();
    is_answered(503, "idempotency_unavailable");
    assert_int_equal(creates(), 0);
    holds_nothing();
}

static void a_key_that_somebody_else_has_by_now_is_a_409(void **state)
{
    (void)state;
    send_key();
    says(1, (struct wire_verdict){.end = WIRE_RUNNING});
    begin();
    run();
    is_answered(409, "idempotency_in_progress");
    assert_int_equal(creates(), 0);
    assert_int_equal(keeper.drops, 0); /* it is not this request's to give back */
    holds_nothing();
}

static void a_key_that_somebody_else_had_and_lost_stays_in_doubt(void **state)
{
    (void)state;
    send_key();
    says(1, (struct wire_verdict){.end = WIRE_LOST});
    begin();
    run();
    is_answered(409, "idempotency_in_progress");
    assert_int_equal(creates(), 0);
    assert_int_equal(keeper.drops, 1);
    assert_int_equal(keeper.why, WIRE_WAS_LOST);
    holds_nothing();
}

#define WORLD(name) cmocka_unit_test_setup_teardown(name, begin_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(a_create_is_counted_for_all_nodes_before_it_is_sent),
        WORLD(the_keeper_hears_of_the_batch_that_was_made),
        WORLD(what_a_key_and_its_team_may_goes_with_the_question),
        WORLD(a_deployment_that_other_nodes_have_filled_is_left_for_the_next),
        WORLD(deployments_that_are_all_full_elsewhere_are_a_429),
        WORLD(a_key_that_has_its_tokens_elsewhere_is_refused_in_the_same_words),
        WORLD(a_team_that_has_its_batches_elsewhere_is_refused_in_the_same_words),
        WORLD(a_budget_goes_with_the_question_and_one_that_is_spent_refuses),
        WORLD(a_refusal_of_the_provider_gives_the_count_back_and_the_next_one_is_counted),
        WORLD(a_create_that_nobody_takes_is_taken_back),
        WORLD(a_create_that_is_sent_once_more_is_counted_once_more),
        WORLD(a_lost_answer_leaves_the_count_in_doubt),
        WORLD(a_lost_answer_that_is_found_is_a_batch),
        WORLD(a_grant_is_good_for_a_while_only),
        WORLD(until_its_first_byte_a_create_is_known_not_to_be_sent),
        WORLD(a_create_that_was_granted_is_known_not_to_be_sent_while_it_connects),
        WORLD(a_create_whose_answer_is_waited_for_may_have_been_sent),
        WORLD(a_client_that_leaves_before_the_keeper_answers_has_made_nothing),
        cmocka_unit_test(whenever_a_client_leaves_each_count_has_one_end), /* many worlds */
        WORLD(without_limits_a_create_goes_through_while_the_database_is_away),
        WORLD(with_limits_it_is_a_503_that_may_be_tried_again),
        WORLD(its_own_endpoint_goes_to_the_keeper_and_to_no_provider),
        WORLD(a_request_with_another_endpoint_is_another_request),
        WORLD(the_fingerprint_of_a_request_says_nothing_of_a_secret),
        WORLD(a_create_whose_endpoint_nobody_keeps_is_not_sent),
        WORLD(an_endpoint_that_cannot_be_told_is_refused_at_once),
        WORLD(what_no_keeper_has_seen_need_not_be_taken_back),
        WORLD(the_operator_may_let_them_through),
        WORLD(a_share_of_this_node_is_as_good_as_a_grant),
        WORLD(a_worker_that_cannot_ask_goes_on_as_if_nobody_answered),
        WORLD(a_key_is_taken_for_all_nodes_and_keeps_its_answer),
        WORLD(what_another_node_has_answered_is_answered_again),
        WORLD(what_another_node_is_at_is_waited_for),
        WORLD(what_another_node_is_at_for_too_long_is_a_409),
        WORLD(a_key_of_another_request_is_a_409),
        WORLD(a_key_whose_node_died_is_looked_for_and_found),
        WORLD(a_key_whose_node_died_a_moment_ago_may_still_be_carried_out),
        WORLD(a_key_whose_node_died_long_ago_and_made_nothing_is_made),
        WORLD(a_keyed_create_that_is_refused_leaves_its_key_free),
        WORLD(a_keyed_create_whose_answer_was_lost_keeps_its_key_in_doubt),
        WORLD(a_new_key_is_this_nodes_alone_while_the_database_is_away),
        WORLD(who_wants_keys_to_be_strict_gets_a_503),
        WORLD(a_worker_that_is_ending_takes_no_new_key_without_the_database),
        WORLD(a_key_that_was_taken_a_moment_ago_is_safe_without_the_database),
        WORLD(a_key_that_was_taken_long_ago_is_not),
        WORLD(a_key_that_somebody_else_has_by_now_is_a_409),
        WORLD(a_key_that_somebody_else_had_and_lost_stays_in_doubt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
