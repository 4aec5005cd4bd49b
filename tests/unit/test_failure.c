/* Every error shape of providers 1.7 and 2.8, and what is no shape at all, in the four-key
 * envelope. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json/json.h"
#include "upstream/failure.h"

#define NOW 1790000000 /* Mon, 21 Sep 2026 14:13:20 GMT */

static struct failure of_bytes(int status, const char *body, size_t len, const char *name,
                               const char *value)
{
    struct upstream_header header = {name, value};
    struct upstream_result result = {.end = UPSTREAM_ANSWERED, .body = body, .body_len = len};
    struct failure out;
    struct strbuf text = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *envelope;

    result.head.status = status;
    result.head.headers = &header;
    result.head.num_headers = name != NULL;
    memset(&out, 0xa5, sizeof(out));
    failure_from_result(&result, NOW, &out);

    /* What holds for each: a type, a message, valid JSON with exactly four keys, digits as code
     * only where the provider has a number there. */
    assert_true(out.type[0] != '\0' && out.message[0] != '\0');
    assert_true(out.status >= 400 && out.status <= 599);
    assert_true(out.retry_after_ms >= -1 && out.retry_after_ms <= 300000);
    failure_write(&out, &text);
    envelope = json_parse(doc, text.data, text.len, &error);
    assert_int_equal(json_size(envelope), 1);
    envelope = json_get(envelope, "error");
    assert_int_equal(json_size(envelope), 4);
    assert_true(json_is(json_get(envelope, "message"), JSON_STRING));
    assert_true(json_is(json_get(envelope, "type"), JSON_STRING));
    assert_non_null(json_get(envelope, "param"));
    assert_non_null(json_get(envelope, "code"));
    assert_true(out.code[0] == '\0' || out.code[strspn(out.code, "0123456789")] != '\0' ||
                (out.code_is_number && json_is(json_get(envelope, "code"), JSON_NUMBER)));
    json_doc_free(doc);
    strbuf_deinit(&text);
    return out;
}

static struct failure of(int status, const char *body)
{
    return of_bytes(status, body, strlen(body), NULL, NULL);
}

static struct failure with(int status, const char *name, const char *value)
{
    return of_bytes(status, "", 0, name, value);
}

static void assert_failure(const struct failure *f, int status, const char *type, const char *code,
                           const char *param, const char *message)
{
    assert_int_equal(f->status, status);
    assert_string_equal(f->type, type);
    assert_string_equal(f->code, code);
    assert_string_equal(f->param, param);
    assert_string_equal(f->message, message);
}

static void an_error_of_openai_passes_unchanged(void **state)
{
    struct failure f =
        of(400, "{\"error\":{\"message\":\"Missing required parameter: 'input_file_id'.\",\"type\":"
                "\"invalid_request_error\",\"param\":\"input_file_id\",\"code\":\"missing_required_"
                "parameter\"}}");

    (void)state;
    assert_failure(&f, 400, "invalid_request_error", "missing_required_parameter", "input_file_id",
                   "Missing required parameter: 'input_file_id'.");
    f = of(404, "{\"error\":{\"message\":\"No such File object: "
                "file-x\",\"type\":\"invalid_request_error\",\"param\":\"id\",\"code\":null},"
                "\"detail\":{\"a\":1}}");
    assert_failure(&f, 404, "invalid_request_error", "", "id", "No such File object: file-x");
    assert_false(f.should_not_retry);
}

static void the_shapes_of_azure_get_type_and_param(void **state)
{
    struct failure f = of(404, "{\"error\":{\"code\":\"404\",\"message\":\"Resource not found\"}}");

    (void)state;
    assert_failure(&f, 404, "invalid_request_error", "", "", "Resource not found");
    f = of(400, "{\"error\":{\"code\":\"invalidPayload\",\"message\":\"Invalid value for "
                "purpose.\",\"target\":\"purpose\",\"details\":[],"
                "\"innererror\":{\"code\":\"x\"}}}");
    assert_failure(&f, 400, "invalid_request_error", "invalidPayload", "purpose",
                   "Invalid value for purpose.");
    f = of(400, "{\"error\":{\"code\":400,\"message\":\"m\",\"param\":null,\"type\":\"error\","
                "\"inner_error\":{\"code\":\"quotaExceeded\"}}}");
    assert_failure(&f, 400, "invalid_request_error", "quotaExceeded", "", "m");
    f = of(429, "{\"error\":{\"code\":\"429\",\"message\":\"Requests have exceeded the limit. "
                "Please retry after 26 seconds. Bye.\"}}");
    assert_failure(&f, 429, "rate_limit_error", "rate_limit_exceeded", "",
                   "Requests have exceeded the limit. Please retry after 26 seconds. Bye.");
    assert_int_equal(f.retry_after_ms, 26000);
    f = of(500, "{\"statusCode\":500,\"message\":\"Internal server error\",\"activityId\":\"1\"}");
    assert_failure(&f, 500, "server_error", "", "", "Internal server error");
    f = of(
        400,
        "{\"error\":{\"code\":\"jsonlValidationFailed\",\"details\":[{\"message\":\"line 3\"}]}}");
    assert_failure(&f, 400, "invalid_request_error", "jsonlValidationFailed", "", "line 3");
}

