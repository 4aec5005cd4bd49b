/* Where an object without a tag is: whom the search asks, when, and what it makes of the answers.
 * Over an upstream that only notes its calls; the test answers them in whatever order it likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/memo.h"
#include "balancer/retry.h"
#include "objects/locate.h"

#define ACCOUNTS 7
#define FOUND    "{\"id\":\"file-x\",\"object\":\"file\"}"
#define NOT_HERE "{\"error\":{\"message\":\"No such File object: file-x\"}}"

#include "noted_calls.h"

/* --- the loop: its clock stands, its timers run when told --- */

static struct loop_timer *timers[16];

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return 1000000;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    for (size_t i = 0; i < 16; i++)
        if (timers[i] == timer)
            timers[i] = NULL;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)delay_ms;
    do_timer_stop(loop, timer);
    for (size_t i = 0; i < 16; i++)
        if (timers[i] == NULL) {
            timers[i] = timer;
            return 0;
        }
    return ERR_NOMEM;
}

static void run_timers(void)
{
    for (size_t i = 0; i < 16; i++) {
        struct loop_timer *timer = timers[i];

        timers[i] = NULL;
        if (timer != NULL)
            timer->cb(timer);
    }
}

static const struct loop_ops ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

/* --- a worker --- */

static struct loop loop = {.ops = &ops};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static char bases[ACCOUNTS][32];
static struct config config;
static uint32_t columns[ACCOUNTS], fingerprints[ACCOUNTS], twins[ACCOUNTS];
static const uint32_t all[ACCOUNTS] = {0, 1, 2, 3, 4, 5, 6};
static struct inherited inherited;
static struct runtime worker;

static struct locate_result last;
static char last_body[64];
static unsigned ended;

static int set_up(void **state)
{
    struct table *table;

    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        snprintf(bases[i], sizeof(bases[i]), "https://a%u.example", i);
        accounts[i] = (struct model_account){
            .provider = PROVIDER_AZURE, .base = bases[i], .name = bases[i] + 8};
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .id = bases[i] + 8,
                                            .account = i,
                                            .max_retries = RETRY_NOT_GIVEN,
                                            .fingerprint = 100 + i};
        fingerprints[i] = 200 + i;
        twins[i] = i;
    }
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = rows,
                                        .num_deployments = ACCOUNTS};
    config.timeouts.json_total_ms = 1000;
    config.balance_batches = true;
    inherited = (struct inherited){.config = &config, .columns = columns};
    inherited.breaker = breaker_policy(3, 5);
    memset(&inherited.retry, 0xff, sizeof(inherited.retry)); /* RETRY_NOT_GIVEN */
    inherited.retry.least_delay_ms = 0;
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    assert_int_equal(state_new(2, ACCOUNTS, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    assert_int_equal(memo_new(64, &inherited.memo), 0);
    worker = (struct runtime){.inherited = &inherited,
                              .config = &config,
                              .table = table,
                              .loop = &loop,
                              .account_fingerprint = fingerprints,
                              .account_same_resource = twins,
                              .account_map = {.num = ACCOUNTS, .key = fingerprints},
                              .random_state = {1, 2, 3, 4}};
    ended = num_calls = 0;
    memset(timers, 0, sizeof(timers));
    return 0;
}

static void free_calls(void)
{
    for (unsigned i = 0; i < num_calls; i++)
        free(calls[i]);
    num_calls = 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < 16; i++)
        assert_null(timers[i]);
    assert_int_equal(in_flight(), 0);
    free_calls();
    memo_free(inherited.memo);
    state_free(inherited.state);
    table_free((struct table *)(uintptr_t)worker.table);
    return 0;
}

static void on_located(void *arg, const struct locate_result *result)
{
    assert_ptr_equal(arg, &last);
    last = *result;
    last_body[0] = '\0';
    if (result->answer != NULL)
        snprintf(last_body, sizeof(last_body), "%s", result->answer->body);
    ended++;
}

static struct locate *start(uint32_t num)
{
    struct locate *l = locate_start(&worker, ID_FILE, "file-x", all, num, on_located, &last);

