/* json: what yajl accepts and we refuse, what survives a round trip, and how errors are placed. */
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

static struct json_doc *doc;
static struct json_error error;

static int setup(void **state)
{
    (void)state;
    doc = json_doc_new();
    memset(&error, 0, sizeof(error));
    return doc != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_doc_free(doc);
    doc = NULL;
    return 0;
}

/* From an exact copy, so that the sanitizer sees each byte read past the end. */
static struct json *parse_bytes(const char *text, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    struct json *v;

    assert_non_null(copy);
    memcpy(copy, text, len);
    v = json_parse(doc, copy, len, &error);
    free(copy);
    return v;
}

static struct json *parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void assert_prints(const struct json *v, const char *expected)
{
    struct strbuf out = STRBUF_INIT;

    json_write(v, &out);
    assert_false(strbuf_failed(&out));
    assert_string_equal(strbuf_str(&out), expected);
    strbuf_deinit(&out);
}

static void assert_refused(const char *text, size_t line, size_t column, const char *word)
{
    assert_null(parse(text));
    if (error.line != line || error.column != column || strstr(error.message, word) == NULL)
        fail_msg("%s: got %zu:%zu %s", text, error.line, error.column, error.message);
}

static void numbers_keep_their_spelling_and_objects_their_order(void **state)
{
    static const char text[] =
        "{\"z\":1.0,\"a\":1e400,\"n\":-0,\"big\":123456789012345678901234567890,"
        "\"e\":1E+05,\"t\":true,\"f\":false,\"x\":null,\"l\":[1,[],{}]}";

    (void)state;
    assert_prints(parse(text), text);
}

static void white_space_around_a_value_is_fine(void **state)
{
    (void)state;
    assert_prints(parse(" \t\r\n { \"a\" : [ 1 , 2 ] } \n\n"), "{\"a\":[1,2]}");
}

static void every_type_of_value_may_stand_at_the_top(void **state)
{
    static const char *const texts[] = {"null", "true", "0", "-1.5e-3", "\"x\"", "[]", "{}"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_prints(parse(texts[i]), texts[i]);
}

static void escapes_are_decoded_and_printed_in_their_shortest_form(void **state)
{
    size_t len;
    struct json *v = parse("\"\\u0041\\/\\ud83d\\ude00\\n\\u0000\\u007f\\u001f\\\"\"");

    (void)state;
    assert_non_null(v);
    assert_memory_equal(json_str(v, &len), "A/\xf0\x9f\x98\x80\n\0\x7f\x1f\"", 11);
    assert_int_equal(len, 11);
    assert_prints(v, "\"A/\xf0\x9f\x98\x80\\n\\u0000\\u007f\\u001f\\\"\"");
}

static void each_control_byte_prints_so_that_it_reads_back(void **state)
{
    (void)state;
    for (int c = 0; c < 0x80; c++) {
        char byte = (char)c;
        struct strbuf out = STRBUF_INIT;
        struct json *v;
        size_t len;

        json_write_string(&out, &byte, 1);
        v = parse_bytes(out.data, out.len);
        assert_non_null(v);
        assert_int_equal(json_str(v, &len)[0], byte);
        assert_int_equal(len, 1);
        strbuf_deinit(&out);
    }
}

static void of_a_repeated_key_the_last_value_counts_and_is_printed_once(void **state)
{
    struct json *v = parse("{\"a\":1,\"b\":2,\"\\u0061\":3}");

    (void)state;
    assert_int_equal(json_size(v), 2);
    assert_prints(v, "{\"a\":3,\"b\":2}");
}

static void repeated_keys_among_thousands_are_found_too(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct json *v;
    int64_t n = 0;

    (void)state;
    strbuf_addc(&text, '{');
    for (int i = 0; i < 6000; i++)
        strbuf_addf(&text, "%s\"k%d\":%d", i > 0 ? "," : "", i % 2000, i);
    strbuf_addc(&text, '}');
    v = parse_bytes(text.data, text.len);
    assert_int_equal(json_size(v), 2000);
    assert_string_equal(json_key_at(v, 7, NULL), "k7");
    assert_true(json_int64(json_at(v, 7), &n));
    assert_int_equal(n, 4007);
    strbuf_deinit(&text);
}

static void nesting_up_to_128_levels_is_read_and_one_more_is_refused(void **state)
{
    char text[300];

    (void)state;
    memset(text, '[', 128);
    memset(text + 128, ']', 128);
    assert_non_null(parse_bytes(text, 256));
    memset(text, '[', 129);
    memset(text + 129, ']', 129);
    assert_null(parse_bytes(text, 258));
    assert_int_equal(error.column, 129);
    assert_non_null(strstr(error.message, "128"));
    memset(text, '[', 300);
    assert_null(parse_bytes(text, 300));
}

static void invalid_utf8_is_refused_where_it_stands(void **state)
{
    static const char *const bad[] = {"\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\x80",
                                      "\xff",
                                      "\xe2\x82",
                                      "\xf0\x9f\x98",
                                      "\xc3"};
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "[\n\"ab%s\"]", bad[i]);
        assert_refused(text, 2, 4, "UTF-8");
        assert_false(utf8_is_valid(bad[i], strlen(bad[i])));
    }
    assert_true(utf8_is_valid(
        "\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 19));
}

/* The definition, straight from RFC 3629. */
static bool is_utf8_by_the_book(const unsigned char *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n;

    for (; len > 0; p += n, len -= n) {
        uint32_t c = p[0];

        n = c < 0x80             ? 1
            : (c & 0xe0) == 0xc0 ? 2
            : (c & 0xf0) == 0xe0 ? 3
            : (c & 0xf8) == 0xf0 ? 4
                                 : 0;
        if (n == 0 || n > len)
            return false;
        if (n > 1)
            c &= 0x7fu >> n;
        for (size_t i = 1; i < n; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (p[i] & 0x3f);
        }
        if (n > 1 && (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)))
            return false;
    }
    return true;
}

