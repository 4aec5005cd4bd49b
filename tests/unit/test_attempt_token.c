/* Calls of accounts by Entra ID: they carry the token of now, wait for one, and a 401 costs one fresh
 * token before anybody hears of it (entra statements 13 and 16 to 19). */
#include <fcntl.h>
#include <unistd.h>

#define NOTED_ANY_METHOD
#define ACCOUNTS 2
#include "noted_calls.h"
#include "token_world.h"

#define DENIED                                                                                     \
    "{\"error\":{\"code\":\"PermissionDenied\",\"message\":\"The principal `p` lacks the "         \
    "required "                                                                                    \
    "data action `Microsoft.CognitiveServices/accounts/OpenAI/batches/write`.\"}}"
#define DEAD                                                                                       \
    "{\"statusCode\":401,\"message\":\"Unauthorized. Access token is missing, or has expired.\"}"

static struct attempt_result last;
static unsigned ended, begun, heads, rewound;
static bool rewind_fails;
static char noted_body[64];

static int set_up(void **state)
{
    ended = begun = heads = rewound = 0;
    rewind_fails = false;
    return world_set_up(state);
}

static void on_done(void *arg, const struct attempt_result *result)
{
    assert_ptr_equal(arg, &last);
    last = *result;
    ended++;
}

static bool on_begin(void *arg)
{
    (void)arg;
    begun++;
    return true;
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    (void)arg;
    (void)head;
    heads++;
    return true;
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    (void)arg;
    (void)bytes;
    (void)len;
    return true;
}

static ssize_t on_source(void *arg, char *buf, size_t len)
{
    (void)arg;
    memset(buf, 'x', len);
    return (ssize_t)len;
}

static int on_rewind(void *arg)
{
    (void)arg;
    rewound++;
    return rewind_fails ? ERR_IO : 0;
}

static struct attempt_spec spec_of(enum provider_call call)
{
    return (struct attempt_spec){
        .deployment = 0, .call = call, .id = "x", .on_done = on_done, .arg = &last};
}

static struct attempt *start(const struct attempt_spec *spec)
{
    struct attempt *at = attempt_start(&process, spec);

    assert_non_null(at);
    return at;
}

static struct attempt *start_get(void)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    return start(&spec);
}

static struct state_sum counters(void)
{
    struct state_sum sum;

    state_read(inherited.state, columns[0], now_ms, &sum);
    return sum;
}

static enum breaker_state breaker_of(enum op_class op)
{
    struct breaker_view view;

    breaker_unpack(atomic_load(state_health(inherited.state, columns[0], op)), &view);
    return view.state;
}

/* Until a call is under way, or the attempt has ended. */
static void run(void)
{
    while (open_call(0) == NULL && run_timer())
        ;
}

static void ends_without_token(int64_t retry_after_ms)
{
    struct retry_question question = attempt_question(OP_READ, &last);

    assert_int_equal(ended, 1);
    assert_false(last.ok);
    assert_int_equal(last.outcome, OUTCOME_AUTH);
    assert_int_equal(last.failure.status, 503);
    assert_string_equal(last.failure.code, "upstream_auth_unavailable");
    assert_int_equal(last.failure.retry_after_ms, retry_after_ms);
    assert_true(question.nothing_sent);
    assert_false(question.answered);
}

/* --- the token of now --- */

static void a_call_carries_the_token_that_is_there_when_it_starts(void **state)
{
    (void)state;
    give_token("first", 0);
    start_get();
    assert_true(carries("first"));
    answer(0, 200, "{}");
    give_token("second", 0);
    start_get();
    assert_true(carries("second"));
    answer(0, 200, "{}");
    assert_int_equal(ended, 2);
}

static void accounts_with_one_credential_have_one_token(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    give_token("shared", 0);
    for (spec.deployment = 0; spec.deployment < ACCOUNTS; spec.deployment++) {
        start(&spec);
        assert_true(carries("shared"));
        answer(spec.deployment, 200, "{}");
    }
    assert_int_equal(entra_tokens_rung(cell), 0);
}

