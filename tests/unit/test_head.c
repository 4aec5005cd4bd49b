/* The head of a provider's answer, line by line, from memory of exactly its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "upstream/client_impl.h"
#include "exact.h"

static bool add(struct head *head, const char *line)
{
    char *copy = exact_copy(line, strlen(line));
    bool room = head_add(head, copy, strlen(line));

    free(copy);
    return room;
}

static int status_of(const char *line)
{
    char *copy = exact_copy(line, strlen(line));
    int status = head_parse_status(copy, strlen(line));

    free(copy);
    return status;
}

static void a_status_line_has_three_digits_behind_a_blank(void **state)
{
    (void)state;
    assert_int_equal(status_of("HTTP/1.1 200 OK"), 200);
    assert_int_equal(status_of("HTTP/2 404"), 404);
    assert_int_equal(status_of("HTTP/1.1 20"), 0);
    assert_int_equal(status_of("HTTP/1.1 "), 0);
    assert_int_equal(status_of("HTTP/1.1"), 0);
    assert_int_equal(status_of("HTTP/1.1 2x0 OK"), 0);
    assert_int_equal(status_of(""), 0);
}

/* 18 digits fit 64 bits whatever they are; 19 may not. */
static void a_length_of_more_than_eighteen_digits_is_no_length(void **state)
{
    struct head head = {0};

    (void)state;
    head_reset(&head, 200);
    assert_true(add(&head, "Content-Length: 999999999999999999"));
    assert_false(head.bad_length);
    assert_int_equal(head.content_length, 999999999999999999);
    head_reset(&head, 200);
    assert_true(add(&head, "Content-Length: 9999999999999999999"));
    assert_true(head.bad_length);
    head_reset(&head, 200);
    assert_true(add(&head, "Content-Length: 1000000000000000000"));
    assert_true(head.bad_length);
    head_deinit(&head);
}

static void two_lengths_that_differ_are_told_and_two_that_agree_are_one(void **state)
{
    struct head head = {0};

    (void)state;
    head_reset(&head, 200);
    assert_true(add(&head, "Content-Length: 5"));
    assert_true(add(&head, "content-length:5 "));
    assert_false(head.bad_length);
    assert_true(add(&head, "content-length: 6"));
    assert_true(head.bad_length);
    head_deinit(&head);
}

/* Names that begin or end like those of the framing. */
static void only_the_framing_frames(void **state)
{
    struct head head = {0};

    (void)state;
    head_reset(&head, 200);
    assert_true(add(&head, "Content-Length-Hint: 7"));
    assert_true(add(&head, "Content-Lengt: 7"));
    assert_true(add(&head, "Transfer-Encoding-Hint: chunked"));
    assert_true(add(&head, "Transfer-Encodin: chunked"));
    assert_true(add(&head, "T: chunked"));
    assert_int_equal(head.content_length, -1);
    assert_false(head.chunked || head.bad_length);
    assert_int_equal(head.num, 5);
    head_deinit(&head);
}

static void blanks_around_a_value_go_and_odd_lines_are_left_out(void **state)
{
    static const char *const odd[] = {"",    " a: b", "a",       "a b: c",
                                      ": x", "a : b", "a: \x01", "\xe4: b"};
    struct upstream_head view;
    struct head head = {0};

    (void)state;
    head_reset(&head, 200);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_true(add(&head, odd[i]));
    assert_int_equal(head.num, 0);
    assert_true(add(&head, "X-A: \t b c \t"));
    assert_true(add(&head, "X-B:  \t "));
    assert_true(add(&head, "X-C:"));
    assert_int_equal(head_finish(&head), 0);
    head_view(&head, &view);
    assert_string_equal(upstream_header_find(&view, "x-a"), "b c");
    assert_string_equal(upstream_header_find(&view, "x-b"), "");
    assert_string_equal(upstream_header_find(&view, "x-c"), "");
    assert_null(upstream_header_find(&view, "x"));
    head_deinit(&head);
}

static void the_257th_header_is_one_too_many(void **state)
{
    struct head head = {0};
    char line[32];

    (void)state;
    head_reset(&head, 200);
    for (int i = 0; i < 256; i++) {
        snprintf(line, sizeof(line), "H%d: x", i);
        assert_true(add(&head, line));
    }
    assert_false(add(&head, "Last: x"));
    assert_true(add(&head, "no header")); /* left out before it is counted */
    assert_int_equal(head.num, 256);
    head_deinit(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_line_has_three_digits_behind_a_blank),
        cmocka_unit_test(a_length_of_more_than_eighteen_digits_is_no_length),
        cmocka_unit_test(two_lengths_that_differ_are_told_and_two_that_agree_are_one),
        cmocka_unit_test(only_the_framing_frames),
        cmocka_unit_test(blanks_around_a_value_go_and_odd_lines_are_left_out),
        cmocka_unit_test(the_257th_header_is_one_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