static void utf8_is_judged_by_the_book_wherever_it_stands(void **state)
{
    static const unsigned char edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                          0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                          0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    enum { COUNT = sizeof(edges), LEN = 40 };
    char *text = malloc(LEN);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < (size_t)COUNT * COUNT * COUNT * COUNT; i++) {
        size_t at = i % (LEN - 3); /* each place in a block of 16, and the very end */

        memset(text, 'a', LEN);
        text[at] = (char)edges[i % COUNT];
        text[at + 1] = (char)edges[i / COUNT % COUNT];
        text[at + 2] = (char)edges[i / COUNT / COUNT % COUNT];
        text[at + 3] = (char)edges[i / COUNT / COUNT / COUNT];
        if (utf8_is_valid(text, LEN) != is_utf8_by_the_book((unsigned char *)text, LEN) ||
            utf8_is_valid(text + at, LEN - at) !=
                is_utf8_by_the_book((unsigned char *)text + at, LEN - at) ||
            (utf8_valid_prefix(text, LEN) == LEN) !=
                is_utf8_by_the_book((unsigned char *)text, LEN))
            fail_msg("%02x %02x %02x %02x at %zu", (unsigned char)text[at],
                     (unsigned char)text[at + 1], (unsigned char)text[at + 2],
                     (unsigned char)text[at + 3], at);
    }
    free(text);
}

static void a_lone_surrogate_escape_is_refused_where_it_stands(void **state)
{
    (void)state;
    assert_refused("\"a\\ud800\"", 1, 3, "surrogate");
    assert_refused("\"a\\udc00\"", 1, 3, "surrogate");
    assert_refused("\"a\\ud800\\ud800\"", 1, 3, "surrogate");
    assert_refused("\"a\\uD83D\\n\"", 1, 3, "surrogate");
    assert_non_null(parse("\"\\\\ud800\""));
    assert_non_null(parse("\"\\ud83d\\ude00\""));
}

static void what_yajl_lets_pass_but_the_rfc_does_not_is_refused(void **state)
{
    (void)state;
    assert_refused("[1,\f2]", 1, 4, "control");
    assert_refused("\v1", 1, 1, "control");
    assert_refused("\xef\xbb\xbf{}", 1, 1, "byte order mark");
    assert_null(parse("/* x */ 1"));
    assert_refused("[1] \"ab", 1, 5, "garbage");
    assert_refused("{}\n tru", 2, 2, "garbage");
    assert_refused("\"a\"\"", 1, 4, "garbage");
    assert_refused("true n", 1, 6, "garbage");
    assert_null(parse("9\"]"));
    assert_null(parse("9 \""));
    assert_null(parse("9 -"));
    assert_null(parse("9 8"));
}

