/* The bridge to the balancer: what it takes it gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/account_token.h"
#include "routing/choose.h"

#define NOW  1000000u
#define MANY 10000u

static uint64_t now_ms = NOW;

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static const struct loop_ops ops = {.now_ms = do_now_ms};
static struct loop loop = {.ops = &ops};
static struct model_account both_accounts[2];
static struct model_deployment rows[2];
static uint32_t columns[2], both[2] = {0, 1};
static struct inherited inherited = {.columns = columns};
static struct runtime worker = {
    .inherited = &inherited, .loop = &loop, .random_state = {1, 2, 3, 4}};

static int setup(void **state)
{
    struct model_list list = {
        .accounts = both_accounts, .num_accounts = 2, .deployments = rows, .num_deployments = 2};
    struct table *table;

    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        rows[i] = (struct model_deployment){
            .group = (char *)(uintptr_t) "g", .account = i, .fingerprint = 77 + i};
    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_int_equal(state_new(2, 4, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    assert_int_equal(quota_new(4, 16, &inherited.quota), 0);
    inherited.breaker = breaker_policy(0, 100);
    inherited.breaker.max_ms = 300;
    worker.table = table;
    worker.policy = pick_policy_find("simple-shuffle");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    table_free((struct table *)(uintptr_t)worker.table);
    state_free(inherited.state);
    quota_free(inherited.quota);
    return 0;
}

/* A rest of this deployment that is over by now: the next one to come may probe. */
static void let_rest(uint32_t deployment)
{
    struct breaker_view before, after;

    breaker_record(state_health(inherited.state, columns[deployment], OP_UPLOAD),
                   &inherited.breaker, OUTCOME_SERVER_ERROR, -1, 1, NOW - 10000, &before, &after);
}

static uint32_t choose(bool tried_first)
{
    bool tried[2] = {tried_first, false};

    struct choose_question q = {.op = OP_UPLOAD, .candidates = both, .num = 2, .tried = tried};

    return choose_deployment(&worker, &q);
}

static void only_one_request_probes_a_deployment_that_has_rested(void **state)
{
    (void)state;
    let_rest(1);
    assert_int_equal(choose(true), 1); /* takes the right to probe */
    for (int i = 0; i < 20; i++)
        assert_int_equal(choose(false), 0);
}

static void a_probe_that_was_not_made_is_left_to_the_next_request(void **state)
{
    bool again = false;

    (void)state;
    let_rest(1);
    assert_int_equal(choose(true), 1);
    choose_give_back(&worker, OP_UPLOAD, 1);
    for (int i = 0; i < 100; i++)
        again |= choose(false) == 1;
    assert_true(again);
}

static void the_last_one_is_tried_even_while_it_rests(void **state)
{
    (void)state;
    let_rest(1);
    assert_int_equal(choose(true), 1);
    assert_int_equal(choose(true), 1);
}

/* --- rows whose credential of Entra ID gives no token --- */

static struct model_account by_entra[2];
static struct entra_credential credential = {.fingerprint = 5};
static struct config with_credential = {
    .models = {
        .accounts = by_entra, .num_accounts = 2, .credentials = &credential, .num_credentials = 1}};
static struct entra_tokens_cell *cell;

static int setup_tokens(void **state)
{
    setup(state);
    by_entra[0] = (struct model_account){.auth = ACCOUNT_AUTH_ENTRA};
    worker.config = &with_credential;
    assert_int_equal(entra_tokens_new(&inherited.entra_tokens), 0);
    assert_int_equal(entra_tokens_bind(inherited.entra_tokens, 5, 0), 0);
    assert_int_equal(account_token_prepare(&worker), 0);
    cell = account_token_cell(&worker, 0);
    assert_true(entra_tokens_lease(cell, 1, now_ms, 1000));
    return 0;
}

