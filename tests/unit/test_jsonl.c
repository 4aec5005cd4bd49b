/* jsonl: which files pass and what is said of the others, that pieces do not matter, and that
 * splicing changes the model's name and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonl/idset.h"
#include "json/json.h"
#include "json/json_text.h"
#include "exact.h"
#include "jsonl/jsonl.h"
#include "jsonl/jsonl_facts.h"
#include "common/strbuf.h"

#define URL "/v1/chat/completions"
#define LINE(id, model)                                                                            \
    "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" URL                                 \
    "\",\"body\":{\"model\":\"" model "\"}}"
#define GOOD LINE("a", "m")

static const char *const endpoints[] = {URL, "/v1/responses", "/v1/embeddings", NULL};

static const struct jsonl_rules balanced = {.endpoints = endpoints, .model_required = true};
static const struct jsonl_rules plain = {.endpoints = endpoints};
static const struct jsonl_rules any_path = {0};

/* Cheap and repeatable. */
static uint64_t seed = 88172645463325252u;

static size_t draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed >> 33) % below;
}

/* Feed exact copies of pieces of at most `piece` bytes (0: random ones), so that the sanitizer sees
 * reads past an end. */
static struct jsonl *check(const struct jsonl_rules *rules, const char *text, size_t len,
                           size_t piece, int *result)
{
    struct jsonl *j = jsonl_new(rules);
    int err = 0;

    assert_non_null(j);
    for (size_t at = 0, n; at < len; at += n) {
        char *copy;

        n = piece != 0 ? piece : 1 + draw(90);
        n = n < len - at ? n : len - at;
        copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, text + at, n);
        err = jsonl_feed(j, copy, n);
        free(copy);
    }
    *result = jsonl_finish(j);
    if (err != 0)
        assert_int_equal(*result, err);
    return j;
}

static void assert_same_report(const struct jsonl_report *a, const struct jsonl_report *b)
{
    assert_int_equal(a->lines, b->lines);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(&a->prompt, &b->prompt, sizeof(a->prompt));
    assert_int_equal(a->output_tokens, b->output_tokens);
    assert_int_equal(a->num_problems, b->num_problems);
    assert_int_equal(a->model == NULL, b->model == NULL);
    if (a->model != NULL)
        assert_string_equal(a->model, b->model);
    assert_int_equal(a->url == NULL, b->url == NULL);
    if (a->url != NULL)
        assert_string_equal(a->url, b->url);
    for (size_t i = 0; i < a->num_problems; i++) {
        const struct jsonl_problem *p = &a->problems[i], *q = &b->problems[i];

        if (p->line != q->line || p->column != q->column || strcmp(p->field, q->field) != 0 ||
            strcmp(p->code, q->code) != 0 || strcmp(p->message, q->message) != 0)
            fail_msg("%llu:%llu %s / %llu:%llu %s", (unsigned long long)p->line,
                     (unsigned long long)p->column, p->message, (unsigned long long)q->line,
                     (unsigned long long)q->column, q->message);
    }
}

/* As one piece, and the same byte by byte and in random pieces. */
static struct jsonl *check_all_ways(const struct jsonl_rules *rules, const char *text, size_t len,
                                    int *result)
{
    struct jsonl *whole = check(rules, text, len, len + 1, result);
    struct jsonl_report report, other;

    jsonl_report(whole, &report);
    for (size_t piece = 0; piece < 8; piece++) {
        int again;
        struct jsonl *j = check(rules, text, len, piece, &again);

        assert_int_equal(again, *result);
        jsonl_report(j, &other);
        assert_same_report(&report, &other);
        jsonl_free(j);
    }
    return whole;
}

static struct jsonl *assert_accepted_bytes(const struct jsonl_rules *rules, const char *text,
                                           size_t len)
{
    struct jsonl_report report;
    int result;
    struct jsonl *j = check_all_ways(rules, text, len, &result);

    jsonl_report(j, &report);
    if (result != 0)
        fail_msg("%s: %s", text, report.num_problems > 0 ? report.problems[0].message : "?");
    return j;
}

static void assert_accepted(const struct jsonl_rules *rules, const char *text, uint64_t lines)
{
    struct jsonl *j = assert_accepted_bytes(rules, text, strlen(text));
    struct jsonl_report report;

    jsonl_report(j, &report);
    assert_int_equal(report.lines, lines);
    assert_int_equal(report.bytes, strlen(text));
    jsonl_free(j);
}

static void assert_refused_bytes(const struct jsonl_rules *rules, const char *text, size_t len,
                                 uint64_t line, uint64_t column, const char *field,
                                 const char *code)
{
    struct jsonl_report report;
    int result;
    struct jsonl *j = check_all_ways(rules, text, len, &result);

    jsonl_report(j, &report);
    if (result != ERR_SYNTAX || report.num_problems == 0)
        fail_msg("accepted: %s", text);
    if (report.problems[0].line != line || report.problems[0].column != column ||
        strcmp(report.problems[0].field, field) != 0 || strcmp(report.problems[0].code, code) != 0)
        fail_msg("%s: got %llu:%llu [%s] %s %s", text, (unsigned long long)report.problems[0].line,
                 (unsigned long long)report.problems[0].column, report.problems[0].field,
                 report.problems[0].code, report.problems[0].message);
    assert_true(report.problems[0].message[0] != '\0');
    jsonl_free(j);
}

static void assert_refused(const struct jsonl_rules *rules, const char *text, uint64_t line,
                           uint64_t column, const char *field, const char *code)
{
    assert_refused_bytes(rules, text, strlen(text), line, column, field, code);
}

static void assert_told(const struct jsonl_rules *rules, const char *text, const char *message)
{
    struct jsonl_report report;
    int result;
    struct jsonl *j = check_all_ways(rules, text, strlen(text), &result);

    jsonl_report(j, &report);
    assert_true(report.num_problems > 0);
    assert_string_equal(report.problems[0].message, message);
    jsonl_free(j);
}

/* --- what passes --- */

static void line_ends_may_be_lf_or_crlf_and_the_last_one_may_be_missing(void **state)
{
    (void)state;
    assert_accepted(&balanced, GOOD, 1);
    assert_accepted(&balanced, GOOD "\n", 1);
    assert_accepted(&balanced, GOOD "\r\n" LINE("b", "m") "\r\n", 2);
    assert_accepted(&balanced, GOOD "\n" LINE("b", "m"), 2);
    assert_accepted(&balanced, GOOD "\r", 1);
}

static void blank_lines_at_the_end_are_no_requests(void **state)
{
    (void)state;
    assert_accepted(&balanced, GOOD "\n\n \t\r\n\r\n  ", 1);
}

static void keys_come_in_any_order_with_others_among_them(void **state)
{
    (void)state;
    assert_accepted(
        &balanced,
        " {\t\"x\" : [ 1 , -2.5e+7, {\"model\":3,\"model\":4} ] ,\"body\":{\"deep\":{\"model\":[]},"
        "\"model\":\"m\",\"n\":null,\"t\":true,\"f\":false},\"url\":\"" URL
        "\", \"method\":\"POST\",\"custom_id\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"} ",
        1);
}

static void escaped_spellings_mean_what_they_decode_to(void **state)
{
    (void)state;
    assert_accepted(&balanced,
                    "{\"custom\\u005fid\":\"a\",\"method\":\"P\\u004fST\",\"url\":\"\\/v1\\/chat\\/"
                    "completions\","
                    "\"bod\\u0079\":{\"mod\\u0065l\":\"\\u006d\"}}\n" LINE("b", "m"),
                    2);
}

static void a_file_may_do_without_models_when_none_is_required(void **state)
{
    static const char text[] =
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{}}\n"
        "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{}}";
    struct jsonl *j = assert_accepted_bytes(&plain, text, strlen(text));
    struct jsonl_report report;

    (void)state;
    jsonl_report(j, &report);
    assert_null(report.model);
    assert_int_equal(jsonl_spliced_size(j, "other"), strlen(text));
    jsonl_free(j);
    assert_refused(&balanced, text, 1, 70, "body.model", "missing_required_parameter");
}

