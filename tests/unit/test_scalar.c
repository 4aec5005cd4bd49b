/* Texts that are values, texts that nearly are, and how the difference is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/scalar.h"

#define ANY INT64_MIN, INT64_MAX

static const struct scalar_rule any_int = {SCALAR_INT, ANY};
static const struct scalar_rule any_float = {SCALAR_FLOAT, ANY};
static const struct scalar_rule truth = {SCALAR_BOOL, 0, 0};
static const struct scalar_rule seconds = {SCALAR_SECONDS, 0, INT64_MAX};
static const struct scalar_rule milliseconds = {SCALAR_MILLISECONDS, 0, INT64_MAX};
static const struct scalar_rule bytes = {SCALAR_BYTES, 0, INT64_MAX};
static const struct scalar_rule tokens = {SCALAR_TOKENS, 0, INT64_MAX};

static void expect(const struct scalar_rule *rule, const char *text, int64_t wanted)
{
    union scalar_value value = {.integer = 42};

    assert_int_equal(scalar_parse(rule, text, &value), 0);
    assert_int_equal(value.integer, wanted);
}

static void refuse(const struct scalar_rule *rule, const char *const *texts, int err)
{
    for (; *texts != NULL; texts++) {
        union scalar_value value = {.integer = 42};

        assert_int_equal(scalar_parse(rule, *texts, &value), err);
        assert_int_equal(value.integer, 42);
    }
}

static void an_integer_is_decimal_and_whole(void **state)
{
    static const char *const wrong[] = {"",     " 5",   "5 ",  "5abc", "600.5", "010", "0x10",
                                        "1e6",  "--5",  "+-5", "-",    "_5",    "5_",  "5__0",
                                        "1:30", "true", "\t5", "٥",    "5\n",   "0b1", NULL};

    (void)state;
    expect(&any_int, "0", 0);
    expect(&any_int, "-7", -7);
    expect(&any_int, "+7", 7);
    expect(&any_int, "1_000_000", 1000000);
    refuse(&any_int, wrong, ERR_SYNTAX);
}

static void an_integer_that_does_not_fit_is_refused_not_wrapped(void **state)
{
    static const char *const wrong[] = {"9223372036854775808", "-9223372036854775809",
                                        "99999999999999999999999999", NULL};

    (void)state;
    expect(&any_int, "9223372036854775807", INT64_MAX);
    expect(&any_int, "-9223372036854775808", INT64_MIN);
    refuse(&any_int, wrong, ERR_LIMIT);
}

static void bounds_are_inclusive(void **state)
{
    static const struct scalar_rule port = {SCALAR_INT, 0, 65535};
    static const char *const wrong[] = {"-1", "65536", NULL};

    (void)state;
    expect(&port, "0", 0);
    expect(&port, "65535", 65535);
    refuse(&port, wrong, ERR_LIMIT);
}

static void a_number_takes_no_trailing_junk_and_no_infinity(void **state)
{
    static const char *const wrong[] = {"",     "1.5x", ".5",  "5.",  "1e",   "inf",
                                        ".inf", "nan",  "0x1", "1,5", "00.5", NULL};
    static const char *const large[] = {"1e999", NULL};
    union scalar_value value;

    (void)state;
    assert_int_equal(scalar_parse(&any_float, "2.50", &value), 0);
    assert_true(value.number == 2.5);
    assert_int_equal(scalar_parse(&any_float, "-1e-2", &value), 0);
    assert_true(value.number == -0.01);
    assert_int_equal(scalar_parse(&any_float, "3", &value), 0);
    assert_true(value.number == 3.0);
    refuse(&any_float, wrong, ERR_SYNTAX);
    refuse(&any_float, large, ERR_LIMIT);
}

static void only_words_of_yaml_are_booleans(void **state)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "on", NULL};
    static const char *const no[] = {"false", "False", "no", "off", NULL};
    static const char *const wrong[] = {"", "nope", "1", "0", "y", "os.environ/X", "true ", NULL};
    union scalar_value value;

    (void)state;
    for (size_t i = 0; yes[i] != NULL; i++) {
        assert_int_equal(scalar_parse(&truth, yes[i], &value), 0);
        assert_true(value.truth);
    }
    for (size_t i = 0; no[i] != NULL; i++) {
        assert_int_equal(scalar_parse(&truth, no[i], &value), 0);
        assert_false(value.truth);
    }
    refuse(&truth, wrong, ERR_SYNTAX);
}

static void a_duration_has_a_unit_or_is_in_seconds(void **state)
{
    static const char *const wrong[] = {"",     "s",   "30 sec", "30ss", "5m30s", "abc",
                                        "0x1s", "30 ", "1_s",    "PT5S", NULL};

    (void)state;
    expect(&seconds, "30", 30000);
    expect(&seconds, "0.25", 250);
    expect(&seconds, "30s", 30000);
    expect(&seconds, "5m", 300000);
    expect(&seconds, "2h", 7200000);
    expect(&seconds, "1d", 86400000);
    expect(&seconds, "500ms", 500);
    expect(&seconds, "1.5 m", 90000);
    refuse(&seconds, wrong, ERR_SYNTAX);
}

static void a_short_time_never_becomes_none(void **state)
{
    (void)state;
    expect(&seconds, "0.0001", 1);
    expect(&seconds, "0", 0);
}

static void a_field_in_milliseconds_takes_bare_numbers_as_such(void **state)
{
    static const char *const large[] = {"9999999999999999999", "99999999999999d", NULL};

    (void)state;
    expect(&milliseconds, "500", 500);
    expect(&milliseconds, "10s", 10000);
    refuse(&milliseconds, large, ERR_LIMIT);
}

static void a_negative_time_is_out_of_bounds(void **state)
{
    static const char *const wrong[] = {"-1", "-5m", NULL};

    (void)state;
    refuse(&seconds, wrong, ERR_LIMIT);
}

static void sizes_tell_thousands_from_kibi(void **state)
{
    static const char *const wrong[] = {"", "GiB", "10G", "10 XB", "1.5GiB", "10GiBs", "1e3", NULL};
    static const char *const large[] = {"9999999999TiB", "-1", NULL};

    (void)state;
    expect(&bytes, "1048576", 1048576);
    expect(&bytes, "200MB", 200000000);
    expect(&bytes, "10GiB", (int64_t)10 << 30);
    expect(&bytes, "4 kib", 4096);
    expect(&bytes, "1TB", 1000000000000);
    refuse(&bytes, wrong, ERR_SYNTAX);
    refuse(&bytes, large, ERR_LIMIT);
}

static void tokens_are_counted_in_thousands_millions_and_billions(void **state)
{
    static const char *const wrong[] = {"",      "M",   "10 X", "200MB",   "0.5",
                                        "1.5K5", "1e3", "0x10", "1.0005K", NULL};
    static const char *const large[] = {"9999999999B", "-1", NULL};

    (void)state;
    expect(&tokens, "200000000", 200000000);
    expect(&tokens, "200M", 200000000);
    expect(&tokens, "90k", 90000);
    expect(&tokens, "1 B", 1000000000);
    expect(&tokens, "1.5B", 1500000000);
    expect(&tokens, "1.001K", 1001);
    refuse(&tokens, wrong, ERR_SYNTAX);
    refuse(&tokens, large, ERR_LIMIT);
}

static void expect_wanted(const struct scalar_rule *rule, const char *wanted)
{
    struct strbuf text = STRBUF_INIT;

    scalar_wanted(rule, &text);
    assert_string_equal(strbuf_str(&text), wanted);
    strbuf_deinit(&text);
}

static void what_is_wanted_is_said_with_bounds_and_examples(void **state)
{
    static const struct scalar_rule port = {SCALAR_INT, 0, 65535};
    static const struct scalar_rule count = {SCALAR_INT, 0, INT64_MAX};
    static const struct scalar_rule size = {SCALAR_BYTES, 1024, (int64_t)1 << 40};
    static const struct scalar_rule time = {SCALAR_SECONDS, 1, 86400000};

    (void)state;
    expect_wanted(&port, "an integer from 0 to 65535");
    expect_wanted(&count, "an integer of 0 or more");
    expect_wanted(&truth, "true or false");
    expect_wanted(&size, "a size from 1KiB to 1TiB, such as 1048576, \"200MB\" or \"10GiB\"");
    expect_wanted(&time, "a duration from 1ms to 1d, such as 30 (seconds), \"500ms\", \"30s\" or "
                         "\"5m\"");
}

/* What is printed can be written back into a file. */
static void printed_values_parse_to_themselves(void **state)
{
    static const int64_t values[] = {0,      1,       999,        1000,          1024,  1500,
                                     60000,  90000,   3600000,    86400000,      4096,  200000000,
                                     500000, 1048576, 1000000000, 1099511627776, 123457};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct strbuf text = STRBUF_INIT;

        scalar_print_bytes(values[i], &text);
        expect(&bytes, strbuf_str(&text), values[i]);
        strbuf_reset(&text);
        scalar_print_tokens(values[i], &text);
        expect(&tokens, strbuf_str(&text), values[i]);
        strbuf_reset(&text);
        scalar_print_ms(values[i], &text);
        expect(&milliseconds, strbuf_str(&text), values[i]);
        strbuf_deinit(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_integer_is_decimal_and_whole),
        cmocka_unit_test(an_integer_that_does_not_fit_is_refused_not_wrapped),
        cmocka_unit_test(bounds_are_inclusive),
        cmocka_unit_test(a_number_takes_no_trailing_junk_and_no_infinity),
        cmocka_unit_test(only_words_of_yaml_are_booleans),
        cmocka_unit_test(a_duration_has_a_unit_or_is_in_seconds),
        cmocka_unit_test(a_short_time_never_becomes_none),
        cmocka_unit_test(a_field_in_milliseconds_takes_bare_numbers_as_such),
        cmocka_unit_test(a_negative_time_is_out_of_bounds),
        cmocka_unit_test(sizes_tell_thousands_from_kibi),
        cmocka_unit_test(tokens_are_counted_in_thousands_millions_and_billions),
        cmocka_unit_test(what_is_wanted_is_said_with_bounds_and_examples),
        cmocka_unit_test(printed_values_parse_to_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
