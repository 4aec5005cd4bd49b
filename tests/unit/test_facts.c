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

static void models_of_different_names_are_different(void **state)
{
    (void)state;
    assert_int_not_equal(facts_model("gpt-4o", 6), 0);
    assert_int_equal(facts_model("gpt-4o", 6), facts_model("gpt-4o-mini", 6));
    assert_int_not_equal(facts_model("gpt-4o", 6), facts_model("gpt-4", 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_taken_to_go_on_as_it_begins),
        cmocka_unit_test(a_file_is_at_least_what_was_read_of_it),
        cmocka_unit_test(nothing_read_is_nothing_known),
        cmocka_unit_test(the_largest_files_do_not_overflow),
        cmocka_unit_test(models_of_different_names_are_different),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