/* From here on the test gives this account's tokens. */
static void give_tokens_of(uint32_t deployment)
{
    cell = account_token_cell(&process, deployment);
    assert_non_null(cell);
}

static void an_account_waits_although_another_credential_has_a_token(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    accounts[1].entra = 1;
    give_token("of-c", 0);
    spec.deployment = 1;
    start(&spec);
    for (int i = 0; i < 5; i++)
        assert_true(run_timer());
    assert_int_equal(num_calls, 0);
    assert_int_equal(entra_tokens_rung(cell), 0); /* nothing is asked of who has one */
    give_tokens_of(1);
    assert_int_equal(entra_tokens_rung(cell), 1);
    give_token("of-d", 0);
    while (open_call(1) == NULL && run_timer())
        ;
    assert_true(carries("of-d"));
    answer(1, 200, "{}");
    start_get();
    assert_true(carries("of-c"));
    answer(0, 200, "{}");
    assert_int_equal(ended, 2);
}

static void no_account_is_sent_another_credentials_token_after_a_401(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    accounts[1].entra = 1;
    give_token("of-c", 6000);
    give_tokens_of(1);
    give_token("of-d", 6000);
    spec.deployment = 1;
    start(&spec);
    assert_true(carries("of-d"));
    answer(1, 401, DEAD);
    assert_true(is_refused());
    run_timer();
    assert_null(open_call(1));
    give_none(30000);
    while (ended == 0 && run_timer())
        assert_null(open_call(1)); /* that it has none is what its client hears */
    assert_int_equal(ended, 1);
    assert_false(last.ok);
    assert_string_equal(last.failure.code, "upstream_auth_unavailable");
    assert_int_equal(num_calls, 1);
    give_tokens_of(0);
    assert_false(is_refused());
    start_get();
    assert_true(carries("of-c"));
    answer(0, 200, "{}");
}

static void a_call_without_a_token_asks_for_one_and_waits(void **state)
{
    (void)state;
    start_get();
    assert_int_equal(num_calls, 0);
    assert_int_equal(entra_tokens_rung(cell), 1);
    assert_int_equal(counters().in_flight[OP_READ], 1);
    for (int i = 0; i < 5; i++)
        assert_true(run_timer());
    assert_int_equal(num_calls, 0);
    assert_int_equal(entra_tokens_rung(cell), 1); /* once is enough */
    assert_int_equal(process.calls_waiting, 1);   /* as a call of the worker's */
    give_token("first", 0);
    run();
    assert_int_equal(process.calls_waiting, 0);
    assert_true(carries("first"));
    answer(0, 200, "{}");
    assert_int_equal(ended, 1);
    assert_true(last.ok);
    assert_int_equal(counters().requests[OP_READ], 1);
    assert_int_equal(counters().in_flight[OP_READ], 0);
}

static void what_the_caller_gave_may_be_gone_while_the_call_waits(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_CREATE);
    char body[] = "{\"a\":1}", query[] = "b=2", type[] = "application/json";

    (void)state;
    spec.id = NULL;
    spec.body = body;
    spec.body_len = strlen(body);
    spec.query = query;
    spec.content_type = type;
    start(&spec);
    memset(body, '#', sizeof(body) - 1);
    memset(query, '#', sizeof(query) - 1);
    memset(type, '#', sizeof(type) - 1);
    give_token("first", 0);
    run();
    assert_non_null(strstr(calls[0]->url, "b=2"));
    assert_non_null(strstr(noted_headers, "Content-Type: application/json\n"));
    snprintf(noted_body, sizeof(noted_body), "%.*s", (int)calls[0]->request.body_len,
             calls[0]->request.body);
    assert_string_equal(noted_body, "{\"a\":1}");
    answer(0, 200, "{}");
}

