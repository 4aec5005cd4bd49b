/* Files of which a client gets the content, as who would delete them sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/reading.h"

static struct reading_row rows[2];

static int set_up(void **state)
{
    (void)state;
    memset(rows, 0, sizeof(rows));
    return 0;
}

static bool is_read(const char *native)
{
    return reading_is_read(rows, 2, native);
}

static void a_file_is_read_as_long_as_any_client_reads_it(void **state)
{
    struct reading a = {0}, b = {0};

    (void)state;
    assert_false(is_read("file-1"));
    reading_begin(&a, &rows[0], "file-1");
    reading_begin(&b, &rows[1], "file-1");
    reading_begin(&b, &rows[0], "file-2"); /* it has begun already */
    assert_true(is_read("file-1"));
    assert_false(is_read("file-2"));
    reading_end(&a);
    reading_end(&a);
    assert_true(is_read("file-1"));
    reading_end(&b);
    assert_false(is_read("file-1"));
}

static void what_finds_no_place_may_be_any_file(void **state)
{
    static struct reading all[READING_A_ROW + 2];
    char native[24];

    (void)state;
    for (size_t i = 0; i < READING_A_ROW; i++) {
        snprintf(native, sizeof(native), "file-%zu", i);
        reading_begin(&all[i], &rows[1], native);
    }
    assert_true(is_read("file-63"));
    assert_false(is_read("another"));
    for (size_t i = READING_A_ROW; i < READING_A_ROW + 2; i++)
        reading_begin(&all[i], &rows[1], "without-a-place");
    assert_true(is_read("another"));
    reading_end(&all[READING_A_ROW]);
    assert_true(is_read("another"));
    reading_end(&all[READING_A_ROW + 1]);
    assert_false(is_read("another"));
    for (size_t i = 0; i < READING_A_ROW; i++)
        reading_end(&all[i]);
    assert_false(is_read("file-63"));
}

static void a_worker_that_died_reads_nothing(void **state)
{
    static struct reading all[READING_A_ROW + 1];

    (void)state;
    for (size_t i = 0; i < READING_A_ROW + 1; i++) {
        all[i] = (struct reading){0};
        reading_begin(&all[i], &rows[0], "file-1");
    }
    reading_clear(&rows[0]);
    assert_false(is_read("file-1"));
    assert_false(is_read("another"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_file_is_read_as_long_as_any_client_reads_it, set_up),
        cmocka_unit_test_setup(what_finds_no_place_may_be_any_file, set_up),
        cmocka_unit_test_setup(a_worker_that_died_reads_nothing, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
