/* The Range header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/range.h"

static void expect_part(const char *text, uint64_t total, uint64_t first, uint64_t last)
{
    struct range r = range_parse(text, total);

    assert_int_equal(r.kind, RANGE_PART);
    assert_int_equal(r.first, first);
    assert_int_equal(r.last, last);
}

static void a_single_range_names_its_bytes(void **state)
{
    (void)state;
    expect_part("bytes=0-9", 100, 0, 9);
    expect_part("bytes=90-", 100, 90, 99);
    expect_part("bytes=90-1000", 100, 90, 99);
    expect_part("bytes=-10", 100, 90, 99);
    expect_part("bytes=-1000", 100, 0, 99);
    expect_part("Bytes= 5-5", 100, 5, 5);
    expect_part("bytes=0-99999999999999999999999", 100, 0, 99);
}

static void a_range_behind_the_end_cannot_be_satisfied(void **state)
{
    (void)state;
    assert_int_equal(range_parse("bytes=100-", 100).kind, RANGE_UNSATISFIABLE);
    assert_int_equal(range_parse("bytes=-0", 100).kind, RANGE_UNSATISFIABLE);
    assert_int_equal(range_parse("bytes=0-0", 0).kind, RANGE_UNSATISFIABLE);
    assert_int_equal(range_parse("bytes=-1", 0).kind, RANGE_UNSATISFIABLE);
    assert_int_equal(range_parse("bytes=99999999999999999999999-", 100).kind, RANGE_UNSATISFIABLE);
}

static void what_is_not_one_range_of_bytes_is_ignored(void **state)
{
    static const char *const texts[] = {"",          "bytes",         "bytes=",  "bytes=a-b",
                                        "items=0-1", "bytes=0-1,5-6", "bytes=5", "bytes=9-2",
                                        "bytes=--1", "bytes=1-2x",    "bytes=-", "bytes=- 1"};

    (void)state;
    assert_int_equal(range_parse(NULL, 100).kind, RANGE_NONE);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(range_parse(texts[i], 100).kind, RANGE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_range_names_its_bytes),
        cmocka_unit_test(a_range_behind_the_end_cannot_be_satisfied),
        cmocka_unit_test(what_is_not_one_range_of_bytes_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
