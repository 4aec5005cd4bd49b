/* Long lines of batch files are read in slices, counted here and not timed: whatever fills a line,
 * no call reads more than so much of it, and all together say what one alone does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonl/jsonl.h"
#include "jsonl/jsonl_reader.h"
#include "common/strbuf.h"
#include "exact.h"

#define MEMBERS   16384 /* read in a slice, at most; the same of pieces of strings */
#define KIB       ((size_t)1024)
#define HEAD      "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":"
#define IN_PROMPT HEAD "{\"model\":\"m\",\"messages\":["

/* A line whose middle repeats a unit. */
struct sort {
    const char *begin, *unit, *end;
};

static const struct sort sorts[] = {
    {IN_PROMPT, "\"\",", "\"\"]}}"},                     /* empty strings */
    {IN_PROMPT "\"", "\\u0061", "\"]}}"},                /* escapes that only the scanner sees */
    {IN_PROMPT "\"", "a\\u00e9", "\"]}}"},               /* ... one by one */
    {IN_PROMPT "{\"", "\\ud83d\\ude00", "\":\"x\"}]}}"}, /* a key */
    {IN_PROMPT "\"", "\xc3\xa9\\n", "\"]}}"},            /* other languages */
    {IN_PROMPT, "[],", "{}]}}"},                         /* containers */
    {IN_PROMPT "{", "\"k\":1,", "\"\":2}]}}"},           /* members */
    {IN_PROMPT, "1,", "1]}}"},                           /* numbers */
    {IN_PROMPT, " \t", "]}}"},                           /* blanks */
    {HEAD "{\"m\\u006fdel\":\"m\",\"x\":[", "\"\",", "1]}}"}, /* the referee's */
    {HEAD "{\"m\\u006fdel\":\"m\",\"input\":\"", "\\\"\\u0041", "\"}}"},
    {HEAD "{\"m\\u006fdel\":\"m\",\"input\":[\"", "\\ud83d\\ude00", "\"]}}"},
    {HEAD "{\"m\\u006fdel\":\"m\",\"input\":[", "1,", "1]}}"},
    {IN_PROMPT, "\"\",", "\"\"]}]"},             /* wrong at its very end */
    {IN_PROMPT "\"", "\\n", "\\x\"]}}"},         /* a bad escape behind good ones */
    {IN_PROMPT "\"", "\\u0061", ""},             /* no end at all */
    {IN_PROMPT "\"", "ab", "\x01\"]}}"},         /* a control byte */
    {IN_PROMPT "\"", "\xc3\xa9", "\xff\"]}}"},   /* no UTF-8 */
    {IN_PROMPT "\"", "\\u00e9", "\\ud83d\"]}}"}, /* half a pair */
    {"\"", "\\\"", "\""},                        /* a string alone */
    {"{} \"", "abc", "\""},                      /* something behind it */
    {"{\"custom_id\":\"", "ab", "\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}"},
};

enum { NUM_SORTS = sizeof(sorts) / sizeof(sorts[0]) };

static size_t fill(struct strbuf *text, const struct sort *sort, size_t bytes)
{
    size_t units = 0;

    strbuf_adds(text, sort->begin);
    for (; text->len < bytes; units++)
        strbuf_adds(text, sort->unit);
    strbuf_adds(text, sort->end);
    return units;
}

/* All at once, by the two functions that do that. */
static int read_at_once(const char *line, size_t len, struct jsonl_facts *facts,
                        struct jsonl_refusal *refusal)
{
    if (jsonl_scan(line, len, 64, facts))
        return 0;
    return jsonl_referee(line, len, 64, facts, refusal);
}

static size_t read_in_slices(const char *line, size_t len, struct jsonl_facts *facts,
                             struct jsonl_refusal *refusal, int *result)
{
    struct jsonl_reader reader = {0};
    size_t slices = 1;

    jsonl_reader_begin(&reader, line, len, 64);
    while ((*result = jsonl_reader_some(&reader)) == JSONL_READER_MORE)
        slices++;
    *facts = reader.facts;
    *refusal = reader.refusal;
    jsonl_reader_end(&reader);
    return slices;
}

