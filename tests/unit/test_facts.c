/* What the first lines of a file tell about all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/facts.h"

static const struct jsonl_report sample = {
    .lines = 10, .bytes = 1000, .prompt_bytes = 600, .output_tokens = 50};

static void a_file_is_taken_to_go_on_as_it_begins(void **state)
{
    struct facts facts = {.deployment = 3, .model = 7};

    (void)state;
    facts_extrapolate(&facts, &sample, 100000);
    assert_int_equal(facts.prompt_bytes, 60000);
    assert_int_equal(facts.output_tokens, 5000);
    assert_int_equal(facts.lines, 1000);
    assert_int_equal(facts.bytes, 100000);
    assert_int_equal(facts.deployment, 3); /* nothing else is touched */
    assert_int_equal(facts.model, 7);
}

static void a_file_is_at_least_what_was_read_of_it(void **state)
{
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &sample, 10); /* a provider that says less than it sends */
    assert_int_equal(facts.bytes, 1000);
    assert_int_equal(facts.prompt_bytes, 600);
    assert_int_equal(facts.lines, 10);
}

static void nothing_read_is_nothing_known(void **state)
{
    static const struct jsonl_report nothing;
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &nothing, 1000);
    assert_int_equal(facts.prompt_bytes, 0);
    assert_int_equal(facts.lines, 0);
    assert_int_equal(facts.bytes, 1000);
}

static void the_largest_files_do_not_overflow(void **state)
{
    static const struct jsonl_report dense = {
        .lines = 1, .bytes = 262144, .prompt_bytes = 262144, .output_tokens = UINT64_C(100000000)};
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &dense, UINT64_C(1) << 40);
    assert_true(facts.prompt_bytes == UINT64_C(1) << 40);
    assert_true(facts.output_tokens == UINT64_C(100000000) << 22);
}

static void a_size_that_no_file_has_is_not_beyond_64_bits(void **state)
{
    static const struct jsonl_report dense = {
        .lines = 1, .bytes = 1, .prompt_bytes = 262144, .output_tokens = UINT64_MAX};
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &dense, INT64_MAX);
    assert_true(facts.prompt_bytes == UINT64_C(1) << 60);
    assert_true(facts.output_tokens == UINT64_C(1) << 60);
    assert_true(facts.lines == UINT64_C(1) << 60);
    facts_extrapolate(&facts, &dense, 1);
    assert_true(facts.prompt_bytes == 262144);
}

static void models_of_different_names_are_different(void **state)
{
    (void)state;
    assert_int_not_equal(facts_model("gpt-4o", 6), 0);
    assert_int_equal(facts_model("gpt-4o", 6), facts_model("gpt-4o-mini", 6));
    assert_int_not_equal(facts_model("gpt-4o", 6), facts_model("gpt-4", 5));
}

static struct model_deployment row(const char *group, uint32_t fingerprint, uint32_t real)
{
    return (struct model_deployment){.group = (char *)(uintptr_t)group,
                                     .id = (char *)(uintptr_t)group,
                                     .upstream_model = (char *)(uintptr_t) "up",
                                     .litellm_model = (char *)(uintptr_t) "azure/up",
                                     .fingerprint = fingerprint,
                                     .real = real};
}

static void a_file_that_two_groups_may_own_goes_only_where_both_go(void **state)
{
    struct model_account account = {.provider = PROVIDER_AZURE};
    struct model_deployment rows[] = {row("one", 1, 1), row("one", 2, 2), row("one", 3, 3),
                                      row("two", 4, 1), row("two", 5, 2), row("two", 6, 6),
                                      row("else", 7, 2)};
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = 7};
    struct facts facts = {.deployment = 0, .guessed = true};
    struct table *table = NULL;

    (void)state;
    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_true(table_same_deployment(table, 1, 6));
    assert_false(table_same_deployment(table, 1, 2));
    assert_true(facts_may_go(table, &facts, 0));
    assert_true(facts_may_go(table, &facts, 1)); /* "two" has it by another row */
    assert_false(facts_may_go(table, &facts, 2));
    facts.guessed = false; /* its upload was seen */
    assert_true(facts_may_go(table, &facts, 2));
    facts = (struct facts){.deployment = 2, .guessed = true}; /* only one group has it */
    assert_true(facts_may_go(table, &facts, 0));
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_taken_to_go_on_as_it_begins),
        cmocka_unit_test(a_file_is_at_least_what_was_read_of_it),
        cmocka_unit_test(nothing_read_is_nothing_known),
        cmocka_unit_test(the_largest_files_do_not_overflow),
        cmocka_unit_test(a_size_that_no_file_has_is_not_beyond_64_bits),
        cmocka_unit_test(a_file_that_two_groups_may_own_goes_only_where_both_go),
        cmocka_unit_test(models_of_different_names_are_different),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