static void a_wait_is_part_of_the_time_that_a_call_has(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    spec.total_ms = 5000;
    start(&spec);
    run_timer();
    now_ms += 3000;
    give_token("first", 0);
    run();
    assert_in_range(calls[0]->request.total_ms, 1, 2000);
    answer(0, 200, "{}");
    start(&spec);
    assert_int_equal(calls[1]->request.total_ms, 5000);
    answer(0, 200, "{}");
}

static void where_no_token_will_come_soon_a_call_ends_at_once(void **state)
{
    (void)state;
    give_none(30000);
    start_get();
    assert_int_equal(ended, 0); /* never from inside the start */
    assert_true(run_timer());
    assert_int_equal(now_ms, NOW);
    ends_without_token(30000);
    assert_int_equal(num_calls, 0);
    assert_int_equal(breaker_of(OP_READ), BREAKER_CLOSED); /* the deployment was not asked */
    assert_int_equal(counters().outcomes[OP_READ][OUTCOME_AUTH], 1);
    assert_int_equal(counters().in_flight[OP_READ], 0);
}

static void a_wait_ends_when_the_token_service_has_given_none(void **state)
{
    (void)state;
    start_get();
    run_timer();
    give_none(2000);
    run();
    ends_without_token(2000 - 20);
}

static void a_wait_has_an_end_when_nobody_says_anything(void **state)
{
    (void)state;
    start_get();
    run();
    ends_without_token(1000);
    assert_in_range(now_ms - NOW, 10000, 10100);
}

static void a_list_that_is_wanted_sooner_ends_sooner(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_LIST);

    (void)state;
    spec.total_ms = 3000;
    start(&spec);
    run();
    ends_without_token(1000);
    assert_in_range(now_ms - NOW, 2500, 2600);
}

static void a_credential_without_a_cell_serves_nobody(void **state)
{
    (void)state;
    process.credentials[0].cell = NULL;
    start_get();
    run();
    ends_without_token(60000);
}

static void a_call_that_waits_can_be_cancelled(void **state)
{
    (void)state;
    attempt_cancel(start_get());
    assert_int_equal(process.calls_waiting, 0);
    assert_null(next_timer());
    assert_int_equal(ended, 0);
    assert_int_equal(counters().in_flight[OP_READ], 0);
    assert_int_equal(counters().outcomes[OP_READ][OUTCOME_CANCELLED], 1);
}

static void without_memory_to_wait_a_call_does_not_begin(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    timers_are_refused = true;
    assert_null(attempt_start(&process, &spec));
    assert_int_equal(counters().requests[OP_READ], 0);
}

static void without_memory_to_send_a_call_that_waited_ends(void **state)
{
    (void)state;
    start_get();
    give_token("first", 0);
    calls_are_refused = true;
    run();
    assert_int_equal(ended, 1);
    assert_true(last.upstream->nothing_sent);
    assert_int_equal(last.outcome, OUTCOME_CANCELLED);
}

/* --- a 401 --- */

static void test_entra_16_a_refused_token_is_replaced_and_the_call_sent_once_more(void **state)
{
    static const char *const bodies[] = {DEAD, "{\"error\":{\"code\":\"401\",\"message\":\"no\"}}",
                                         "{\"error\":{\"code\":\"Unauthorized\"}}", "", "<html>"};

    (void)state;
    give_token("first", 6000);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        ended = 0;
        start_get();
        answer(0, 401, bodies[i]);
        assert_int_equal(ended, 0);
        assert_true(is_refused());
        run_timer();
        assert_null(open_call(0)); /* not with the same one */
        give_token("second", 0);
        run();
        assert_true(carries("second"));
        answer(0, 200, "{}");
        assert_int_equal(ended, 1);
        assert_true(last.ok);
        give_token("first", 6000);
    }
    assert_int_equal(breaker_of(OP_READ), BREAKER_CLOSED);
    assert_int_equal(counters().outcomes[OP_READ][OUTCOME_AUTH], 0);
    assert_int_equal(counters().requests[OP_READ], sizeof(bodies) / sizeof(bodies[0]));
}

