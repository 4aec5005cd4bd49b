/* json: how much memory a document takes, how far a text is read, and where that ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json/json.h"
#include "json/json_text.h"
#include "exact.h"

enum { FIRST_PIECE = 4096 - 64, LARGEST_PIECE = 32 * FIRST_PIECE };

static struct json_doc *doc;
static struct json_error error;

/* Cheap and repeatable. */
static uint64_t seed = 88172645463325252u;

static size_t draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed >> 33) % below;
}

static int setup(void **state)
{
    (void)state;
    doc = json_doc_new();
    return doc != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_doc_free(doc);
    doc = NULL;
    return 0;
}

static void small_values_share_a_piece_of_memory(void **state)
{
    size_t bytes;

    (void)state;
    assert_non_null(json_new_int(doc, 1));
    bytes = json_doc_bytes(doc);
    assert_in_range(bytes, FIRST_PIECE, 4096);
    for (int i = 0; i < 10; i++)
        assert_non_null(json_new_int(doc, i));
    assert_int_equal(json_doc_bytes(doc), bytes);
}

/* Bytes that a document takes for a text behind its first piece. */
static size_t growth_by(size_t len)
{
    struct json_doc *other = json_doc_new();
    char *text = malloc(len);
    size_t before, growth;

    assert_non_null(text);
    memset(text, 'a', len);
    assert_non_null(json_new_null(other));
    before = json_doc_bytes(other);
    assert_non_null(json_new_string(other, text, len));
    growth = json_doc_bytes(other) - before;
    json_doc_free(other);
    free(text);
    return growth;
}

static void only_a_text_that_the_next_piece_cannot_hold_gets_a_larger_one(void **state)
{
    size_t room = (size_t)2 * FIRST_PIECE - 1, usual = growth_by(FIRST_PIECE);

    (void)state;
    for (size_t len = room - 3; len <= room; len++)
        assert_int_equal(growth_by(len), usual);
    assert_int_equal(growth_by(room + 1), usual + 1);
    assert_int_equal(growth_by(room + 100), usual + 100);
}

/* Up to the last byte of it, and one more. */
static void a_text_of_any_length_has_room_in_the_first_piece_or_gets_another(void **state)
{
    size_t fitting = 0;

    (void)state;
    for (size_t len = FIRST_PIECE - 200; len < FIRST_PIECE; len++)
        fitting += growth_by(len) == 0;
    assert_in_range(fitting, 1, 199);
}

static void a_document_grows_by_no_more_than_126_kib_at_a_time(void **state)
{
    size_t bytes = 0, largest = 0;

    (void)state;
    while (bytes < (size_t)16 * LARGEST_PIECE) {
        assert_non_null(json_new_int(doc, 7));
        if (json_doc_bytes(doc) - bytes > largest)
            largest = json_doc_bytes(doc) - bytes;
        bytes = json_doc_bytes(doc);
    }
    assert_in_range(largest, LARGEST_PIECE, LARGEST_PIECE + 64);
}

/* `text`, then as many members as make it an object of many, and its end. */
static struct json *parse_among_many(const char *text, int num)
{
    struct strbuf all = STRBUF_INIT;
    struct json *v;

    strbuf_adds(&all, text);
    for (int i = 0; i < num; i++)
        strbuf_addf(&all, ",\"k%d\":%d", i, i);
    strbuf_addc(&all, '}');
    v = json_parse(doc, all.data, all.len, &error);
    assert_non_null(v);
    strbuf_deinit(&all);
    return v;
}

static void assert_last_counts(const char *text, int num)
{
    const struct json *v = parse_among_many(text, num);
    size_t len;

    assert_int_equal(json_size(v), 2 + num);
    assert_string_equal(json_key_at(v, 0, &len), "a");
    assert_string_equal(json_number_text(json_at(v, 0)), "4");
    assert_string_equal(json_key_at(v, 1, &len), "b");
}

static void of_a_key_that_stands_four_times_the_last_value_counts_among_few_and_many(void **state)
{
    (void)state;
    for (int num = 0; num < 60; num++) {
        assert_last_counts("{\"a\":1,\"a\":2,\"a\":3,\"a\":4,\"b\":0", num);
        assert_last_counts("{\"a\":1,\"a\":2,\"b\":0,\"a\":3,\"a\":4", num);
        assert_last_counts("{\"a\":1,\"b\":1,\"b\":2,\"a\":4", num);
    }
}

static void a_document_says_that_a_key_was_repeated_only_when_one_was(void **state)
{
    (void)state;
    for (int num = 0; num < 60; num++) {
        parse_among_many("{\"a\":{},\"b\":[{\"a\":1},{\"a\":1}]", num);
        assert_false(json_doc_repeats(doc));
    }
    parse_among_many("{\"a\":{},\"b\":[{\"a\":1},{\"b\":1,\"b\":1}]", 0);
    assert_true(json_doc_repeats(doc));
}

static void of_any_list_the_last_value_is_found_and_none_behind_it(void **state)
{
    (void)state;
    for (int num = 1; num < 20; num++) {
        struct json *list = json_new_array(doc);

        for (int i = 0; i < num; i++)
            json_append(doc, list, json_new_int(doc, i));
        assert_non_null(json_at(list, (size_t)num - 1));
        assert_null(json_at(list, (size_t)num));
    }
}

static void many_members_with_one_repeated_are_told_too(void **state)
{
    (void)state;
    parse_among_many("{\"k7\":1", 60);
    assert_true(json_doc_repeats(doc));
}

