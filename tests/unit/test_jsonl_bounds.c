/* jsonl: the last byte that is looked at, the last that a message has room for, and how little a
 * checker keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonl/jsonl.h"
#include "jsonl/jsonl_referee.h"
#include "exact.h"

#define LINE(url, body)                                                                            \
    "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" url "\",\"body\":" body "}"

static const struct jsonl_rules any = {0};

/* The whole file in one piece of exactly its size. */
static struct jsonl *check(const struct jsonl_rules *rules, const char *text, int *result)
{
    char *copy = exact_copy(text, strlen(text));
    struct jsonl *j = jsonl_new(rules);

    assert_non_null(j);
    (void)!jsonl_feed(j, copy, strlen(text));
    free(copy);
    *result = jsonl_finish(j);
    return j;
}

static void assert_told(const struct jsonl_rules *rules, const char *text, const char *message)
{
    struct jsonl_report report;
    int result;
    struct jsonl *j = check(rules, text, &result);

    jsonl_report(j, &report);
    assert_int_equal(result, ERR_SYNTAX);
    assert_string_equal(report.problems[0].message, message);
    jsonl_free(j);
}

/* What of the second has no room behind the first is three dots. */
static void a_list_of_endpoints_ends_with_the_last_that_has_room(void **state)
{
    char first[200], second[200], message[600];
    const char *endpoints[4] = {first, second, "/v1/z", NULL};
    const struct jsonl_rules rules = {.endpoints = endpoints};

    (void)state;
    memset(first, 'e', 100);
    first[100] = '\0';
    for (size_t len = 50; len < 55; len++) {
        memset(second, 'f', len);
        second[len] = '\0';
        snprintf(message, sizeof(message), "`url` is \"/v1/x\"; expected one of %s%s%s, ...", first,
                 len <= 52 ? ", " : "", len <= 52 ? second : "");
        assert_told(&rules, LINE("/v1/x", "{}"), message);
    }
}

/* It said "expected one of , ...". */
static void a_first_endpoint_without_room_is_not_listed(void **state)
{
    char only[200], message[300];
    const char *endpoints[2] = {only, NULL};
    const struct jsonl_rules rules = {.endpoints = endpoints};

    (void)state;
    for (size_t len = 151; len < 155; len++) {
        memset(only, 'e', len);
        only[len] = '\0';
        snprintf(message, sizeof(message), "`url` is \"/v1/x\"; expected %s%s",
                 len <= 152 ? "one of " : "", len <= 152 ? only : "an endpoint");
        assert_told(&rules, LINE("/v1/x", "{}"), message);
    }
}

static void an_empty_url_is_no_path(void **state)
{
    (void)state;
    assert_told(&any, LINE("", "{}"), "`url` is \"\"; expected a path that starts with /");
}

/* At the end of the file, where no byte is behind it, and before a line end. */
static void half_a_byte_order_mark_is_none(void **state)
{
    static const char *const texts[] = {"\xef",   "\xef\xbb",   "\xff",  "\xfe",
                                        "\xef\n", "\xef\xbb\n", "\xff\n"};
    struct jsonl_report report;
    int result;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct jsonl *j = check(&any, texts[i], &result);

        jsonl_report(j, &report);
        assert_string_equal(report.problems[0].code, "invalid_json_line");
        jsonl_free(j);
    }
}

/* A file of so many lines that name their models; owned. */
static struct jsonl *checked(int lines, const char *body)
{
    struct jsonl *j = jsonl_new(&any);
    struct strbuf text = STRBUF_INIT;

    assert_non_null(j);
    for (int i = 0; i < lines; i++)
        strbuf_addf(&text,
                    "{\"custom_id\":\"%04d\",\"method\":\"POST\",\"url\":\"/x\",\"body\":%s}\n", i,
                    body);
    assert_int_equal(jsonl_feed(j, text.data, text.len), 0);
    assert_int_equal(jsonl_finish(j), 0);
    strbuf_deinit(&text);
    return j;
}

/* 64 bytes for the name. */
static void the_place_of_a_model_takes_two_bytes_a_line(void **state)
{
    struct jsonl *with = checked(1000, "{\"model\":\"m\"}"), *without = checked(1000, "{}");

    (void)state;
    assert_in_range(jsonl_memory(with) - jsonl_memory(without), 2000, 2048 + 64);
    jsonl_free(with);
    jsonl_free(without);
}

/* A line of so many bytes, its end apart from them; whether it is left for slices. */
static bool is_sliced(size_t len)
{
    static const struct jsonl_rules rules = {.in_slices = true};
    char *line = malloc(len + 1);
    int used = snprintf(line, len, LINE("/x", "{}"));
    struct jsonl *j = jsonl_new(&rules);
    bool pending;

    memset(line + used, ' ', len - (size_t)used);
    line[len] = '\n';
    assert_int_equal(jsonl_feed(j, line, len), 0);
    assert_int_equal(jsonl_feed(j, line + len, 1), 0);
    pending = jsonl_pending(j);
    assert_int_equal(jsonl_finish(j), 0);
    jsonl_free(j);
    free(line);
    return pending;
}

static void a_line_of_64_kib_is_read_in_slices_and_a_shorter_one_at_once(void **state)
{
    (void)state;
    assert_false(is_sliced(65535));
    assert_true(is_sliced(65536));
    assert_true(is_sliced(65537));
}

