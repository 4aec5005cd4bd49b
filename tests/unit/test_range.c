/* The Range header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calls/range.h"

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
    expect_part("bytes=90-99", 100, 90, 99);
    expect_part("bytes=90-100", 100, 90, 99);
    expect_part("bytes=90-1000", 100, 90, 99);
    expect_part("bytes=99-", 100, 99, 99);
    expect_part("bytes=-10", 100, 90, 99);
    expect_part("bytes=-99", 100, 1, 99);
    expect_part("bytes=-100", 100, 0, 99);
    expect_part("bytes=-101", 100, 0, 99);
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
    static const char *const texts[] = {"",          "bytes",         "bytes=",     "bytes=a-b",
                                        "items=0-1", "bytes=0-1,5-6", "bytes=5",    "bytes=9-2",
                                        "bytes=9-8", "bytes=--1",     "bytes=1-2x", "bytes=-",
                                        "bytes=- 1"};

    (void)state;
    assert_int_equal(range_parse(NULL, 100).kind, RANGE_NONE);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(range_parse(texts[i], 100).kind, RANGE_NONE);
}

static bool reads(const char *text, uint64_t first, uint64_t last, int64_t total)
{
    struct content_range part;

    return content_range_parse(text, &part) && part.first == first && part.last == last &&
           part.total == total;
}

static void a_content_range_says_what_came_and_of_how_much(void **state)
{
    static const char *const wrong[] = {
        "",
        "bytes",
        "bytes ",
        "bytes */1000",
        "bytes 0-/5",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes 0-9/10x",
        "bytes 0-9",
        "bytes 0-9/",
        "lines 0-9/10",
        "bytes -9/10",
        "bytes 0-9/9223372036854775808",
        "bytes 0-9/18446744073709551615",
        "bytes 0-9/99999999999999999999999",
        "bytes 0-9223372036854775807/*",
        "bytes 0-99999999999999999999/*",
    };
    struct content_range part;

    (void)state;
    assert_true(reads("bytes 0-9/10", 0, 9, 10));
    assert_true(reads("Bytes 100-262143/12345678", 100, 262143, 12345678));
    assert_true(reads("bytes 5-5/*", 5, 5, -1));
    assert_true(reads("bytes 0-9223372036854775806/*", 0, INT64_MAX - 1, -1));
    assert_true(reads("bytes 0-9/9223372036854775807", 0, 9, INT64_MAX));
    assert_false(content_range_parse(NULL, &part));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (content_range_parse(wrong[i], &part))
            fail_msg("%s", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_range_names_its_bytes),
        cmocka_unit_test(a_range_behind_the_end_cannot_be_satisfied),
        cmocka_unit_test(what_is_not_one_range_of_bytes_is_ignored),
        cmocka_unit_test(a_content_range_says_what_came_and_of_how_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
