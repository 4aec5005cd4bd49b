/* Moments as operators and other gateways write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/iso8601.h"

static void expect(const char *text, int64_t unix_ms)
{
    int64_t got = -1;

    if (!iso8601_read(text, &got))
        fail_msg("\"%s\" is refused", text);
    assert_int_equal(got, unix_ms);
}

static void a_moment_with_its_zone_is_one_number(void **state)
{
    (void)state;
    expect("2026-12-31T23:59:59Z", INT64_C(1798761599000));
    expect("2026-12-31 23:59:59 z", INT64_C(1798761599000));
    expect("2027-01-01T00:59:59+01:00", INT64_C(1798761599000));
    expect("2026-12-31T18:29:59-0530", INT64_C(1798761599000));
    expect("2027-01-01T01:59:59.25+02", INT64_C(1798761599250));
    expect("2026-12-31T23:59:59.123456Z", INT64_C(1798761599123));
    expect("2026-12-31T23:59Z", INT64_C(1798761540000));
    expect("1970-01-01T00:00:00Z", 0);
    expect("2028-02-29T00:00:00Z", INT64_C(1835395200000));
    expect("9999-12-31T23:59:59Z", INT64_C(253402300799000));
}

static void a_date_alone_is_the_beginning_of_its_day_in_utc(void **state)
{
    (void)state;
    expect("2026-12-31", INT64_C(1798675200000));
}

static void what_is_no_moment_is_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "30d",
                                        "1798761599",
                                        "2026-12-31T23:59:59", /* whose midnight? */
                                        "2026-12-31T23:59:59+",
                                        "2026-12-31T23:59:59+01:",
                                        "2026-12-31T23:59:59+01:0",
                                        "2026-12-31T23:59:59.Z",
                                        "2026-12-31T23:59:59Z ",
                                        "2026-12-31T24:00:00Z",
                                        "2026-12-31T23:60:00Z",
                                        "2026-12-31T23:59:60Z",
                                        "2026-12-31T",
                                        "2026-12-31T23",
                                        "2026-12-31T23:59:Z",
                                        "2026-13-01",
                                        "2026-00-01",
                                        "2026-02-29",
                                        "2100-02-29",
                                        "2026-04-31",
                                        "2026-1-1",
                                        "26-01-01",
                                        "1969-12-31",
                                        "1970-01-01T00:00:00+01:00",
                                        "31.12.2026",
                                        "never"};
    int64_t got = -1;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (iso8601_read(wrong[i], &got))
            fail_msg("\"%s\" is taken for %lld", wrong[i], (long long)got);
    assert_int_equal(got, -1);
}

static void what_is_printed_is_read_again(void **state)
{
    char text[ISO8601_SIZE];

    (void)state;
    iso8601_print(INT64_C(1798761599250), text);
    assert_string_equal(text, "2026-12-31T23:59:59Z");
    expect(text, INT64_C(1798761599000));
    iso8601_print(INT64_C(253402300799000), text);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_with_its_zone_is_one_number),
        cmocka_unit_test(a_date_alone_is_the_beginning_of_its_day_in_utc),
        cmocka_unit_test(what_is_no_moment_is_refused),
        cmocka_unit_test(what_is_printed_is_read_again)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