static int teardown_tokens(void **state)
{
    free(worker.credentials);
    worker.credentials = NULL;
    worker.config = NULL;
    entra_tokens_free(inherited.entra_tokens);
    inherited.entra_tokens = NULL;
    now_ms = NOW;
    return teardown(state);
}

static bool goes_to_the_first(void)
{
    bool goes = false;

    for (int i = 0; i < 100; i++)
        goes |= choose(false) == 0;
    return goes;
}

static void give_none(void)
{
    struct entra_state refused = {.wait_ms = now_ms + 60000, .failures = 1, .last = ENTRA_FINAL};
    struct entra_tokens_error error = {.outcome = ENTRA_FINAL, .status = 401};

    entra_tokens_fail(cell, &refused, &error);
}

static void test_entra_13_a_row_without_a_token_rests_until_there_is_one(void **state)
{
    struct entra_state good = {.obtained_ms = NOW, .renew_ms = NOW, .ends_ms = NOW + 9};

    (void)state;
    assert_true(goes_to_the_first()); /* one is coming */
    now_ms++;
    give_none();
    assert_false(goes_to_the_first());
    assert_int_equal(choose(true), 1);
    now_ms++;
    assert_int_equal(entra_tokens_publish(cell, "t", 1, &good), 1);
    assert_true(goes_to_the_first());
    now_ms++;
    give_none();
    assert_true(goes_to_the_first()); /* the one that is there still lives ... */
    now_ms = NOW + 9;
    assert_false(goes_to_the_first()); /* ... to its end */
}

static void nowhere_to_go_is_a_503_that_says_when_to_come_back(void **state)
{
    struct choose_question q = {.op = OP_UPLOAD, .candidates = both, .num = 2};
    struct failure why;

    (void)state;
    choose_nowhere(&worker, &q, &why);
    assert_int_equal(why.status, 503);
    assert_true(why.retry_after_ms > 0);
}

static void a_fallback_waits_until_all_of_what_comes_before_it_were_tried(void **state)
{
    uint32_t tiers[2] = {0, 1}, tier = 0;
    struct candidates places = {
        .deployments = both, .tiers = tiers, .num = 2, .num_tiers = 2, .grouped = true};
    bool tried[2] = {false, false};

    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(choose_in_tiers(&worker, OP_UPLOAD, &places, tried, &tier, 0, 0), 0);
    assert_int_equal(tier, 0);
    tried[0] = true;
    assert_int_equal(choose_in_tiers(&worker, OP_UPLOAD, &places, tried, &tier, 0, 0), 1);
    assert_int_equal(tier, 1);
    tried[1] = true;
    assert_int_equal(choose_in_tiers(&worker, OP_UPLOAD, &places, tried, &tier, 0, 0),
                     MODEL_NO_INDEX);
}

static void a_tier_that_was_left_is_not_gone_back_to(void **state)
{
    uint32_t tiers[2] = {0, 1}, tier = 1;
    struct candidates places = {
        .deployments = both, .tiers = tiers, .num = 2, .num_tiers = 2, .grouped = true};
    bool tried[2] = {false, false};

    (void)state;
    assert_int_equal(choose_in_tiers(&worker, OP_UPLOAD, &places, tried, &tier, 0, 0), 1);
}

static void a_tier_without_any_of_its_own_is_passed_over(void **state)
{
    uint32_t tiers[1] = {3}, tier = 0;
    struct candidates places = {
        .deployments = both, .tiers = tiers, .num = 1, .num_tiers = 5, .grouped = true};
    bool tried[1] = {false};

    (void)state;
    assert_int_equal(choose_in_tiers(&worker, OP_UPLOAD, &places, tried, &tier, 0, 0), 0);
    assert_int_equal(tier, 3);
}