static void a_code_that_is_a_number_stays_one(void **state)
{
    struct failure f = of(400, "{\"error\":{\"code\":400,\"message\":\"m\"}}");
    struct strbuf out = STRBUF_INIT;

    (void)state;
    failure_write(&f, &out);
    assert_string_equal(strbuf_str(&out),
                        "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\","
                        "\"param\":null,\"code\":400}}");
    strbuf_deinit(&out);
    f = of(400, "{\"error\":{\"code\":1210,\"message\":\"m\"}}");
    assert_string_equal(f.code, "1210");
    f = of(400, "{\"error\":{\"code\":-5,\"message\":\"m\"}}");
    assert_string_equal(f.code, "");
    f = of(400, "{\"error\":{\"code\":123456789012345,\"message\":\"m\"}}");
    assert_string_equal(f.code, "");
    f = of(401, "{\"error\":{\"code\":401,\"message\":\"m\"}}");
    assert_string_equal(f.code, "upstream_auth");
}

static void a_405_says_what_is_allowed(void **state)
{
    struct failure f = with(405, "allow", "GET, HEAD");

    (void)state;
    assert_string_equal(f.allow, "GET, HEAD");
    f = with(405, "allow", "GET, <script>");
    assert_string_equal(f.allow, "");
    f = with(404, "allow", "GET");
    assert_string_equal(f.allow, "");
}

static void shapes_of_others_are_understood(void **state)
{
    struct failure f = of(400, "{\"error\":\"just text\"}");

    (void)state;
    assert_failure(&f, 400, "invalid_request_error", "", "", "just text");
    f = of(422, "{\"detail\":[{\"msg\":\"field required\",\"loc\":[\"body\"]}]}");
    assert_failure(&f, 422, "invalid_request_error", "", "", "field required");
    f = of(400, "{\"detail\":\"not so\"}");
    assert_failure(&f, 400, "invalid_request_error", "", "", "not so");
    f = of(400, "{\"errors\":[{\"message\":\"first\",\"code\":\"c1\"},{\"message\":\"second\"}]}");
    assert_failure(&f, 400, "invalid_request_error", "c1", "", "first");
    f = of(400, "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: no\"}");
    assert_failure(&f, 400, "invalid_request_error", "", "", "AADSTS7000215: no");
    f = of(503, "\"overloaded\"");
    assert_failure(&f, 503, "server_error", "", "", "overloaded");
    f = of(400,
           "{\"error\":{\"message\":\"m\",\"code\":\"None\",\"param\":\"null\",\"type\":\"\"}}");
    assert_failure(&f, 400, "invalid_request_error", "", "", "m");
    f = of_bytes(502, "upstream connect error", 22, "content-type", "text/plain; charset=utf-8");
    assert_failure(&f, 502, "server_error", "", "", "upstream connect error");
}

static void bodies_that_say_nothing_get_a_message_of_ours(void **state)
{
    static const char *const bodies[] = {
        "",
        " ",
        "null",
        "[]",
        "{}",
        "[[]]",
        "17",
        "{\"error\":null}",
        "{\"error\":{}}",
        "{\"error\":[]}",
        "{\"error\":{\"message\":\"\"}}",
        "{\"error\":{\"message\":null,\"code\":null}}",
        "{\"error\":{\"message\":{\"a\":1}}}",
        "{\"error\":{\"message\":\"  \\n \"}}",
        "{\"error\":{\"message\":\"cut off he",
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "\xef\xbb\xbf",
        "upstream connect error",
        "{\"errors\":[]}",
        "{\"errors\":{\"data\":[]}}",
        "{\"detail\":[1]}",
        "\x1f\x8b\x08\x00gzip",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct failure f = of(503, bodies[i]);
        assert_failure(&f, 503, "server_error", "", "", "The provider failed (HTTP status 503).");
        f = of(404, bodies[i]);
        assert_failure(&f, 404, "invalid_request_error", "", "",
                       "The provider does not know this object (HTTP status 404).");
    }
}