static void any_path_is_an_endpoint_when_none_is_listed(void **state)
{
    static const struct jsonl_rules any = {0};

    (void)state;
    assert_accepted(&any, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/x\",\"body\":{}}",
                    1);
    assert_refused(&any, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"x\",\"body\":{}}", 1,
                   40, "url", "invalid_url");
}

static void the_report_tells_model_url_and_sizes(void **state)
{
    static const char text[] =
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL
        "\",\"body\":{\"model\":\"gpt\\u002d5\",\"messages\":"
        "[{\"role\":\"user\",\"content\":\"caf\\u00e9 \\ud83d\\ude00\\n\"}],\"max_tokens\":100,"
        "\"max_completion_tokens\":250,\"user\":\"not counted\",\"tools\":[{\"type\":\"t\"}]}}\n"
        "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"" URL
        "\",\"body\":{\"model\":\"gpt-5\",\"input\":\"four\","
        "\"instructions\":\"xy\",\"prompt\":[\"z\",[\"z\"]],\"max_output_tokens\":7}}\n"
        "{\"custom_id\":\"c\",\"method\":\"POST\",\"url\":\"" URL
        "\",\"body\":{\"model\":\"gpt-5\",\"max_tokens\":-5,"
        "\"max_output_tokens\":\"9\"}}\n";
    struct jsonl *j = assert_accepted_bytes(&balanced, text, strlen(text));
    struct jsonl_report report;

    (void)state;
    jsonl_report(j, &report);
    assert_string_equal(report.model, "gpt-5");
    assert_string_equal(report.url, URL);
    assert_int_equal(report.lines, 3);
    /* "user", "café 😀\n", [{"type":"t"}], "four", "xy", "z", "z" */
    assert_int_equal(report.prompt.units[FEATURE_TEXT], 4 + 11 + 14 + 4 + 2 + 1 + 1);
    assert_int_equal(report.output_tokens, 250 + 7);
    jsonl_free(j);
}

/* Random-looking, the same each time. */
static void add_base64(struct strbuf *text, size_t len, const char *wrap)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < len; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        strbuf_addc(text, alphabet[x >> 58]);
        if (i % 76 == 75)
            strbuf_adds(text, wrap);
    }
}

/* One line whose body has `member` and, where it has "@", so much base64. */
static struct features features_of(const char *member, size_t base64, const char *wrap)
{
    const char *at = strchr(member, '@');
    struct strbuf text = STRBUF_INIT;
    struct jsonl_report report;
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    struct jsonl *j;

    strbuf_adds(&text, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL
                       "\",\"body\":{\"model\":\"m\",");
    strbuf_add(&text, member, at != NULL ? (size_t)(at - member) : strlen(member));
    if (at != NULL) {
        add_base64(&text, base64, wrap);
        strbuf_adds(&text, at + 1);
    }
    strbuf_adds(&text, "}}");
    assert_true(jsonl_scan(text.data, text.len, 64, &fast));
    assert_int_equal(jsonl_referee(text.data, text.len, 64, &slow, &refusal), 0);
    assert_memory_equal(&fast.prompt, &slow.prompt, sizeof(fast.prompt));
    j = assert_accepted_bytes(&balanced, text.data, text.len);
    jsonl_report(j, &report);
    assert_memory_equal(&fast.prompt, &report.prompt, sizeof(fast.prompt));
    jsonl_free(j);
    strbuf_deinit(&text);
    return report.prompt;
}

static void assert_features(const char *member, size_t base64, const char *wrap,
                            struct features wanted)
{
    struct features got = features_of(member, base64, wrap);

    for (int f = 0; f < NUM_FEATURES; f++)
        if (got.units[f] != wanted.units[f])
            fail_msg("%.60s: feature %d is %llu, expected %llu", member, f,
                     (unsigned long long)got.units[f], (unsigned long long)wanted.units[f]);
}

static void an_image_is_counted_as_one_whatever_its_bytes(void **state)
{
    const struct features one = {{[FEATURE_TEXT] = 9, [FEATURE_IMAGES] = FEATURES_IMAGE}};

    (void)state;
    assert_features("\"messages\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
                    "\"data:image/png;base64,@\"}}]",
                    50000, "", one);
    assert_features("\"messages\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
                    "\"data:image\\/png;base64,@\"}}]",
                    100, "", one);
    assert_features("\"messages\":[{\"url\":\"data:image/png;base64,@\"}]", 5000, "",
                    (struct features){{[FEATURE_IMAGES] = FEATURES_IMAGE}});
    assert_features("\"messages\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x\"}}]",
                    0, "", (struct features){{9 + 9, FEATURES_IMAGE}});
    assert_features("\"input\":[{\"type\":\"input_image\",\"image_url\":"
                    "\"data:image/png;base64,@\",\"detail\":\"low\"},"
                    "{\"type\":\"input_image\",\"file_id\":\"f\",\"detail\":\"high\"}]",
                    5000, "", (struct features){{11 + 3 + 11 + 1 + 4, 1 + FEATURES_IMAGE}});
}

/* @param begin  of the string that 50,000 bytes follow, none of them base64 */
static struct features features_of_url(const char *begin)
{
    struct strbuf text = STRBUF_INIT;
    struct features features;

    strbuf_addf(&text, "\"messages\":[{\"url\":\"%s", begin);
    for (int i = 0; i < 50000; i++)
        strbuf_addc(&text, 'A');
    strbuf_adds(&text, "\"}]");
    features = features_of(strbuf_str(&text), 0, "");
    strbuf_deinit(&text);
    return features;
}

static void an_embedded_image_counts_little_in_any_spelling(void **state)
{
    static const char *const urls[] = {
        "data:image/png;base64,", "DATA:image/png;base64,", "\\u0064ata:image/png;base64,",
        "d\\u0061\\u0074\\u0041\\u003Aimage\\/png;Base64,", "data:Image/svg+xml;utf8,"};
    static const char *const others[] = {"dat",
                                         "dat\\u0062:image/png;base64,",
                                         "\\u0064at\\u0161:image/png;base64,",
                                         "d\\/ta:image/png;base64,",
                                         "\\\\u0064ata:image/png;base64,",
                                         "\\u00640ata:a/b,",
                                         "data:",
                                         "data:,",
                                         "data:12,13",
                                         "data: image/png;base64,",
                                         "data:image/png;base64"};

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct features got = features_of_url(urls[i]);

        assert_int_equal(got.units[FEATURE_IMAGES], FEATURES_IMAGE);
        assert_int_equal(got.units[FEATURE_TEXT], 0);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_true(features_of_url(others[i]).units[FEATURE_TEXT] >= 50000);
}

static void base64_counts_as_text_nowhere(void **state)
{
    static const char *const wraps[] = {"", "\\n", "\\r\\n"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        size_t raw = 60800 + 800 * strlen(wraps[i]);
        struct features got =
            features_of("\"messages\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"@\","
                        "\"format\":\"wav\"}}]",
                        60800, wraps[i]);

        assert_int_equal(got.units[FEATURE_AUDIO], (raw + 1023) / 1024);
        assert_int_equal(got.units[FEATURE_TEXT], 11 + 3);
        got = features_of("\"input\":[{\"file_data\":\"@\"}]", 60800, wraps[i]);
        assert_int_equal(got.units[FEATURE_FILES], (raw + 1023) / 1024);
        got = features_of("\"input\":\"What is in this one, then? @ And this was all of it.\"",
                          60800, wraps[i]);
        assert_int_equal(got.units[FEATURE_FILES], (raw + 1023) / 1024);
        assert_in_range(got.units[FEATURE_TEXT], 40, 56);
    }
    assert_features("\"messages\":[{\"data\":\"data:audio/mp3;base64,@\"}]", 1024, "",
                    (struct features){{[FEATURE_AUDIO] = 2}});
    assert_features("\"input\":[{\"file_data\":\"data:application/pdf;base64,@\"}]", 1024, "",
                    (struct features){{[FEATURE_FILES] = 2}});
    assert_features("\"tools\":[{\"x\":\"@\"}]", 10240, "",
                    (struct features){{[FEATURE_TEXT] = 10, [FEATURE_FILES] = 10}});
}