    assert_non_null(l);
    assert_int_equal(ended, 0);
    return l;
}

/* The memo knows the file at this account. */
static void seen_at(unsigned account)
{
    locate_remember(&worker, ID_FILE, "file-x", account);
}

/* --- the tests --- */

static void no_more_than_four_accounts_are_asked_at_one_time(void **state)
{
    (void)state;
    start(ACCOUNTS);
    assert_int_equal(in_flight(), 4);
    assert_null(open_call(4));
    answer(2, 404, NOT_HERE);
    assert_int_equal(in_flight(), 4);
    assert_non_null(open_call(4));
    for (unsigned i = 0; i < ACCOUNTS; i++)
        if (i != 2)
            answer(i, 404, NOT_HERE);
    assert_int_equal(ended, 1);
}

static void the_first_that_has_it_wins_and_the_others_are_left(void **state)
{
    (void)state;
    start(ACCOUNTS);
    answer(0, 404, NOT_HERE);
    answer(3, 200, FOUND);
    assert_int_equal(ended, 1);
    assert_true(last.found);
    assert_int_equal(last.deployment, 3);
    assert_string_equal(last_body, FOUND);
    assert_int_equal(in_flight(), 0);
    assert_int_equal(num_calls, 5);
}

static void where_it_was_seen_is_asked_first_and_alone(void **state)
{
    (void)state;
    start(ACCOUNTS);
    answer(3, 200, FOUND);
    free_calls();
    ended = 0;
    start(ACCOUNTS);
    assert_int_equal(in_flight(), 1);
    answer(3, 200, FOUND);
    assert_int_equal(num_calls, 1);
    assert_int_equal(last.deployment, 3);
}

static void what_is_no_longer_where_it_was_seen_is_looked_for_elsewhere(void **state)
{
    (void)state;
    seen_at(5);
    start(ACCOUNTS);
    answer(5, 404, NOT_HERE);
    assert_int_equal(in_flight(), 4);
    assert_int_equal(ended, 0);
    for (unsigned i = 0; i < 5; i++)
        answer(i, 404, NOT_HERE);
    assert_int_equal(ended, 0);
    answer(6, 404, NOT_HERE);
    assert_int_equal(ended, 1);
    assert_false(last.found);
    assert_int_equal(num_calls, ACCOUNTS); /* each once */
    free_calls();
    ended = 0;
    locate_cancel(start(ACCOUNTS));
    assert_int_equal(num_calls, 4); /* forgotten: nobody is likelier than others */
}

static void without_balancing_the_likeliest_is_asked_first_and_alone(void **state)
{
    (void)state;
    config.balance_batches = false;
    start(ACCOUNTS);
    assert_int_equal(in_flight(), 1);
    answer(0, 404, NOT_HERE);
    assert_int_equal(in_flight(), 4);
    answer(2, 200, FOUND);
    assert_int_equal(last.deployment, 2);
    free_calls();
    ended = 0;
    start(ACCOUNTS);
    answer(2, 200, FOUND); /* seen there: likelier than the first */
    assert_int_equal(num_calls, 1);
}

static void an_account_that_is_not_asked_about_is_not_asked_though_the_memo_knows_it(void **state)
{
    (void)state;
    seen_at(5);
    start(2);
    assert_null(open_call(5));
    answer(0, 404, NOT_HERE);
    answer(1, 404, NOT_HERE);
    assert_int_equal(ended, 1);
}

static void a_404_needs_all_of_them(void **state)
{
    (void)state;
    start(2);
    answer(1, 404, NOT_HERE);
    assert_int_equal(ended, 0);
    answer(0, 404, NOT_HERE);
    assert_int_equal(ended, 1);
    assert_false(last.found);
    assert_int_equal(last.failure.status, 404);
    assert_int_equal(last.deployment, MODEL_NO_INDEX);
    assert_null(last.answer);
}