/* Where yajl stumbled in a text of exactly these bytes. */
static size_t offending(const char *text, size_t consumed, const char *message)
{
    char *copy = exact_copy(text, strlen(text));
    size_t at = json_offending_offset(copy, strlen(text), consumed, message);

    free(copy);
    return at;
}

static void no_place_is_before_the_text_or_behind_it(void **state)
{
    static const char word[] = "parse error: unallowed token at this point in JSON text",
                      key[] = "parse error: after key and value, inside map, I expect ',' or '}'",
                      byte[] = "lexical error: invalid char in json text.";

    (void)state;
    assert_int_equal(offending("\"", 1, word), 0);
    assert_int_equal(offending("\"a", 1, word), 0);
    assert_int_equal(offending("abc", 3, word), 0);
    assert_int_equal(offending("abc", 4, word), 0);
    assert_int_equal(offending("abc", 100, word), 0);
    assert_int_equal(offending("abc", 0, word), 0);
    assert_int_equal(offending("abc\"", 4, word), 0);
    assert_int_equal(offending("\\\"x\"", 4, word), 0);
    assert_int_equal(offending("\\\"", 2, word), 0);
    assert_int_equal(offending("x", 1, key), 1);
    assert_int_equal(offending("\"x", 2, key), 0);
    assert_int_equal(offending("x\"", 3, key), 2);
    assert_int_equal(offending("x", 0, byte), 0);
    assert_int_equal(offending("x", 1, byte), 0);
    assert_int_equal(offending("x", 2, byte), 0);
}

static void escapes_are_looked_at_no_more_of_them_than_asked_for(void **state)
{
    static const char text[] = "\\n\\n\\n\\ud83d\\ude00\\n\\udc00";
    char *copy = exact_copy(text, strlen(text));
    size_t at = 0;

    (void)state;
    assert_false(json_surrogates_some(copy, strlen(text), &at, 0));
    assert_int_equal(at, 0);
    assert_false(json_surrogates_some(copy, strlen(text), &at, 2));
    assert_int_equal(at, 4);
    assert_false(json_surrogates_some(copy, strlen(text), &at, 2));
    assert_int_equal(at, 18);
    assert_false(json_surrogates_some(copy, strlen(text), &at, 1));
    assert_int_equal(at, 20);
    assert_true(json_surrogates_some(copy, strlen(text), &at, 1));
    assert_int_equal(at, 20);
    free(copy);
}

/* Its other bytes are not there. */
static void an_escape_that_is_cut_off_is_looked_at_as_far_as_it_goes(void **state)
{
    static const char text[] = "\\n\\ud83d\\ude00\\u1234\\";

    (void)state;
    for (size_t len = 0; len <= strlen(text); len++) {
        char *copy = exact_copy(text, len);
        size_t lone = len >= 8 && len < 14 ? 2 : len;

        assert_int_equal(json_find_lone_surrogate(copy, len), lone);
        free(copy);
    }
}

static void a_buffer_that_has_no_memory_takes_no_member(void **state)
{
    struct strbuf out = STRBUF_INIT;

    (void)state;
    assert_int_not_equal(strbuf_reserve(&out, SIZE_MAX), 0);
    json_write_member_string(&out, "key", "value");
    json_write_member_int(&out, "key", 1);
    assert_true(strbuf_failed(&out));
    assert_int_equal(out.len, 0);
    strbuf_deinit(&out);
}

static void of_a_number_only_all_digits_make_an_integer(void **state)
{
    static const char *const digits[] = {"0", "9", "123456789012345678", "1234567890123456789"};
    int64_t n = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(digits) / sizeof(digits[0]); i++) {
        assert_true(json_int64(json_parse(doc, digits[i], strlen(digits[i]), &error), &n));
        assert_true(n == strtoll(digits[i], NULL, 10));
    }
    assert_false(json_int64(json_parse(doc, "12.5", 4, &error), &n));
    assert_false(json_int64(json_parse(doc, "1e2", 3, &error), &n));
    assert_true(json_int64(json_parse(doc, "-12", 3, &error), &n));
    assert_int_equal(n, -12);
}

static void the_size_of_a_string_is_known_before_it_is_printed(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct strbuf out = STRBUF_INIT;
        char text[24], *copy;
        size_t len = draw(sizeof(text));

        for (size_t i = 0; i < len; i++)
            text[i] = (char)draw(draw(3) == 0 ? 256 : 128);
        copy = exact_copy(text, len);
        json_write_string(&out, copy, len);
        assert_int_equal(json_string_size(copy, len), out.len);
        free(copy);
        strbuf_deinit(&out);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(small_values_share_a_piece_of_memory),
        CASE(only_a_text_that_the_next_piece_cannot_hold_gets_a_larger_one),
        CASE(a_text_of_any_length_has_room_in_the_first_piece_or_gets_another),
        CASE(a_document_grows_by_no_more_than_126_kib_at_a_time),
        CASE(of_a_key_that_stands_four_times_the_last_value_counts_among_few_and_many),
        CASE(a_document_says_that_a_key_was_repeated_only_when_one_was),
        CASE(of_any_list_the_last_value_is_found_and_none_behind_it),
        CASE(many_members_with_one_repeated_are_told_too),
        CASE(no_place_is_before_the_text_or_behind_it),
        CASE(escapes_are_looked_at_no_more_of_them_than_asked_for),
        CASE(an_escape_that_is_cut_off_is_looked_at_as_far_as_it_goes),
        CASE(a_buffer_that_has_no_memory_takes_no_member),
        CASE(the_size_of_a_string_is_known_before_it_is_printed),
        CASE(of_a_number_only_all_digits_make_an_integer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