static void text_without_blanks_is_text(void **state)
{
    static const char *const pieces[] = {"ACGT",     "x",       "0123456789abcdef", "word\\n",
                                         "\\u4f60a", "a.b(c);", "data: it is. "};

    (void)state;
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct strbuf text = STRBUF_INIT;
        struct features got;

        strbuf_adds(&text, "\"input\":\"");
        while (text.len < 50000)
            strbuf_adds(&text, pieces[i]);
        strbuf_adds(&text, "\"");
        got = features_of(strbuf_str(&text), 0, "");
        assert_int_equal(got.units[FEATURE_FILES] + got.units[FEATURE_AUDIO], 0);
        assert_true(got.units[FEATURE_TEXT] >= 25000);
        strbuf_deinit(&text);
    }
}

static void token_ids_are_tokens(void **state)
{
    (void)state;
    assert_features("\"input\":[1234,5,0]", 0, "", (struct features){{[FEATURE_IDS] = 3}});
    assert_features("\"input\":[[1,2],[3]]", 0, "", (struct features){{[FEATURE_IDS] = 3}});
    assert_features("\"prompt\":[[1,2],[3]]", 0, "", (struct features){{[FEATURE_IDS] = 3}});
    assert_features("\"input\":[1.5,-1,1e3,\"ab\"]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 2}});
    assert_features("\"input\":[{\"a\":[1,2]}],\"messages\":[1]", 0, "", (struct features){{0}});
    assert_features("\"input\":{\"a\":[1,2]}", 0, "", (struct features){{0}});
    assert_features("\"max_tokens\":5,\"seed\":7", 0, "", (struct features){{0}});
}

static void tools_and_schemas_count_as_the_json_that_they_are(void **state)
{
    (void)state;
    assert_features("\"response_format\":{\"a\":{\"b\":[1,true]}}", 0, "",
                    (struct features){{[FEATURE_TEXT] = 20}});
    assert_features("\"text\":{\"format\":{}},\"tools\":[ ],\"functions\":[{}]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 13 + 3 + 4}});
    assert_features("\"tools\":[{\"description\":\"caf\\u00e9\"}]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 29 - 9 + 5}});
}

/* --- what does not --- */

static void a_line_that_is_no_json_is_named_with_its_place(void **state)
{
    (void)state;
    assert_refused(&plain, GOOD "\n{\"custom_id\": x}\n", 2, 15, "", "invalid_json_line");
    assert_refused(&plain, GOOD "\n{\"custom_id\":\"b\"", 2, 17, "", "invalid_json_line");
    assert_refused(&plain, GOOD " " GOOD "\n", 1, sizeof(GOOD) + 1, "", "invalid_json_line");
    assert_refused(&plain, "\n\n" GOOD "\n{'a':1}", 1, 1, "", "invalid_json_line");
    assert_refused(&plain, GOOD "\n{\n", 2, 2, "", "invalid_json_line");
    assert_refused(&plain, GOOD " tru", 1, sizeof(GOOD) + 1, "", "invalid_json_line");
    assert_refused(&plain, GOOD "\"ab", 1, sizeof(GOOD), "", "invalid_json_line");
    assert_refused(&plain, GOOD " 12", 1, sizeof(GOOD) + 1, "", "invalid_json_line");
    assert_refused(&plain, "9\"]", 1, 2, "", "invalid_json_line");
    assert_refused(&plain, "{\"a\":01}", 1, 7, "", "invalid_json_line");
    assert_refused(&plain, "{\"a\":1,}", 1, 8, "", "invalid_json_line");
    assert_refused(&plain, "{\"a\":\"\t\"}", 1, 7, "", "invalid_json_line");
}

static void a_line_that_is_no_object_is_refused(void **state)
{
    (void)state;
    assert_refused(&plain, "[" GOOD "]", 1, 1, "", "invalid_json_line");
    assert_refused(&plain, "  \"x\"", 1, 3, "", "invalid_json_line");
    assert_refused(&plain, " 1", 1, 2, "", "invalid_json_line");
    assert_refused(&plain, " null ", 1, 2, "", "invalid_json_line");
}

static void text_that_is_not_strict_utf8_is_refused(void **state)
{
    static const char *const bad[] = {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
                                      "\xe2\x82"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "{\"a\":\"x%s\"}", bad[i]);
        assert_refused(&plain, text, 1, 8, "", "invalid_json_line");
    }
    assert_refused(&plain, "{\"a\":\"\\ud800\"}", 1, 7, "", "invalid_json_line");
    assert_refused(&plain, "{\"a\":\"\\udc00\\ud800\"}", 1, 7, "", "invalid_json_line");
    assert_refused(&plain, "{\"a\":\f1}", 1, 6, "", "invalid_json_line");
    assert_refused_bytes(&plain, "{\"a\":\"\0\"}", 9, 1, 7, "", "invalid_json_line");
}

static void a_blank_line_between_requests_is_refused(void **state)
{
    (void)state;
    assert_refused(&plain, GOOD "\n\n \n" LINE("b", "m"), 2, 1, "", "invalid_json_line");
    assert_refused(&plain, "\r\n" GOOD, 1, 1, "", "invalid_json_line");
}

static void a_byte_order_mark_is_refused_with_a_hint(void **state)
{
    (void)state;
    assert_refused(&plain, "\xef\xbb\xbf" GOOD, 1, 1, "", "byte_order_mark");
    assert_refused(&plain, "\xef\xbb\xbf", 1, 1, "", "byte_order_mark");
    assert_refused_bytes(&plain, "\xff\xfe{\0\n\0", 6, 1, 1, "", "byte_order_mark");
    assert_refused(&plain, GOOD "\n\xef\xbb\xbf" GOOD, 2, 1, "", "invalid_json_line");
}

static void a_file_without_requests_is_refused(void **state)
{
    (void)state;
    assert_refused(&plain, "", 1, 1, "", "empty_file");
    assert_refused(&plain, "\n \r\n\n", 1, 1, "", "empty_file");
}

static void custom_ids_must_be_unique_strings(void **state)
{
#define REST ",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{\"model\":\"m\"}}"
    (void)state;
    assert_refused(&plain, "{\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{}}", 1, 1,
                   "custom_id", "missing_required_parameter");
    assert_refused(&plain, "{\"custom_id\":7" REST, 1, 14, "custom_id", "invalid_type");
    assert_refused(&plain, "{\"custom_id\":\"\"" REST, 1, 14, "custom_id", "invalid_value");
    assert_refused(&plain, GOOD "\n" LINE("b", "m") "\n" GOOD, 3, 14, "custom_id",
                   "duplicate_custom_id");
    assert_refused(&plain, GOOD "\n" LINE("\\u0061", "m"), 2, 14, "custom_id",
                   "duplicate_custom_id");
    assert_accepted(
        &plain, LINE("a", "m") "\n" LINE("A", "m") "\n" LINE("a ", "m") "\n" LINE("a\\u0000", "m"),
        4);
#undef REST
}

static void method_and_url_must_be_the_ones_of_the_endpoint(void **state)
{
#define METHOD(m)                                                                                  \
    "{\"custom_id\":\"a\",\"method\":" m ",\"url\":\"" URL "\",\"body\":{\"model\":\"m\"}}"
#define TO(u) "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":" u ",\"body\":{\"model\":\"m\"}}"
    (void)state;
    assert_refused(&plain, METHOD("\"GET\""), 1, 27, "method", "invalid_method");
    assert_refused(&plain, METHOD("\"post\""), 1, 27, "method", "invalid_method");
    assert_refused(&plain, METHOD("null"), 1, 27, "method", "invalid_type");
    assert_refused(&plain, TO("\"/v1/files\""), 1, 40, "url", "invalid_url");
    assert_refused(&plain, TO("\"" URL "\\u0000\""), 1, 40, "url", "invalid_url");
    assert_told(&any_path, TO("\"/v1/x\\u0000\""),
                "`url` is \"/v1/x\\x00\"; expected a path without control characters");
    assert_told(&any_path, TO("\"v1/x\""), "`url` is \"v1/x\"; expected a path that starts with /");
    assert_refused(&plain, TO("[]"), 1, 40, "url", "invalid_type");
    assert_refused(&plain, GOOD "\n" TO("\"/v1/responses\""), 2, 40, "url", "url_mismatch");
    assert_refused(&plain, "{\"custom_id\":\"a\",\"url\":\"" URL "\",\"body\":{}}", 1, 1, "method",
                   "missing_required_parameter");
    assert_refused(&plain, "{\"custom_id\":\"a\",\"method\":\"POST\",\"body\":{}}", 1, 1, "url",
                   "missing_required_parameter");
#undef METHOD
#undef TO
}

static void the_body_must_be_an_object_with_one_model_for_all_lines(void **state)
{
#define BODY(b) "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":" b "}"
    (void)state;
    assert_refused(&plain, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL "\"}", 1, 1,
                   "body", "missing_required_parameter");
    assert_refused(&plain, BODY("[]"), 1, 70, "body", "invalid_type");
    assert_refused(&plain, BODY("[{\"model\":\"m\"}]"), 1, 70, "body", "invalid_type");
    assert_refused(&plain, BODY("{\"model\":null}"), 1, 79, "body.model", "invalid_type");
    assert_refused(&plain, BODY("{\"model\":\"\"}"), 1, 79, "body.model", "invalid_value");
    assert_refused(&plain, BODY("{\"model\":\"a\\u0000\"}"), 1, 79, "body.model", "invalid_value");
    assert_refused(&plain, GOOD "\n" BODY("{\"model\":\"n\"}"), 2, 79, "body.model",
                   "model_mismatch");
    assert_refused(&plain, GOOD "\n" BODY("{}"), 2, 70, "body.model", "missing_required_parameter");
    assert_refused(&plain, BODY("{}") "\n" GOOD, 2, 79, "body.model", "model_mismatch");
    assert_refused(&balanced, BODY("{}"), 1, 70, "body.model", "missing_required_parameter");
#undef BODY
}

static void a_key_that_matters_may_stand_only_once_in_any_spelling(void **state)
{
#define TAIL ",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{\"model\":\"m\"}"
    (void)state;
    assert_refused(&plain, "{\"custom_id\":\"a\",\"custom_id\":\"b\"" TAIL "}", 1, 18, "custom_id",
                   "duplicate_key");
    assert_refused(&plain, "{\"custom_id\":\"a\",\"custom\\u005fid\":\"b\"" TAIL "}", 1, 18,
                   "custom_id", "duplicate_key");
    assert_refused(&plain, "{\"custom_id\":\"a\"" TAIL ",\"body\":1}", 1, 84, "body",
                   "duplicate_key");
    assert_refused(&plain, "{\"custom_id\":\"a\"" TAIL ",\"url\":\"" URL "\"}", 1, 84, "url",
                   "duplicate_key");
    assert_refused(&plain, "{\"custom_id\":\"a\"" TAIL ",\"method\":\"POST\"}", 1, 84, "method",
                   "duplicate_key");
    assert_refused(&plain,
                   "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL
                   "\",\"body\":{\"model\":\"m\",\"mod\\u0065l\":\"m\"}}",
                   1, 83, "body.model", "duplicate_key");
#undef TAIL
}

static void limits_name_what_was_allowed(void **state)
{
    const struct jsonl_rules lines = {.max_lines = 2}, bytes = {.max_bytes = sizeof(GOOD) + 4};
    const struct jsonl_rules length = {.max_line_bytes = sizeof(GOOD) - 1},
                             depth = {.max_depth = 3};

    (void)state;
    assert_accepted(&lines, GOOD "\n" LINE("b", "m") "\n\n", 2);
    assert_refused(&lines, GOOD "\n" LINE("b", "m") "\n" LINE("c", "m"), 3, 1, "",
                   "too_many_tasks");
    assert_accepted(&bytes, GOOD "\n    ", 1);
    assert_refused(&bytes, GOOD "\n     ", 2, 5, "", "file_too_large");
    assert_accepted(&length, GOOD "\n" LINE("b", "m") "\n", 2);
    assert_refused(&length, GOOD "\n" GOOD " \n", 2, sizeof(GOOD), "", "line_too_long");
    assert_refused(&length, GOOD "\n" GOOD "                                   ", 2, sizeof(GOOD),
                   "", "line_too_long");
    assert_refused(&depth, "{\"a\":[[1]], \"b\":[{}, {\"c\":[]}]}", 1, 27, "", "nesting_too_deep");
    assert_refused(&depth, "{\"a\":[[[1]]]}", 1, 8, "", "nesting_too_deep");
}

static void deep_nesting_up_to_the_limit_is_read(void **state)
{
    struct jsonl_rules rules = {.max_depth = 600};
    struct strbuf text = STRBUF_INIT;

    (void)state;
    for (unsigned inner = 61; inner <= 601; inner += 540) {
        struct jsonl *j;
        int result;

        strbuf_reset(&text);
        strbuf_adds(&text, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/"
                           "x\",\"body\":{\"model\":\"m\",\"input\":");
        for (unsigned i = 0; i < inner - 3; i++)
            strbuf_addc(&text, '[');
        strbuf_adds(&text, "\"x\"");
        for (unsigned i = 0; i < inner - 3; i++)
            strbuf_addc(&text, ']');
        strbuf_adds(&text, "}}");
        j = check_all_ways(&rules, text.data, text.len, &result);
        assert_int_equal(result, 0);
        jsonl_free(j);
    }
    strbuf_deinit(&text);
}

static void the_first_problem_stops_unless_more_are_wanted(void **state)
{
    static const char text[] = "x\n" GOOD "\n{}\n\n" LINE("b", "n") "\n[1]\n" LINE("c", "m") "\n";
    const struct jsonl_rules all = {.endpoints = endpoints, .max_errors = 50};
    struct jsonl_report report;
    struct jsonl *j;
    int result;

    (void)state;
    assert_refused(&plain, text, 1, 1, "", "invalid_json_line");
    j = check_all_ways(&all, text, strlen(text), &result);
    assert_int_equal(result, ERR_SYNTAX);
    jsonl_report(j, &report);
    /* line 1; four missing fields of line 3; blank line 4; another model in line 5; an array in
     * line 6 */
    assert_int_equal(report.num_problems, 8);
    assert_int_equal(report.lines, 6);
    assert_int_equal(report.problems[5].line, 4);
    assert_string_equal(report.problems[6].code, "model_mismatch");
    assert_int_equal(report.problems[7].line, 6);
    jsonl_free(j);
}

static void no_more_problems_are_kept_than_asked_for(void **state)
{
    const struct jsonl_rules rules = {.max_errors = 1000};
    struct strbuf text = STRBUF_INIT;
    struct jsonl_report report;
    struct jsonl *j;
    int result;

    (void)state;
    for (int i = 0; i < 70; i++)
        strbuf_adds(&text, "{}\n");
    j = check_all_ways(&rules, text.data, text.len, &result);
    assert_int_equal(result, ERR_SYNTAX);
    jsonl_report(j, &report);
    assert_int_equal(report.num_problems, 50);
    assert_int_equal(report.bytes, text.len);
    jsonl_free(j);
    strbuf_deinit(&text);
}

static void messages_are_short_and_printable(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct jsonl_report report;
    struct jsonl *j;
    int result;

    (void)state;
    strbuf_adds(&text, "{\"custom_id\":\"a\",\"method\":\"\\u001b\\u0085\xc2\x9b");
    for (int i = 0; i < 3000; i++)
        strbuf_adds(&text, "\xe2\x82\xac");
    strbuf_adds(&text, "\",\"url\":\"/x\",\"body\":{}}");
    j = check_all_ways(&plain, text.data, text.len, &result);
    jsonl_report(j, &report);
    assert_string_equal(report.problems[0].code, "invalid_method");
    assert_true(utf8_is_valid(report.problems[0].message, strlen(report.problems[0].message)));
    assert_non_null(strstr(report.problems[0].message, "\"\\x1b\\u0085\\u009b\\u20ac\\u20ac"));
    assert_non_null(strstr(report.problems[0].message, "...\"; expected \"POST\""));
    jsonl_free(j);
    strbuf_deinit(&text);
}

static void a_finished_checker_takes_no_more(void **state)
{
    struct jsonl *j = jsonl_new(&plain);

    (void)state;
    assert_int_equal(jsonl_feed(j, GOOD, strlen(GOOD)), 0);
    assert_int_equal(jsonl_finish(j), 0);
    assert_int_equal(jsonl_finish(j), 0);
    assert_int_equal(jsonl_feed(j, "\n", 1), ERR_BAD_STATE);
    jsonl_free(j);
}

/* --- the two readers --- */

static void assert_same_facts(const char *line, const struct jsonl_facts *a,
                              const struct jsonl_facts *b)
{
    bool same = a->root == b->root && a->root_at == b->root_at &&
                memcmp(&a->prompt, &b->prompt, sizeof(a->prompt)) == 0 &&
                a->output_tokens == b->output_tokens;

    for (int i = 0; i < NUM_FIELDS; i++) {
        const struct jsonl_value *v = &a->fields[i], *w = &b->fields[i];

        same = same && v->present == w->present && v->repeated == w->repeated &&
               v->type == w->type && v->escaped == w->escaped && v->at == w->at &&
               v->len == w->len && v->repeat_at == w->repeat_at;
    }
    if (!same)
        fail_msg("the readers differ: %s", line);
}

static void whatever_the_scanner_is_sure_of_yajl_sees_the_same_way(void **state)
{
    static const char *const seeds[] = {
        GOOD,
        "{\"body\":{\"messages\":[{\"content\":\"caf\xc3\xa9 \\ud83d\\ude00 \\\"q\\\" "
        "\\\\\"},{\"x\":[1,2.5e3,-0]}],\"model\":\"m\\/x\","
        "\"max_tokens\":12},\"custom_id\":\"\\u0041\",\"url\":\"/"
        "v1\",\"method\":\"POST\",\"url\":null}",
        ("{\"custom_id\":[],\"body\":[{\"model\":1}],\"method\":true,\"url\":-1.5,\"body\":{"
         "\"model\":\"z\",\"input\":\"data:,x\"}}"),
        "{\"a\":[1,true,\"b\"],\"c\":{}} ",
    };
    static const char alphabet[] =
        "{}[]:,\"\\u0dc8e1-+.tfn \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\t\r\x01xyz";
    struct jsonl_refusal refusal;
    struct jsonl_facts fast, slow;
    size_t sure = 0, refused = 0;
    char line[400];

    (void)state;
    for (int round = 0; round < 300000; round++) {
        const char *text = seeds[draw(sizeof(seeds) / sizeof(seeds[0]))];
        size_t len = strlen(text);

        memcpy(line, text, len + 1);
        for (size_t n = draw(4); n > 0; n--) {
            size_t at = draw(len);

            if (draw(3) == 0) {
                memmove(line + at, line + at + 1, len - at);
                len--;
            } else {
                line[at] = alphabet[draw(sizeof(alphabet) - 1)];
            }
        }
        if (!jsonl_scan(line, len, 6, &fast)) {
            refused++;
            if (memchr(line, '\\', len) == NULL &&
                jsonl_referee(line, len, 6, &slow, &refusal) == 0 && slow.root == JSON_OBJECT)
                fail_msg("yajl alone accepts: %.*s", (int)len, line);
            continue;
        }
        sure++;
        if (jsonl_referee(line, len, 6, &slow, &refusal) != 0)
            fail_msg("yajl refuses: %s: %s", line, refusal.message);
        assert_same_facts(line, &fast, &slow);
    }
    assert_true(sure > 50000 && refused > 50000);
}

/* A string of some 200 bytes, most of them plain: rows of backslashes end anywhere in a block. */
static size_t print_long_string(char *line)
{
    static const char *const bits[] = {"\\\"",         "\\\\",     "\\n", "\\/",
                                       "\\b\\f\\r\\t", "\xc3\xa9", "\\",  "\\x",
                                       "\\u0041",      "\x7f",     "\t",  "\""};
    size_t len = (size_t)sprintf(line, "{\"body\":{\"input\":\"0123456789abcdef");

    for (int i = 0; i < 12; i++) {
        for (size_t n = draw(3) == 0 ? draw(70) : draw(8); n > 0; n--)
            line[len++] = (char)('a' + draw(26));
        for (size_t n = draw(4), bit = draw(draw(4) != 0 ? 6 : 12); n > 0 && bit < 12; n--)
            len += (size_t)sprintf(line + len, "%s", bits[bit]);
    }
    return len + (size_t)sprintf(line + len, "\"}}");
}

static void in_long_strings_too_the_scanner_sees_what_yajl_sees(void **state)
{
    struct jsonl_refusal refusal;
    struct jsonl_facts fast, slow;
    size_t sure = 0, refused = 0;
    char line[2000];

    (void)state;
    for (int round = 0; round < 100000; round++) {
        size_t len = print_long_string(line);
        int err = jsonl_referee(line, len, 6, &slow, &refusal);

        if (jsonl_scan(line, len, 6, &fast) != (err == 0))
            fail_msg("yajl says %d: %s", err, line);
        if (err == 0)
            assert_same_facts(line, &fast, &slow);
        sure += err == 0;
        refused += err != 0;
    }
    assert_true(sure > 10000 && refused > 10000);
}

/* Both readers have memory of exactly the line's size. */
static void check_cut_line(const char *line, size_t len)
{
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    char *copy = exact_copy(line, len);
    bool sure = jsonl_scan(copy, len, 6, &fast);
    int err = jsonl_referee(copy, len, 6, &slow, &refusal);

    assert_true(!sure || err == 0);
    free(copy);
}

static void no_reader_looks_behind_a_line_that_is_cut_off(void **state)
{
    static const char *const lines[] = {
        "{\"a\":true,\"b\":false,\"c\":null,\"d\":[true,false,null]}",
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{\"model\":\"m\"}}",
        "{\"body\":{\"input\":\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \\ud83d\\ude00 "
        "\\u00e9\"}}",
        "{\"body\":{\"input\":\"data:image/"
        "png;base64,0123456789abcdef0123456789abcdef0123456789abcdef"
        "0123456789abcdef0123456789abcdef0123456789abcdef\",\"max_tokens\":12}}",
        "{\"a\":-1.5e+10,\"b\":0,\"c\":[[[[1]]]]} ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        for (size_t len = 0; len <= strlen(lines[i]); len++)
            check_cut_line(lines[i], len);
}

static void the_scanner_gives_up_only_where_it_says(void **state)
{
    static const char *const sure[] = {GOOD,
                                       "{}",
                                       " { } ",
                                       "{\"a\":\"\\u0000\\ud83d\\ude00\x7f\"}",
                                       "{\"a\":[0,-0,1.5,1e5,1E-5,10]}",
                                       "{\"body\":{\"x\":{\"mod\\u0065l\":1}}}",
                                       "{\"a\":\"0123456789abcdef0123456789abcdef\xc3\xa4\"}"};
    struct jsonl_facts facts;

    (void)state;
    for (size_t i = 0; i < sizeof(sure) / sizeof(sure[0]); i++)
        assert_true(jsonl_scan(sure[i], strlen(sure[i]), 8, &facts));
    assert_false(jsonl_scan("{\"\\u0061\":1}", 12, 8, &facts));
    assert_false(jsonl_scan("{\"body\":{\"mod\\u0065l\":1}}", 26, 8, &facts));
}

/* --- splicing --- */

struct source {
    const char *text;
    size_t len;
    size_t at_most; /* bytes a read gives; 0: fails */
};

static ssize_t read_source(void *arg, char *buf, size_t len, uint64_t offset)
{
    struct source *s = arg;
    size_t n = offset < s->len ? s->len - offset : 0;

    if (s->at_most == 0)
        return -1;
    n = n < len ? n : len;
    n = n < s->at_most ? n : s->at_most;
    memcpy(buf, s->text + offset, n);
    return (ssize_t)n;
}

/* With reads and writes of random sizes when `piece` is 0. */
static ssize_t splice(const struct jsonl *j, const char *name, struct source *source, size_t piece,
                      struct strbuf *out)
{
    struct jsonl_splice *s = jsonl_splice_new(j, name, read_source, source);
    char buf[700];
    ssize_t n;

    assert_non_null(s);
    for (;;) {
        n = jsonl_splice_read(s, buf, piece != 0 ? piece : 1 + draw(sizeof(buf)));
        if (n <= 0)
            break;
        strbuf_add(out, buf, (size_t)n);
    }
    if (n < 0)
        assert_int_equal(jsonl_splice_read(s, buf, 1), n);
    jsonl_splice_free(s);
    return n;
}

static void add_random_text(struct strbuf *out)
{
    static const char *const bits[] = {"word ",
                                       "\\\"",
                                       "\\\\",
                                       "\\n",
                                       "\\u00e9",
                                       "\xc3\xbc",
                                       "\xf0\x9f\x98\x80",
                                       "\\ud83d\\ude00",
                                       "\\/",
                                       "{",
                                       "}",
                                       "model",
                                       ":",
                                       "0123456789abcdef0123456789",
                                       "\x7f"};

    for (size_t n = draw(12); n > 0; n--)
        strbuf_adds(out, bits[draw(sizeof(bits) / sizeof(bits[0]))]);
}

static void add_random_value(struct strbuf *out, int depth)
{
    size_t kind = draw(depth > 4 ? 4 : 6), n = draw(4);

    if (kind == 0) {
        strbuf_addf(out, "%d", (int)draw(100000) - 50000);
    } else if (kind == 1) {
        strbuf_adds(out, draw(2) != 0 ? "1.50E+10" : "null");
    } else if (kind <= 3) {
        strbuf_addc(out, '"');
        add_random_text(out);
        strbuf_addc(out, '"');
    } else {
        strbuf_addc(out, kind == 4 ? '[' : '{');
        for (size_t i = 0; i < n; i++) {
            strbuf_adds(out, i > 0 ? " , " : " ");
            if (kind == 5)
                strbuf_addf(out, "\"%s\" : ", draw(2) != 0 ? "model" : "content");
            add_random_value(out, depth + 1);
        }
        strbuf_addc(out, kind == 4 ? ']' : '}');
    }
}

/* One valid request; `out` gets it with a model, `expected` with another one's spelling in its
 * place. */
static void add_random_request(struct strbuf *out, struct strbuf *expected, const char *other,
                               int number)
{
    static const char *const spellings[] = {"\"mo/del\"", "\"mo\\/del\"", "\"\\u006do/del\"",
                                            "\"mo\\u002fde\\u006C\""};
    static const char *const keys[] = {"\"model\"", "\"mod\\u0065l\""};
    struct strbuf head = STRBUF_INIT, tail = STRBUF_INIT;

    strbuf_addf(&head, "{\"custom_id\":\"request-%d\" ,\"extra\": ", number);
    add_random_value(&head, 0);
    strbuf_adds(&head, ", \"method\":\"POST\",\"url\":\"" URL "\",\"body\":{\"messages\": ");
    add_random_value(&head, 0);
    strbuf_addf(&head, ",%s: ", keys[draw(10) == 0 ? 1 : 0]);
    strbuf_adds(&tail, " ,\"tools\":");
    add_random_value(&tail, 0);
    strbuf_adds(&tail, draw(2) != 0 ? "}}" : " } }\r");
    strbuf_addf(out, "%s%s%s", strbuf_str(&head), spellings[draw(4)], strbuf_str(&tail));
    strbuf_addf(expected, "%s%s%s", strbuf_str(&head), other, strbuf_str(&tail));
    strbuf_deinit(&head);
    strbuf_deinit(&tail);
}

static void splicing_changes_the_model_and_no_other_byte(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        struct strbuf text = STRBUF_INIT, expected = STRBUF_INIT, out = STRBUF_INIT,
                      twice = STRBUF_INIT;
        struct source source;
        struct jsonl *j;
        int lines = 1 + (int)draw(8), result;

        for (int i = 0; i < lines; i++) {
            add_random_request(&text, &expected, "\"dep \\\"x\\\" \xc3\xa4\"", i);
            if (i + 1 < lines || draw(2) != 0) {
                strbuf_addc(&text, '\n');
                strbuf_addc(&expected, '\n');
            }
        }
        j = check_all_ways(&balanced, text.data, text.len, &result);
        assert_int_equal(result, 0);
        source = (struct source){text.data, text.len, 1 + draw(500)};
        assert_int_equal(jsonl_spliced_size(j, "dep \"x\" \xc3\xa4"), expected.len);
        assert_int_equal(splice(j, "dep \"x\" \xc3\xa4", &source, 0, &out), 0);
        assert_int_equal(out.len, expected.len);
        assert_memory_equal(out.data, expected.data, out.len);
        jsonl_free(j);

        j = check_all_ways(&balanced, out.data, out.len,
                           &result); /* the same name again: nothing changes */
        assert_int_equal(result, 0);
        source = (struct source){out.data, out.len, SIZE_MAX};
        assert_int_equal(splice(j, "dep \"x\" \xc3\xa4", &source, 0, &twice), 0);
        assert_int_equal(twice.len, out.len);
        assert_memory_equal(twice.data, out.data, out.len);
        jsonl_free(j);
        strbuf_deinit(&text);
        strbuf_deinit(&expected);
        strbuf_deinit(&out);
        strbuf_deinit(&twice);
    }
}

static void without_a_name_or_without_models_a_splice_copies(void **state)
{
    static const char text[] =
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{}}\r\n\n";
    struct strbuf out = STRBUF_INIT;
    struct source source = {text, strlen(text), 9};
    struct jsonl *j = assert_accepted_bytes(&plain, text, strlen(text));

    (void)state;
    assert_int_equal(splice(j, "name", &source, 3, &out), 0);
    assert_string_equal(strbuf_str(&out), text);
    jsonl_free(j);
    strbuf_reset(&out);
    j = assert_accepted_bytes(&plain, GOOD, strlen(GOOD));
    source = (struct source){GOOD, strlen(GOOD), 9};
    assert_int_equal(jsonl_spliced_size(j, NULL), strlen(GOOD));
    assert_int_equal(splice(j, NULL, &source, 1, &out), 0);
    assert_string_equal(strbuf_str(&out), GOOD);
    jsonl_free(j);
    strbuf_deinit(&out);
}

static void several_splices_run_over_one_checker(void **state)
{
    static const char text[] = GOOD "\n" LINE("b", "m") "\n";
    struct source source = {text, strlen(text), 7};
    struct jsonl *j = assert_accepted_bytes(&plain, text, strlen(text));
    struct jsonl_splice *a = jsonl_splice_new(j, "one", read_source, &source);
    struct jsonl_splice *b = jsonl_splice_new(j, "two", read_source, &source);
    char from_a[400] = "", from_b[400] = "";
    ssize_t n = 0, m = 0;

    (void)state;
    for (ssize_t got = 1, more = 1; got > 0 || more > 0; n += got, m += more) {
        got = jsonl_splice_read(a, from_a + n, 5);
        more = jsonl_splice_read(b, from_b + m, 11);
        assert_true(got >= 0 && more >= 0);
    }
    assert_string_equal(from_a, LINE("a", "one") "\n" LINE("b", "one") "\n");
    assert_string_equal(from_b, LINE("a", "two") "\n" LINE("b", "two") "\n");
    jsonl_splice_free(a);
    jsonl_splice_free(b);
    jsonl_free(j);
}

static void an_original_that_fails_or_became_shorter_is_an_error(void **state)
{
    struct jsonl *j = assert_accepted_bytes(&plain, GOOD, strlen(GOOD));
    struct source broken = {GOOD, strlen(GOOD), 0}, shorter = {GOOD, strlen(GOOD) - 1, 1000};
    struct strbuf out = STRBUF_INIT;

    (void)state;
    assert_int_equal(splice(j, "x", &broken, 100, &out), ERR_IO);
    assert_int_equal(splice(j, "x", &shorter, 100, &out), ERR_IO);
    strbuf_deinit(&out);
    jsonl_free(j);
}

/* --- the small words below --- */

static void add_numbered(struct idset *set, uint32_t i, int expected)
{
    char id[32];
    int len = snprintf(id, sizeof(id), "request-%u", i);
    uint32_t first = 0;

    assert_int_equal(idset_add(set, id, (size_t)len, i, &first), expected);
    if (expected == ERR_DUPLICATE)
        assert_int_equal(first, i);
}

static void a_checker_tells_what_it_holds(void **state)
{
    struct jsonl *j = jsonl_new(&(struct jsonl_rules){0});
    char piece[4096];
    size_t before;

    (void)state;
    assert_non_null(j);
    before = jsonl_memory(j);
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 100; i++)
        assert_int_equal(jsonl_feed(j, piece, sizeof(piece)), 0);
    assert_in_range(jsonl_memory(j) - before, 100 * sizeof(piece), 200 * sizeof(piece) + 64);
    assert_int_equal(jsonl_finish(j), ERR_SYNTAX);
    assert_in_range(jsonl_memory(j), before, before + 512);
    jsonl_free(j);
}

static void a_set_tells_which_strings_it_has_seen(void **state)
{
    struct idset set;
    uint32_t first = 0;

    (void)state;
    assert_int_equal(idset_init(&set, 20003), 0);
    for (uint32_t i = 1; i <= 20000; i++) {
        add_numbered(&set, i, 0);
        add_numbered(&set, 1 + (uint32_t)draw(i), ERR_DUPLICATE);
    }
    for (uint32_t i = 1; i <= 20000; i++)
        add_numbered(&set, i, ERR_DUPLICATE);
    assert_int_equal(idset_add(&set, "", 0, 20001, &first), 0);
    assert_int_equal(idset_add(&set, "\0", 1, 20002, &first), 0);
    assert_int_equal(idset_add(&set, "\0\0\0\0\0\0\0\0", 8, 20003, &first), 0);
    idset_deinit(&set);
}

/* However many there are, and not only at lucky sizes. */
static void a_set_takes_less_than_twelve_bytes_a_string(void **state)
{
    struct idset set;

    (void)state;
    assert_int_equal(idset_init(&set, 100000), 0);
    for (uint32_t i = 1; i <= 100000; i++) {
        add_numbered(&set, i, 0);
        if (i >= 30000)
            assert_true(set.room * 10 < 12ull * i);
    }
    for (uint32_t i = 1; i <= 100000; i++)
        add_numbered(&set, i, ERR_DUPLICATE);
    idset_deinit(&set);
}

static void a_mark_too_large_is_kept_as_the_largest(void **state)
{
    struct idset set;
    uint32_t first = 0;

    (void)state;
    assert_int_equal(idset_init(&set, UINT64_MAX), 0);
    assert_int_equal(idset_add(&set, "a", 1, (1u << 24) - 2, &first), 0);
    assert_int_equal(idset_add(&set, "b", 1, UINT32_MAX, &first), 0);
    assert_int_equal(idset_add(&set, "a", 1, 1, &first), ERR_DUPLICATE);
    assert_int_equal(first, (1u << 24) - 2);
    assert_int_equal(idset_add(&set, "b", 1, 1, &first), ERR_DUPLICATE);
    assert_int_equal(first, (1u << 24) - 1);
    idset_deinit(&set);
}

static void the_size_of_a_string_is_known_before_it_is_printed(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct strbuf out = STRBUF_INIT;
        char text[24];
        size_t len = draw(sizeof(text));

        for (size_t i = 0; i < len; i++)
            text[i] = (char)draw(draw(3) == 0 ? 256 : 128);
        json_write_string(&out, text, len);
        assert_int_equal(json_string_size(text, len), out.len);
        strbuf_deinit(&out);
    }
}