static void leaving_a_tier_leaves_all_before_it(void **state)
{
    uint32_t rows_of[4] = {7, 3, 9, 5}, tiers[4] = {0, 0, 1, 2};
    struct candidates places = {.deployments = rows_of, .tiers = tiers, .num = 4, .num_tiers = 3};
    bool tried[4] = {true, false, false, false};

    (void)state;
    assert_int_equal(choose_leave_tier(&places, tried, 7), 2);
    assert_memory_equal(tried, ((bool[]){true, true, false, false}), sizeof(tried));
    assert_int_equal(choose_leave_tier(&places, tried, 9), 1);
    assert_int_equal(choose_leave_tier(&places, tried, 5), 0);
}

/* --- groups of thousands of rows --- */

static struct model_deployment many_rows[MANY];
static uint32_t many_columns[MANY], many[MANY];
static bool many_tried[MANY];
static struct choose_question ask;

static int setup_many(void **state)
{
    (void)state;
    memset(many_tried, 0, sizeof(many_tried));
    for (uint32_t i = 0; i < MANY; i++) {
        many[i] = i;
        many_rows[i] =
            (struct model_deployment){.group = (char *)(uintptr_t) "g", .fingerprint = 77 + i};
    }
    now_ms += 1000; /* what the worker remembers of the test before is old */
    worker.policy = pick_policy_find("quota-aware");
    return 0;
}

/* The first `num` rows as they are now, each with a limit of so many tokens; 0: none. */
static void build_many(uint32_t num, uint64_t limit)
{
    struct model_list list = {.accounts = both_accounts,
                              .num_accounts = 1,
                              .deployments = many_rows,
                              .num_deployments = num};
    struct table *table;

    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_int_equal(state_new(2, MANY, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, many_columns), 0);
    assert_int_equal(quota_new(MANY, MANY, &inherited.quota), 0);
    inherited.breaker = breaker_policy(0, 60000);
    inherited.columns = many_columns;
    worker.table = table;
    for (uint32_t i = 0; i < num; i++)
        quota_bind(inherited.quota, many_columns[i],
                   &(struct quota_terms){.fingerprint = 77 + i, .limit = limit});
    ask = (struct choose_question){
        .op = OP_CREATE, .candidates = many, .num = num, .tried = many_tried, .tokens = 10};
}

static int teardown_many(void **state)
{
    inherited.columns = columns;
    return teardown(state);
}

static void rest(uint32_t deployment)
{
    struct breaker_view before, after;

    breaker_record(state_health(inherited.state, many_columns[deployment], OP_CREATE),
                   &inherited.breaker, OUTCOME_SERVER_ERROR, -1, 1, now_ms, &before, &after);
}

static void limit_to(uint32_t deployment, uint64_t limit)
{
    quota_bind(inherited.quota, many_columns[deployment],
               &(struct quota_terms){.fingerprint = 77 + deployment, .limit = limit});
}

static void fill(uint32_t deployment, uint64_t tokens)
{
    struct quota_claim claim;

    assert_int_equal(quota_reserve(inherited.quota, 0, many_columns[deployment], tokens,
                                   1000 + deployment, now_ms, &claim),
                     0);
}

static void the_one_row_that_is_up_is_found_among_ten_thousand(void **state)
{
    (void)state;
    build_many(MANY, 0);
    for (uint32_t i = 0; i < MANY; i++)
        if (i != 7777)
            rest(i);
    for (int i = 0; i < 5; i++)
        assert_int_equal(choose_deployment(&worker, &ask), 7777);
    many_tried[7777] = true; /* then the last ones are not ejected */
    assert_true(choose_deployment(&worker, &ask) != MODEL_NO_INDEX);
}

static void the_one_row_with_room_is_found_among_ten_thousand(void **state)
{
    struct failure why;

    (void)state;
    build_many(MANY, 100);
    limit_to(4444, 100000);
    ask.tokens = 5000;
    for (int i = 0; i < 5; i++)
        assert_int_equal(choose_deployment(&worker, &ask), 4444);
    many_tried[4444] = true;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    ask.tried = NULL;
    ask.tokens = 200000; /* more than that one, too */
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    choose_nowhere(&worker, &ask, &why);
    assert_int_equal(why.status, 400);
    ask.tokens = 99999;
    fill(4444, 5000);
    now_ms += 100;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    choose_nowhere(&worker, &ask, &why);
    assert_int_equal(why.status, 429);
    ask.discreet = true; /* a tenant hears no names and no numbers of the host's */
    choose_nowhere(&worker, &ask, &why);
    assert_int_equal(why.status, 429);
    assert_string_equal(why.message, "This batch is about 99999 enqueued tokens. No deployment of "
                                     "its model has room for it now.");
    ask.discreet = false;
}

