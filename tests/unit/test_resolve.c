/* Where a new object may go: groups, target_model_names, fallbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "routing/candidates.h"
#include "request/resolve.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal)) /* nobody writes it */

static struct model_account accounts[2] = {{.provider = PROVIDER_AZURE},
                                           {.provider = PROVIDER_OPENAI}};
static struct model_deployment rows[] = {
    {.group = TEXT("a"), .fingerprint = 1, .account = 0},
    {.group = TEXT("b"), .fingerprint = 2, .account = 0},
    {.group = TEXT("a"), .fingerprint = 3, .account = 1},
    {.group = TEXT("c"), .fingerprint = 4, .account = 1},
    {.fingerprint = 5, .account = 1},
};
static const uint32_t to_b_and_c[] = {1, 2}, to_a[] = {0};
static struct fallback_rule rules[] = {{.group = 0, .to = to_b_and_c, .num_to = 2},
                                       {.group = MODEL_NO_INDEX, .to = to_a, .num_to = 1}};
static struct config config = {.balance_batches = true, .max_fallbacks = 5};
static struct runtime worker = {.config = &config, .fallbacks = rules};
static struct relay relay = {.rt = &worker};
static struct candidates places;
static struct failure why;

static int setup(void **state)
{
    struct model_list list = {
        .accounts = accounts, .num_accounts = 2, .deployments = rows, .num_deployments = 5};
    struct table *table;

    (void)state;
    assert_int_equal(table_build(&list, 1, &table), 0);
    worker.table = table;
    config.num_fallbacks = 0;
    config.models.default_deployment[PROVIDER_AZURE] = MODEL_NO_INDEX;
    config.models.default_deployment[PROVIDER_OPENAI] = 4;
    memset(&relay.hints, 0, sizeof(relay.hints));
    memset(&why, 0, sizeof(why));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    candidates_deinit(&places);
    table_free((struct table *)(uintptr_t)worker.table);
    return 0;
}

static bool resolve(const char *model, const char *target)
{
    candidates_deinit(&places);
    return resolve_upload(&relay, model, target, &places, &why);
}

static void expect(uint32_t num, const uint32_t *deployments, const uint32_t *tiers)
{
    assert_int_equal(places.num, num);
    assert_memory_equal(places.deployments, deployments, num * sizeof(uint32_t));
    assert_memory_equal(places.tiers, tiers, num * sizeof(uint32_t));
}

static void the_model_of_the_lines_names_a_group(void **state)
{
    (void)state;
    assert_true(resolve("a", NULL));
    expect(2, (uint32_t[]){0, 2}, (uint32_t[]){0, 0});
    assert_true(places.grouped);
    assert_false(resolve("nope", NULL));
    assert_int_equal(why.status, 400);
    assert_string_equal(why.param, "file");
}

static void targets_are_one_group_however_they_are_written(void **state)
{
    static const char *const texts[] = {"a,b",   " a , b ",   "a,,b,",  ",a,b",
                                        "a,b,a", "a,a,a,b,b", "a\t,\tb"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(resolve("x", texts[i]));
        expect(3, (uint32_t[]){0, 2, 1}, (uint32_t[]){0, 0, 0});
        assert_int_equal(places.num_tiers, 1);
    }
}

static void targets_of_nothing_are_as_if_not_given(void **state)
{
    static const char *const texts[] = {"", ",", " , ,, "};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(resolve("b", texts[i]));
        expect(1, (uint32_t[]){1}, (uint32_t[]){0});
    }
}

static void an_unknown_target_is_told_by_its_name(void **state)
{
    (void)state;
    assert_false(resolve("a", "a, nope ,b"));
    assert_int_equal(why.status, 400);
    assert_string_equal(why.param, "target_model_names");
    assert_non_null(strstr(why.message, "'nope'"));
    assert_non_null(strstr(why.message, "'c'"));
    assert_int_equal(places.num, 0); /* nothing to release */
    assert_null(places.deployments);
}