#define LINE_OF(id, body)                                                                          \
    "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":" body "}\n"

/* An excerpt says by three dots that there is more, also when that is one byte. */
static void an_id_that_is_one_byte_too_long_for_a_message_is_cut_with_dots(void **state)
{
    struct jsonl_rules rules = {0};
    char id[64], text[600], message[300];

    (void)state;
    for (int len = 59; len < 63; len++) {
        memset(id, 'i', (size_t)len);
        id[len] = '\0';
        snprintf(text, sizeof(text),
                 "{\"custom_id\":\"%s\",\"method\":\"POST\",\"url\":\"/x\",\"body\":{}}\n"
                 "{\"custom_id\":\"%s\",\"method\":\"POST\",\"url\":\"/x\",\"body\":{}}\n",
                 id, id);
        snprintf(message, sizeof(message),
                 "`custom_id` \"%.60s%s\" was used in line 1 already; expected a unique one", id,
                 len > 60 ? "..." : "");
        assert_told(&rules, text, message);
    }
}

static void endpoints_are_listed_as_far_as_there_is_room(void **state)
{
    static const char *const one[] = {"/v1/a", NULL}, *const two[] = {"/v1/a", "/v1/b", NULL};
    static const char *const none[] = {NULL};
    struct jsonl_rules rules = {.endpoints = one};
    char names[12][40];
    const char *many[13] = {NULL};

    (void)state;
    assert_told(&rules, LINE_OF("a", "{}"), "`url` is \"/v1/x\"; expected one of /v1/a");
    rules.endpoints = two;
    assert_told(&rules, LINE_OF("a", "{}"), "`url` is \"/v1/x\"; expected one of /v1/a, /v1/b");
    rules.endpoints = none;
    assert_told(&rules, LINE_OF("a", "{}"), "`url` is \"/v1/x\"; expected an endpoint");
    rules.endpoints = many;
    for (int len = 1; len < 39; len++) {
        for (int i = 0; i < 12; i++) {
            memset(names[i], 'e', (size_t)len);
            names[i][len] = '\0';
            many[i] = names[i];
        }
        assert_refused(&rules, LINE_OF("a", "{}"), 1, 40, "url", "invalid_url");
    }
}

