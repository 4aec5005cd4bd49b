/* When a model ends, as its provider's list says it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/model_end.h"

#define DAY_S       86400
#define DECEMBER_11 UINT64_C(1796947200) /* 2026-12-11 */

static uint64_t read_text(const char *text)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    uint64_t ends_s = model_end_read(json_parse(doc, text, strlen(text), &error));

    json_doc_free(doc);
    return ends_s;
}

static void a_date_is_read_with_or_without_a_time_and_as_unix_seconds(void **state)
{
    (void)state;
    assert_int_equal(read_text("\"2026-12-11\""), DECEMBER_11);
    assert_int_equal(read_text("\"2026-12-11T18:00:00Z\""), DECEMBER_11);
    assert_int_equal(read_text("1796947200"), DECEMBER_11);
}

static void what_is_no_date_is_no_end(void **state)
{
    static const char *const none[] = {"null",
                                       "\"\"",
                                       "\"soon\"",
                                       "\"2026-13-01\"",
                                       "\"2026-00-01\"",
                                       "\"2026-12\"",
                                       "\"0000-01-01\"",
                                       "0",
                                       "-5",
                                       "[]",
                                       "{}",
                                       "true"};

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(read_text(none[i]), 0);
    assert_int_equal(model_end_read(NULL), 0);
}

static void an_end_is_near_from_60_days_before_it_on_and_for_ever(void **state)
{
    int64_t end_s = (int64_t)DECEMBER_11;

    (void)state;
    assert_false(model_end_is_near(DECEMBER_11, end_s - 61 * DAY_S));
    assert_true(model_end_is_near(DECEMBER_11, end_s - 60 * DAY_S));
    assert_true(model_end_is_near(DECEMBER_11, end_s + 400 * DAY_S));
    assert_false(model_end_is_near(0, end_s));
    assert_false(model_end_is_near(UINT64_MAX, end_s));
    assert_true(model_end_is_near(1, end_s));
}

static void the_text_names_the_model_and_the_day(void **state)
{
    char text[512];

    (void)state;
    model_end_text("gpt-5", DECEMBER_11, (int64_t)DECEMBER_11 - 1, text, sizeof(text));
    assert_non_null(strstr(text, "The provider ends the model 'gpt-5' on 2026-12-11"));
    model_end_text("gpt-5", DECEMBER_11, (int64_t)DECEMBER_11, text, sizeof(text));
    assert_non_null(strstr(text, "The provider ended the model 'gpt-5' on 2026-12-11"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_date_is_read_with_or_without_a_time_and_as_unix_seconds),
        cmocka_unit_test(what_is_no_date_is_no_end),
        cmocka_unit_test(an_end_is_near_from_60_days_before_it_on_and_for_ever),
        cmocka_unit_test(the_text_names_the_model_and_the_day),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
