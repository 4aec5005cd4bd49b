/* Lines of a batch's files, however their bytes are cut, and the index of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "results/results_index.h"
#include "results/results_merge.h"

#define TEST(name) cmocka_unit_test(name)

static const uint64_t key[2] = {1, 2};

/* The first line of a text, in pieces of this size. */
static enum result_end first_line(const char *text, size_t piece, struct result_line *out)
{
    struct result_lines lines;
    enum result_end end = RESULT_NOT_YET;
    size_t len = strlen(text);

    result_lines_init(&lines, key, 0);
    for (size_t at = 0; at < len && end == RESULT_NOT_YET;)
        at += result_lines_take(&lines, text + at, len - at < piece ? len - at : piece, &end);
    if (end == RESULT_NOT_YET)
        end = result_lines_finish(&lines);
    *out = lines.line;
    return end;
}

/* The same however it is cut. */
static enum result_end line_of(const char *text, struct result_line *out)
{
    enum result_end end = first_line(text, SIZE_MAX, out);

    for (size_t piece = 1; piece < 8; piece++) {
        struct result_line cut;

        assert_int_equal(first_line(text, piece, &cut), end);
        assert_memory_equal(&cut, out, sizeof(cut));
    }
    return end;
}

static void assert_hash_of(const struct result_line *line, const char *id, size_t len)
{
    uint64_t hash[2];

    result_lines_hash(key, id, len, hash);
    assert_true(line->has_id);
    assert_memory_equal(hash, line->hash, sizeof(hash));
}

static void a_line_says_what_became_of_it(void **state)
{
    const char *text =
        " {\"id\":\"r\",\"custom_id\":\"a-1\",\"response\":{\"status_code\":429,\"body\":"
        "{\"custom_id\":\"no\",\"status_code\":200,\"error\":{\"code\":\"batch_expired\"}}},"
        "\"error\":null} \r\n";
    struct result_line line;

    (void)state;
    assert_int_equal(line_of(text, &line), RESULT_LINE);
    assert_hash_of(&line, "a-1", 3);
    assert_int_equal(line.status, 429);
    assert_int_equal(line.error, RESULT_NO_ERROR);
    assert_int_equal(line.begin, 1);
    assert_int_equal(line.end, strlen(text) - 3);
    assert_memory_equal(text + line.id_begin, "\"a-1\"", 5);
    assert_int_equal(line.id_end - line.id_begin, 5);
}

static void an_error_has_a_code(void **state)
{
    static const struct {
        const char *error;
        enum result_error is;
    } cases[] = {{"null", RESULT_NO_ERROR},
                 {"{\"code\":\"batch_expired\",\"message\":\"m\"}", RESULT_EXPIRED},
                 {"{\"message\":\"m\",\"code\":\"batch_cancelled\"}", RESULT_CANCELLED},
                 {"{\"code\":\"batch_expired\",\"code\":\"other\"}", RESULT_FAULT},
                 {"{\"in\":{\"code\":\"batch_expired\"}}", RESULT_FAULT},
                 {"{\"code\":\"batch_expire\\u0064\"}", RESULT_FAULT},
                 {"{\"code\":null}", RESULT_FAULT},
                 {"\"batch_expired\"", RESULT_FAULT},
                 {"[]", RESULT_FAULT},
                 {"false", RESULT_FAULT}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        struct result_line line;

        snprintf(text, sizeof(text), "{\"custom_id\":\"x\",\"response\":null,\"error\":%s}",
                 cases[i].error);
        assert_int_equal(line_of(text, &line), RESULT_LINE);
        assert_int_equal(line.error, cases[i].is);
        assert_int_equal(line.status, 0);
    }
}