/* Before its end has come: what is kept of a line is bounded. */
static void a_line_that_is_too_long_is_refused_before_its_end(void **state)
{
    const struct jsonl_rules rules = {.max_line_bytes = 1000};
    struct jsonl *j = jsonl_new(&rules);
    struct jsonl_report report;
    char piece[100];

    (void)state;
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 10; i++)
        assert_int_equal(jsonl_feed(j, piece, sizeof(piece)), 0);
    jsonl_report(j, &report);
    assert_int_equal(report.num_problems, 0);
    (void)!jsonl_feed(j, piece, 1);
    jsonl_report(j, &report);
    assert_int_equal(report.num_problems, 1);
    assert_string_equal(report.problems[0].code, "line_too_long");
    jsonl_free(j);
}

static void no_more_than_fifty_problems_are_collected(void **state)
{
    (void)state;
    for (unsigned wanted = 49; wanted < 53; wanted++) {
        const struct jsonl_rules rules = {.max_errors = wanted};
        struct strbuf text = STRBUF_INIT;
        struct jsonl_report report;
        struct jsonl *j;
        int result;

        for (int i = 0; i < 60; i++)
            strbuf_adds(&text, "[]\n");
        j = check(&rules, text.data, text.len, 7, &result);
        jsonl_report(j, &report);
        assert_int_equal(report.num_problems, wanted < 50 ? wanted : 50);
        jsonl_free(j);
        strbuf_deinit(&text);
    }
}