static void whatever_fills_a_line_slices_say_what_one_reading_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_SORTS; i++) {
        struct strbuf text = STRBUF_INIT;
        struct jsonl_facts a, b;
        struct jsonl_refusal why_a = {0}, why_b = {0};
        char *copy;
        int err, again;

        fill(&text, &sorts[i], 700 * KIB);
        copy = exact_copy(text.data, text.len);
        err = read_at_once(copy, text.len, &a, &why_a);
        read_in_slices(copy, text.len, &b, &why_b, &again);
        assert_int_equal(again, err);
        if (err == 0) {
            assert_memory_equal(&a.prompt, &b.prompt, sizeof(a.prompt));
            for (int f = 0; f < NUM_FIELDS; f++)
                assert_memory_equal(&a.fields[f].at, &b.fields[f].at, 2 * sizeof(size_t));
        } else {
            assert_int_equal(why_a.at, why_b.at);
            assert_string_equal(why_a.message, why_b.message);
        }
        free(copy);
        strbuf_deinit(&text);
    }
}

/* The slowest lines took 30 to 50 ms in one turn of the loop. */
static void a_line_of_empty_strings_or_escapes_takes_many_slices(void **state)
{
    static const size_t slow[] = {0, 1, 2, 3, 5, 6, 7};
    struct jsonl_facts facts;
    struct jsonl_refusal refusal;
    int result;

    (void)state;
    for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
        struct strbuf text = STRBUF_INIT;
        size_t units = fill(&text, &sorts[slow[i]], 4096 * KIB);
        size_t slices = read_in_slices(text.data, text.len, &facts, &refusal, &result);

        assert_int_equal(result, 0);
        assert_true(slices >= units / MEMBERS);
        strbuf_deinit(&text);
    }
}

/* An escaped name is legal, and for yajl to read. */
static void what_only_the_referee_reads_takes_many_slices_too(void **state)
{
    struct jsonl_facts facts;
    struct jsonl_refusal refusal;
    int result;

    (void)state;
    for (size_t i = 9; i < 16; i++) {
        struct strbuf text = STRBUF_INIT;
        size_t slices;

        fill(&text, &sorts[i], 4096 * KIB);
        slices = read_in_slices(text.data, text.len, &facts, &refusal, &result);
        assert_true(slices >= text.len / (32 * KIB));
        strbuf_deinit(&text);
    }
}

static void text_as_people_write_it_takes_one_slice(void **state)
{
    static const struct sort chat = {
        IN_PROMPT "{\"role\":\"user\",\"content\":\"",
        "A sentence of some length, as it stands in a chat, and then the next one.\\n", "\"}]}}"};
    struct strbuf text = STRBUF_INIT;
    struct jsonl_facts facts;
    struct jsonl_refusal refusal;
    int result;

    (void)state;
    fill(&text, &chat, 4096 * KIB);
    assert_int_equal(read_in_slices(text.data, text.len, &facts, &refusal, &result), 1);
    assert_int_equal(result, 0);
    strbuf_deinit(&text);
}

/* Stopped at every member and every escape. */
static void a_scanner_may_be_stopped_anywhere(void **state)
{
    static const char line[] =
        "{\"custom_id\":\"\\u0061b\\n\\u00e9c\",\"method\":\"PO\\u0053T\",\"x\":[1,[2.5e1,{}],"
        "\"\\\"\"],"
        "\"url\":\"/"
        "v1\",\"body\":{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"k\\u0065y\\u0065\":"
        "\"v\\u0061\\u0062lu\xc3\xa9\\u0065\\ud83d\\ude00\"},[],null,true]}} ";
    struct jsonl_facts whole, sliced;

    (void)state;
    assert_true(jsonl_scan(line, strlen(line), 8, &whole));
    for (size_t work = 2; work < 12; work++) {
        struct jsonl_scan scan;
        enum jsonl_scan_state got;
        size_t slices = 1;

        jsonl_scan_begin(&scan, line, strlen(line), 8, &sliced);
        while ((got = jsonl_scan_some(&scan, work)) == JSONL_SCAN_MORE)
            assert_true(slices++ < 100);
        assert_int_equal(got, JSONL_SCAN_GOOD);
        assert_true(slices >= 30 / work);
        assert_memory_equal(&whole.prompt, &sliced.prompt, sizeof(whole.prompt));
        assert_int_equal(whole.output_tokens, sliced.output_tokens);
        for (int f = 0; f < NUM_FIELDS; f++) {
            assert_int_equal(whole.fields[f].at, sliced.fields[f].at);
            assert_int_equal(whole.fields[f].len, sliced.fields[f].len);
            assert_int_equal(whole.fields[f].escaped, sliced.fields[f].escaped);
            assert_false(sliced.fields[f].repeated);
        }
    }
}