static void test_entra_16_a_create_is_begun_once_however_often_it_is_sent(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_CREATE);

    (void)state;
    spec.id = NULL;
    spec.body = "{}";
    spec.body_len = 2;
    spec.on_begin = on_begin;
    give_token("first", 6000);
    start(&spec);
    assert_true(calls[0]->request.on_begin(calls[0]->request.arg));
    answer(0, 401, DEAD);
    give_token("second", 0);
    run();
    assert_null(calls[1]->request.on_begin);
    assert_int_equal(calls[1]->request.once, true);
    answer(0, 200, "{}");
    assert_int_equal(begun, 1);
    assert_int_equal(ended, 1);
}

static struct attempt_spec upload_spec(void)
{
    struct attempt_spec spec = spec_of(CALL_FILE_CREATE);

    spec.id = NULL;
    spec.source = on_source;
    spec.source_length = 100;
    spec.rewind = on_rewind;
    return spec;
}

static void test_entra_16_an_upload_is_read_from_its_begin(void **state)
{
    struct attempt_spec spec = upload_spec();

    (void)state;
    give_token("first", 6000);
    start(&spec);
    assert_int_equal(rewound, 0);
    answer(0, 401, DEAD);
    assert_int_equal(rewound, 1);
    give_token("second", 0);
    run();
    assert_int_equal(calls[1]->request.source_length, 100);
    answer(0, 201, "{}");
    assert_true(last.ok);
    assert_int_equal(rewound, 1);
}

static void what_cannot_go_back_is_not_sent_again_but_its_token_is_gone(void **state)
{
    struct attempt_spec spec = upload_spec();

    (void)state;
    give_token("first", 6000);
    spec.rewind = NULL;
    start(&spec);
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_int_equal(last.failure.status, 502);
    assert_true(is_refused());
    ended = 0;
    give_token("second", 6000);
    spec.rewind = on_rewind;
    rewind_fails = true;
    start(&spec);
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_int_equal(num_calls, 2);
}

static void a_streamed_answer_is_not_shown_before_a_401_is_judged(void **state)
{
    struct attempt_spec spec = spec_of(CALL_FILE_CONTENT);
    struct upstream_head refused = {.status = 401}, good = {.status = 200};

    (void)state;
    spec.on_head = on_head;
    spec.on_data = on_data;
    give_token("first", 6000);
    start(&spec);
    assert_false(calls[0]->request.on_head(calls[0]->request.arg, &refused));
    assert_int_equal(heads, 0);
    answer(0, 401, DEAD);
    give_token("second", 0);
    run();
    assert_true(calls[1]->request.on_head(calls[1]->request.arg, &good));
    assert_int_equal(heads, 1);
    answer(0, 200, NULL);
    assert_int_equal(ended, 1);
}

static void a_token_that_is_new_is_not_thrown_away(void **state)
{
    (void)state;
    give_token("first", 4999);
    start_get();
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_int_equal(last.failure.status, 502);
    assert_string_equal(last.failure.code, "upstream_auth");
    assert_false(is_refused());
    assert_int_equal(entra_tokens_rung(cell), 0);
    assert_int_equal(breaker_of(OP_READ), BREAKER_OPEN);
}

static void test_entra_17_a_token_that_was_replaced_meanwhile_is_not_thrown_away(void **state)
{
    (void)state;
    give_token("first", 6000);
    start_get();
    give_token("second", 6000);
    answer(0, 401, DEAD);
    assert_int_equal(ended, 0);
    assert_true(carries("second")); /* at once */
    assert_false(is_refused());
    assert_int_equal(entra_tokens_rung(cell), 0);
    answer(0, 200, "{}");
    assert_true(last.ok);
}