/* How often the referee is called for a line; *refusal, *err: what it says. */
static size_t calls_of_bytes(const char *line, size_t len, struct jsonl_refusal *refusal, int *err)
{
    char *copy = exact_copy(line, len);
    struct jsonl_facts facts;
    struct jsonl_referee *r = jsonl_referee_new(copy, len, 8, &facts, refusal);
    size_t calls = 0;

    for (*err = JSONL_REFEREE_MORE; *err == JSONL_REFEREE_MORE; calls++)
        *err = jsonl_referee_some(r);
    jsonl_referee_free(r);
    free(copy);
    return calls;
}

/* How often more than for "[]", for a line of three parts, the second one as often as is said. */
static size_t calls_of(const char *begin, const char *unit, size_t num, const char *end)
{
    struct strbuf line = STRBUF_INIT;
    struct jsonl_refusal refusal;
    size_t calls;
    int err;

    strbuf_adds(&line, begin);
    for (size_t i = 0; i < num; i++)
        strbuf_adds(&line, unit);
    strbuf_adds(&line, end);
    calls = calls_of_bytes(line.data, line.len, &refusal, &err);
    assert_int_equal(err, 0);
    calls -= calls_of_bytes("[]", 2, &refusal, &err);
    strbuf_deinit(&line);
    return calls;
}

enum { PIECE = 16384, LONG_STRING = 4096 };

/* Said where it stands, and not before the rest was looked at in pieces. */
static void assert_no_utf8(size_t len, size_t calls)
{
    char *line = malloc(len);
    struct jsonl_refusal refusal;
    int err;

    assert_non_null(line);
    memset(line, 'a', len);
    line[len - 1] = '\xff';
    assert_int_equal(calls_of_bytes(line, len, &refusal, &err), calls);
    assert_int_equal(err, ERR_SYNTAX);
    assert_int_equal(refusal.at, len - 1);
    free(line);
}

static void bytes_that_are_no_utf8_are_looked_for_in_pieces_of_16_kib(void **state)
{
    (void)state;
    assert_no_utf8(64 * PIECE, 64 + 1);
    assert_no_utf8(PIECE - 1, 2);
    assert_no_utf8(PIECE, 2);
    assert_no_utf8(PIECE + 1, 2); /* the second piece begins with it */
}

static void the_referee_reads_pieces_of_16_kib(void **state)
{
    (void)state;
    assert_int_equal(calls_of("[ 1", ",1", 8000, "]"), 0);
    assert_int_equal(calls_of("[ 1", ",1", PIECE / 2 - 2, "]"), 0); /* 16384 bytes */
    assert_int_equal(calls_of("[ 1", ",1", PIECE / 2 - 1, "]"), 1);
    assert_int_equal(calls_of("[1", ",1", PIECE / 2 - 1, "]"), 0);
    assert_int_equal(calls_of("[1", ",1", PIECE / 2, "]"), 1);
    assert_int_equal(calls_of("[ 1", ",1", 2 * (PIECE / 2) - 2, "]"), 1);
    assert_int_equal(calls_of("[ 1", ",1", 2 * (PIECE / 2) - 1, "]"), 2);
}

/* One that stands at the very end of a piece. */
static void a_piece_ends_behind_a_string(void **state)
{
    (void)state;
    assert_int_equal(calls_of("[", " ", PIECE - 4, "\"\"]"), 0);
    assert_int_equal(calls_of("[", " ", PIECE - 3, "\"\"]"), 1);
    assert_int_equal(calls_of("[", "\"\",", (PIECE - 1) / 3, "\"\"]"), 1);
}

/* A piece before it, one that it is, and one behind it. */
static void a_string_of_more_than_4_kib_is_a_piece_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(calls_of("[\"", "a", LONG_STRING - 1, "\"]"), 0);
    assert_int_equal(calls_of("[\"", "a", LONG_STRING, "\"]"), 0);
    assert_int_equal(calls_of("[\"", "a", LONG_STRING + 1, "\"]"), 2);
}

static void a_very_long_string_is_looked_through_in_pieces_of_16_kib(void **state)
{
    size_t calls = calls_of("[\"", "a", PIECE, "\"]");

    (void)state;
    for (size_t n = 2; n < 6; n++) {
        assert_int_equal(calls_of("[\"", "a", n * PIECE - 1, "\"]"), calls + n - 2);
        assert_int_equal(calls_of("[\"", "a", n * PIECE, "\"]"), calls + n - 1);
        assert_int_equal(calls_of("\"", "a", n * PIECE, "\""), calls + n - 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_endpoints_ends_with_the_last_that_has_room),
        cmocka_unit_test(a_first_endpoint_without_room_is_not_listed),
        cmocka_unit_test(an_empty_url_is_no_path),
        cmocka_unit_test(half_a_byte_order_mark_is_none),
        cmocka_unit_test(the_place_of_a_model_takes_two_bytes_a_line),
        cmocka_unit_test(bytes_that_are_no_utf8_are_looked_for_in_pieces_of_16_kib),
        cmocka_unit_test(the_referee_reads_pieces_of_16_kib),
        cmocka_unit_test(a_piece_ends_behind_a_string),
        cmocka_unit_test(a_string_of_more_than_4_kib_is_a_piece_of_its_own),
        cmocka_unit_test(a_very_long_string_is_looked_through_in_pieces_of_16_kib),
        cmocka_unit_test(a_line_of_64_kib_is_read_in_slices_and_a_shorter_one_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