/* --- the checker --- */

static int feed_all(struct jsonl *j, const struct strbuf *text, size_t piece, size_t *slices)
{
    int err;

    *slices = 0;
    for (size_t at = 0, n; at < text->len; at += n) {
        n = text->len - at < piece ? text->len - at : piece;
        err = jsonl_feed(j, text->data + at, n);
        for (; err == 0 && jsonl_pending(j); ++*slices)
            err = jsonl_continue(j);
    }
    jsonl_end_of_file(j);
    for (err = 0; err == 0 && jsonl_pending(j); ++*slices)
        err = jsonl_continue(j);
    return jsonl_finish(j);
}

static void assert_same_report(const struct jsonl *a, const struct jsonl *b)
{
    struct jsonl_report x, y;

    jsonl_report(a, &x);
    jsonl_report(b, &y);
    assert_int_equal(x.lines, y.lines);
    assert_int_equal(x.bytes, y.bytes);
    assert_memory_equal(&x.prompt, &y.prompt, sizeof(x.prompt));
    assert_int_equal(x.num_problems, y.num_problems);
    for (size_t i = 0; i < x.num_problems; i++) {
        assert_int_equal(x.problems[i].line, y.problems[i].line);
        assert_int_equal(x.problems[i].column, y.problems[i].column);
        assert_string_equal(x.problems[i].message, y.problems[i].message);
    }
}

/* Short lines around it, and a long one of each sort without a line end. */
static void a_file_with_a_long_line_is_judged_as_in_one_turn(void **state)
{
    static const struct jsonl_rules at_once = {.max_errors = 10};
    static const struct jsonl_rules sliced = {.max_errors = 10, .in_slices = true};

    (void)state;
    for (size_t i = 0; i < 2 * NUM_SORTS; i++) {
        struct strbuf text = STRBUF_INIT;
        struct jsonl *a = jsonl_new(&at_once), *b = jsonl_new(&sliced);
        size_t none, some;
        int err;

        strbuf_adds(&text, HEAD "{\"model\":\"m\"}}\n");
        fill(&text, &sorts[i / 2], 300 * KIB);
        if (i % 2 == 0)
            strbuf_adds(&text, "\n{}\n{\"custom_id\":\"a\"}\n");
        err = feed_all(a, &text, 128 * KIB, &none);
        assert_int_equal(none, 0);
        assert_int_equal(feed_all(b, &text, 50 * KIB, &some), err);
        assert_true(some > 0);
        assert_same_report(a, b);
        jsonl_free(a);
        jsonl_free(b);
        strbuf_deinit(&text);
    }
}

/* Also three more such lines, and bytes beyond what is allowed. */
static void what_comes_while_a_line_is_read_is_kept(void **state)
{
    for (uint64_t max_bytes = 0; max_bytes < 1000 * KIB; max_bytes += 333 * KIB) {
        struct jsonl_rules rules = {.max_errors = 10, .max_bytes = max_bytes};
        struct strbuf text = STRBUF_INIT;
        struct jsonl *a = jsonl_new(&rules), *b;
        size_t none, at = 0;
        int err;

        (void)state;
        rules.in_slices = true;
        b = jsonl_new(&rules);
        for (int i = 0; i < 4; i++) {
            fill(&text, &sorts[i], (size_t)(i + 1) * 200 * KIB);
            strbuf_adds(&text, "\n[]\n");
        }
        err = feed_all(a, &text, 128 * KIB, &none);
        for (size_t n; at < text.len; at += n) {
            n = text.len - at < 100 * KIB ? text.len - at : 100 * KIB;
            (void)!jsonl_feed(b, text.data + at, n); /* nobody goes on in between */
        }
        assert_int_equal(jsonl_finish(b), err);
        assert_same_report(a, b);
        jsonl_free(a);
        jsonl_free(b);
        strbuf_deinit(&text);
    }
}