static void broken_json_is_refused_and_never_half_read(void **state)
{
    static const char *const bad[] = {
        "",     " ",          "{",         "[1,", "{\"a\"}",  "{\"a\":}", "{a:1}",
        "[1,]", "{\"a\":1,}", "01",        "1.",  "+1",       ".5",       "-",
        "1e",   "nul",        "truefalse", "\"a", "\"\t\"",   "\"\\x\"",  "\"\\u12g4\"",
        "1 2",  "[1]]",       "'a'",       "NaN", "Infinity", "\"\n\""};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(&error, 0, sizeof(error));
        if (parse(bad[i]) != NULL)
            fail_msg("accepted: %s", bad[i]);
        assert_true(error.line > 0 && error.column > 0 && error.message[0] != '\0');
        assert_null(strchr(error.message, '\n'));
    }
    assert_null(parse_bytes("\"\0\"", 3));
    assert_null(parse_bytes("1\0", 2));
}

static void an_error_names_line_and_column(void **state)
{
    (void)state;
    assert_refused("{\n  \"a\": 1,\n  \"b\": x\n}", 3, 8, "");
    assert_refused("{\"a\":1", 1, 7, "end");
    assert_refused("[1 2]", 1, 4, "");
    assert_refused("[01]", 1, 2, "");
    assert_refused("[1}", 1, 3, "");
    assert_refused("[\"a\\qb\"]", 1, 5, "");
    assert_refused("{\"a\":1 \"b\\\"c\"}", 1, 8, "");
    assert_refused("[1] true", 1, 5, "");
}

static void integers_are_integers_only(void **state)
{
    int64_t n = 5;
    double d = 0;

    (void)state;
    assert_true(json_int64(parse("9223372036854775807"), &n));
    assert_true(n == INT64_MAX);
    assert_true(json_int64(parse("-9223372036854775808"), &n));
    assert_true(n == INT64_MIN);
    n = 5;
    assert_false(json_int64(parse("9223372036854775808"), &n));
    assert_false(json_int64(parse("1.0"), &n));
    assert_false(json_int64(parse("1e3"), &n));
    assert_false(json_int64(parse("\"1\""), &n));
    assert_false(json_int64(NULL, &n));
    assert_int_equal(n, 5);
    assert_true(json_double(parse("2.5e-1"), &d));
    assert_true(d == 0.25);
    assert_false(json_double(parse("1e999"), &d));
    assert_string_equal(json_number_text(parse("1e999")), "1e999");
}

static void readers_answer_for_nothing_and_for_the_wrong_type(void **state)
{
    struct json *v = parse("{\"s\":\"x\",\"n\":1,\"b\":true}");
    size_t len = 9;
    bool b = false;

    (void)state;
    assert_null(json_get(NULL, "s"));
    assert_null(json_get(json_get(v, "s"), "s"));
    assert_null(json_get_str(v, "n"));
    assert_null(json_get_str(v, "missing"));
    assert_string_equal(json_get_str(v, "s"), "x");
    assert_null(json_str(NULL, &len));
    assert_int_equal(len, 0);
    assert_true(json_bool(json_get(v, "b"), &b) && b);
    assert_false(json_bool(json_get(v, "n"), &b));
    assert_null(json_at(v, 3));
    assert_null(json_key_at(v, 3, NULL));
    assert_null(json_key_at(json_get(v, "s"), 0, NULL));
    assert_int_equal(json_type(NULL), JSON_NULL);
    assert_false(json_is(NULL, JSON_NULL));
    assert_int_equal(json_size(json_get(v, "s")), 0);
}

