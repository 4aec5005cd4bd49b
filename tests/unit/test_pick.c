/* pick: who may be chosen, and by which rule one of them is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/pick.h"
#include "common/model.h"

#define MAX 64

static struct pick_candidate group[MAX];
static uint32_t size;
static const struct pick_policy *shuffle;

static int setup(void **state)
{
    (void)state;
    memset(group, 0, sizeof(group));
    size = 0;
    shuffle = pick_policy_find("simple-shuffle");
    return shuffle != NULL ? 0 : -1;
}

/* One more candidate, admitted; deployments are numbered 100, 101, ... */
static struct pick_candidate *add(void)
{
    struct pick_candidate *c = &group[size];

    c->deployment = 100 + size++;
    c->admitted = true;
    return c;
}

static void add_many(uint32_t n)
{
    while (n-- > 0)
        add();
}

/* The place in the group of what is chosen, or MODEL_NO_INDEX. */
static uint32_t pick(const char *policy, uint64_t tokens, double random)
{
    uint32_t deployment = pick_next(pick_policy_find(policy), group, size, tokens, random);

    return deployment == MODEL_NO_INDEX ? MODEL_NO_INDEX : deployment - 100;
}

static uint32_t pick_shuffled(double random)
{
    return pick("simple-shuffle", 0, random);
}

/* How often each one is chosen when `random` goes through 1,000 equal steps. */
static void count_thousand(const char *policy, uint32_t *counts)
{
    memset(counts, 0, MAX * sizeof(*counts));
    for (int i = 0; i < 1000; i++) {
        uint32_t nth = pick(policy, 0, (i + 0.5) / 1000);

        assert_true(nth < size);
        counts[nth]++;
    }
}

static void assert_counts(const char *policy, const uint32_t *expected)
{
    uint32_t counts[MAX];

    count_thousand(policy, counts);
    for (uint32_t i = 0; i < size; i++)
        assert_in_range(counts[i], expected[i] > 1 ? expected[i] - 1 : expected[i],
                        expected[i] + (expected[i] > 0));
}

/* --- who may be chosen --- */

static void an_empty_group_leads_nowhere(void **state)
{
    (void)state;
    assert_int_equal(pick_shuffled(0.5), MODEL_NO_INDEX);
}

static void what_was_tried_is_not_tried_again(void **state)
{
    (void)state;
    add_many(3);
    group[0].tried = group[2].tried = true;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pick_shuffled(i / 10.0), 1);
    group[1].tried = true;
    assert_int_equal(pick_shuffled(0.5), MODEL_NO_INDEX);
}

static void a_cooling_down_deployment_gets_nothing_while_another_is_admitted(void **state)
{
    (void)state;
    add_many(3);
    group[0].admitted = group[1].admitted = false;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pick_shuffled(i / 10.0), 2);
}

static void the_last_ones_are_never_ejected(void **state)
{
    (void)state;
    add_many(2);
    group[0].admitted = group[1].admitted = false;
    assert_counts("simple-shuffle", (uint32_t[]){500, 500});
    group[1].tried = true;
    assert_int_equal(pick_shuffled(0.9), 0);
}

static void a_cooling_down_one_is_tried_when_the_admitted_ones_were(void **state)
{
    (void)state;
    add_many(2);
    group[0].tried = true;
    group[1].admitted = false;
    assert_int_equal(pick_shuffled(0), 1);
}

static void a_limit_of_requests_is_final_for_the_minute(void **state)
{
    (void)state;
    add()->rpm = 10;
    group[0].requests_minute = 9;
    assert_int_equal(pick_shuffled(0), 0);
    group[0].requests_minute = 10;
    assert_int_equal(pick_shuffled(0), MODEL_NO_INDEX);
}

static void a_deployment_over_its_limit_does_not_come_back_because_the_others_rest(void **state)
{
    (void)state;
    add()->rpm = 1;
    group[0].requests_minute = 1;
    add()->admitted = false;
    assert_int_equal(pick_shuffled(0), 1);
    group[1].tried = true;
    assert_int_equal(pick_shuffled(0), MODEL_NO_INDEX);
}