static void invalid_text_becomes_valid_and_long_text_is_cut_at_a_character(void **state)
{
    struct strbuf body = STRBUF_INIT;
    struct failure f = of(400, "\xef\xbb\xbf{\"error\":{\"message\":\"a\xff"
                               "b\xc3(\xed\xa0\x80\",\"code\":\"c\"}}");

    (void)state;
    assert_string_equal(f.message, "a\xef\xbf\xbd"
                                   "b\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(f.code, "c");
    f = of(400, "{\"error\":{\"message\":\"a\\u0000b\\nc\\u001bd\"}}");
    assert_string_equal(f.message, "a b c d");
    strbuf_adds(&body, "{\"error\":{\"message\":\"x");
    for (int i = 0; i < 5000; i++)
        strbuf_adds(&body, "\xc3\xa9");
    strbuf_adds(&body, "\",\"code\":\"");
    for (int i = 0; i < 500; i++)
        strbuf_adds(&body, "c");
    strbuf_adds(&body, "\"}}");
    f = of(400, body.data);
    assert_int_equal(strlen(f.message), sizeof(f.message) - 1);
    assert_true(utf8_is_valid(f.message, strlen(f.message)));
    assert_int_equal(strlen(f.code), sizeof(f.code) - 1);
    strbuf_deinit(&body);
}

static void an_enormous_or_deep_body_is_not_read(void **state)
{
    size_t len = 400 * 1024;
    char *body = malloc(len + 1);
    struct failure f;

    (void)state;
    assert_non_null(body);
    memset(body, '[', len);
    body[len] = '\0';
    f = of_bytes(500, body, len, NULL, NULL);
    assert_failure(&f, 500, "server_error", "", "", "The provider failed (HTTP status 500).");
    f = of_bytes(500, body, 1000, NULL, NULL);
    assert_failure(&f, 500, "server_error", "", "", "The provider failed (HTTP status 500).");
    free(body);
}

static void a_refused_credential_is_the_gateways_matter(void **state)
{
    static const int statuses[] = {401, 403};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct failure f =
            of(statuses[i],
               "{\"error\":{\"message\":\"Incorrect API key provided: sk-abcdefgh1234.\",\"type\":"
               "\"invalid_request_error\",\"code\":\"invalid_api_key\"}}");
        assert_int_equal(f.status, 502);
        assert_string_equal(f.code, "upstream_auth");
        assert_string_equal(f.type, "server_error");
        assert_null(strstr(f.message, "sk-"));
        assert_true(f.should_not_retry);
    }
}

static void assert_message(const char *text, const char *want)
{
    char body[1024];
    struct failure f;

    snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\"}}", text);
    f = of(400, body);
    assert_string_equal(f.message, want);
}

static void what_looks_like_a_key_is_masked(void **state)
{
    (void)state;
    assert_message("The API key sk-proj-Ab1_cd*****EFgh. Find it", "The API key ***. Find it");
    assert_message("'sk-12345678'", "'***'");
    assert_message("Authorization: Bearer abcdefghijklmnopqrst!", "Authorization: Bearer ***!");
    assert_message("token eyJhbGciOiJSUzI1NiJ9.eyJhdWQ.sig-x is old", "token *** is old");
    assert_message("api-key 0123456789abcdef0123456789ABCDEF is wrong", "api-key *** is wrong");
    assert_message(
        "subscription KEY: "
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuv",
        "subscription KEY: ***");
    /* and what does not is not */
    assert_message("No such File object: file-0c9d1e2f3a4b5c6d7e8f901234567890",
                   "No such File object: file-0c9d1e2f3a4b5c6d7e8f901234567890");
    assert_message("key for batch_690a1b2c3d4e81908f7e6d5c4b3a2910",
                   "key for batch_690a1b2c3d4e81908f7e6d5c4b3a2910");
    assert_message("request 0123456789abcdef0123456789abcdef failed",
                   "request 0123456789abcdef0123456789abcdef failed");
    assert_message("ask-me-anything and risk-adjusted", "ask-me-anything and risk-adjusted");
}