static void an_id_is_the_same_however_it_is_escaped(void **state)
{
    static const struct {
        const char *text, *id;
    } cases[] = {{"\\u0061b", "ab"},
                 {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
                 {"\\u00e9\\u20AC", "\xc3\xa9\xe2\x82\xac"},
                 {"\\ud83d\\ude00!", "\xf0\x9f\x98\x80!"},
                 {"\\ud83dx", "\xed\xa0\xbdx"},
                 {"\\ud83d\\ud83d\\ude00", "\xed\xa0\xbd\xf0\x9f\x98\x80"},
                 {"\\ude00\\ud83d", "\xed\xb8\x80\xed\xa0\xbd"},
                 {"", ""},
                 {"12345678", "12345678"},
                 {"a longer one than a word of the hash", "a longer one than a word of the hash"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        struct result_line line;

        snprintf(text, sizeof(text), "{\"custom_id\":\"%s\"}", cases[i].text);
        assert_int_equal(line_of(text, &line), RESULT_LINE);
        assert_hash_of(&line, cases[i].id, strlen(cases[i].id));
    }
}

static void names_that_stand_twice_count_last(void **state)
{
    struct result_line line;

    (void)state;
    assert_int_equal(line_of("{\"custom_id\":\"a\",\"custom_id\":\"b\"}", &line), RESULT_LINE);
    assert_hash_of(&line, "b", 1);
    assert_int_equal(line_of("{\"custom_id\":\"a\",\"custom_id\":7}", &line), RESULT_LINE);
    assert_false(line.has_id);
    assert_int_equal(line_of("{\"response\":{\"status_code\":200},\"response\":null}", &line),
                     RESULT_LINE);
    assert_int_equal(line.status, 0);
}

static void odd_statuses_are_none(void **state)
{
    static const char *const odd[] = {"2000", "20", "-20", "2e2", "\"200\"", "[200]", "null"};

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        char text[100];
        struct result_line line;

        snprintf(text, sizeof(text), "{\"response\":{\"status_code\":%s}}", odd[i]);
        assert_int_equal(line_of(text, &line), RESULT_LINE);
        assert_int_equal(line.status, 0);
    }
}

static void what_is_no_object_is_a_bad_line(void **state)
{
    static const char *const bad[] = {"x",
                                      "[]",
                                      "{\"a\":1",
                                      "{\"a\":1}}",
                                      "{\"a\":1} {}",
                                      "{\"a\" 1}",
                                      "{a:1}",
                                      "{\"a\":]}",
                                      "{\"a\":[1}]}",
                                      "{\"a\":",
                                      "{\"custom_id\":\"a",
                                      "{,}",
                                      "{\"a\":1,}",
                                      "{\"custom_id\":\"\\u00g0\"}",
                                      "\"text\"",
                                      "{\"custom_id\":\"\\u12\"}"};
    struct result_line line;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(line_of(bad[i], &line), RESULT_BAD_LINE);
    assert_int_equal(line_of(" \t\r\n \n", &line), RESULT_NOT_YET);
    assert_int_equal(line_of("", &line), RESULT_NOT_YET);
}

/* The check of uploads takes them (RFC 8259 section 7), and so do providers. */
static void names_may_be_written_with_escapes(void **state)
{
    static const char *const others[] = {
        "{\"custom\\u015fid\":\"a\"}", "{\"custom\\u00c5id\":\"a\"}",
        "{\"custom_id\\u0000\":\"a\"}", "{\"custom_id\\n\":\"a\"}", "{\"\\ud83d\\ude00\":\"a\"}"};
    struct result_line line;

    (void)state;
    assert_int_equal(
        line_of("{\"custom\\u005fid\":\"a\",\"\\u0072esponse\":{\"status\\u005Fcode\":200,"
                "\"b\":{\"\\uzz\":1}},\"erro\\u0072\":{\"\\u0063\\u006f\\u0064\\u0065\":"
                "\"batch_expired\"}}",
                &line),
        RESULT_LINE);
    assert_hash_of(&line, "a", 1);
    assert_int_equal(line.status, 200);
    assert_int_equal(line.error, RESULT_EXPIRED);
    assert_int_equal(line_of("{\"custom_id\":\"a\",\"\\u0063ustom_id\":\"b\"}", &line),
                     RESULT_LINE);
    assert_hash_of(&line, "b", 1);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)line_of(others[i], &line);
        assert_false(line.has_id);
    }
    assert_int_equal(line_of("{\"\\u00g0\":1}", &line), RESULT_BAD_LINE);
    assert_int_equal(line_of("{\"\\u12\":1}", &line), RESULT_BAD_LINE);
}

/* As deep as an operator may allow (limits.max_depth), and deeper. */
static void nesting_has_no_bound(void **state)
{
    static const size_t depths[] = {RESULT_LINES_DEPTH - 2, RESULT_LINES_DEPTH - 1,
                                    RESULT_LINES_DEPTH,     RESULT_LINES_DEPTH + 1,
                                    RESULT_LINES_DEPTH + 2, 100001};
    static char text[2 * 100001 + 128];
    struct result_line line;

    (void)state;
    for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
        size_t depth = depths[i];
        size_t n = (size_t)snprintf(text, sizeof(text), "{\"a\":");

        memset(text + n, '[', depth);
        n += depth;
        n += (size_t)snprintf(text + n, 64, "{\"custom_id\":\"no\"},\"\\\"]\",-1.5e3");
        memset(text + n, ']', depth);
        n += depth;
        snprintf(text + n, 32, ",\"custom_id\":\"d\"}");
        assert_int_equal(line_of(text, &line), RESULT_LINE);
        assert_hash_of(&line, "d", 1);
        assert_int_equal(line.end, strlen(text));
        text[n - 1] = ' '; /* one that stays open */
        assert_int_equal(line_of(text, &line), RESULT_BAD_LINE);
    }
}

/* --- the index --- */

static struct results_index *index_of(const char *text)
{
    struct results_index *index = results_index_new();

    assert_non_null(index);
    assert_int_equal(results_index_feed(index, text, strlen(text)), 0);
    assert_int_equal(results_index_end_of_file(index), 0);
    return index;
}

static bool find(const struct results_index *index, const char *id, struct results_answer *out)
{
    uint64_t hash[2];

    result_lines_hash(results_index_key(index), id, strlen(id), hash);
    return results_index_find(index, hash, out);
}