static void a_limit_of_tokens_counts_this_job_too(void **state)
{
    (void)state;
    add()->tpm = 1000;
    group[0].tokens_minute = 400;
    assert_int_equal(pick("simple-shuffle", 600, 0), 0);
    assert_int_equal(pick("simple-shuffle", 601, 0), MODEL_NO_INDEX);
    assert_int_equal(pick("simple-shuffle", UINT64_MAX, 0), MODEL_NO_INDEX);
    group[0].tokens_minute = 1000;
    assert_int_equal(pick("simple-shuffle", 0, 0), MODEL_NO_INDEX);
    group[0].tokens_minute = 5000;
    assert_int_equal(pick("simple-shuffle", 1, 0), MODEL_NO_INDEX);
}

static void a_job_larger_than_the_limit_may_open_a_minute(void **state)
{
    (void)state;
    add()->tpm = 1000;
    assert_int_equal(pick("simple-shuffle", 1000000, 0), 0);
    group[0].tokens_minute = 1;
    assert_int_equal(pick("simple-shuffle", 1000000, 0), MODEL_NO_INDEX);
}

static void the_lowest_order_that_is_left_goes_first(void **state)
{
    (void)state;
    add()->order = 2;
    add()->order = 1;
    add()->order = 1;
    assert_counts("simple-shuffle", (uint32_t[]){0, 500, 500});
    group[1].admitted = false;
    assert_int_equal(pick_shuffled(0), 2);
    group[2].admitted = false;
    assert_int_equal(pick_shuffled(0), 0);
    group[0].tried = true;
    assert_counts("simple-shuffle", (uint32_t[]){0, 500, 500});
}

static void what_has_no_order_waits_for_all_that_have_one(void **state)
{
    (void)state;
    add();
    add()->order = 5;
    add()->order = -1;
    assert_int_equal(pick_shuffled(0), 2);
    group[2].tried = true;
    assert_int_equal(pick_shuffled(0), 1);
    group[1].tried = true;
    assert_int_equal(pick_shuffled(0), 0);
}

static void the_candidates_stay_as_they_were_for_the_next_try(void **state)
{
    struct pick_candidate before[3];
    bool seen[3] = {false};

    (void)state;
    add()->weight = 1;
    add()->weight = 2;
    add()->weight = 3;
    group[1].admitted = false;
    memcpy(before, group, sizeof(before));
    for (int i = 0; i < 3; i++) {
        uint32_t nth = pick_shuffled(0.5);

        assert_true(nth < 3 && !seen[nth]);
        seen[nth] = true;
        group[nth].tried = true;
    }
    assert_int_equal(pick_shuffled(0.5), MODEL_NO_INDEX);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(group[i].deployment, before[i].deployment);
        assert_int_equal(group[i].admitted, before[i].admitted);
    }
}

/* --- simple-shuffle --- */

static void without_numbers_all_are_equal(void **state)
{
    (void)state;
    add_many(4);
    assert_counts("simple-shuffle", (uint32_t[]){250, 250, 250, 250});
}

static void weights_share_the_traffic(void **state)
{
    (void)state;
    add()->weight = 7;
    add()->weight = 2;
    add()->weight = 1;
    assert_counts("simple-shuffle", (uint32_t[]){700, 200, 100});
}

static void weights_of_any_size_do(void **state)
{
    (void)state;
    add()->weight = 0.3;
    add()->weight = 0.1;
    assert_counts("simple-shuffle", (uint32_t[]){750, 250});
}

static void who_has_no_weight_gets_nothing_when_the_first_has_one(void **state)
{
    (void)state;
    add()->weight = 1;
    add();
    assert_counts("simple-shuffle", (uint32_t[]){1000, 0});
}

static void the_others_weights_do_not_count_when_the_first_has_none(void **state)
{
    (void)state;
    add();
    add()->weight = 100;
    assert_counts("simple-shuffle", (uint32_t[]){500, 500});
}

static void the_first_that_is_left_decides(void **state)
{
    (void)state;
    add()->admitted = false;
    add()->weight = 1;
    add()->weight = 3;
    assert_counts("simple-shuffle", (uint32_t[]){0, 250, 750});
}

static void a_weight_of_zero_that_was_given_stops_the_traffic(void **state)
{
    (void)state;
    add()->weight = -1;
    add()->weight = 1;
    assert_counts("simple-shuffle", (uint32_t[]){0, 1000});
    group[1].tried = true;
    assert_int_equal(pick_shuffled(0.5), 0);
}