static void a_checker_that_goes_while_it_reads_leaves_nothing(void **state)
{
    const struct jsonl_rules rules = {.in_slices = true};

    (void)state;
    for (size_t i = 0; i < NUM_SORTS; i++) {
        struct strbuf text = STRBUF_INIT;
        struct jsonl *j = jsonl_new(&rules);

        fill(&text, &sorts[i], 300 * KIB);
        assert_int_equal(jsonl_feed(j, text.data, text.len), 0);
        assert_int_equal(jsonl_feed(j, "\n{}\n", 4), 0);
        assert_true(jsonl_pending(j));
        for (int n = 0; n < 3 && jsonl_pending(j); n++)
            (void)!jsonl_continue(j);
        jsonl_free(j);
        strbuf_deinit(&text);
    }
}

static void a_value_that_is_compared_is_no_longer_than_64_kib(void **state)
{
    static const struct sort ids[] = {
        {"{\"custom_id\":\"", "i", "\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}"},
        {"{\"custom_id\":\"a\",\"method\":\"", "P", "\",\"url\":\"/v1/x\",\"body\":{}}"},
        {"{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/", "x", "\",\"body\":{}}"},
        {HEAD "{\"model\":\"", "m", "\"}}"}};
    static const char *const names[] = {"custom_id", "method", "url", "body.model"};
    const struct jsonl_rules rules = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct strbuf text = STRBUF_INIT;
        struct jsonl *j = jsonl_new(&rules);
        struct jsonl_report report;
        size_t slices;

        fill(&text, &ids[i], 66 * KIB);
        assert_int_equal(feed_all(j, &text, 128 * KIB, &slices), ERR_SYNTAX);
        jsonl_report(j, &report);
        assert_string_equal(report.problems[0].field, names[i]);
        assert_string_equal(report.problems[0].code, "invalid_value");
        assert_non_null(strstr(report.problems[0].message, "expected 65536 at most"));
        jsonl_free(j);
        strbuf_deinit(&text);
    }
}

/* With its quotes. */
static void an_id_of_exactly_64_kib_is_taken(void **state)
{
    const struct jsonl_rules rules = {0};

    (void)state;
    for (int len = JSONL_MAX_VALUE - 2; len < JSONL_MAX_VALUE; len++) {
        struct strbuf text = STRBUF_INIT;
        struct jsonl *j = jsonl_new(&rules);
        size_t slices;

        strbuf_addf(&text,
                    "{\"custom_id\":\"%0*d\",\"method\":\"POST\",\"url\":\"/x\",\"body\":{}}", len,
                    1);
        assert_int_equal(feed_all(j, &text, 128 * KIB, &slices),
                         len + 2 <= JSONL_MAX_VALUE ? 0 : ERR_SYNTAX);
        jsonl_free(j);
        strbuf_deinit(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fills_a_line_slices_say_what_one_reading_says),
        cmocka_unit_test(a_line_of_empty_strings_or_escapes_takes_many_slices),
        cmocka_unit_test(what_only_the_referee_reads_takes_many_slices_too),
        cmocka_unit_test(text_as_people_write_it_takes_one_slice),
        cmocka_unit_test(a_scanner_may_be_stopped_anywhere),
        cmocka_unit_test(a_file_with_a_long_line_is_judged_as_in_one_turn),
        cmocka_unit_test(what_comes_while_a_line_is_read_is_kept),
        cmocka_unit_test(a_checker_that_goes_while_it_reads_leaves_nothing),
        cmocka_unit_test(a_value_that_is_compared_is_no_longer_than_64_kib),
        cmocka_unit_test(an_id_of_exactly_64_kib_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
