/* jsonl: which files pass, what is said of the others, and that pieces do not matter. */
#include "jsonl_world.h"

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
        "\"instructions\":\"xy\",\"prompt\":[\"z\",[\"z\"]],\"max_output_tokens\":7,\"n\":3}}\n"
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
    assert_int_equal(report.output_tokens, 250 + 3 * 7);
    jsonl_free(j);
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

/* --- the small words below --- */

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
        cmocka_unit_test(a_checker_tells_what_it_holds),
        cmocka_unit_test(an_id_that_is_one_byte_too_long_for_a_message_is_cut_with_dots),
        cmocka_unit_test(endpoints_are_listed_as_far_as_there_is_room),
        cmocka_unit_test(a_line_that_is_too_long_is_refused_before_its_end),
        cmocka_unit_test(no_more_than_fifty_problems_are_collected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
