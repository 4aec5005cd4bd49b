/* A create at accounts by Entra ID whose token dies: the batch is made once and counted once, and
 * where its second try is lost it is found by the same marker (entra statements 13 and 16). */
#include "create_world.h"
#include "noted_answers.h"

#include "core/account_token.h"
#include "create/create.h"
#include "objects/client_ids.h"

#define DEAD "{\"statusCode\":401,\"message\":\"Unauthorized. Access token is missing, invalid.\"}"
#define FULL                                                                                       \
    "{\"error\":{\"code\":\"token_limit_exceeded\",\"message\":\"Too many tokens enqueued.\"}}"

static struct relay relay;
static struct tenant asking; /* anybody */
static struct entra_credential credential = {.name = (char *)(uintptr_t) "client c",
                                             .fingerprint = 77};
static struct entra_tokens_cell *cell;

static int set_up(void **state)
{
    struct facts facts = {.deployment = 0, .model = facts_model("g", 1), .lines = 1, .bytes = 100};

    world_set_up(state);
    memset(&answered, 0, sizeof(answered));
    sent_header[0] = NULL;
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        accounts[i].auth = ACCOUNT_AUTH_ENTRA;
    config.models.credentials = &credential;
    config.models.num_credentials = 1;
    assert_int_equal(entra_tokens_new(&inherited.entra_tokens), 0);
    assert_int_equal(entra_tokens_bind(inherited.entra_tokens, credential.fingerprint, 0), 0);
    assert_int_equal(account_token_prepare(&rt), 0);
    cell = account_token_cell(&rt, 0);
    facts.prompt.units[FEATURE_TEXT] = (uint64_t)4 * TOKENS;
    facts_remember(&rt, 0, FILE_ID, &facts);
    return 0;
}

static void forget_request(void)
{
    json_doc_free(relay.doc);
    memset(&relay, 0, sizeof(relay));
}

static int tear_down(void **state)
{
    forget_request();
    free(rt.credentials);
    entra_tokens_free(inherited.entra_tokens);
    return world_tear_down(state);
}

static void give_token(const char *text, uint64_t age_ms)
{
    struct entra_state state = {.obtained_ms = now_ms - age_ms,
                                .renew_ms = now_ms + 1800000,
                                .fresh_until_ms = now_ms + 3300000,
                                .ends_ms = now_ms + 3600000};

    assert_true(entra_tokens_lease(cell, 1, now_ms, 1000));
    assert_true(entra_tokens_publish(cell, text, strlen(text), &state) > 0);
    entra_tokens_release(cell, 1);
}

static void give_none(void)
{
    struct entra_state state = {.wait_ms = now_ms + 30000, .failures = 1, .last = ENTRA_PASSING};
    struct entra_tokens_error error = {.outcome = ENTRA_PASSING, .status = 503};

    assert_true(entra_tokens_lease(cell, 1, now_ms, 1000));
    entra_tokens_fail(cell, &state, &error);
    entra_tokens_release(cell, 1);
}

static void begin(void)
{
    struct viewer viewer = {.rt = &rt, .owner = tenant_owner(&asking)};
    struct strbuf text = STRBUF_INIT;
    struct json_error error;

    strbuf_adds(&text, "{\"input_file_id\":\"");
    client_ids_text(&viewer, 0, ID_FILE, true, FILE_ID, &text);
    strbuf_adds(&text, "\",\"endpoint\":\"/v1/chat/completions\",\"completion_window\":\"24h\"}");
    forget_request();
    relay.rt = &rt;
    relay.tenant = &asking;
    relay.owner = tenant_owner(&asking);
    relay.deployment = MODEL_NO_INDEX;
    relay.method = METHOD_POST;
    relay.route.kind = ROUTE_BATCHES;
    snprintf(relay.request_id, sizeof(relay.request_id), "r-1");
    relay.doc = json_doc_new();
    relay.request = json_parse(relay.doc, strbuf_str(&text), text.len, &error);
    assert_non_null(relay.request);
    create_start(&relay);
    strbuf_deinit(&text);
}

/* Sent, and its token is refused. */
static void begin_with_a_dead_token(void)
{
    give_token("first", 6000);
    provider[0].refusals = 1;
    provider[0].refusal = 401;
    provider[0].refusal_body = DEAD;
    begin();
    respond(until_asked(0, ASKED_CREATE));
    assert_int_equal(answered.num, 0);
    assert_null(open_call());
}

static void is_answered(int status, const char *code)
{
    assert_int_equal(answered.num, 1);
    assert_int_equal(answered.status, status);
    assert_string_equal(answered.failure.code, code);
    assert_null(relay.op);
}