static void rpm_decides_when_the_first_has_no_weight(void **state)
{
    (void)state;
    add()->rpm = 900;
    add()->rpm = 100;
    group[0].tpm = 1;
    group[1].tpm = 99;
    group[1].weight = 50;
    assert_counts("simple-shuffle", (uint32_t[]){900, 100});
}

static void tpm_decides_when_the_first_has_neither_weight_nor_rpm(void **state)
{
    (void)state;
    add()->tpm = 100;
    add()->tpm = 300;
    group[1].rpm = 5000;
    assert_counts("simple-shuffle", (uint32_t[]){250, 750});
}

static void a_random_number_at_either_end_chooses_an_end(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        add()->weight = 0.1; /* ten of these do not add up to 1 */
    assert_int_equal(pick_shuffled(0), 0);
    assert_int_equal(pick_shuffled(0x1.fffffffffffffp-1), 9);
    setup(state);
    add_many(2);
    assert_int_equal(pick_shuffled(0.5), 1);
}

/* --- the others --- */

static void the_least_busy_is_chosen_and_ties_are_drawn(void **state)
{
    (void)state;
    add()->in_flight = 2;
    add()->in_flight = 1;
    add()->in_flight = 3;
    add()->in_flight = 1;
    assert_counts("least-busy", (uint32_t[]){0, 500, 0, 500});
    group[1].tried = group[3].tried = true;
    assert_int_equal(pick("least-busy", 0, 0.9), 0);
}

static void the_fastest_is_chosen_but_first_those_not_measured(void **state)
{
    (void)state;
    add()->latency_us = 900;
    add()->latency_us = 800;
    add();
    assert_counts("latency-based-routing", (uint32_t[]){0, 0, 1000});
    group[2].latency_us = 1000;
    assert_counts("latency-based-routing", (uint32_t[]){0, 1000, 0});
}

/* lowest_latency.py: all within lowest * (1 + lowest_latency_buffer), each with the same chance. */
static void those_within_the_buffer_are_as_good_as_the_fastest(void **state)
{
    static const uint64_t latencies[] = {1000, 1501, 1500, 1200};
    struct pick_policy policy = *pick_policy_find("latency-based-routing");
    uint32_t counts[4] = {0};

    (void)state;
    policy.latency_buffer = 0.5;
    for (size_t i = 0; i < 4; i++)
        add()->latency_us = latencies[i];
    for (int i = 0; i < 900; i++)
        counts[pick_next(&policy, group, size, 0, i / 900.0) - 100]++;
    assert_memory_equal(counts, ((uint32_t[]){300, 0, 300, 300}), sizeof(counts));
    group[0].tried = true; /* then 1,200 is the fastest */
    assert_int_not_equal(pick_next(&policy, group, size, 0, 0), 100);
    assert_int_equal(pick_next(&policy, group, size, 0, 0), 101);
    group[1].latency_us = 0; /* not measured: before all others, whatever the buffer */
    assert_int_equal(pick_next(&policy, group, size, 0, 0.99), 101);
}

static void the_least_used_of_this_minute_is_chosen(void **state)
{
    (void)state;
    add()->tokens_minute = 50;
    add()->tokens_minute = 10;
    add()->tokens_minute = 10;
    assert_counts("usage-based-routing", (uint32_t[]){0, 1000, 0});
    assert_counts("usage-based-routing-v2", (uint32_t[]){0, 500, 500});
}

static void a_tie_at_the_greatest_number_is_still_a_choice(void **state)
{
    (void)state;
    add()->in_flight = UINT64_MAX;
    add()->in_flight = UINT64_MAX;
    assert_counts("least-busy", (uint32_t[]){500, 500});
}