static void an_answer_is_found_by_its_id(void **state)
{
    const char *text = "{\"custom_id\":\"a\",\"response\":{\"status_code\":200}}\n"
                       "no json\n\n"
                       "{\"response\":null}\n"
                       "{\"custom_id\":\"b\",\"error\":{\"code\":\"batch_expired\"}}";
    struct results_index *index = index_of(text);
    struct results_answer answer;

    (void)state;
    assert_int_equal(results_index_counts(index).lines, 2);
    assert_int_equal(results_index_counts(index).bad, 2);
    assert_true(find(index, "a", &answer));
    assert_int_equal(answer.offset, 0);
    assert_int_equal(answer.len, strchr(text, '\n') - text);
    assert_int_equal(results_kind_of(&answer), RESULTS_OK);
    assert_true(find(index, "b", &answer));
    assert_int_equal(answer.offset + answer.len, strlen(text));
    assert_int_equal(results_kind_of(&answer), RESULTS_UNDONE);
    assert_false(find(index, "c", &answer));
    results_index_free(index);
}

static void of_two_answers_the_first_200_stays(void **state)
{
    struct results_index *index =
        index_of("{\"custom_id\":\"a\",\"response\":{\"status_code\":500}}\n"
                 "{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"n\":1}\n"
                 "{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"n\":22}\n"
                 "{\"custom_id\":\"b\",\"response\":{\"status_code\":400}}\n"
                 "{\"custom_id\":\"b\",\"response\":{\"status_code\":500}}\n");
    struct results_answer answer;

    (void)state;
    assert_int_equal(results_index_counts(index).duplicates, 3);
    assert_int_equal(results_index_counts(index).lines, 2);
    assert_true(find(index, "a", &answer));
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.len,
                     strlen("{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"n\":1}"));
    assert_true(find(index, "b", &answer));
    assert_int_equal(answer.status, 400);
    results_index_free(index);
}

static void answers_that_may_be_another_ones_next_time(void **state)
{
    static const struct {
        uint16_t status;
        uint8_t error;
        enum results_kind kind;
    } cases[] = {{200, RESULT_NO_ERROR, RESULTS_OK},      {200, RESULT_FAULT, RESULTS_FAILED},
                 {200, RESULT_EXPIRED, RESULTS_FAILED},   {400, RESULT_NO_ERROR, RESULTS_FAILED},
                 {408, RESULT_NO_ERROR, RESULTS_REFUSED}, {409, RESULT_FAULT, RESULTS_REFUSED},
                 {429, RESULT_NO_ERROR, RESULTS_REFUSED}, {500, RESULT_NO_ERROR, RESULTS_REFUSED},
                 {599, RESULT_NO_ERROR, RESULTS_REFUSED}, {404, RESULT_NO_ERROR, RESULTS_FAILED},
                 {499, RESULT_NO_ERROR, RESULTS_FAILED},  {201, RESULT_NO_ERROR, RESULTS_FAILED},
                 {0, RESULT_NO_ERROR, RESULTS_FAILED},    {0, RESULT_FAULT, RESULTS_FAILED},
                 {0, RESULT_EXPIRED, RESULTS_UNDONE},     {0, RESULT_CANCELLED, RESULTS_UNDONE},
                 {400, RESULT_CANCELLED, RESULTS_FAILED}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct results_answer answer = {
            .len = 2, .status = cases[i].status, .error = cases[i].error};

        assert_int_equal(results_kind_of(&answer), cases[i].kind);
    }
    assert_int_equal(results_kind_of(NULL), RESULTS_MISSING);
    assert_int_equal(RESULTS_RETRYABLE & (RESULTS_OK | RESULTS_FAILED), 0);
}

/* @return what feeding the last one said */
static int feed_lines(struct results_index *index, unsigned from, unsigned to)
{
    int rc = 0;

    for (unsigned i = from; i < to && rc == 0; i++) {
        char text[64];
        int len = snprintf(text, sizeof(text), "{\"custom_id\":\"%u\"}\n", i);

        rc = results_index_feed(index, text, (size_t)len);
    }
    return rc;
}

static void a_line_costs_forty_bytes(void **state)
{
    struct results_index *index = results_index_new();
    struct results_answer answer;

    (void)state;
    for (unsigned i = 0; i < RESULTS_MAX_LINES; i += 500) {
        assert_int_equal(feed_lines(index, i, i + 500), 0);
        assert_true(results_index_bytes(index) <= (128u << 10) + 40 * (i + 500));
    }
    assert_true(find(index, "0", &answer) && find(index, "199999", &answer));
    assert_false(find(index, "200000", &answer));
    assert_int_equal(feed_lines(index, RESULTS_MAX_LINES, RESULTS_MAX_LINES + 1), ERR_LIMIT);
    results_index_free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_says_what_became_of_it),
        TEST(an_error_has_a_code),
        TEST(an_id_is_the_same_however_it_is_escaped),
        TEST(names_that_stand_twice_count_last),
        TEST(odd_statuses_are_none),
        TEST(what_is_no_object_is_a_bad_line),
        TEST(names_may_be_written_with_escapes),
        TEST(nesting_has_no_bound),
        TEST(an_answer_is_found_by_its_id),
        TEST(of_two_answers_the_first_200_stays),
        TEST(answers_that_may_be_another_ones_next_time),
        TEST(a_line_costs_forty_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