static void members_are_put_in_order_and_completed(void **state)
{
    static const char *const keys[] = {"a", "b", "c"};
    static const struct {
        const char *before, *after;
    } cases[] = {
        {"{}", "{\"a\":null,\"b\":null,\"c\":null}"},
        {"{\"c\":1,\"x\":2,\"a\":3}", "{\"a\":3,\"b\":null,\"c\":1,\"x\":2}"},
        {"{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}"},
        {"{\"y\":1,\"b\":2,\"x\":3}", "{\"a\":null,\"b\":2,\"c\":null,\"y\":1,\"x\":3}"},
        {"{\"a\\u0000\":1,\"\":2,\"ab\":3}",
         "{\"a\":null,\"b\":null,\"c\":null,\"a\\u0000\":1,\"\":2,\"ab\":3}"},
        {"[1]", "[1]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct json *v = json_parse(doc, cases[i].before, strlen(cases[i].before), NULL);
        struct strbuf text = STRBUF_INIT;

        assert_non_null(v);
        json_order(doc, v, keys, 3);
        json_write(v, &text);
        assert_string_equal(strbuf_str(&text), cases[i].after);
        json_set_int(doc, v, "d", 4); /* there is room behind, or none */
        json_set_int(doc, v, "e", 5);
        assert_true(json_is(v, JSON_ARRAY) || json_get(v, "e") != NULL);
        strbuf_deinit(&text);
    }
}

static void members_are_set_in_place_appended_and_removed(void **state)
{
    struct json *v = parse("{\"a\":1,\"b\":{\"deep\":[1]},\"c\":3}");

    (void)state;
    json_set_str(doc, v, "b", "two");
    json_set_int(doc, v, "d", -4);
    json_remove(v, "a");
    json_remove(v, "absent");
    json_set_str(doc, v, "e", NULL);
    assert_prints(v, "{\"b\":\"two\",\"c\":3,\"d\":-4,\"e\":null}");
    assert_false(json_doc_failed(doc));
}

static void a_document_can_be_made_from_nothing(void **state)
{
    struct json *obj = json_new_object(doc), *list = json_new_array(doc);

    (void)state;
    for (int i = 0; i < 9; i++)
        json_append(doc, list, json_new_int(doc, i));
    json_set(doc, obj, "list", list);
    json_set(doc, obj, "half", json_new_double(doc, 0.5));
    json_set(doc, obj, "tenth", json_new_double(doc, 0.1));
    json_set(doc, obj, "odd", json_new_double(doc, 1.0 / 3));
    json_set(doc, obj, "none", json_new_double(doc, 1e308 * 10));
    json_set(doc, obj, "yes", json_new_bool(doc, true));
    json_set(doc, obj, "text", json_new_string(doc, "a\"b", 3));
    assert_prints(obj,
                  "{\"list\":[0,1,2,3,4,5,6,7,8],\"half\":0.5,\"tenth\":0.1,"
                  "\"odd\":0.3333333333333333,\"none\":null,\"yes\":true,\"text\":\"a\\\"b\"}");
}

static void edits_of_what_is_no_container_change_nothing(void **state)
{
    struct json *s = json_new_cstring(doc, "x");

    (void)state;
    json_set_int(doc, s, "a", 1);
    json_append(doc, s, json_new_null(doc));
    json_append(doc, json_new_object(doc), s);
    json_remove(s, "a");
    json_set(doc, NULL, "a", s);
    assert_prints(s, "\"x\"");
}

static void invalid_text_becomes_replacement_characters(void **state)
{
    struct strbuf out = STRBUF_INIT;

    (void)state;
    json_write_string(&out,
                      "a\xff"
                      "b\xe2\x82",
                      5);
    assert_string_equal(strbuf_str(&out), "\"a\xef\xbf\xbd"
                                          "b\xef\xbf\xbd\xef\xbf\xbd\"");
    strbuf_deinit(&out);
    assert_prints(json_new_string(doc, "\xc0\x80z", 3), "\"\xef\xbf\xbd\xef\xbf\xbdz\"");
}

static void a_large_document_survives_the_arena(void **state)
{
    struct strbuf text = STRBUF_INIT, again = STRBUF_INIT;

    (void)state;
    strbuf_addc(&text, '[');
    for (int i = 0; i < 20000; i++)
        strbuf_addf(&text, "%s{\"id\":\"file-%d\",\"tags\":[%d,null]}", i > 0 ? "," : "", i, i);
    strbuf_adds(&text, ",\"");
    for (int i = 0; i < 300000; i++)
        strbuf_addc(&text, 'x');
    strbuf_adds(&text, "\"]");
    json_write(json_parse_most(doc, text.data, text.len, SIZE_MAX, &error), &again);
    assert_string_equal(strbuf_str(&again), strbuf_str(&text));
    strbuf_deinit(&text);
    strbuf_deinit(&again);
}

/* Cheap and repeatable. */
static uint64_t seed = 88172645463325252u;

static unsigned draw(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % below;
}

static void what_was_printed_reads_back_and_prints_the_same(void **state)
{
    static const char alphabet[] = "{}[]:,\"\\u0dc8e1-+.tfn \xc3\xa9\xe2\x82\xacxyz";
    char text[24];
    struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
    int accepted = 0;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        size_t len = 1 + draw(sizeof(text) - 1);
        struct json *v;

        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[draw(sizeof(alphabet) - 1)];
        if (round % 2 == 0) {
            text[0] = '"';
            text[len - 1] = '"';
        }
        v = parse_bytes(text, len);
        if (v == NULL)
            continue;
        accepted++;
        strbuf_reset(&once);
        strbuf_reset(&twice);
        json_write(v, &once);
        v = parse_bytes(once.data, once.len);
        assert_non_null(v);
        json_write(v, &twice);
        assert_string_equal(strbuf_str(&once), strbuf_str(&twice));
    }
    assert_true(accepted > 1000);
    strbuf_deinit(&once);
    strbuf_deinit(&twice);
}