static void a_key_in_param_or_code_is_masked_too(void **state)
{
    struct failure f = of(400, "{\"error\":{\"message\":\"m\",\"param\":\"sk-abcdefgh\",\"code\":"
                               "\"sk-abcdefgh\",\"type\":\"sk-abcdefgh\"}}");

    (void)state;
    assert_failure(&f, 400, "***", "***", "***", "m");
}

static void assert_refused_key(int status, const char *body)
{
    struct failure f = of(status, body);

    assert_int_equal(f.status, 502);
    assert_string_equal(f.code, "upstream_auth");
    assert_true(f.should_not_retry && failure_is_refused_key(&f));
    assert_null(strstr(f.message, "secret"));
}

/* LiteLLM's clients showed "Incorrect API key" to people whose own key was right. */
static void a_400_about_our_key_is_not_the_clients(void **state)
{
    struct failure f;

    (void)state;
    assert_refused_key(400, "{\"error\":{\"message\":\"Incorrect API key provided: secret\"}}");
    assert_refused_key(400, "{\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}");
    assert_refused_key(422, "{\"error\":{\"message\":\"no\",\"type\":\"authentication_error\"}}");
    assert_refused_key(400,
                       "[{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass "
                       "a valid API key.\",\"status\":\"INVALID_ARGUMENT\"}}]");
    assert_refused_key(400,
                       "{\"error\":{\"code\":\"400\",\"innererror\":{\"code\":\"ApiKeyInvalid\"},"
                       "\"message\":\"Access denied due to invalid subscription key\"}}");
    /* a line of the client's file may speak of keys */
    f = of(400,
           "{\"error\":{\"message\":\"Invalid API key in 'body.messages'\",\"param\":\"file\"}}");
    assert_int_equal(f.status, 400);
    f = of(404, "{\"error\":{\"message\":\"Incorrect API key provided\"}}");
    assert_int_equal(f.status, 404);
}

static void statuses_that_no_client_should_see_become_502(void **state)
{
    static const int statuses[] = {0, 100, 199, 301, 302, 304, 307, 407, 600, 999};
    struct failure f;

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        f = with(statuses[i], "location", "https://elsewhere.example/?key=secret");
        assert_int_equal(f.status, 502);
        assert_string_equal(f.code, "upstream_unexpected_status");
        assert_null(strstr(f.message, "elsewhere"));
    }
    f = of(200, "<html>");
    assert_int_equal(f.status, 502);
    assert_string_equal(f.code, "upstream_invalid_answer");
}

