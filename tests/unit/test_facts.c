/* What the first lines of a file tell about all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "objects/facts.h"

static const struct jsonl_report sample = {
    .lines = 10, .bytes = 1000, .prompt = {{[FEATURE_TEXT] = 600}}, .output_tokens = 50};

static void a_file_is_taken_to_go_on_as_it_begins(void **state)
{
    struct facts facts = {.deployment = 3, .model = 7};

    (void)state;
    facts_extrapolate(&facts, &sample, 100000);
    assert_int_equal(facts.prompt.units[FEATURE_TEXT], 60000);
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
    assert_int_equal(facts.prompt.units[FEATURE_TEXT], 600);
    assert_int_equal(facts.lines, 10);
}

static void nothing_read_is_nothing_known(void **state)
{
    static const struct jsonl_report nothing;
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &nothing, 1000);
    assert_int_equal(facts.prompt.units[FEATURE_TEXT], 0);
    assert_int_equal(facts.lines, 0);
    assert_int_equal(facts.bytes, 1000);
}

static void the_largest_files_do_not_overflow(void **state)
{
    static const struct jsonl_report dense = {.lines = 1,
                                              .bytes = 262144,
                                              .prompt = {{[FEATURE_TEXT] = 262144}},
                                              .output_tokens = UINT64_C(100000000)};
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &dense, UINT64_C(1) << 40);
    assert_true(facts.prompt.units[FEATURE_TEXT] == UINT64_C(1) << 40);
    assert_true(facts.output_tokens == UINT64_C(100000000) << 22);
}

static void a_size_that_no_file_has_is_not_beyond_64_bits(void **state)
{
    static const struct jsonl_report dense = {
        .lines = 1, .bytes = 1, .prompt = {{[FEATURE_TEXT] = 262144}}, .output_tokens = UINT64_MAX};
    struct facts facts = {0};

    (void)state;
    facts_extrapolate(&facts, &dense, INT64_MAX);
    assert_true(facts.prompt.units[FEATURE_TEXT] == UINT64_C(1) << 60);
    assert_true(facts.output_tokens == UINT64_C(1) << 60);
    assert_true(facts.lines == UINT64_C(1) << 60);
    facts_extrapolate(&facts, &dense, 1);
    assert_true(facts.prompt.units[FEATURE_TEXT] == 262144);
}

static void all_that_is_known_of_a_file_fits_into_the_memo(void **state)
{
    static const struct facts full = {.prompt = {{[FEATURE_TEXT] = UINT64_C(200000000000),
                                                  [FEATURE_IMAGES] = 9 * 50000 + 1,
                                                  [FEATURE_AUDIO] = 7000000,
                                                  [FEATURE_FILES] = 8000000,
                                                  [FEATURE_IDS] = UINT64_C(100000000000)}},
                                      .output_tokens = UINT64_C(10000000000000),
                                      .lines = 100000,
                                      .bytes = UINT64_C(200000000001),
                                      .guessed = true,
                                      .slot = SLOTS_EXPIRING};
    uint64_t words[MEMO_WORDS];
    struct facts got;

    (void)state;
    facts_pack(&full, 0xfedcba98, words);
    assert_int_equal(facts_unpack(words, &got), 0xfedcba98);
    assert_memory_equal(&got.prompt, &full.prompt, sizeof(got.prompt));
    assert_true(got.output_tokens == full.output_tokens && got.lines == full.lines);
    assert_true(got.bytes == full.bytes && got.guessed && !got.counted && !got.expected);
    assert_int_equal(got.slot, SLOTS_EXPIRING);
}

static void what_is_too_large_for_the_memo_is_the_largest_and_spills_nowhere(void **state)
{
    static const struct facts full = {
        .prompt = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}},
        .output_tokens = UINT64_MAX,
        .lines = UINT64_MAX,
        .bytes = UINT64_MAX};
    uint64_t words[MEMO_WORDS];
    struct facts got;

    (void)state;
    facts_pack(&full, 1, words);
    assert_int_equal(facts_unpack(words, &got), 1);
    assert_false(got.guessed || got.counted || got.expected || got.slot == SLOTS_EXPIRING);
    assert_true(got.prompt.units[FEATURE_IMAGES] == (UINT64_C(1) << 28) - 1);
    assert_true(got.prompt.units[FEATURE_TEXT] == (UINT64_C(1) << 40) - 1);
    assert_true(got.prompt.units[FEATURE_AUDIO] == (UINT64_C(1) << 24) - 1);
    assert_true(got.output_tokens == (UINT64_C(1) << 44) - 1);
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
        cmocka_unit_test(all_that_is_known_of_a_file_fits_into_the_memo),
        cmocka_unit_test(what_is_too_large_for_the_memo_is_the_largest_and_spills_nowhere),
        cmocka_unit_test(models_of_different_names_are_different),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