/* Whichever reader it is. */
static void assert_counts(const char *line, uint64_t prompt_bytes, uint64_t output_tokens)
{
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    char *copy = exact_copy(line, strlen(line));

    assert_true(jsonl_scan(copy, strlen(line), 20, &fast));
    assert_int_equal(jsonl_referee(copy, strlen(line), 20, &slow, &refusal), 0);
    assert_int_equal(fast.prompt.units[FEATURE_TEXT], prompt_bytes);
    assert_memory_equal(&slow.prompt, &fast.prompt, sizeof(fast.prompt));
    assert_int_equal(fast.output_tokens, output_tokens);
    assert_int_equal(slow.output_tokens, output_tokens);
    free(copy);
}

static void declared_tokens_are_counted_up_to_a_hundred_million(void **state)
{
    (void)state;
    assert_counts("{\"body\":{\"max_tokens\":99999999}}", 0, 99999999);
    assert_counts("{\"body\":{\"max_tokens\":100000000}}", 0, 100000000);
    assert_counts("{\"body\":{\"max_tokens\":100000001}}", 0, 100000000);
    assert_counts("{\"body\":{\"max_tokens\":99999999999999999999999999999999999999}}", 0,
                  100000000);
    assert_counts("{\"body\":{\"max_tokens\":184467440737095516160}}", 0, 100000000);
    assert_counts("{\"body\":{\"max_tokens\":5,\"max_completion_tokens\":6}}", 0, 6);
    assert_counts("{\"body\":{\"max_tokens\":6,\"max_completion_tokens\":5}}", 0, 6);
}