/* Its estimate is a guess, which only the provider can correct: the largest one is asked, empty. */
static void a_job_that_may_be_smaller_goes_to_the_largest_once_nothing_is_there(void **state)
{
    struct failure why;

    (void)state;
    build_many(MANY, 100);
    limit_to(4444, 100000);
    assert_int_equal(choose_unsure_from(&worker, many, MANY, 100000, 7), 0);      /* no need */
    assert_int_equal(choose_unsure_from(&worker, many, MANY, 200000, 100001), 0); /* no hope */
    ask.tokens = 200000;
    ask.unsure_from = choose_unsure_from(&worker, many, MANY, 200000, 7);
    assert_int_equal(ask.unsure_from, 100000);
    assert_int_equal(choose_deployment(&worker, &ask), 4444);
    fill(4444, 1);
    now_ms += 100;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    choose_nowhere(&worker, &ask, &why);
    assert_int_equal(why.status, 429);
    ask.op = OP_UPLOAD; /* its file waits there */
    assert_int_equal(choose_deployment(&worker, &ask), 4444);
    limit_to(4444, 0);
    assert_int_equal(choose_unsure_from(&worker, many, MANY, 200000, 7), 0);
}

static void room_that_went_a_moment_ago_is_not_offered_again(void **state)
{
    (void)state;
    build_many(MANY, 100);
    limit_to(4444, 6000);
    ask.tokens = 5000;
    assert_int_equal(choose_deployment(&worker, &ask), 4444);
    fill(4444, 5000);
    now_ms++;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
}

static void what_a_look_at_all_rows_found_serves_for_a_tenth_of_a_second(void **state)
{
    (void)state;
    build_many(MANY, 100);
    ask.tokens = 5000;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    limit_to(9999, 6000);
    now_ms += 99;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    now_ms++;
    assert_int_equal(choose_deployment(&worker, &ask), 9999);
}

static void a_look_at_other_rows_or_for_another_operation_does_not_serve(void **state)
{
    bool seen = false;

    (void)state;
    build_many(MANY, 100);
    ask.tokens = 5000;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
    limit_to(9998, 6000);
    ask.num--;
    assert_int_equal(choose_deployment(&worker, &ask), 9998);
    ask.num++;
    assert_int_equal(choose_deployment(&worker, &ask), 9998);
    limit_to(5, 6000);
    rest(5); /* for creates */
    now_ms += 100;
    assert_int_equal(choose_deployment(&worker, &ask), 9998);
    ask.op = OP_UPLOAD;
    for (int i = 0; i < 40; i++)
        seen |= choose_deployment(&worker, &ask) == 5;
    assert_true(seen);
}

static void an_upload_goes_where_there_will_be_room_some_day(void **state)
{
    (void)state;
    build_many(MANY, 100);
    limit_to(1234, 6000);
    fill(1234, 5000);
    ask.op = OP_UPLOAD;
    ask.tokens = 5000;
    for (int i = 0; i < 3; i++)
        assert_int_equal(choose_deployment(&worker, &ask), 1234);
    ask.op = OP_CREATE;
    assert_int_equal(choose_deployment(&worker, &ask), MODEL_NO_INDEX);
}

static void the_lowest_order_goes_first_among_ten_thousand(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        many_rows[i].order = i == 9000 ? 1 : 2;
    build_many(MANY, 100);
    for (int i = 0; i < 5; i++)
        assert_int_equal(choose_deployment(&worker, &ask), 9000);
    rest(9000);
    assert_int_not_equal(choose_deployment(&worker, &ask), 9000);
}

