/* The check of HTTP/1 heads and the decoder of chunks; what the whole front door refuses is in
 * test_front.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front/chunked.h"
#include "front/guard_h1.h"
#include "exact.h"

#define LINE "GET / HTTP/1.1\r\nHost: x\r\n"

static int check(const char *head, struct guard_head *info)
{
    char *copy = exact_copy(head, strlen(head));
    int status = guard_h1_check(copy, strlen(head), info);

    free(copy);
    return status;
}

static void a_head_ends_at_the_empty_line_however_it_arrives(void **state)
{
    static const char head[] = LINE "\r\nbody\r\n\r\n";
    size_t end = strlen(LINE) + 2, scanned = 0;

    (void)state;
    for (size_t len = 0; len < end; len++)
        assert_int_equal(guard_h1_find_end(head, len, &scanned), 0);
    assert_int_equal(guard_h1_find_end(head, end, &scanned), end);
    scanned = 0;
    assert_int_equal(guard_h1_find_end(head, sizeof(head) - 1, &scanned), end);
}

static void what_cannot_become_a_head_is_refused_at_once(void **state)
{
    static const char *const odd[] = {
        "\x16\x03\x01", "GET / HTTP/1.1\n", "get", " GET", "\r\n", "{"};

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        size_t scanned = 0;

        assert_int_equal(guard_h1_find_end(odd[i], strlen(odd[i]), &scanned), -400);
    }
}

static void endless_heads_and_targets_are_refused(void **state)
{
    static char text[GUARD_H1_MAX_HEAD + 100];
    size_t scanned = 0;

    (void)state;
    memset(text, 'A', sizeof(text));
    assert_int_equal(guard_h1_find_end(text, GUARD_H1_MAX_TARGET, &scanned), 0);
    assert_int_equal(guard_h1_find_end(text, GUARD_H1_MAX_TARGET + 100, &scanned), -414);
    memcpy(text, LINE, strlen(LINE));
    scanned = 0;
    assert_int_equal(guard_h1_find_end(text, GUARD_H1_MAX_HEAD - 1, &scanned), 0);
    assert_int_equal(guard_h1_find_end(text, GUARD_H1_MAX_HEAD, &scanned), -431);
}

static int end_of(const char *bytes, size_t len)
{
    char *copy = exact_copy(bytes, len);
    size_t scanned = 0;
    int end = guard_h1_find_end(copy, len, &scanned);

    free(copy);
    return end;
}

/* All at once: the end of a head counts when it is within the largest head, and no byte behind what
 * came is looked at. */
static void a_head_of_the_largest_size_ends_and_a_larger_one_does_not(void **state)
{
    static char text[GUARD_H1_MAX_HEAD + 100];

    (void)state;
    for (size_t len = GUARD_H1_MAX_HEAD - 2; len < GUARD_H1_MAX_HEAD + 3; len++) {
        memset(text, 'a', sizeof(text));
        memcpy(text, LINE "X: ", strlen(LINE "X: "));
        memcpy(text + len - 4, "\r\n\r\n", 4);
        assert_int_equal(end_of(text, len), len <= GUARD_H1_MAX_HEAD ? (int)len : -431);
        assert_int_equal(end_of(text, len - 1), len <= GUARD_H1_MAX_HEAD ? 0 : -431);
    }
}

/* However it comes: with its end, or before that. */
static bool may_be_whole(size_t len, const char *end)
{
    char *bytes = malloc(len), *copy;
    bool may;

    assert_non_null(bytes);
    memset(bytes, 'x', len);
    memcpy(bytes + len - strlen(end), end, strlen(end));
    copy = exact_copy(bytes, len);
    may = guard_h1_may_be_whole(copy, len);
    free(bytes);
    free(copy);
    return may;
}

static void what_ends_as_a_head_does_may_be_whole_up_to_its_bound(void **state)
{
    (void)state;
    assert_true(may_be_whole(4, "\r\n\r\n"));
    assert_true(may_be_whole(5, "\r\n\r\n"));
    assert_true(may_be_whole(GUARD_H1_MAX_HEAD, "\r\n\r\n"));
    assert_false(may_be_whole(GUARD_H1_MAX_HEAD + 1, "\r\n\r\n"));
    assert_false(may_be_whole(GUARD_H1_MAX_HEAD + 100, "\r\n\r\n"));
    assert_false(may_be_whole(3, "\n\r\n"));
    assert_false(may_be_whole(1, "\n"));
    assert_false(may_be_whole(9, "\n\r\n"));
    assert_false(may_be_whole(9, "\r\n\r"));
}

