/* The table of errors: what people read of it is what it says, and it can be answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "request/errors.h"

static const struct row {
    const char *name;
    int status;
    const char *type, *code, *text;
} rows[] = {
#define X(name, status, type, code, text) {#name, status, type, code, text},
#include "request/errors.def"
#undef X
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static char *readme;

static int read_readme(void **state)
{
    FILE *f = fopen(SOURCE_DIR "/server/README.md", "r");
    size_t len;

    (void)state;
    assert_non_null(f);
    readme = calloc(1, 1 << 20);
    assert_non_null(readme);
    len = fread(readme, 1, (1 << 20) - 1, f);
    assert_in_range(len, 1, (1 << 20) - 2);
    fclose(f);
    return 0;
}

static int free_readme(void **state)
{
    (void)state;
    free(readme);
    return 0;
}

static void the_readme_has_a_line_for_each_error_in_the_same_order(void **state)
{
    const char *at = strstr(readme, "| status | type | code | message |\n");
    char line[1200];

    (void)state;
    assert_non_null(at);
    at = strchr(strchr(at, '\n') + 1, '\n') + 1;
    for (size_t i = 0; i < ROWS; i++) {
        const char *tick = rows[i].code[0] != '\0' ? "`" : "";
        int len = snprintf(line, sizeof(line), "| %d | `%s` | %s%s%s | %s |\n", rows[i].status,
                           rows[i].type, tick, rows[i].code[0] != '\0' ? rows[i].code : "null",
                           tick, rows[i].text);

        if (strncmp(at, line, (size_t)len) != 0)
            fail_msg("%s should be the README's line: %s", rows[i].name, line);
        at += len;
    }
    assert_true(*at != '|'); /* and no others */
}

static void each_error_fits_its_answer(void **state)
{
    struct failure room;

    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_true(strlen(rows[i].type) < sizeof(room.type));
        assert_true(strlen(rows[i].code) < sizeof(room.code));
        assert_in_range(strlen(rows[i].text), 1, sizeof(room.message) - 1);
    }
}

/* What LiteLLM answers about keys has types of its own, and the status once more as its code. */
static bool is_of_keys(const struct row *row)
{
    char status[8];

    snprintf(status, sizeof(status), "%d", row->status);
    return strcmp(row->code, status) == 0;
}

/* SDKs tell by it whether to try again. */
static void the_type_says_whose_fault_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_in_range(rows[i].status, 400, 599);
        if (is_of_keys(&rows[i]))
            continue;
        assert_string_equal(rows[i].type, rows[i].status == 429  ? "rate_limit_error"
                                          : rows[i].status < 500 ? "invalid_request_error"
                                                                 : "server_error");
    }
}

static void no_error_is_there_twice(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(strcmp(rows[i].text, rows[j].text) != 0 ||
                        rows[i].status != rows[j].status ||
                        strcmp(rows[i].type, rows[j].type) != 0);
}

static void an_error_by_name_is_what_its_row_says(void **state)
{
    struct failure failure;

    (void)state;
    error_fill(&failure, INVALID_CHOICE, "order", "order", "desc", "asc");
    assert_int_equal(failure.status, 400);
    assert_string_equal(failure.type, "invalid_request_error");
    assert_string_equal(failure.code, "invalid_value");
    assert_string_equal(failure.param, "order");
    assert_string_equal(failure.message, "Invalid value for 'order': expected 'desc' or 'asc'.");
    assert_int_equal(failure.retry_after_ms, -1);
    error_fill(&failure, OUT_OF_MEMORY, "");
    assert_int_equal(failure.status, 500);
    assert_string_equal(failure.param, "");
    assert_string_equal(failure.message, "The gateway is out of memory.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_readme_has_a_line_for_each_error_in_the_same_order),
        cmocka_unit_test(each_error_fits_its_answer),
        cmocka_unit_test(the_type_says_whose_fault_it_is),
        cmocka_unit_test(no_error_is_there_twice),
        cmocka_unit_test(an_error_by_name_is_what_its_row_says),
    };

    return cmocka_run_group_tests(tests, read_readme, free_readme);
}