static void test_entra_16_a_create_whose_token_died_is_made_once(void **state)
{
    (void)state;
    begin_with_a_dead_token();
    assert_int_equal(sum_of(0).reserved, TOKENS);
    give_token("second", 0);
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[0][ASKED_CREATE], 2);
    assert_int_equal(num_asked[0][ASKED_LIST], 0);
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_second_try_that_is_lost_is_found_by_its_marker(void **state)
{
    (void)state;
    begin_with_a_dead_token();
    provider[0].loses_answer = provider[0].lists_it = true;
    give_token("second", 0);
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[0][ASKED_CREATE], 2);
    assert_true(num_asked[0][ASKED_LIST] > 0);
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void a_second_try_that_is_lost_and_not_found_is_made_nowhere_else(void **state)
{
    (void)state;
    begin_with_a_dead_token();
    provider[0].loses_answer = true;
    give_token("second", 0);
    run();
    is_answered(502, "create_outcome_unknown");
    assert_int_equal(num_asked[0][ASKED_CREATE], 2);
    assert_int_equal(num_asked[1][ASKED_CREATE] + num_asked[2][ASKED_CREATE], 0);
    assert_int_equal(sum_of(0).reserved, TOKENS); /* an orphan */
}

static void a_create_that_waits_for_its_second_token_counts_as_sent(void **state)
{
    (void)state;
    begin_with_a_dead_token();
    quota_undo_holder(inherited.quota, rt.slot, now_ms);
    assert_int_equal(sum_of(0).reserved, TOKENS);
    give_token("second", 0);
    run();
    assert_int_equal(answered.num, 1);
}

static void a_create_that_waits_for_its_first_token_has_sent_nothing(void **state)
{
    (void)state;
    begin();
    assert_int_equal(sum_of(0).reserved, TOKENS);
    assert_null(open_call());
    quota_undo_holder(inherited.quota, rt.slot, now_ms);
    assert_int_equal(sum_of(0).reserved, 0);
    give_token("first", 0);
    run();
    assert_int_equal(made, 0); /* its reservation is gone */
    assert_true(answered.status >= 500);
}

static void test_entra_13_without_a_token_nothing_is_made_and_the_client_may_come_back(void **state)
{
    (void)state;
    give_none();
    begin();
    run();
    is_answered(503, "upstream_auth_unavailable");
    assert_in_range(answered.failure.retry_after_ms, 1, 30000);
    assert_int_equal(made, 0);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        assert_int_equal(sum_of(i).reserved, 0);
}

/* The refusal proves that nothing was made; and another account may take the token still. */
static void after_a_refusal_without_a_next_token_another_deployment_has_it(void **state)
{
    (void)state;
    begin_with_a_dead_token();
    give_none();
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[0][ASKED_CREATE], 1);
    assert_int_equal(num_asked[1][ASKED_CREATE], 1);
    assert_int_equal(sum_of(0).reserved, 0);
    assert_int_equal(sum_of(1).reserved, TOKENS);
}

static void a_client_that_leaves_while_its_create_waits_has_its_batch_all_the_same(void **state)
{
    void *op;

    (void)state;
    begin();
    op = relay.op;
    assert_non_null(op);
    relay.op = NULL;
    relay.on_gone(op);
    relay.answered = true;
    give_token("first", 0);
    run();
    assert_int_equal(made, 1);
    assert_int_equal(sum_of(0).reserved, TOKENS);
}

static void test_entra_16_a_copy_is_stored_from_the_spool_once_more(void **state)
{
    char first[sizeof(uploaded)];

    (void)state;
    give_token("first", 6000);
    provider[0].refusals = 1;
    provider[0].refusal = 400;
    provider[0].refusal_body = FULL;
    provider[1].upload = 401;
    begin();
    respond(until_asked(1, ASKED_UPLOAD));
    assert_non_null(strstr(uploaded, "\"m1\""));
    memcpy(first, uploaded, sizeof(first));
    provider[1].upload = 0;
    give_token("second", 0);
    run();
    is_answered(200, "");
    assert_int_equal(num_asked[1][ASKED_UPLOAD], 2);
    assert_string_equal(uploaded, first);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_entra_16_a_create_whose_token_died_is_made_once),
        T(a_second_try_that_is_lost_is_found_by_its_marker),
        T(a_second_try_that_is_lost_and_not_found_is_made_nowhere_else),
        T(a_create_that_waits_for_its_second_token_counts_as_sent),
        T(a_create_that_waits_for_its_first_token_has_sent_nothing),
        T(test_entra_13_without_a_token_nothing_is_made_and_the_client_may_come_back),
        T(after_a_refusal_without_a_next_token_another_deployment_has_it),
        T(a_client_that_leaves_while_its_create_waits_has_its_batch_all_the_same),
        T(test_entra_16_a_copy_is_stored_from_the_spool_once_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