static void every_policy_chooses_only_what_may_be_chosen(void **state)
{
    static const char *const names[] = {"simple-shuffle", "least-busy", "latency-based-routing",
                                        "usage-based-routing", "usage-based-routing-v2"};
    uint32_t x = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        const char *name = names[(uint32_t)round % 5];
        bool any_admitted = false;
        uint32_t nth, open = 0;

        setup(state);
        x = x * 1664525u + 1013904223u;
        add_many(x >> 28);
        for (uint32_t i = 0; i < size; i++) {
            x = x * 1664525u + 1013904223u;
            group[i].tried = x >> 31;
            group[i].admitted = x >> 30 & 1;
            group[i].weight = x >> 28 & 3;
            group[i].rpm = x >> 26 & 3;
            group[i].requests_minute = x >> 24 & 3;
            group[i].in_flight = x >> 22 & 3;
            group[i].tokens_minute = x >> 20 & 3;
            group[i].tpm = x >> 18 & 3;
            if (!group[i].tried &&
                (group[i].rpm == 0 || (int64_t)group[i].requests_minute < group[i].rpm) &&
                (group[i].tpm == 0 || (int64_t)group[i].tokens_minute < group[i].tpm)) {
                open++;
                any_admitted = any_admitted || group[i].admitted;
            }
        }
        nth = pick(name, 0, (x >> 8) / 16777216.0);
        assert_int_equal(nth == MODEL_NO_INDEX, open == 0);
        if (nth == MODEL_NO_INDEX)
            continue;
        assert_true(nth < size && !group[nth].tried);
        assert_true(group[nth].rpm == 0 || (int64_t)group[nth].requests_minute < group[nth].rpm);
        assert_true(group[nth].admitted || !any_admitted);
    }
}

static void an_unknown_policy_is_not_found(void **state)
{
    (void)state;
    assert_null(pick_policy_find("cost-based-routing"));
    assert_null(pick_policy_find(""));
    assert_string_equal(pick_policy_find("least-busy")->name, "least-busy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_group_leads_nowhere, setup),
        cmocka_unit_test_setup(what_was_tried_is_not_tried_again, setup),
        cmocka_unit_test_setup(a_cooling_down_deployment_gets_nothing_while_another_is_admitted,
                               setup),
        cmocka_unit_test_setup(the_last_ones_are_never_ejected, setup),
        cmocka_unit_test_setup(a_cooling_down_one_is_tried_when_the_admitted_ones_were, setup),
        cmocka_unit_test_setup(a_limit_of_requests_is_final_for_the_minute, setup),
        cmocka_unit_test_setup(
            a_deployment_over_its_limit_does_not_come_back_because_the_others_rest, setup),
        cmocka_unit_test_setup(a_limit_of_tokens_counts_this_job_too, setup),
        cmocka_unit_test_setup(a_job_larger_than_the_limit_may_open_a_minute, setup),
        cmocka_unit_test_setup(the_lowest_order_that_is_left_goes_first, setup),
        cmocka_unit_test_setup(what_has_no_order_waits_for_all_that_have_one, setup),
        cmocka_unit_test_setup(the_candidates_stay_as_they_were_for_the_next_try, setup),
        cmocka_unit_test_setup(without_numbers_all_are_equal, setup),
        cmocka_unit_test_setup(weights_share_the_traffic, setup),
        cmocka_unit_test_setup(weights_of_any_size_do, setup),
        cmocka_unit_test_setup(who_has_no_weight_gets_nothing_when_the_first_has_one, setup),
        cmocka_unit_test_setup(the_others_weights_do_not_count_when_the_first_has_none, setup),
        cmocka_unit_test_setup(the_first_that_is_left_decides, setup),
        cmocka_unit_test_setup(a_weight_of_zero_that_was_given_stops_the_traffic, setup),
        cmocka_unit_test_setup(rpm_decides_when_the_first_has_no_weight, setup),
        cmocka_unit_test_setup(tpm_decides_when_the_first_has_neither_weight_nor_rpm, setup),
        cmocka_unit_test_setup(a_random_number_at_either_end_chooses_an_end, setup),
        cmocka_unit_test_setup(the_least_busy_is_chosen_and_ties_are_drawn, setup),
        cmocka_unit_test_setup(the_fastest_is_chosen_but_first_those_not_measured, setup),
        cmocka_unit_test_setup(those_within_the_buffer_are_as_good_as_the_fastest, setup),
        cmocka_unit_test_setup(the_least_used_of_this_minute_is_chosen, setup),
        cmocka_unit_test_setup(a_tie_at_the_greatest_number_is_still_a_choice, setup),
        cmocka_unit_test_setup(every_policy_chooses_only_what_may_be_chosen, setup),
        cmocka_unit_test_setup(an_unknown_policy_is_not_found, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
