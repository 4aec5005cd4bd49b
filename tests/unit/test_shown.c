/* What commands show of a gateway's numbers, whatever they are: another server may say anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/cli/shown.h"

#define MOST "9007199254740992" /* 2^53 */
#define MORE "9007199254740993"
#define MAX  "9223372036854775807" /* of an int64_t */
#define MIN  "-9223372036854775808"

static void assert_progress(const char *completed, const char *failed, const char *total,
                            const char *want)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct shown_counts counts;
    struct json *root;
    char text[256], out[96];

    snprintf(text, sizeof(text),
             "{\"request_counts\": {\"completed\": %s, \"failed\": %s, \"total\": %s}}", completed,
             failed, total);
    root = json_parse(doc, text, strlen(text), &error);
    assert_non_null(root);
    shown_progress(root, out, sizeof(out));
    assert_string_equal(out, want);
    assert_int_equal(shown_counts(root, &counts), strcmp(want, "-") != 0);
    assert_true(counts.failed >= 0 && counts.failed <= counts.done && counts.done <= counts.total);
    json_doc_free(doc);
}

static void progress_is_what_has_ended_of_all_lines(void **state)
{
    (void)state;
    assert_progress("0", "0", "4", "0/4 0%");
    assert_progress("2", "1", "4", "3/4 75%, 1 failed");
    assert_progress("4", "0", "4", "4/4 100%");
    assert_progress("0", "0", "0", "-");
    assert_progress("null", "\"1\"", "{}", "-");
    assert_progress("0", "0", MOST, "0/" MOST " 0%");
    assert_progress("9007199254740991", "1", MOST, MOST "/" MOST " 100%, 1 failed");
}

static void counts_that_cannot_be_are_none(void **state)
{
    static const char *const odd[] = {"-1", MORE, MAX, MIN};

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        assert_progress(odd[i], "0", "4", "-");
        assert_progress("0", odd[i], "4", "-");
        assert_progress("0", "0", odd[i], "-");
        assert_progress(odd[i], odd[i], odd[i], "-");
    }
    assert_progress(MAX, "1", MAX, "-");
    assert_progress(MIN, "-1", MAX, "-");
    assert_progress("5", "-1", "4", "-");
    assert_progress("4", "1", "4", "-"); /* more than all */
    assert_progress(MOST, "1", MOST, "-");
}

static void sizes_are_shown_in_powers_of_a_thousand(void **state)
{
    char out[SHOWN_BYTES];

    (void)state;
    assert_string_equal(shown_bytes(0, out), "0 bytes");
    assert_string_equal(shown_bytes(999, out), "999 bytes");
    assert_string_equal(shown_bytes(1000, out), "1.0 kB");
    assert_string_equal(shown_bytes(999960, out), "1.0 MB");
    assert_string_equal(shown_bytes(200000000, out), "200.0 MB");
    assert_string_equal(shown_bytes(UINT64_MAX, out), "18.4 EB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_what_has_ended_of_all_lines),
        cmocka_unit_test(counts_that_cannot_be_are_none),
        cmocka_unit_test(sizes_are_shown_in_powers_of_a_thousand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
