/* jsonl: what is counted of a line: text, images, tokens, tools, and the answer that it asks
 * for. */
#include "jsonl_world.h"

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

/* The provider bills each of them. */
static void a_line_with_many_answers_may_have_so_many_times_the_tokens(void **state)
{
    static const struct {
        const char *line;
        uint64_t tokens;
    } cases[] = {
        {"{\"body\":{\"max_tokens\":50,\"n\":4}}", 200},
        {"{\"body\":{\"n\":4,\"max_completion_tokens\":50}}", 200},
        {"{\"body\":{\"max_tokens\":50}}", 50},
        {"{\"body\":{\"max_tokens\":50,\"n\":0}}", 50},
        {"{\"body\":{\"max_tokens\":50,\"n\":null}}", 50},
        {"{\"body\":{\"max_tokens\":50,\"n\":\"4\"}}", 50},
        {"{\"body\":{\"max_tokens\":50,\"n\":-4}}", 50},
        {"{\"body\":{\"max_tokens\":50,\"n\":1e9}}", 50}, /* the provider refuses it */
        {"{\"body\":{\"max_tokens\":50,\"n\":99999999999999999999999}}", 50 * 128},
        {"{\"body\":{\"max_tokens\":50,\"x\":{\"n\":4}},\"n\":7}", 50},
        {"{\"body\":{\"n\":4}}", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct jsonl_facts fast, slow;
        struct jsonl_refusal refusal;
        size_t len = strlen(cases[i].line);
        char *copy = exact_copy(cases[i].line, len);

        assert_true(jsonl_scan(copy, len, 20, &fast));
        assert_int_equal(jsonl_referee(copy, len, 20, &slow, &refusal), 0);
        assert_int_equal(jsonl_all_output(&fast), cases[i].tokens);
        assert_int_equal(jsonl_all_output(&slow), cases[i].tokens);
        free(copy);
    }
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

/* What stands behind the string would make it one. */
static void a_string_that_ends_before_its_comma_is_no_data_url(void **state)
{
    (void)state;
    assert_features("\"input\":[\"data:a/b\",\"c\"]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 8 + 1}});
    assert_features("\"input\":[\"data:a\\/\",\"c\"]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 7 + 1}});
    assert_features("\"input\":[\"data:a\\u002f\",\"\"]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 7}});
}

/* A request is not cheaper for what only looks like "low". */
static void only_the_word_low_makes_an_image_cheap(void **state)
{
    (void)state;
    assert_features("\"input\":[{\"type\":\"input_image\",\"detail\":\"low-quality\"}]", 0, "",
                    (struct features){{11 + 11, FEATURES_IMAGE}});
    assert_features("\"input\":[{\"type\":\"input_image\",\"detail\":\"lowest-is\"}]", 0, "",
                    (struct features){{11 + 9, FEATURES_IMAGE}});
    assert_features("\"input\":[{\"detail\":\"low\"},{\"detail\":\"low\"}]", 0, "",
                    (struct features){{[FEATURE_TEXT] = 6}});
    assert_features("\"input\":[{\"type\":\"input_image\",\"detail\":\"low\"},"
                    "{\"detail\":\"low\"},{\"type\":\"input_image\"}]",
                    0, "", (struct features){{11 + 3 + 3 + 11, 1 + 1}});
}

static void base64_is_found_in_strings_of_256_bytes_and_more(void **state)
{
    (void)state;
    for (size_t len = JSONL_LONG_TEXT - 1; len <= JSONL_LONG_TEXT + 1; len++) {
        bool is_long = len >= JSONL_LONG_TEXT;

        assert_features(
            "\"input\":\"@\"", len, "",
            (struct features){
                {[FEATURE_TEXT] = is_long ? 0 : len, [FEATURE_FILES] = is_long ? 1 : 0}});
    }
}

/* A quote, backslashes, and letters that are escaped, up to the text's end. */
static void what_is_escaped_behind_base64_is_no_more_than_it_is(void **state)
{
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_features("\"input\":\"@\\\"\"", 3000, "",
                    (struct features){{[FEATURE_TEXT] = 1, [FEATURE_FILES] = 3}});
    assert_features("\"input\":\"@ \"", 3000, "",
                    (struct features){{[FEATURE_TEXT] = 1, [FEATURE_FILES] = 3}});
    strbuf_adds(&text, "\"input\":\"@");
    for (int i = 0; i < 100; i++)
        strbuf_adds(&text, "\\\\");
    strbuf_adds(&text, " x\"");
    assert_features(text.data, 3000, "",
                    (struct features){{[FEATURE_TEXT] = 2, [FEATURE_FILES] = 4}});
    strbuf_reset(&text);
    strbuf_adds(&text, "\"input\":\"@");
    for (int i = 0; i < 1000; i++)
        strbuf_adds(&text, "\\u0041");
    strbuf_adds(&text, "\"");
    assert_features(text.data, 3000, "", (struct features){{[FEATURE_FILES] = 9}});
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_is_counted_as_one_whatever_its_bytes),
        cmocka_unit_test(an_embedded_image_counts_little_in_any_spelling),
        cmocka_unit_test(base64_counts_as_text_nowhere),
        cmocka_unit_test(text_without_blanks_is_text),
        cmocka_unit_test(token_ids_are_tokens),
        cmocka_unit_test(tools_and_schemas_count_as_the_json_that_they_are),
        cmocka_unit_test(declared_tokens_are_counted_up_to_a_hundred_million),
        cmocka_unit_test(a_line_with_many_answers_may_have_so_many_times_the_tokens),
        cmocka_unit_test(every_message_is_counted_and_nothing_behind_them),
        cmocka_unit_test(a_string_that_ends_before_its_comma_is_no_data_url),
        cmocka_unit_test(only_the_word_low_makes_an_image_cheap),
        cmocka_unit_test(base64_is_found_in_strings_of_256_bytes_and_more),
        cmocka_unit_test(what_is_escaped_behind_base64_is_no_more_than_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
