/* The last lines of the log, for the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "common/log_recent.h"

static int setup(void **state)
{
    (void)state;
    return log_recent_init();
}

static void put(const char *text)
{
    log_recent_put(LOG_LEVEL_WARN, "worker 7", text, strlen(text));
}

static void a_line_is_kept_with_its_level_and_process(void **state)
{
    struct log_recent line;

    (void)state;
    put("one");
    assert_int_equal(log_recent_count(), 1);
    assert_true(log_recent_get(0, &line));
    assert_string_equal(line.text, "one");
    assert_string_equal(line.who, "worker 7");
    assert_int_equal(line.level, LOG_LEVEL_WARN);
    assert_true(line.at_unix_ms > 0);
    assert_false(log_recent_get(1, &line));
}

static void the_oldest_lines_make_room(void **state)
{
    struct log_recent line;
    char text[32];

    (void)state;
    for (unsigned i = 0; i < LOG_RECENT_LINES + 3; i++) {
        snprintf(text, sizeof(text), "line %u", i);
        put(text);
    }
    assert_int_equal(log_recent_count(), LOG_RECENT_LINES + 3);
    assert_false(log_recent_get(2, &line));
    assert_true(log_recent_get(3, &line));
    assert_string_equal(line.text, "line 3");
}

static void long_texts_are_cut(void **state)
{
    struct log_recent line;
    char text[1000];

    (void)state;
    memset(text, 'x', sizeof(text));
    log_recent_put(LOG_LEVEL_ERROR, "worker 7", text, sizeof(text));
    assert_true(log_recent_get(log_recent_count() - 1, &line));
    assert_int_equal(strlen(line.text), LOG_RECENT_TEXT - 1);
}

static void what_is_logged_is_kept_and_what_is_for_debugging_is_not(void **state)
{
    struct log_recent line;

    (void)state;
    log_set_process("a test");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("%s", "nobody looks at this");
    assert_int_equal(log_recent_count(), 0);
    log_info("a %s\nline", "forged");
    assert_int_equal(log_recent_count(), 1);
    assert_true(log_recent_get(0, &line));
    assert_string_equal(line.text, "a forged?line");
    assert_string_equal(line.who, "a test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_line_is_kept_with_its_level_and_process, setup),
        cmocka_unit_test_setup(the_oldest_lines_make_room, setup),
        cmocka_unit_test_setup(long_texts_are_cut, setup),
        cmocka_unit_test_setup(what_is_logged_is_kept_and_what_is_for_debugging_is_not, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
