/* The lines of the access log: their members are those of server README 9, those of a turn are one
 * write, and calls to providers are noted at the request that they are for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log_out.h"
#include "core/access_log.h"
#include "json/json.h"

#define ID "0123456789abcdef0123456789abcdef0123"

static const struct live_calls calls = {.num = 2,
                                        .status = 503,
                                        .begun_us = 2000,
                                        .connect_us = 300,
                                        .first_byte_us = 400,
                                        .id = "their-id"};

static const struct access_line full = {.request_id = ID,
                                        .client = "127.0.0.1",
                                        .route = "batches.get",
                                        .method = "GET",
                                        .path = "/v1/batches/{id}",
                                        .status = 200,
                                        .bytes_in = 1,
                                        .bytes_out = 2,
                                        .started_us = 1000,
                                        .version = 0x101,
                                        .model = "m",
                                        .id = "batch_1",
                                        .id_len = 7,
                                        .deployment = "d",
                                        .key = "k",
                                        .team = "t",
                                        .calls = &calls,
                                        .cut_off = true};

static int ends[2], stdout_before;

/* Standard output is a pipe; what the test says itself would go there. */
static int set_up(void **state)
{
    (void)state;
    fflush(stdout);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    stdout_before = dup(STDOUT_FILENO);
    assert_true(dup2(ends[1], STDOUT_FILENO) >= 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_true(dup2(stdout_before, STDOUT_FILENO) >= 0);
    close(stdout_before);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static size_t read_text(char *text, size_t size)
{
    ssize_t got = read(ends[0], text, size - 1);

    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static void nothing_is_written_before_the_end_of_the_turn_and_then_all_at_once(void **state)
{
    char text[8192], *second;

    (void)state;
    access_log_write(&full);
    access_log_refusal(ID, "::1", 414, 0x200, 12);
    assert_int_equal(read_text(text, sizeof(text)), 0);
    log_out_flush();
    assert_true(read_text(text, sizeof(text)) > 0);
    second = strchr(text, '\n');
    assert_non_null(second);
    assert_non_null(strchr(second + 1, '\n'));
    assert_non_null(strstr(second, "\"status\":414"));
    assert_non_null(strstr(second, "\"client\":\"::1\""));
    log_out_flush();
    assert_int_equal(read_text(text, sizeof(text)), 0);
}

static void lines_of_a_turn_that_find_no_room_are_counted_and_told(void **state)
{
    uint64_t before = log_out_lost(LOG_STREAM_ACCESS);
    char text[65536];
    int lines = 0;

    (void)state;
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
    for (int i = 0; i < 100; i++)
        access_log_write(&full);
    log_out_flush();
    (void)read_text(text, sizeof(text));
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_in_range(lines, 1, 99);
    assert_int_equal(log_out_lost(LOG_STREAM_ACCESS), before + 100 - (uint64_t)lines);
    access_log_write(&full);
    log_out_flush();
    (void)read_text(text, sizeof(text));
    snprintf(text + 4000, 100, "\"lines_lost\":%d}", 100 - lines);
    assert_non_null(strstr(text, text + 4000));
}

static void each_member_has_a_row_in_the_readme_and_each_row_a_member(void **state)
{
    static char readme[1 << 20];
    FILE *f = fopen(SOURCE_DIR "/server/README.md", "r");
    char text[8192], *at, *end, row[64];
    unsigned members = 0, rows = 0;

    (void)state;
    assert_non_null(f);
    readme[fread(readme, 1, sizeof(readme) - 1, f)] = '\0';
    fclose(f);
    at = strstr(readme, "| member of a line |");
    assert_non_null(at);
    end = strstr(at, "\n\n");
    assert_non_null(end);
    *end = '\0';
    for (const char *line = at; (line = strstr(line, "\n| `")) != NULL; line++)
        rows++;
    log_out_lose(LOG_STREAM_ACCESS);
    access_log_write(&full);
    log_out_flush();
    (void)read_text(text, sizeof(text));
    for (char *name = text; (name = strpbrk(name, "{,")) != NULL; name++) {
        if (name[1] != '"')
            continue;
        snprintf(row, sizeof(row), "\n| `%.*s` |", (int)strcspn(name + 2, "\""), name + 2);
        if (strstr(at, row) == NULL)
            fail_msg("no row: %s", row);
        members++;
    }
    assert_int_equal(members, rows);
}

static void a_call_is_noted_where_its_request_still_is(void **state)
{
    struct live *live = calloc(1, sizeof(*live));
    struct live_request one = {.id = ID}, other = {.id = "fedcba9876543210fedcba9876543210fedc"};

    (void)state;
    assert_non_null(live);
    live_add(live, &one);
    live_add(live, &other);
    live_note_begin(live, one.id, 5);
    live_note_begin(live, one.id, 9);
    live_note_end(live, one.id, &calls);
    assert_int_equal(one.calls.num, 2);
    assert_int_equal(one.calls.begun_us, 5);
    assert_int_equal(one.calls.status, 503);
    assert_string_equal(one.calls.id, "their-id");
    assert_int_equal(other.calls.num, 0);
    live_remove(&one);
    live_note_begin(live, one.id, 11);
    live_note_end(live, NULL, &calls);
    assert_int_equal(one.calls.num, 2);
    live_remove(&other);
    free(live);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(nothing_is_written_before_the_end_of_the_turn_and_then_all_at_once),
        T(lines_of_a_turn_that_find_no_room_are_counted_and_told),
        T(each_member_has_a_row_in_the_readme_and_each_row_a_member),
        cmocka_unit_test(a_call_is_noted_where_its_request_still_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