static void a_request_line_that_is_too_long_is_414_with_its_end_and_without(void **state)
{
    static char text[GUARD_H1_MAX_TARGET + 200];
    const size_t longest = 32 + 1 + GUARD_H1_MAX_TARGET + 11;

    (void)state;
    for (size_t len = longest - 2; len < longest + 4; len++) {
        memset(text, 'A', sizeof(text));
        assert_int_equal(end_of(text, len), len <= longest ? 0 : -414);
        memcpy(text + len - 1, "\r\n\r\n", 4); /* the LF is byte `len` */
        assert_int_equal(end_of(text, len + 3), len < longest ? (int)len + 3 : -414);
    }
    assert_int_equal(end_of("\n", 1), -400);
    assert_int_equal(end_of("A\r\n", 3), 0);
    assert_int_equal(end_of("", 0), 0);
}

/* As HTTP/2's pseudo fields come: without anything behind them. */
static void methods_targets_and_authorities_have_bounds(void **state)
{
    char text[1100];

    (void)state;
    memset(text, 'A', sizeof(text));
    text[0] = '/';
    for (size_t len = 0; len < 80; len++) {
        char *target = exact_copy(text, len), *method = exact_copy(text + 1, len);

        assert_int_equal(guard_h1_is_target(target, len), len > 0);
        assert_int_equal(guard_h1_is_method(method, len), len > 0 && len <= 32);
        assert_true(guard_h1_is_authority(method, len));
        free(target);
        free(method);
    }
    {
        char *end = exact_copy("/", 1);

        assert_false(guard_h1_is_target(end + 1, 0));
        assert_false(guard_h1_is_method(end + 1, 0));
        assert_true(guard_h1_is_authority(end + 1, 0));
        free(end);
    }
    assert_true(guard_h1_is_authority(text + 1, 1024));
    assert_false(guard_h1_is_authority(text + 1, 1025));
}

/* Names that begin or end like those that count. */
static void a_name_counts_as_a_whole(void **state)
{
    struct guard_head info;

    (void)state;
    assert_int_equal(check(LINE
                           "Content-Length-X: 5\r\nContent-Lengt: 6\r\nTransfer-Encoding2: a\r\n"
                           "Hos: y\r\nHostess: z\r\nExpec: b\r\nC: d\r\n\r\n",
                           &info),
                     0);
    assert_int_equal(info.framing, FRAMING_NONE);
    assert_int_equal(check(LINE "X: a\x7f\r\n\r\n", &info), 400);
    assert_int_equal(check(LINE "X:\r\nY: \t \r\n\r\n", &info), 0);
    assert_int_equal(check("GET / HTTP/1.1\r\nHost: \t \r\n\r\n", &info), 0);
    assert_false(info.padded); /* what stands before a value is no part of it anyhow */
    assert_int_equal(check(LINE "Transfer-Encoding: chunke\r\n\r\n", &info), 400);
    assert_int_equal(check(LINE "Transfer-Encoding: c\r\n\r\n", &info), 400);
    assert_int_equal(check(LINE "Expect: 100-continu\r\n\r\n", &info), 417);
    assert_int_equal(check("", &info), 400);
    assert_int_equal(check("\n", &info), 400);
    assert_int_equal(check("\r\n", &info), 400);
    assert_int_equal(check("\n\r\n", &info), 400);
}