static void fallbacks_stand_behind_what_was_asked_for_each_group_once(void **state)
{
    (void)state;
    config.num_fallbacks = 2;
    assert_true(resolve("a", NULL));
    expect(4, (uint32_t[]){0, 2, 1, 3}, (uint32_t[]){0, 0, 1, 2});
    assert_true(resolve("x", "b,a")); /* a is there already; c is what a falls back to */
    expect(4, (uint32_t[]){1, 0, 2, 3}, (uint32_t[]){0, 0, 0, 2});
    candidates_deinit(&places);
    assert_int_equal(candidates_of_group(&worker, 0, &places), 0);
    expect(4, (uint32_t[]){0, 2, 1, 3}, (uint32_t[]){0, 0, 1, 2});
}

static void a_provider_that_is_named_holds_for_fallbacks_too(void **state)
{
    (void)state;
    config.num_fallbacks = 2;
    relay.hints.has_provider = true;
    relay.hints.provider = PROVIDER_OPENAI;
    assert_true(resolve("a", NULL));
    expect(2, (uint32_t[]){2, 3}, (uint32_t[]){0, 2});
}

static void around_an_account_lie_its_groups_and_their_fallbacks_each_row_once(void **state)
{
    static const uint32_t twins[] = {0, 1};

    (void)state;
    worker.account_same_resource = twins;
    assert_int_equal(candidates_around(&worker, (bool[]){true, false}, &places), 0);
    expect(3, (uint32_t[]){0, 2, 1}, (uint32_t[]){0, 0, 0});
    candidates_deinit(&places);
    assert_int_equal(candidates_around(&worker, (bool[]){false, false}, &places), 0);
    assert_int_equal(places.num, 0);
    candidates_deinit(&places);
    config.num_fallbacks = 2;
    assert_int_equal(candidates_around(&worker, (bool[]){true, false}, &places), 0);
    assert_int_equal(places.num, 4);
    assert_memory_equal(places.deployments, ((uint32_t[]){0, 2, 1, 3}), 4 * sizeof(uint32_t));
}

/* "c" is there as what "a" falls back to; what it falls back to itself counts as well. */
static void around_an_account_a_fallback_that_is_also_its_group_brings_its_own(void **state)
{
    static const uint32_t twins[] = {0, 1}, to_c[] = {2}, to_b[] = {1};
    struct fallback_rule chain[] = {{.group = 0, .to = to_c, .num_to = 1},
                                    {.group = 2, .to = to_b, .num_to = 1}};

    (void)state;
    worker.account_same_resource = twins;
    worker.fallbacks = chain;
    config.num_fallbacks = 2;
    config.max_fallbacks = 1;
    assert_int_equal(candidates_around(&worker, (bool[]){false, true}, &places), 0);
    worker.fallbacks = rules;
    config.max_fallbacks = 5;
    assert_int_equal(places.num, 4);
    assert_memory_equal(places.deployments, ((uint32_t[]){0, 2, 3, 1}), 4 * sizeof(uint32_t));
}

static void without_balancing_an_account_as_a_whole_serves(void **state)
{
    (void)state;
    config.balance_batches = false;
    assert_true(resolve("a", NULL));
    config.balance_batches = true;
    expect(1, (uint32_t[]){4}, (uint32_t[]){0});
    assert_false(places.grouped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_model_of_the_lines_names_a_group, setup, teardown),
        cmocka_unit_test_setup_teardown(targets_are_one_group_however_they_are_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(targets_of_nothing_are_as_if_not_given, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_target_is_told_by_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(fallbacks_stand_behind_what_was_asked_for_each_group_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            around_an_account_lie_its_groups_and_their_fallbacks_each_row_once, setup, teardown),
        cmocka_unit_test_setup_teardown(
            around_an_account_a_fallback_that_is_also_its_group_brings_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_provider_that_is_named_holds_for_fallbacks_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_balancing_an_account_as_a_whole_serves, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
