/* sample: which rows of a very large group a choice looks at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/sample.h"

#define MANY 10000u
#define MAX  64u

static struct model_account account;
static struct model_deployment rows[MANY];
static uint32_t places[MAX], all_rows[MANY], times[MANY];
static bool tried[MANY];
static struct table *table;
static uint64_t seed;

static double on_random(void *arg)
{
    (void)arg;
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 40) / (double)(1 << 24);
}

static double on_greatest(void *arg)
{
    (void)arg;
    return 1 - 1e-16;
}

static struct sample_question question = {.candidates = all_rows, .random = on_random};

static int setup(void **state)
{
    (void)state;
    seed = 7;
    memset(tried, 0, sizeof(tried));
    memset(times, 0, sizeof(times));
    for (uint32_t i = 0; i < MANY; i++) {
        all_rows[i] = i;
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g", .fingerprint = i + 1};
    }
    question.tried = NULL;
    question.by_share = false;
    question.random = on_random;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    table_free(table);
    table = NULL;
    return 0;
}

static void build(uint32_t num)
{
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = num};

    assert_int_equal(table_build(&list, 1, &table), 0);
    question.table = table;
    question.num = num;
}

/* Draw, and look at what always holds. */
static uint32_t draw(void)
{
    uint32_t num = sample_draw(&question, places, MAX);

    assert_true(num <= MAX);
    for (uint32_t i = 0; i < num; i++) {
        assert_true(places[i] < question.num);
        assert_true(question.tried == NULL || !question.tried[places[i]]);
        if (i > 0)
            assert_true(question.by_share ? places[i - 1] <= places[i] : places[i - 1] < places[i]);
        times[places[i]]++;
    }
    return num;
}

static void draw_often(uint32_t times_to_draw)
{
    for (uint32_t i = 0; i < times_to_draw; i++)
        assert_true(draw() > 0);
}

static void of_few_rows_all_are_drawn(void **state)
{
    (void)state;
    build(MAX);
    assert_int_equal(draw(), MAX);
    question.tried = tried;
    tried[0] = tried[63] = true;
    assert_int_equal(draw(), MAX - 2);
    assert_int_equal(places[0], 1);
}

static void of_many_as_many_are_drawn_as_were_asked_for(void **state)
{
    static const uint32_t sizes[] = {65, 66, 100, 127, 128, 129, 1000, 9999, MANY};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        build(sizes[i]);
        assert_int_equal(draw(), MAX);
        question.random = on_greatest;
        assert_int_equal(draw(), MAX);
        assert_int_equal(places[MAX - 1], sizes[i] - 1);
        question.random = on_random;
        table_free(table);
    }
    build(1);
}

static void each_row_comes_as_often_as_the_others(void **state)
{
    (void)state;
    build(1000);
    draw_often(5000); /* 320 times each */
    for (uint32_t i = 0; i < 1000; i++)
        assert_in_range(times[i], 240, 400);
}

static void what_was_tried_is_not_drawn(void **state)
{
    (void)state;
    build(MANY);
    question.tried = tried;
    for (uint32_t i = 0; i < MANY; i++)
        tried[i] = i != 17 && i != 9000;
    assert_int_equal(draw(), 2);
    assert_int_equal(places[0], 17);
    assert_int_equal(places[1], 9000);
    tried[17] = tried[9000] = true;
    assert_int_equal(draw(), 0);
}

static void only_the_lowest_order_is_drawn(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        rows[i].order = i < 5000 ? 0 : i % 100 == 0 ? 1 : 2;
    build(MANY);
    assert_int_equal(draw(), 50);
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(places[i], 5000 + 100 * i);
    question.tried = tried;
    for (uint32_t i = 0; i < MANY; i++)
        tried[i] = rows[i].order == 1;
    assert_int_equal(draw(), MAX);
    assert_int_equal(rows[places[0]].order, 2); /* what has none comes last of all */
    for (uint32_t i = 0; i < MANY; i++)
        tried[i] = rows[i].order != 0;
    assert_int_equal(draw(), MAX);
    assert_true(places[MAX - 1] < 5000);
}

static void by_share_rows_come_as_often_as_their_weight_says(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        rows[i].weight = i == 4321 ? 9999 : i % 2 == 0 ? 1 : -1; /* -1: given as 0 */
    build(MANY);
    question.by_share = true;
    draw_often(1000);
    /* 9,999 of 14,998 shares of 64,000 draws */
    assert_in_range(times[4321], 42000, 43400);
    for (uint32_t i = 1; i < MANY; i += 2)
        assert_true(i == 4321 || times[i] == 0);
    assert_in_range(times[0] + times[2] + times[4] + times[6] + times[8], 5, 60); /* some 21 */
}

static void what_the_first_row_has_decides_for_all(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        rows[i].rpm = i < 100 ? 7 : 0;
    rows[5000].weight = 1000000;
    build(MANY);
    question.by_share = true;
    draw_often(100);
    for (uint32_t i = 100; i < MANY; i++)
        assert_int_equal(times[i], 0);
}

static void without_any_share_all_rows_are_equal(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        rows[i].weight = -1;
    build(MANY);
    question.by_share = true;
    assert_int_equal(draw(), MAX);
    assert_true(places[0] < MANY / MAX + 1 && places[MAX - 1] > MANY - MANY / MAX - 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(of_few_rows_all_are_drawn),
        TEST(of_many_as_many_are_drawn_as_were_asked_for),
        TEST(each_row_comes_as_often_as_the_others),
        TEST(what_was_tried_is_not_drawn),
        TEST(only_the_lowest_order_is_drawn),
        TEST(by_share_rows_come_as_often_as_their_weight_says),
        TEST(what_the_first_row_has_decides_for_all),
        TEST(without_any_share_all_rows_are_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
