/* The `Date` of an answer: its three forms, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "upstream/date.h"

#define EXAMPLE 784111777 /* that of RFC 9110, section 5.6.7 */

static bool date_in(const char *date, const char *age, int64_t *unix_s)
{
    struct upstream_header list[] = {{"date", date}, {"age", age}};
    struct upstream_head head = {.headers = list, .num_headers = age != NULL ? 2 : 1};

    return date_of(&head, unix_s);
}

static void all_three_forms_are_read(void **state)
{
    static const char *const forms[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                        "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994"};

    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        int64_t t = 0;

        assert_true(date_read(forms[i], &t));
        assert_int_equal(t, EXAMPLE);
    }
}

/* Days and times that most answers have are read without curl: they mean the same. */
static void each_day_is_the_one_that_the_calendar_knows(void **state)
{
    char text[64];

    (void)state;
    for (int64_t day = 0; day < 60000; day++) { /* until 2134 */
        time_t when = (time_t)(day * 86400 + day % 86400);
        struct tm tm;
        int64_t t = 0;

        assert_non_null(gmtime_r(&when, &tm));
        assert_true(strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0);
        assert_true(date_read(text, &t));
        assert_int_equal(t, when);
    }
}

static void what_is_no_date_is_left_alone(void **state)
{
    static const char *const none[] = {
        "",
        "now",
        "120",
        "12:00",
        "Sun, 06 Nov 1994",
        "Sun, 99 Foo 1994 08:49:37 GMT",
        "Sunday, the sixth of November of the year 1994, at 08:49:37 GMT sharp"};
    int64_t t = 5;

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_false(date_read(none[i], &t));
    assert_int_equal(t, 5);
}

static void an_answer_out_of_a_cache_tells_an_old_time(void **state)
{
    int64_t t;

    (void)state;
    assert_true(date_in("Sun, 06 Nov 1994 08:49:37 GMT", NULL, &t));
    assert_int_equal(t, EXAMPLE);
    assert_true(date_in("Sun, 06 Nov 1994 08:49:37 GMT", "0", &t));
    assert_false(date_in("Sun, 06 Nov 1994 08:49:37 GMT", "1", &t));
    assert_false(date_in("soon", NULL, &t));
    assert_false(date_of(&(struct upstream_head){0}, &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_three_forms_are_read),
        cmocka_unit_test(each_day_is_the_one_that_the_calendar_knows),
        cmocka_unit_test(what_is_no_date_is_left_alone),
        cmocka_unit_test(an_answer_out_of_a_cache_tells_an_old_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