static void calls_without_an_answer_have_codes_of_their_own(void **state)
{
    static const struct {
        enum upstream_end end;
        int status;
        const char *code;
        bool final;
    } rows[] = {
        {UPSTREAM_CONNECT_FAILED, 502, "upstream_unreachable", false},
        {UPSTREAM_TIMEOUT, 504, "upstream_timeout", false},
        {UPSTREAM_BROKEN, 502, "upstream_broken", false},
        {UPSTREAM_TOO_LARGE, 502, "upstream_too_large", false},
        {UPSTREAM_SOURCE_FAILED, 500, "upload_unreadable", false},
        {UPSTREAM_REFUSED, 502, "upstream_refused", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct upstream_result result = {.end = rows[i].end, .error = "connect: sk-secret"};
        struct failure f;
        failure_from_result(&result, NOW, &f);
        assert_int_equal(f.status, rows[i].status);
        assert_string_equal(f.code, rows[i].code);
        assert_string_equal(f.type, "server_error");
        assert_int_equal(f.should_not_retry, rows[i].final);
        assert_int_equal(f.retry_after_ms, -1);
        assert_null(strstr(f.message, "sk-"));
    }
}

static void retry_after_is_read_in_all_its_forms(void **state)
{
    static const struct {
        const char *name, *value;
        int64_t want_ms;
    } rows[] = {
        {"retry-after", "7", 7000},
        {"retry-after", " 7", 7000},
        {"retry-after", "0", 0},
        {"retry-after", "1.5", 1500},
        {"retry-after", "86400", 300000},
        {"retry-after", "99999999999999999999", 300000},
        {"retry-after", "Mon, 21 Sep 2026 14:13:50 GMT", 30000},
        {"retry-after", "Monday, 21-Sep-26 14:13:50 GMT", 30000},
        {"retry-after", "Mon Sep 21 14:13:50 2026", 30000},
        {"retry-after", "Mon, 21 Sep 2026 14:13:00 GMT", 0},
        {"retry-after", "Mon, 21 Sep 2076 14:13:00 GMT", 300000},
        {"retry-after", "-5", -1},
        {"retry-after", "soon", -1},
        {"retry-after", "", -1},
        {"retry-after", "7 seconds", -1},
        {"retry-after", "1.2.3", -1},
        {"retry-after", "1e3", -1},
        {"retry-after", "nan", -1},
        {"retry-after-ms", "250", 250},
        {"retry-after-ms", "250.9", 250},
        {"retry-after-ms", "9999999", 300000},
        {"retry-after-ms", "x", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct failure f = with(429, rows[i].name, rows[i].value);
        if (f.retry_after_ms != rows[i].want_ms)
            fail_msg("%s: %s gives %lld", rows[i].name, rows[i].value, (long long)f.retry_after_ms);
    }
}

static void a_date_to_retry_after_is_judged_by_the_clock_of_who_wrote_it(void **state)
{
    struct upstream_header headers[] = {{"retry-after", "Mon, 21 Sep 2026 14:28:50 GMT"},
                                        {"date", "Mon, 21 Sep 2026 14:28:20 GMT"}};
    struct upstream_result result = {.end = UPSTREAM_ANSWERED};
    struct failure f;

    (void)state;
    result.head.status = 503;
    result.head.headers = headers;
    result.head.num_headers = 2;
    failure_from_result(&result, NOW, &f);
    assert_int_equal(f.retry_after_ms, 30000);
}

static void milliseconds_win_over_seconds(void **state)
{
    struct upstream_header headers[] = {{"retry-after", "9"}, {"retry-after-ms", "120"}};
    struct upstream_result result = {.end = UPSTREAM_ANSWERED};
    struct failure f;

    (void)state;
    result.head.status = 503;
    result.head.headers = headers;
    result.head.num_headers = 2;
    failure_from_result(&result, NOW, &f);
    assert_int_equal(f.retry_after_ms, 120);
    headers[1].value = "unclear";
    failure_from_result(&result, NOW, &f);
    assert_int_equal(f.retry_after_ms, 9000);
}

static void a_full_deployment_is_recognised_in_every_form(void **state)
{
    static const char *const bodies[] = {
        "{\"error\":{\"code\":\"token_limit_exceeded\",\"message\":\"m\"}}",
        "{\"error\":{\"code\":\"400\",\"message\":\"m\",\"innererror\":{\"code\":\"token_limit_"
        "exceeded\"}}}",
        "{\"error\":{\"code\":\"BadRequest\",\"message\":\"token_limit_exceeded: full\"}}",
        "{\"error\":{\"code\":\"BadRequest\",\"message\":\"m\",\"details\":[{\"code\":\"token_"
        "limit_exceeded\"}]}}",
        "{\"id\":\"b\",\"errors\":{\"data\":[{\"code\":\"token_limit_exceeded\",\"message\":\"m\"}]"
        "}}",
        "{\"error\":{\"message\":\"Enqueued token limit reached for gpt in organization o.\"}}",
        "{\"error\":{\"message\":\"The number of enqueued tokens has surpassed the configured "
        "limit of 30K\"}}",
        "Bad Request: token_limit_exceeded",
    };
    struct failure f;

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        f = of(400, bodies[i]);
        if (!failure_is_token_limit(&f))
            fail_msg("not recognised: %s", bodies[i]);
        f = of(429, bodies[i]);
        assert_true(failure_is_token_limit(&f));
        f = of(500, bodies[i]);
        assert_false(failure_is_token_limit(&f));
    }
    f = of(400, "{\"error\":{\"code\":\"invalidPayload\",\"message\":\"the token limit\"}}");
    assert_false(failure_is_token_limit(&f));
}

static void what_cannot_succeed_later_says_so(void **state)
{
    struct failure f =
        of(409, "{\"error\":{\"message\":\"Cannot cancel a batch with status 'completed'.\"}}");

    (void)state;
    assert_true(f.should_not_retry);
    f = of(429, "{\"error\":{\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\","
                "\"message\":\"m\"}}");
    assert_true(f.should_not_retry);
    assert_true(with(503, "x-should-retry", "false").should_not_retry);
    assert_true(with(501, NULL, NULL).should_not_retry);
    assert_false(with(503, "x-should-retry", "true").should_not_retry);
    assert_false(with(500, NULL, NULL).should_not_retry);
    f = of(429,
           "{\"error\":{\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}");
    assert_failure(&f, 429, "tokens", "rate_limit_exceeded", "", "m");
    assert_false(f.should_not_retry);
}

static void the_envelope_has_its_keys_in_order_and_escapes(void **state)
{
    struct failure f = of(400, "{\"error\":{\"message\":\"say \\\"no\\\"\",\"code\":\"c\"}}");
    struct strbuf out = STRBUF_INIT;

    (void)state;
    failure_write(&f, &out);
    assert_string_equal(
        strbuf_str(&out),
        "{\"error\":{\"message\":\"say \\\"no\\\"\",\"type\":\"invalid_request_error\","
        "\"param\":null,\"code\":\"c\"}}");
    strbuf_deinit(&out);
}

static void only_an_error_object_is_the_providers_own_word(void **state)
{
    static const char *const its_own[] = {
        "{\"error\":{\"message\":\"no\",\"type\":\"x\",\"param\":null,\"code\":null}}",
        "{\"error\":{\"code\":\"429\",\"message\":\"\"}}", "{\"error\":{\"code\":429}}",
        "\xef\xbb\xbf{\"error\":{\"message\":\"no\"},\"detail\":{}}",
        "<h1>token_limit_exceeded</h1>"};
    static const char *const others[] = {"",
                                         "<html>503</html>",
                                         "no healthy upstream",
                                         "{}",
                                         "[]",
                                         "{\"error\":\"busy\"}",
                                         "{\"error\":{}}",
                                         "{\"error\":{\"code\":\"\",\"message\":null}}",
                                         "{\"statusCode\":429,\"message\":\"Rate limit\"}",
                                         "{\"detail\":{\"message\":\"x\"}}",
                                         "{\"error\":{\"message\":\"cut"};
    struct upstream_result result = {.end = UPSTREAM_ANSWERED, .head.status = 429};

    (void)state;
    assert_false(failure_is_from_provider(&result));
    for (size_t i = 0; i < sizeof(its_own) / sizeof(its_own[0]); i++) {
        result.body = its_own[i];
        result.body_len = strlen(its_own[i]);
        assert_true(failure_is_from_provider(&result));
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        result.body = others[i];
        result.body_len = strlen(others[i]);
        assert_false(failure_is_from_provider(&result));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_an_error_object_is_the_providers_own_word),
        cmocka_unit_test(an_error_of_openai_passes_unchanged),
        cmocka_unit_test(the_shapes_of_azure_get_type_and_param),
        cmocka_unit_test(a_code_that_is_a_number_stays_one),
        cmocka_unit_test(a_405_says_what_is_allowed),
        cmocka_unit_test(shapes_of_others_are_understood),
        cmocka_unit_test(bodies_that_say_nothing_get_a_message_of_ours),
        cmocka_unit_test(invalid_text_becomes_valid_and_long_text_is_cut_at_a_character),
        cmocka_unit_test(an_enormous_or_deep_body_is_not_read),
        cmocka_unit_test(a_refused_credential_is_the_gateways_matter),
        cmocka_unit_test(what_looks_like_a_key_is_masked),
        cmocka_unit_test(a_key_in_param_or_code_is_masked_too),
        cmocka_unit_test(a_400_about_our_key_is_not_the_clients),
        cmocka_unit_test(statuses_that_no_client_should_see_become_502),
        cmocka_unit_test(calls_without_an_answer_have_codes_of_their_own),
        cmocka_unit_test(retry_after_is_read_in_all_its_forms),
        cmocka_unit_test(a_date_to_retry_after_is_judged_by_the_clock_of_who_wrote_it),
        cmocka_unit_test(milliseconds_win_over_seconds),
        cmocka_unit_test(a_full_deployment_is_recognised_in_every_form),
        cmocka_unit_test(what_cannot_succeed_later_says_so),
        cmocka_unit_test(the_envelope_has_its_keys_in_order_and_escapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