static void an_account_that_could_not_say_outweighs_those_that_do_not_have_it(void **state)
{
    (void)state;
    start(4);
    answer(0, 404, NOT_HERE);
    answer(1, 401, "{}");
    answer(2, 400, "{}");
    answer(3, 404, NOT_HERE);
    assert_int_equal(ended, 1);
    assert_int_equal(last.failure.status, 502);
    assert_string_equal(last.failure.code, "upstream_auth");
    assert_int_equal(last.deployment, 1);
}

static void a_fault_is_asked_three_times_and_then_outweighs_everything(void **state)
{
    (void)state;
    start(3);
    answer(0, 401, "{}");
    answer(2, 404, NOT_HERE);
    answer(1, 500, "{}");
    assert_int_equal(ended, 0);
    run_timers();
    answer(1, 500, "{}");
    run_timers();
    answer(1, 500, "{\"error\":{\"message\":\"the third\"}}");
    assert_int_equal(ended, 1);
    assert_int_equal(last.failure.status, 500);
    assert_string_equal(last.failure.message, "the third");
    assert_int_equal(last.deployment, 1);
}

static void of_equal_failures_that_of_the_earlier_candidate_is_told(void **state)
{
    (void)state;
    start(3);
    answer(2, 403, "{}");
    answer(1, 403, "{}");
    answer(0, 404, NOT_HERE);
    assert_int_equal(last.deployment, 1);
}

static void a_page_of_something_in_between_does_not_claim_the_object(void **state)
{
    (void)state;
    start(2);
    answer(0, 200, "<html>welcome</html>");
    assert_int_equal(ended, 0);
    answer(1, 200, FOUND);
    assert_true(last.found);
    assert_int_equal(last.deployment, 1);
    free_calls();
    ended = 0;
    start(2);
    answer(1, 404, NOT_HERE);
    answer(0, 200, "<html>welcome</html>");
    assert_false(last.found);
    assert_int_equal(last.failure.status, 502);
}

static void a_cancelled_search_leaves_nothing_and_never_calls_back(void **state)
{
    struct locate *l = start(ACCOUNTS);

    (void)state;
    answer(0, 500, "{}"); /* waits for its next try */
    locate_cancel(l);
    locate_cancel(NULL);
    assert_int_equal(in_flight(), 0);
    run_timers();
    assert_int_equal(ended, 0);
}

static int rank_of(int status, const char *code)
{
    struct failure failure = {.status = status};

    strncpy(failure.code, code, sizeof(failure.code) - 1);
    return locate_rank(&failure);
}

static void failures_have_an_order(void **state)
{
    (void)state;
    assert_true(rank_of(500, "") == rank_of(504, "upstream_timeout"));
    assert_true(rank_of(503, "") == rank_of(502, "upstream_unreachable"));
    assert_true(rank_of(500, "") == rank_of(408, ""));
    assert_true(rank_of(500, "") > rank_of(429, ""));
    assert_true(rank_of(429, "") > rank_of(502, "upstream_auth"));
    assert_true(rank_of(502, "upstream_auth") > rank_of(400, ""));
    assert_true(rank_of(400, "") > rank_of(404, ""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_more_than_four_accounts_are_asked_at_one_time),
        TEST(the_first_that_has_it_wins_and_the_others_are_left),
        TEST(where_it_was_seen_is_asked_first_and_alone),
        TEST(what_is_no_longer_where_it_was_seen_is_looked_for_elsewhere),
        TEST(without_balancing_the_likeliest_is_asked_first_and_alone),
        TEST(an_account_that_is_not_asked_about_is_not_asked_though_the_memo_knows_it),
        TEST(a_404_needs_all_of_them),
        TEST(an_account_that_could_not_say_outweighs_those_that_do_not_have_it),
        TEST(a_fault_is_asked_three_times_and_then_outweighs_everything),
        TEST(of_equal_failures_that_of_the_earlier_candidate_is_told),
        TEST(a_page_of_something_in_between_does_not_claim_the_object),
        TEST(a_cancelled_search_leaves_nothing_and_never_calls_back),
        TEST(failures_have_an_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