/* "[0,0,...]" of so many zeros; owned by the caller. */
static char *zeros(size_t num)
{
    char *text = malloc(2 * num + 2);

    assert_non_null(text);
    for (size_t i = 0; i < num; i++)
        memcpy(text + 1 + 2 * i, "0,", 2);
    text[0] = '[';
    text[2 * num] = ']';
    text[2 * num + 1] = '\0';
    return text;
}

/* 128 KiB of zeros took 7 MB and 13 ms. */
static void a_text_of_very_many_values_is_refused_at_the_first_one_too_many(void **state)
{
    char *text = zeros(65535);

    (void)state;
    assert_null(json_parse_most(doc, text, strlen(text), 2048, &error));
    assert_true(error.over_limit);
    assert_string_equal(error.message, "more than 2048 values");
    assert_int_equal(error.line, 1);
    assert_int_equal(error.column, 1 + 2 * 2047 + 1);
    assert_true(json_doc_bytes(doc) < 512 * 1024);
    assert_null(parse(text));
    assert_true(error.over_limit);
    free(text);
}

static void values_are_counted_at_every_depth_and_keys_are_not(void **state)
{
    static const char text[] = "{\"a\":[null,true,{\"b\":\"c\"}],\"d\":-1}";

    (void)state;
    assert_non_null(json_parse_most(doc, text, strlen(text), 7, &error));
    assert_null(json_parse_most(doc, text, strlen(text), 6, &error));
    assert_true(error.over_limit);
    assert_null(json_parse_most(doc, text, strlen(text) - 1, 7, &error));
    assert_false(error.over_limit);
}

static void as_many_values_as_are_allowed_are_read(void **state)
{
    char *text = zeros(JSON_MAX_VALUES - 1);
    struct json *v = parse(text);

    (void)state;
    assert_int_equal(json_size(v), JSON_MAX_VALUES - 1);
    free(text);
    text = zeros(JSON_MAX_VALUES);
    assert_null(parse(text));
    assert_true(error.over_limit);
    free(text);
}

/* Longer than a piece of the document's memory, so that each has one of exactly its size. */
static char *long_text(size_t len)
{
    char *text = malloc(len + 1);

    assert_non_null(text);
    memset(text, 'a', len);
    text[len] = '\0';
    return text;
}

static void what_follows_a_string_of_any_length_has_its_own_room(void **state)
{
    (void)state;
    for (size_t len = 0; len < 70000; len += len % 1024 < 40 ? 1 : 1024 - len % 1024) {
        char *text = long_text(len);
        struct json_doc *other = json_doc_new();
        struct json *list = json_new_array(other);

        for (int i = 0; i < 3; i++) {
            json_append(other, list, json_new_string(other, text, len));
            json_append(other, list, json_new_int(other, i));
        }
        assert_int_equal(json_size(list), 6);
        json_doc_free(other);
        free(text);
    }
}

static void no_text_at_all_makes_an_empty_string(void **state)
{
    struct json *v = json_new_string(doc, NULL, 0);

    (void)state;
    assert_prints(v, "\"\"");
}

/* Long enough for the way that sorts them, and two of them the beginning of each other. */
static void long_keys_that_begin_alike_are_different_members(void **state)
{
    char *shorter = long_text(5000), *longer = long_text(200000);
    struct strbuf text = STRBUF_INIT;

    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        struct json *v;

        strbuf_reset(&text);
        strbuf_addf(&text, "{\"%s\":1,\"%s\":2", turn == 0 ? shorter : longer,
                    turn == 0 ? longer : shorter);
        for (int i = 0; i < 40; i++)
            strbuf_addf(&text, ",\"k%d\":0", i);
        strbuf_adds(&text, "}");
        v = parse_bytes(text.data, text.len);
        assert_int_equal(json_size(v), 42);
        assert_int_equal(json_size(json_get(v, shorter)), 0);
        assert_non_null(json_get(v, shorter));
        assert_non_null(json_get(v, longer));
    }
    strbuf_deinit(&text);
    free(shorter);
    free(longer);
}

