/* How an ended call counts for its deployment, and what every call has in common: it is counted
 * once from its begin to its end, and carries its own account's key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "calls/attempt.h"

#define ACCOUNTS 2

#include "noted_calls.h"

/* --- a process that calls two accounts, one deployment each --- */

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return 1000000;
}

static const struct loop_ops ops = {.now_ms = do_now_ms};
static struct loop loop = {.ops = &ops};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static struct config config;
static uint32_t columns[ACCOUNTS];
static struct inherited inherited;
static struct runtime process;
static struct attempt_result last;
static unsigned ended;

static int set_up(void **state)
{
    static const char *const bases[ACCOUNTS] = {"https://a0.example", "https://a1.example/v1"};
    static const char *const keys[ACCOUNTS] = {"key-0", "key-1"};
    struct table *table;

    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        accounts[i] = (struct model_account){.provider = i == 0 ? PROVIDER_AZURE : PROVIDER_OPENAI,
                                             .base = (char *)(uintptr_t)bases[i],
                                             .name = (char *)(uintptr_t)keys[i]};
        assert_int_equal(secret_set(&accounts[i].key, keys[i], strlen(keys[i])), 0);
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .id = accounts[i].name,
                                            .account = i,
                                            .cooldown_ms = UINT32_MAX,
                                            .fingerprint = 100 + i};
    }
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = rows,
                                        .num_deployments = ACCOUNTS};
    inherited = (struct inherited){.config = &config, .columns = columns};
    inherited.breaker = breaker_policy(0, 5000);
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    inherited.table = table;
    assert_int_equal(state_new(2, ACCOUNTS, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    process =
        (struct runtime){.inherited = &inherited, .config = &config, .table = table, .loop = &loop};
    ended = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < num_calls; i++)
        free(calls[i]);
    num_calls = 0;
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        secret_clear(&accounts[i].key);
    state_free(inherited.state);
    table_free((struct table *)(uintptr_t)inherited.table);
    return 0;
}

static void on_done(void *arg, const struct attempt_result *result)
{
    assert_ptr_equal(arg, &last);
    last = *result;
    ended++;
}

static struct attempt_spec spec_of(uint32_t deployment, bool background)
{
    return (struct attempt_spec){.deployment = deployment,
                                 .call = CALL_BATCH_LIST,
                                 .background = background,
                                 .on_done = on_done,
                                 .arg = &last};
}

static struct attempt *start(const struct attempt_spec *spec)
{
    struct attempt *at = attempt_start(&process, spec);

    assert_non_null(at);
    return at;
}

static struct state_sum counters(uint32_t deployment)
{
    struct state_sum sum;

    state_read(inherited.state, columns[deployment], 1000000, &sum);
    return sum;
}

static enum breaker_state breaker_of(uint32_t deployment)
{
    struct breaker_view view;

    breaker_unpack(atomic_load(state_health(inherited.state, columns[deployment], OP_READ)), &view);
    return view.state;
}

static void every_call_is_counted_once_however_it_ends(void **state)
{
    struct attempt_spec spec = spec_of(0, false);
    struct attempt *at;

    (void)state;
    for (int background = 0; background < 2; background++) {
        spec.background = background;
        start(&spec);
        assert_int_equal(counters(0).in_flight[OP_READ], 1);
        answer(0, 200, "{}");
        at = start(&spec);
        assert_int_equal(counters(0).in_flight[OP_READ], 1);
        attempt_cancel(at);
        assert_int_equal(counters(0).in_flight[OP_READ], 0);
    }
    assert_int_equal(ended, 2);
    assert_int_equal(counters(0).requests[OP_READ], 4);
    assert_int_equal(counters(0).outcomes[OP_READ][OUTCOME_OK], 2);
    assert_int_equal(counters(0).outcomes[OP_READ][OUTCOME_CANCELLED], 2);
}

static void a_call_that_could_not_be_built_is_not_counted(void **state)
{
    struct attempt_spec spec = spec_of(0, false);

    (void)state;
    spec.query = "a b";
    assert_null(attempt_start(&process, &spec));
    assert_int_equal(num_calls, 0);
    assert_int_equal(counters(0).requests[OP_READ], 0);
    assert_int_equal(counters(0).in_flight[OP_READ], 0);
}

static void a_call_that_no_client_waits_for_teaches_no_breaker(void **state)
{
    struct attempt_spec upkeep = spec_of(0, true), client = spec_of(0, false);

    (void)state;
    for (int i = 0; i < 5; i++) {
        start(&upkeep);
        answer(0, 401, "{}");
        assert_int_equal(last.outcome, OUTCOME_AUTH);
    }
    assert_int_equal(breaker_of(0), BREAKER_CLOSED);
    assert_int_equal(counters(0).outcomes[OP_READ][OUTCOME_AUTH], 5);
    start(&client);
    answer(0, 401, "{}");
    assert_int_equal(breaker_of(0), BREAKER_OPEN);
}

static const char *find_fault(const struct upstream_result *result)
{
    return strcmp(result->body, "{}") == 0 ? NULL : "it is no object";
}

static void a_success_whose_answer_is_judged_wrong_is_none(void **state)
{
    struct attempt_spec spec = spec_of(0, true);

    (void)state;
    spec.judge = find_fault;
    start(&spec);
    answer(0, 200, "{}");
    assert_true(last.ok);
    start(&spec);
    answer(0, 200, "<html>");
    assert_false(last.ok);
    assert_string_equal(last.failure.message, "it is no object");
    assert_int_equal(counters(0).outcomes[OP_READ][OUTCOME_OK], 1);
    assert_int_equal(counters(0).outcomes[OP_READ][OUTCOME_BAD_ANSWER], 1);
    start(&spec);
    answer(0, 500, "<html>");
    assert_int_equal(last.outcome, OUTCOME_SERVER_ERROR);
}

