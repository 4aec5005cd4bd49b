/* How long the files of a batch stay after its end: what operators write, and whose word holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/retention.h"

static uint32_t read_or_fail(const char *text)
{
    uint32_t seconds = 0;

    if (!retention_read(text, &seconds))
        fail_msg("%s is not read", text);
    return seconds;
}

static void hours_days_and_weeks_are_read(void **state)
{
    (void)state;
    assert_int_equal(read_or_fail("1h"), 3600);
    assert_int_equal(read_or_fail("24H"), 86400);
    assert_int_equal(read_or_fail("30d"), 30 * 86400);
    assert_int_equal(read_or_fail("2w"), 14 * 86400);
    assert_int_equal(read_or_fail("8784h"), RETENTION_MAX_S);
    assert_int_equal(read_or_fail("366d"), RETENTION_MAX_S);
    assert_int_equal(read_or_fail("none"), RETENTION_NONE);
}

/* 24 could be seconds, and then a client's results were gone before it had them. */
static void what_could_be_meant_otherwise_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "0h",
                                        "24",
                                        "h",
                                        "1 h",
                                        "1s",
                                        "90m",
                                        "-1h",
                                        "+1h",
                                        "1.5h",
                                        "1hh",
                                        "367d",
                                        "8785h",
                                        "53w",
                                        "1mo",
                                        "never",
                                        "4294967296h",
                                        "18446744073709551617h",
                                        "99999999999999999999d"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint32_t seconds = 7;

        if (retention_read(texts[i], &seconds))
            fail_msg("%s is read as %u s", texts[i], seconds);
        assert_int_equal(seconds, 7);
    }
}

static void a_keys_word_goes_before_its_teams_and_that_before_all(void **state)
{
    (void)state;
    assert_int_equal(retention_of(RETENTION_UNSET, RETENTION_UNSET, RETENTION_UNSET), 0);
    assert_int_equal(retention_of(RETENTION_UNSET, RETENTION_UNSET, 3600), 3600);
    assert_int_equal(retention_of(RETENTION_UNSET, 7200, 3600), 7200);
    assert_int_equal(retention_of(86400, 7200, 3600), 86400);
    assert_int_equal(retention_of(RETENTION_NONE, 7200, 3600), 0);
    assert_int_equal(retention_of(RETENTION_UNSET, RETENTION_NONE, 3600), 0);
    assert_int_equal(retention_of(RETENTION_UNSET, RETENTION_UNSET, RETENTION_NONE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours_days_and_weeks_are_read),
        cmocka_unit_test(what_could_be_meant_otherwise_is_refused),
        cmocka_unit_test(a_keys_word_goes_before_its_teams_and_that_before_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