static void shares_hold_among_ten_thousand(void **state)
{
    uint32_t heavy = 0;

    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        many_rows[i].weight = i == 5000 ? 9999 : 1;
    build_many(MANY, 0);
    worker.policy = pick_policy_find("simple-shuffle");
    for (int i = 0; i < 1000; i++)
        heavy += choose_deployment(&worker, &ask) == 5000;
    assert_in_range(heavy, 420, 580);
    rest(5000);
    for (int i = 0; i < 100; i++)
        assert_int_not_equal(choose_deployment(&worker, &ask), 5000);
}

static void every_policy_spreads_work_over_very_many_rows(void **state)
{
    static const char *const policies[] = {"simple-shuffle",         "least-busy",
                                           "latency-based-routing",  "usage-based-routing",
                                           "usage-based-routing-v2", "quota-aware"};

    (void)state;
    build_many(MANY, 100);
    for (size_t p = 0; p < sizeof(policies) / sizeof(policies[0]); p++) {
        uint32_t different = 0;

        worker.policy = pick_policy_find(policies[p]);
        memset(many_tried, 0, sizeof(many_tried));
        for (int i = 0; i < 100; i++) {
            uint32_t chosen = choose_deployment(&worker, &ask);

            assert_true(chosen < MANY);
            different += !many_tried[chosen];
            many_tried[chosen] = true; /* and so it is not chosen again */
        }
        assert_int_equal(different, 100);
    }
}

/* Up to SAMPLE_EXACT rows: LiteLLM's meaning to the letter. */
static void the_least_busy_of_256_is_always_found(void **state)
{
    (void)state;
    build_many(256, 0);
    worker.policy = pick_policy_find("least-busy");
    for (uint32_t i = 0; i < 256; i++)
        if (i != 200)
            state_begin_at(inherited.state, 0, many_columns[i], OP_CREATE, now_ms);
    for (int i = 0; i < 20; i++)
        assert_int_equal(choose_deployment(&worker, &ask), 200);
}

int main(void)
{
#define MANY_TEST(name) cmocka_unit_test_setup_teardown(name, setup_many, teardown_many)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_one_request_probes_a_deployment_that_has_rested, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_probe_that_was_not_made_is_left_to_the_next_request,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_one_is_tried_even_while_it_rests, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_fallback_waits_until_all_of_what_comes_before_it_were_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tier_that_was_left_is_not_gone_back_to, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tier_without_any_of_its_own_is_passed_over, setup,
                                        teardown),
        cmocka_unit_test(leaving_a_tier_leaves_all_before_it),
        cmocka_unit_test_setup_teardown(
            test_entra_13_a_row_without_a_token_rests_until_there_is_one, setup_tokens,
            teardown_tokens),
        MANY_TEST(the_one_row_that_is_up_is_found_among_ten_thousand),
        MANY_TEST(the_one_row_with_room_is_found_among_ten_thousand),
        MANY_TEST(a_job_that_may_be_smaller_goes_to_the_largest_once_nothing_is_there),
        MANY_TEST(room_that_went_a_moment_ago_is_not_offered_again),
        MANY_TEST(what_a_look_at_all_rows_found_serves_for_a_tenth_of_a_second),
        MANY_TEST(a_look_at_other_rows_or_for_another_operation_does_not_serve),
        MANY_TEST(an_upload_goes_where_there_will_be_room_some_day),
        MANY_TEST(the_lowest_order_goes_first_among_ten_thousand),
        MANY_TEST(shares_hold_among_ten_thousand),
        MANY_TEST(every_policy_spreads_work_over_very_many_rows),
        MANY_TEST(the_least_busy_of_256_is_always_found),
        cmocka_unit_test_setup_teardown(nowhere_to_go_is_a_503_that_says_when_to_come_back, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