static void a_key_goes_to_its_own_account_alone(void **state)
{
    struct attempt_spec spec;

    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        char own[16], other[16];

        snprintf(own, sizeof(own), "key-%u", i);
        snprintf(other, sizeof(other), "key-%u", 1 - i);
        spec = spec_of(i, false);
        start(&spec);
        assert_non_null(strstr(noted_headers, own));
        assert_null(strstr(noted_headers, other));
        assert_int_equal(open_call(i)->account, i);
        answer(i, 200, "{}");
    }
}

static void a_call_says_in_its_user_agent_that_it_is_upkeep(void **state)
{
    struct attempt_spec spec = spec_of(0, true);

    (void)state;
    start(&spec);
    assert_non_null(strstr(noted_headers, "User-Agent: tranche/"));
    answer(0, 200, "{}");
    spec.agent = "tranche (upkeep)";
    start(&spec);
    assert_non_null(strstr(noted_headers, "User-Agent: tranche (upkeep)\n"));
    assert_null(strstr(noted_headers, "User-Agent: tranche/"));
    answer(0, 200, "{}");
}

/* --- what an end means --- */

static enum outcome of_status(int status, const char *code)
{
    struct upstream_result res = {.end = UPSTREAM_ANSWERED, .head.status = status};
    struct failure failure = {.status = status};

    strncpy(failure.code, code, sizeof(failure.code) - 1);
    return outcome_of(&res, &failure);
}

static void an_error_about_an_object_is_no_fault_of_the_deployment(void **state)
{
    static const int statuses[] = {200, 201, 204, 400, 404, 409, 413, 415, 416, 422};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_int_equal(of_status(statuses[i], ""), OUTCOME_OK);
}

static void faults_of_the_deployment_have_their_class(void **state)
{
    (void)state;
    assert_int_equal(of_status(401, ""), OUTCOME_AUTH);
    assert_int_equal(of_status(403, ""), OUTCOME_AUTH);
    assert_int_equal(of_status(408, ""), OUTCOME_TIMEOUT);
    assert_int_equal(of_status(429, ""), OUTCOME_RATE_LIMIT);
    assert_int_equal(of_status(500, ""), OUTCOME_SERVER_ERROR);
    assert_int_equal(of_status(503, ""), OUTCOME_SERVER_ERROR);
    assert_int_equal(of_status(302, ""), OUTCOME_BAD_ANSWER);
}

static void a_400_that_says_token_limit_exceeded_means_the_deployment_is_full(void **state)
{
    (void)state;
    assert_int_equal(of_status(400, "token_limit_exceeded"), OUTCOME_RATE_LIMIT);
}

static void a_400_that_says_the_file_quota_is_reached_means_the_account_is_full(void **state)
{
    (void)state;
    assert_int_equal(of_status(400, "quotaExceeded"), OUTCOME_RATE_LIMIT);
}

static void a_call_without_an_answer_counts_by_how_it_ended(void **state)
{
    struct upstream_result res = {0};
    struct failure failure = {0};
    static const struct {
        enum upstream_end end;
        enum outcome outcome;
    } cases[] = {
        {UPSTREAM_CONNECT_FAILED, OUTCOME_CONNECT}, {UPSTREAM_TIMEOUT, OUTCOME_TIMEOUT},
        {UPSTREAM_BROKEN, OUTCOME_BROKEN},          {UPSTREAM_TOO_LARGE, OUTCOME_BAD_ANSWER},
        {UPSTREAM_REFUSED, OUTCOME_CANCELLED},      {UPSTREAM_SOURCE_FAILED, OUTCOME_CANCELLED}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        res.end = cases[i].end;
        assert_int_equal(outcome_of(&res, &failure), cases[i].outcome);
    }
}

static void uploads_and_creates_have_breakers_of_their_own(void **state)
{
    (void)state;
    assert_int_equal(outcome_class_of(CALL_FILE_CREATE), OP_UPLOAD);
    assert_int_equal(outcome_class_of(CALL_BATCH_CREATE), OP_CREATE);
    assert_int_equal(outcome_class_of(CALL_BATCH_CANCEL), OP_READ);
    assert_int_equal(outcome_class_of(CALL_FILE_CONTENT), OP_READ);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(every_call_is_counted_once_however_it_ends),
        T(a_call_that_could_not_be_built_is_not_counted),
        T(a_call_that_no_client_waits_for_teaches_no_breaker),
        T(a_success_whose_answer_is_judged_wrong_is_none),
        T(a_key_goes_to_its_own_account_alone),
        T(a_call_says_in_its_user_agent_that_it_is_upkeep),
        cmocka_unit_test(an_error_about_an_object_is_no_fault_of_the_deployment),
        cmocka_unit_test(faults_of_the_deployment_have_their_class),
        cmocka_unit_test(a_400_that_says_token_limit_exceeded_means_the_deployment_is_full),
        cmocka_unit_test(a_400_that_says_the_file_quota_is_reached_means_the_account_is_full),
        cmocka_unit_test(a_call_without_an_answer_counts_by_how_it_ended),
        cmocka_unit_test(uploads_and_creates_have_breakers_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