static void many_calls_that_saw_one_token_ask_for_one(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    give_token("first", 6000);
    for (spec.deployment = 0; spec.deployment < ACCOUNTS; spec.deployment++)
        start(&spec);
    answer(0, 401, DEAD);
    answer(1, 401, DEAD);
    give_token("second", 0);
    for (int i = 0; i < 2; i++)
        run_timer();
    assert_int_equal(num_calls, 4);
    answer(0, 200, "{}");
    answer(1, 200, "{}");
    assert_false(is_refused());
    assert_int_equal(ended, 2);
}

static void test_entra_18_a_missing_role_is_never_answered_with_a_new_token(void **state)
{
    static const char *const bodies[] = {
        DENIED, "{\"code\":\"PermissionDenied\",\"message\":\"no\"}",
        "{\"error\":{\"code\":\"401\",\"message\":\"PermissionDenied: no\"}}",
        "{\"error\":{\"message\":\"Principal does not have access to API/Operation.\"}}",
        "{\"statusCode\":401,\"message\":\"`p` lacks the required data action `a`\"}"};

    (void)state;
    give_token("first", 600000);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        ended = 0;
        start_get();
        answer(0, 401, bodies[i]);
        assert_int_equal(ended, 1);
        assert_int_equal(last.failure.status, 502);
        assert_false(is_refused());
        assert_int_equal(breaker_of(OP_READ), BREAKER_OPEN);
    }
    assert_int_equal(entra_tokens_rung(cell), 0);
}

/* What a call that is denied leaves in the log. */
static void deny(char *log, size_t size)
{
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0600), out = dup(2);
    ssize_t len;

    assert_true(file != -1 && out != -1);
    dup2(file, 2);
    log_set_level(LOG_LEVEL_WARN);
    start_get();
    answer(0, 401, DENIED);
    log_set_level(LOG_LEVEL_ERROR);
    dup2(out, 2);
    close(out);
    len = pread(file, log, size - 1, 0);
    assert_true(len > 0);
    log[len] = '\0';
    close(file);
}

static void test_entra_18_the_log_says_what_an_operator_has_to_do(void **state)
{
    char log[4096];

    (void)state;
    give_token("first", 600000);
    deny(log, sizeof(log));
    assert_non_null(strstr(log, "a role is missing"));
    assert_non_null(strstr(log, "The principal `p` lacks the required data action"));
    accounts[0].auth = ACCOUNT_AUTH_API_KEY; /* whose key is wrong: Azure may say the same */
    deny(log, sizeof(log));
    assert_null(strstr(log, "a role is missing"));
}

static void test_entra_18_what_the_provider_says_names_principal_and_action(void **state)
{
    struct upstream_result denied = {
        .end = UPSTREAM_ANSWERED, .head.status = 401, .body = DENIED, .body_len = strlen(DENIED)};
    struct failure said;

    (void)state;
    assert_true(failure_is_permission_denied(&denied, &said));
    assert_non_null(strstr(said.message, "`p` lacks"));
    assert_non_null(strstr(said.message, "/batches/write`"));
    denied.head.status = 400;
    assert_false(failure_is_permission_denied(&denied, &said));
}

static void test_entra_19_a_second_401_is_the_last_and_opens_the_breaker(void **state)
{
    (void)state;
    give_token("first", 6000);
    start_get();
    answer(0, 401, DEAD);
    assert_int_equal(breaker_of(OP_READ), BREAKER_CLOSED);
    give_token("second", 0);
    run();
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_int_equal(last.failure.status, 502);
    assert_int_equal(last.outcome, OUTCOME_AUTH);
    assert_int_equal(breaker_of(OP_READ), BREAKER_OPEN);
    assert_false(is_refused());
    assert_int_equal(counters().requests[OP_READ], 1);
    assert_int_equal(counters().outcomes[OP_READ][OUTCOME_AUTH], 1);
}

