/* jsonl_inputs: how many inputs an embeddings request has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonl/jsonl_inputs.h"

static void assert_inputs(const char *body, uint64_t wanted)
{
    uint64_t got = jsonl_inputs(body, strlen(body), 0);

    if (got != wanted)
        fail_msg("%s: %llu", body, (unsigned long long)got);
}

static void a_string_and_an_array_of_token_ids_are_one_input(void **state)
{
    (void)state;
    assert_inputs("{\"input\":\"x\"}", 1);
    assert_inputs("{\"input\":\"\"}", 1);
    assert_inputs("{ \"model\" : \"m\" , \"input\" : [ 1, 2, 3 ] }", 1);
    assert_inputs("{\"input\":[-1]}", 1);
}

static void an_array_of_strings_or_arrays_has_as_many_as_it_has_members(void **state)
{
    (void)state;
    assert_inputs("{\"input\":[\"a\"]}", 1);
    assert_inputs("{\"input\":[\"a,b\",\"]\",\"\\\",\"]}", 3);
    assert_inputs("{\"input\":[[1,2],[3],[4,5,6]]}", 3);
    assert_inputs(
        "{\"x\":{\"input\":[\"a\",\"b\"]},\"y\":[{}, \"}\"],\"n\":-1.5e3,\"input\":[\"a\",\"b\"]}",
        2);
}

static void where_there_is_none_there_are_none(void **state)
{
    (void)state;
    assert_inputs("{}", 0);
    assert_inputs("{ \"model\":null }", 0);
    assert_inputs("{\"input\":[]}", 0);
    assert_inputs("{\"input\":null}", 0);
    assert_inputs("{\"messages\":[{\"input\":[\"a\"]}]}", 0);
}

/* A line of 64 MiB would take the loop's turn for itself. What is counted is there, at least. */
static void what_is_behind_2_mib_of_a_line_is_not_counted(void **state)
{
    static const char head[] = "{\"input\":[\"", tail[] = "\",\"b\",\"c\"]}";
    size_t filler = 2u << 20, len = strlen(head) + filler + strlen(tail);
    char *line = malloc(len);

    (void)state;
    assert_non_null(line);
    memcpy(line, head, strlen(head));
    memset(line + strlen(head), 'a', filler);
    memcpy(line + strlen(head) + filler, tail, strlen(tail));
    assert_int_equal(jsonl_inputs(line, len, 0), 1);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_string_and_an_array_of_token_ids_are_one_input),
        cmocka_unit_test(an_array_of_strings_or_arrays_has_as_many_as_it_has_members),
        cmocka_unit_test(where_there_is_none_there_are_none),
        cmocka_unit_test(what_is_behind_2_mib_of_a_line_is_not_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