static void the_longest_target_is_taken_and_one_more_byte_is_not(void **state)
{
    static char text[GUARD_H1_MAX_TARGET + 100];
    struct guard_head info;

    (void)state;
    strcpy(text, "GET /");
    memset(text + 5, 'a', GUARD_H1_MAX_TARGET);
    strcpy(text + 4 + GUARD_H1_MAX_TARGET, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(check(text, &info), 0);
    strcpy(text + 4 + GUARD_H1_MAX_TARGET, "a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(check(text, &info), 414);
}

static void framing_is_told(void **state)
{
    struct guard_head info;

    (void)state;
    assert_int_equal(check(LINE "\r\n", &info), 0);
    assert_int_equal(info.framing, FRAMING_NONE);
    assert_int_equal(check(LINE "content-LENGTH:\t 0123 \r\n\r\n", &info), 0);
    assert_int_equal(info.framing, FRAMING_LENGTH);
    assert_int_equal(info.length, 123);
    assert_int_equal(check(LINE "Content-Length: 999999999999999999\r\n\r\n", &info), 0);
    assert_true(info.length == 999999999999999999);
    assert_int_equal(check(LINE "Content-Length: 1000000000000000000\r\n\r\n", &info), 400);
    assert_int_equal(check(LINE "Transfer-Encoding: CHUNKED\r\n\r\n", &info), 0);
    assert_int_equal(info.framing, FRAMING_CHUNKED);
}

static void expectations_count_for_http_1_1_alone(void **state)
{
    struct guard_head info;

    (void)state;
    assert_int_equal(check(LINE "Expect: 100-Continue\r\n\r\n", &info), 0);
    assert_true(info.continue_expected);
    assert_int_equal(check("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", &info), 0);
    assert_true(info.http10);
    assert_false(info.continue_expected);
    assert_int_equal(check(LINE "Expect: 200-ok\r\n\r\n", &info), 417);
}

static void a_value_may_hold_anything_but_controls(void **state)
{
    char text[256];
    struct guard_head info;

    (void)state;
    for (int ch = 0; ch < 256; ch++)
        for (int at = 0; at < 20; at++) { /* each place of a word, and the rest */
            size_t len = (size_t)sprintf(text, LINE "X: ....................\r\n\r\n");
            bool fine = ch == '\t' || (ch >= 0x20 && ch != 0x7f);

            text[strlen(LINE) + 3 + (size_t)at] = (char)ch;
            assert_int_equal(guard_h1_check(text, len, &info), fine ? 0 : 400);
        }
}

static void a_name_is_a_token(void **state)
{
    char text[128];
    struct guard_head info;

    (void)state;
    for (int ch = 1; ch < 256; ch++) {
        size_t len = (size_t)sprintf(text, LINE "a%cb: x\r\n\r\n", ch);
        bool fine = ch > 0x20 && ch < 0x7f && strchr("\"(),/;<=>?@[\\]{}", ch) == NULL;

        assert_int_equal(guard_h1_check(text, len, &info), fine ? 0 : 400);
    }
}

static void a_hundred_fields_are_taken_and_one_more_is_not(void **state)
{
    char text[4096] = LINE;
    struct guard_head info;

    (void)state;
    for (int i = 1; i < GUARD_H1_MAX_FIELDS; i++)
        strcat(text, "X: y\r\n");
    strcat(text, "\r\n");
    assert_int_equal(check(text, &info), 0);
    strcpy(text + strlen(text) - 2, "X: y\r\n\r\n");
    assert_int_equal(check(text, &info), 431);
}

static void hidden(const char *before, const char *after)
{
    char *head = strdup(before);
    struct guard_head info;

    assert_int_equal(check(head, &info), 0);
    guard_h1_hide(head, &info);
    assert_string_equal(head, after);
    free(head);
}

static void framing_is_hidden_at_the_same_length(void **state)
{
    (void)state;
    hidden(LINE "\r\n", LINE "\r\n");
    hidden(LINE "Content-Length: 123\r\n\r\n", LINE "Content-Length: 000\r\n\r\n");
    hidden(LINE "Transfer-Encoding: chunked\r\nX: y\r\n\r\n",
           LINE "Content-Length:          0\r\nX: y\r\n\r\n");
    hidden(LINE "transfer-encoding:chunked\r\n\r\n", LINE "Content-Length:         0\r\n\r\n");
    hidden(LINE "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
           LINE "X-Wait: 100-continue\r\nContent-Length: 0\r\n\r\n");
    hidden(LINE "Content-Length: 12 \t\r\nX:y  \r\nY:  \r\n\r\n",
           LINE "Content-Length:   00\r\nX:  y\r\nY:  \r\n\r\n");
}

/* --- chunks --- */

static enum chunked_result decode(const char *text, size_t step, char *out, size_t *out_len,
                                  size_t *used)
{
    struct chunked c = {0};
    enum chunked_result result = CHUNKED_MORE;
    size_t len = strlen(text), got, taken;

    *out_len = *used = 0;
    while (*used < len && result == CHUNKED_MORE) {
        size_t n = step < len - *used ? step : len - *used;
        char *piece = malloc(n);

        memcpy(piece, text + *used, n);
        result = chunked_decode(&c, piece, n, &taken, &got);
        memcpy(out + *out_len, piece, got);
        *out_len += got;
        *used += taken;
        free(piece);
    }
    return result;
}

static void chunks_are_joined_however_they_are_cut(void **state)
{
    static const char text[] =
        "5\r\nhello\r\n00000A;name=\"va lue\"\r\n0123456789\r\n1\r\n!\r\n000\r\nX-Trailer: "
        "y\r\nZ:\r\n\r\nnext";
    char out[100];
    size_t len, used;

    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        assert_int_equal(decode(text, step, out, &len, &used), CHUNKED_END);
        assert_int_equal(len, 16);
        assert_memory_equal(out, "hello0123456789!", 16);
        assert_string_equal(text + used, "next");
    }
}

static void broken_chunks_are_refused(void **state)
{
    static const char *const odd[] = {"\r\n",
                                      "g\r\n",
                                      "0x1\r\n",
                                      "-1\r\n",
                                      "+1\r\n",
                                      " 1\r\n",
                                      "1 \r\n",
                                      "1\n",
                                      "1\r\r",
                                      "1\r\na\n",
                                      "1\r\nab\r\n",
                                      "1\r\na\r\n\r\n",
                                      "1234567890123456\r\n",
                                      "0\r\n\n",
                                      "0\r\n:x\r\n\r\n",
                                      "0\r\n x\r\n\r\n",
                                      "0\r\na b: c\r\n\r\n",
                                      "0\r\na\r\n\r\n",
                                      "0\r\na: b\n\r\n",
                                      "0\r\na: \x01\r\n\r\n",
                                      "0;\x01\r\n\r\n",
                                      "0;a\n\r\n",
                                      "0\r\n\rX"};
    char out[100];
    size_t len, used;

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        if (decode(odd[i], 100, out, &len, &used) != CHUNKED_BAD ||
            decode(odd[i], 1, out, &len, &used) != CHUNKED_BAD)
            fail_msg("chunks %zu were taken", i);
}

static void extensions_and_trailers_are_bounded(void **state)
{
    char text[CHUNKED_MAX_TRAILERS + 100] = "0;";
    char out[16];
    size_t len, used;

    (void)state;
    memset(text + 2, 'a', CHUNKED_MAX_EXTENSION);
    strcpy(text + 2 + CHUNKED_MAX_EXTENSION, "\r\n\r\n");
    assert_int_equal(decode(text, 1000, out, &len, &used), CHUNKED_END);
    strcpy(text + 2 + CHUNKED_MAX_EXTENSION, "a\r\n\r\n");
    assert_int_equal(decode(text, 1000, out, &len, &used), CHUNKED_BAD);
    strcpy(text, "0\r\na:");
    memset(text + 5, 'a', CHUNKED_MAX_TRAILERS);
    text[5 + CHUNKED_MAX_TRAILERS] = '\0';
    assert_int_equal(decode(text, 1000, out, &len, &used), CHUNKED_BAD);
}

/* One odd byte at any place, whatever the length: the blocks of 16 and what is left of them. */
static void every_byte_of_a_target_and_of_an_authority_is_looked_at(void **state)
{
    static const char in_authority[] = "-._~!$&'()*+,;=:[]%"; /* beside letters and digits */
    char target[70], authority[70];

    (void)state;
    for (size_t len = 1; len < sizeof(target); len++) {
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                bool visible = c > 0x20 && c < 0x7f;
                bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

                memset(target, 'a', len);
                target[0] = '/';
                target[at] = (char)c;
                assert_int_equal(guard_h1_is_target(target, len), at == 0 ? c == '/' : visible);
                memset(authority, 'a', len);
                authority[at] = (char)c;
                assert_int_equal(guard_h1_is_authority(authority, len),
                                 alnum || (c != 0 && c < 0x80 && strchr(in_authority, c) != NULL));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_ends_at_the_empty_line_however_it_arrives),
        cmocka_unit_test(what_cannot_become_a_head_is_refused_at_once),
        cmocka_unit_test(endless_heads_and_targets_are_refused),
        cmocka_unit_test(a_head_of_the_largest_size_ends_and_a_larger_one_does_not),
        cmocka_unit_test(what_ends_as_a_head_does_may_be_whole_up_to_its_bound),
        cmocka_unit_test(a_request_line_that_is_too_long_is_414_with_its_end_and_without),
        cmocka_unit_test(methods_targets_and_authorities_have_bounds),
        cmocka_unit_test(a_name_counts_as_a_whole),
        cmocka_unit_test(the_longest_target_is_taken_and_one_more_byte_is_not),
        cmocka_unit_test(framing_is_told),
        cmocka_unit_test(expectations_count_for_http_1_1_alone),
        cmocka_unit_test(a_value_may_hold_anything_but_controls),
        cmocka_unit_test(a_name_is_a_token),
        cmocka_unit_test(every_byte_of_a_target_and_of_an_authority_is_looked_at),
        cmocka_unit_test(a_hundred_fields_are_taken_and_one_more_is_not),
        cmocka_unit_test(framing_is_hidden_at_the_same_length),
        cmocka_unit_test(chunks_are_joined_however_they_are_cut),
        cmocka_unit_test(broken_chunks_are_refused),
        cmocka_unit_test(extensions_and_trailers_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