/* However many there are, also as many as there is room for. */
static void of_any_number_of_members_none_is_made_up(void **state)
{
    (void)state;
    for (int n = 1; n < 140; n++) {
        struct strbuf text = STRBUF_INIT, again = STRBUF_INIT;
        struct json *v;

        strbuf_addc(&text, '{');
        for (int i = 0; i < n; i++)
            strbuf_addf(&text, "%s\"k%d\":%d", i > 0 ? "," : "", i, i);
        strbuf_addc(&text, '}');
        v = parse_bytes(text.data, text.len);
        assert_int_equal(json_size(v), n);
        json_write(v, &again);
        assert_string_equal(strbuf_str(&again), strbuf_str(&text));
        strbuf_deinit(&text);
        strbuf_deinit(&again);
    }
}

static void the_last_byte_is_looked_at_too(void **state)
{
    (void)state;
    assert_refused("[]\xff", 1, 3, "UTF-8");
    assert_refused("[]\v", 1, 3, "control");
    assert_refused("\"a\xc3", 1, 3, "UTF-8");
}

/* What no checker let pass comes out as something, of what is there. */
static void strings_that_are_cut_off_are_decoded_as_far_as_they_go(void **state)
{
    static const char *const raws[] = {
        "ab\\n\\u00e9\\ud83d\\ude00x", "\\", "\\u", "\\uzzzz", "\\ud83d\\n12345", "\\ud83d\\u12"};

    (void)state;
    for (size_t i = 0; i < sizeof(raws) / sizeof(raws[0]); i++) {
        for (size_t len = 0; len <= strlen(raws[i]); len++) {
            struct strbuf out = STRBUF_INIT;
            char *copy = exact_copy(raws[i], len);

            json_decode_string(copy, len, &out);
            assert_true(out.len <= len);
            free(copy);
            strbuf_deinit(&out);
        }
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(numbers_keep_their_spelling_and_objects_their_order),
        CASE(white_space_around_a_value_is_fine),
        CASE(every_type_of_value_may_stand_at_the_top),
        CASE(escapes_are_decoded_and_printed_in_their_shortest_form),
        CASE(each_control_byte_prints_so_that_it_reads_back),
        CASE(of_a_repeated_key_the_last_value_counts_and_is_printed_once),
        CASE(repeated_keys_among_thousands_are_found_too),
        CASE(nesting_up_to_128_levels_is_read_and_one_more_is_refused),
        CASE(invalid_utf8_is_refused_where_it_stands),
        CASE(utf8_is_judged_by_the_book_wherever_it_stands),
        CASE(a_lone_surrogate_escape_is_refused_where_it_stands),
        CASE(what_yajl_lets_pass_but_the_rfc_does_not_is_refused),
        CASE(broken_json_is_refused_and_never_half_read),
        CASE(an_error_names_line_and_column),
        CASE(integers_are_integers_only),
        CASE(readers_answer_for_nothing_and_for_the_wrong_type),
        CASE(members_are_put_in_order_and_completed),
        CASE(members_are_set_in_place_appended_and_removed),
        CASE(a_document_can_be_made_from_nothing),
        CASE(edits_of_what_is_no_container_change_nothing),
        CASE(invalid_text_becomes_replacement_characters),
        CASE(a_large_document_survives_the_arena),
        CASE(what_was_printed_reads_back_and_prints_the_same),
        CASE(a_text_of_very_many_values_is_refused_at_the_first_one_too_many),
        CASE(values_are_counted_at_every_depth_and_keys_are_not),
        CASE(as_many_values_as_are_allowed_are_read),
        CASE(what_follows_a_string_of_any_length_has_its_own_room),
        CASE(no_text_at_all_makes_an_empty_string),
        CASE(long_keys_that_begin_alike_are_different_members),
        CASE(of_any_number_of_members_none_is_made_up),
        CASE(the_last_byte_is_looked_at_too),
        CASE(strings_that_are_cut_off_are_decoded_as_far_as_they_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