static void a_refused_token_without_a_next_one_ends_the_call_and_its_row_rests(void **state)
{
    (void)state;
    give_token("first", 6000);
    start_get();
    answer(0, 401, DEAD);
    give_none(8000);
    run();
    ends_without_token(8000 - 20);
    assert_int_equal(breaker_of(OP_READ), BREAKER_OPEN);
}

/* The 401 may have been the affair of one account alone. */
static void a_token_that_was_refused_to_others_is_tried_when_none_else_will_come(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_GET);

    (void)state;
    give_token("first", 6000);
    start_get();
    answer(0, 401, DEAD);
    give_none(8000);
    run();
    spec.deployment = 1;
    start(&spec);
    run();
    assert_true(carries("first"));
    answer(1, 200, "{}");
    assert_true(last.ok);
}

static void without_memory_for_another_try_the_401_stands(void **state)
{
    (void)state;
    give_token("first", 6000);
    start_get();
    timers_are_refused = true;
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_int_equal(last.failure.status, 502);
}

static void a_call_in_the_background_replaces_a_token_too(void **state)
{
    struct attempt_spec spec = spec_of(CALL_BATCH_LIST);

    (void)state;
    spec.id = NULL;
    spec.background = true;
    give_token("first", 6000);
    start(&spec);
    answer(0, 401, DEAD);
    give_token("second", 0);
    run();
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_int_equal(breaker_of(OP_READ), BREAKER_CLOSED);
}

static void an_account_with_a_key_waits_for_nothing(void **state)
{
    (void)state;
    accounts[0].auth = ACCOUNT_AUTH_API_KEY;
    give_token("first", 6000);
    start_get();
    assert_null(strstr(noted_headers, "Authorization"));
    answer(0, 401, DEAD);
    assert_int_equal(ended, 1);
    assert_false(is_refused());
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        T(a_call_carries_the_token_that_is_there_when_it_starts),
        T(accounts_with_one_credential_have_one_token),
        T(an_account_waits_although_another_credential_has_a_token),
        T(no_account_is_sent_another_credentials_token_after_a_401),
        T(a_call_without_a_token_asks_for_one_and_waits),
        T(what_the_caller_gave_may_be_gone_while_the_call_waits),
        T(a_wait_is_part_of_the_time_that_a_call_has),
        T(where_no_token_will_come_soon_a_call_ends_at_once),
        T(a_wait_ends_when_the_token_service_has_given_none),
        T(a_wait_has_an_end_when_nobody_says_anything),
        T(a_list_that_is_wanted_sooner_ends_sooner),
        T(a_credential_without_a_cell_serves_nobody),
        T(a_call_that_waits_can_be_cancelled),
        T(without_memory_to_wait_a_call_does_not_begin),
        T(without_memory_to_send_a_call_that_waited_ends),
        T(test_entra_16_a_refused_token_is_replaced_and_the_call_sent_once_more),
        T(test_entra_16_a_create_is_begun_once_however_often_it_is_sent),
        T(test_entra_16_an_upload_is_read_from_its_begin),
        T(what_cannot_go_back_is_not_sent_again_but_its_token_is_gone),
        T(a_streamed_answer_is_not_shown_before_a_401_is_judged),
        T(a_token_that_is_new_is_not_thrown_away),
        T(test_entra_17_a_token_that_was_replaced_meanwhile_is_not_thrown_away),
        T(many_calls_that_saw_one_token_ask_for_one),
        T(test_entra_18_a_missing_role_is_never_answered_with_a_new_token),
        T(test_entra_18_the_log_says_what_an_operator_has_to_do),
        T(test_entra_18_what_the_provider_says_names_principal_and_action),
        T(test_entra_19_a_second_401_is_the_last_and_opens_the_breaker),
        T(a_refused_token_without_a_next_one_ends_the_call_and_its_row_rests),
        T(a_token_that_was_refused_to_others_is_tried_when_none_else_will_come),
        T(without_memory_for_another_try_the_401_stands),
        T(a_call_in_the_background_replaces_a_token_too),
        T(an_account_with_a_key_waits_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
