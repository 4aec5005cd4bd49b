/* The bridge to the balancer: what it takes it gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/choose.h"

#define NOW 1000000u

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return NOW;
}

static const struct loop_ops ops = {.now_ms = do_now_ms};
static struct loop loop = {.ops = &ops};
static struct model_account account;
static struct model_deployment rows[2];
static uint32_t columns[2], both[2] = {0, 1};
static struct inherit inherit = {.columns = columns};
static struct worker worker = {.inherit = &inherit, .loop = &loop, .random_state = {1, 2, 3, 4}};

static int setup(void **state)
{
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = 2};
    struct table *table;

    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        rows[i] =
            (struct model_deployment){.group = (char *)(uintptr_t) "g", .fingerprint = 77 + i};
    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_int_equal(state_new(2, 4, &inherit.state), 0);
    assert_int_equal(state_bind(inherit.state, table, columns), 0);
    assert_int_equal(quota_new(4, 16, &inherit.quota), 0);
    inherit.breaker = breaker_policy(0, 100);
    inherit.breaker.max_ms = 300;
    worker.table = table;
    worker.policy = pick_policy_find("simple-shuffle");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    table_free((struct table *)(uintptr_t)worker.table);
    state_free(inherit.state);
    quota_free(inherit.quota);
    return 0;
}

/* A rest of this deployment that is over by now: the next one to come may probe. */
static void let_rest(uint32_t deployment)
{
    struct breaker_view before, after;

    breaker_record(state_health(inherit.state, columns[deployment], OP_UPLOAD), &inherit.breaker,
                   OUTCOME_SERVER_ERROR, -1, 1, NOW - 10000, &before, &after);
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
    uint32_t stages[2] = {0, 1}, stage = 0;
    struct places places = {
        .deployments = both, .stages = stages, .num = 2, .num_stages = 2, .grouped = true};
    bool tried[2] = {false, false};

    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(choose_in_stages(&worker, OP_UPLOAD, &places, tried, &stage, 0), 0);
    assert_int_equal(stage, 0);
    tried[0] = true;
    assert_int_equal(choose_in_stages(&worker, OP_UPLOAD, &places, tried, &stage, 0), 1);
    assert_int_equal(stage, 1);
    tried[1] = true;
    assert_int_equal(choose_in_stages(&worker, OP_UPLOAD, &places, tried, &stage, 0),
                     MODEL_NO_INDEX);
}

static void a_stage_that_was_left_is_not_gone_back_to(void **state)
{
    uint32_t stages[2] = {0, 1}, stage = 1;
    struct places places = {
        .deployments = both, .stages = stages, .num = 2, .num_stages = 2, .grouped = true};
    bool tried[2] = {false, false};

    (void)state;
    assert_int_equal(choose_in_stages(&worker, OP_UPLOAD, &places, tried, &stage, 0), 1);
}

static void a_stage_without_any_of_its_own_is_passed_over(void **state)
{
    uint32_t stages[1] = {3}, stage = 0;
    struct places places = {
        .deployments = both, .stages = stages, .num = 1, .num_stages = 5, .grouped = true};
    bool tried[1] = {false};

    (void)state;
    assert_int_equal(choose_in_stages(&worker, OP_UPLOAD, &places, tried, &stage, 0), 0);
    assert_int_equal(stage, 3);
}

static void leaving_a_stage_leaves_all_before_it(void **state)
{
    uint32_t rows_of[4] = {7, 3, 9, 5}, stages[4] = {0, 0, 1, 2};
    struct places places = {.deployments = rows_of, .stages = stages, .num = 4, .num_stages = 3};
    bool tried[4] = {true, false, false, false};

    (void)state;
    assert_int_equal(choose_leave_stage(&places, tried, 7), 2);
    assert_memory_equal(tried, ((bool[]){true, true, false, false}), sizeof(tried));
    assert_int_equal(choose_leave_stage(&places, tried, 9), 1);
    assert_int_equal(choose_leave_stage(&places, tried, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_one_request_probes_a_deployment_that_has_rested, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_probe_that_was_not_made_is_left_to_the_next_request,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_one_is_tried_even_while_it_rests, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_fallback_waits_until_all_of_what_comes_before_it_were_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stage_that_was_left_is_not_gone_back_to, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stage_without_any_of_its_own_is_passed_over, setup,
                                        teardown),
        cmocka_unit_test(leaving_a_stage_leaves_all_before_it),
        cmocka_unit_test_setup_teardown(nowhere_to_go_is_a_503_that_says_when_to_come_back, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