static void every_message_is_counted_and_nothing_behind_them(void **state)
{
    (void)state;
    assert_counts(
        "{\"body\":{\"messages\":[{\"content\":\"ab\"},{\"content\":[{\"text\":\"cde\"}]},"
        "{\"content\":\"f\"}],\"user\":\"nobody\"},\"other\":\"xyz\"}",
        6, 0);
    assert_counts("{\"body\":{\"input\":\"ab\",\"x\":{\"y\":\"cd\"}},\"input\":\"ef\"}", 2, 0);
}

/* A member of the same name in an object behind the body. */
static void what_stands_behind_the_body_is_none_of_it(void **state)
{
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    static const char line[] = "{\"body\":{\"model\":\"a\"},\"x\":{\"model\":\"bcd\",\"input\":"
                               "\"e\"},\"y\":[{\"model\":1}]}";

    (void)state;
    assert_true(jsonl_scan(line, strlen(line), 8, &fast));
    assert_int_equal(jsonl_referee(line, strlen(line), 8, &slow, &refusal), 0);
    assert_same_facts(line, &fast, &slow);
    assert_int_equal(fast.fields[FIELD_MODEL].len, 3);
    assert_int_equal(fast.prompt.units[FEATURE_TEXT], 0);
}

/* Longer than the blocks that are read at once, cut everywhere. */
static void no_reader_looks_behind_a_long_string_that_is_cut_off(void **state)
{
    char line[700];
    size_t len = (size_t)sprintf(line, "{\"body\":{\"input\":\"");

    (void)state;
    while (len < 400)
        line[len++] = 'a';
    while (len < 600)
        len += (size_t)sprintf(line + len, len % 3 == 0 ? "\\n" : "b");
    for (size_t cut = 0; cut < len; cut++)
        check_cut_line(line, cut);
}

static void the_referee_names_an_odd_byte_at_the_very_end(void **state)
{
    struct jsonl_facts facts;
    struct jsonl_refusal refusal;

    (void)state;
    assert_int_equal(jsonl_referee("{}\xff", 3, 8, &facts, &refusal), ERR_SYNTAX);
    assert_non_null(strstr(refusal.message, "UTF-8"));
}

static ssize_t read_too_much(void *arg, char *buf, size_t len, uint64_t offset)
{
    (void)arg;
    (void)buf;
    (void)offset;
    return (ssize_t)len + 1;
}

static void an_original_that_gives_more_than_was_asked_for_is_not_believed(void **state)
{
    const struct jsonl_rules rules = {0};
    struct jsonl *j;
    struct jsonl_splice *s;
    char buf[100];
    int result;

    (void)state;
    j = check(&rules, GOOD, strlen(GOOD), 0, &result);
    assert_int_equal(result, 0);
    s = jsonl_splice_new(j, "name", read_too_much, NULL);
    assert_int_equal(jsonl_splice_read(s, buf, sizeof(buf)), ERR_IO);
    jsonl_splice_free(s);
    jsonl_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_ends_may_be_lf_or_crlf_and_the_last_one_may_be_missing),
        cmocka_unit_test(blank_lines_at_the_end_are_no_requests),
        cmocka_unit_test(keys_come_in_any_order_with_others_among_them),
        cmocka_unit_test(escaped_spellings_mean_what_they_decode_to),
        cmocka_unit_test(a_file_may_do_without_models_when_none_is_required),
        cmocka_unit_test(any_path_is_an_endpoint_when_none_is_listed),
        cmocka_unit_test(the_report_tells_model_url_and_sizes),
        cmocka_unit_test(an_image_is_counted_as_one_whatever_its_bytes),
        cmocka_unit_test(an_embedded_image_counts_little_in_any_spelling),
        cmocka_unit_test(base64_counts_as_text_nowhere),
        cmocka_unit_test(text_without_blanks_is_text),
        cmocka_unit_test(token_ids_are_tokens),
        cmocka_unit_test(tools_and_schemas_count_as_the_json_that_they_are),
        cmocka_unit_test(a_line_that_is_no_json_is_named_with_its_place),
        cmocka_unit_test(a_line_that_is_no_object_is_refused),
        cmocka_unit_test(text_that_is_not_strict_utf8_is_refused),
        cmocka_unit_test(a_blank_line_between_requests_is_refused),
        cmocka_unit_test(a_byte_order_mark_is_refused_with_a_hint),
        cmocka_unit_test(a_file_without_requests_is_refused),
        cmocka_unit_test(custom_ids_must_be_unique_strings),
        cmocka_unit_test(method_and_url_must_be_the_ones_of_the_endpoint),
        cmocka_unit_test(the_body_must_be_an_object_with_one_model_for_all_lines),
        cmocka_unit_test(a_key_that_matters_may_stand_only_once_in_any_spelling),
        cmocka_unit_test(limits_name_what_was_allowed),
        cmocka_unit_test(deep_nesting_up_to_the_limit_is_read),
        cmocka_unit_test(the_first_problem_stops_unless_more_are_wanted),
        cmocka_unit_test(no_more_problems_are_kept_than_asked_for),
        cmocka_unit_test(messages_are_short_and_printable),
        cmocka_unit_test(a_finished_checker_takes_no_more),
        cmocka_unit_test(whatever_the_scanner_is_sure_of_yajl_sees_the_same_way),
        cmocka_unit_test(in_long_strings_too_the_scanner_sees_what_yajl_sees),
        cmocka_unit_test(no_reader_looks_behind_a_line_that_is_cut_off),
        cmocka_unit_test(the_scanner_gives_up_only_where_it_says),
        cmocka_unit_test(splicing_changes_the_model_and_no_other_byte),
        cmocka_unit_test(without_a_name_or_without_models_a_splice_copies),
        cmocka_unit_test(several_splices_run_over_one_checker),
        cmocka_unit_test(an_original_that_fails_or_became_shorter_is_an_error),
        cmocka_unit_test(a_checker_tells_what_it_holds),
        cmocka_unit_test(a_set_tells_which_strings_it_has_seen),
        cmocka_unit_test(a_set_takes_less_than_twelve_bytes_a_string),
        cmocka_unit_test(a_mark_too_large_is_kept_as_the_largest),
        cmocka_unit_test(the_size_of_a_string_is_known_before_it_is_printed),
        cmocka_unit_test(an_id_that_is_one_byte_too_long_for_a_message_is_cut_with_dots),
        cmocka_unit_test(endpoints_are_listed_as_far_as_there_is_room),
        cmocka_unit_test(a_line_that_is_too_long_is_refused_before_its_end),
        cmocka_unit_test(no_more_than_fifty_problems_are_collected),
        cmocka_unit_test(declared_tokens_are_counted_up_to_a_hundred_million),
        cmocka_unit_test(every_message_is_counted_and_nothing_behind_them),
        cmocka_unit_test(what_stands_behind_the_body_is_none_of_it),
        cmocka_unit_test(no_reader_looks_behind_a_long_string_that_is_cut_off),
        cmocka_unit_test(the_referee_names_an_odd_byte_at_the_very_end),
        cmocka_unit_test(an_original_that_gives_more_than_was_asked_for_is_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
