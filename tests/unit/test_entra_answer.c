/* Answers of token services: the good, the odd, and those that refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "entra/entra_answer.h"
#include "entra/entra_expiry.h"
#include "entra_world.h"

#define NOW  1790000000 /* Mon, 21 Sep 2026 14:13:20 GMT */
#define DATE "Mon, 21 Sep 2026 14:13:20 GMT"

static const char proof[] = "s3cr3t-Pr00f~of.the_client+1";

struct heard {
    int status;
    const char *body;
    const char *name, *value; /* of a header; NULL: none */
    const char *date;         /* NULL: none */
};

static struct entra_answer read_as(const struct entra_credential *credential,
                                   const struct heard *heard, size_t len)
{
    struct upstream_header headers[2];
    struct upstream_result result = {
        .end = UPSTREAM_ANSWERED, .body = heard->body, .body_len = len};
    struct entra_request request = {.proof = proof, .proof_len = strlen(proof)};
    struct entra_answer out;

    result.head.status = heard->status;
    result.head.headers = headers;
    if (heard->name != NULL)
        headers[result.head.num_headers++] = (struct upstream_header){heard->name, heard->value};
    if (heard->date != NULL)
        headers[result.head.num_headers++] = (struct upstream_header){"date", heard->date};
    if (credential->source == ENTRA_ARC)
        request.proof_len = 0;
    entra_answer_read(credential, &request, &result, NOW, &out);
    return out;
}

static struct entra_answer heard(int status, const char *body)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct heard h = {.status = status, .body = body};

    return read_as(&c, &h, strlen(body));
}

static struct entra_answer heard_with(int status, const char *body, const char *name,
                                      const char *value, const char *date)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct heard h = {status, body, name, value, date};

    return read_as(&c, &h, strlen(body));
}

/* --- lives --- */

static void assert_life(const char *members, const char *date, uint32_t lives_s, bool guessed)
{
    char body[512];
    struct entra_answer a;

    snprintf(body, sizeof(body), "{\"token_type\":\"Bearer\",%s%s\"access_token\":\"t0k3n\"}",
             members, members[0] != '\0' ? "," : "");
    a = heard_with(200, body, NULL, NULL, date);
    assert_int_equal(a.outcome, ENTRA_OK);
    assert_string_equal(a.token.data, "t0k3n");
    if (a.lives_s != lives_s || a.guessed != guessed)
        fail_msg("%s: %u", members, a.lives_s);
    assert_string_equal(a.warning, guessed ? "the answer does not say how long the token lives; it "
                                             "is used for 600 s"
                                           : "");
    entra_answer_deinit(&a);
}

static void test_entra_12_all_nine_spellings_of_the_expiry_are_read(void **unused)
{
    static const char *const spellings[] = {
        "\"expires_in\":3600",
        "\"expires_in\":\"3600\"",
        "\"expires_on\":1790003600",
        "\"expires_on\":\"1790003600\"",
        "\"expires_on\":\"09/21/2026 15:13:20\"",
        "\"expires_on\":\"09/21/2026 15:13:20 +00:00\"",
        "\"expires_on\":\"9/21/2026 3:13:20 PM +00:00\"",
        "\"expires_on\":\"9/21/2026 3:13:20 PM\"",
        "\"expires_on\":\"2026-09-21 15:13:20\"",
        "\"expires_on\":\"2026-09-21T15:13:20Z\"",
        "\"expires_on\":\"2026-09-21T15:13:20\"",
        "\"expires_on\":\"2026-09-21T17:13:20.5+02:00\"",
        "\"expires_in\":3600.7",
        "\"expires_in\":\"3600.0\"",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        assert_life(spellings[i], NULL, 3600, false);
        assert_life(spellings[i], DATE, 3600, false);
    }
    assert_life("", NULL, 600, true);
}

static void test_entra_12_noon_and_midnight_of_a_12_hour_clock(void **unused)
{
    static const struct {
        const char *text;
        int64_t moment; /* 0: none */
    } cases[] = {{"09/21/2026 12:00:00 AM", 1789948800},
                 {"09/21/2026 12:00:00 PM", 1789992000},
                 {"09/21/2026 11:59:59 PM", 1790035199},
                 {"09/21/2026 13:00:00 PM", 0},
                 {"09/21/2026 00:00:00 AM", 0},
                 {"13/21/2026 12:00:00", 0},
                 {"02/29/2027 12:00:00", 0},
                 {"02/29/2028 12:00:00", 1835438400},
                 {"09/21/2026 24:00:00", 0},
                 {"-1/21/2026 12:00:00", 0},
                 {"09/21/2026 12:00", 0},
                 {"2026-09-21", 0},
                 {"", 0},
                 {"soon", 0},
                 {"-5", 0},
                 {"0", 0},
                 {"0x10", 0},
                 {"1e9", 0},
                 {"99999999999999999999", 0},
                 {"1.2.3", 0}};

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t moment = 0;
        bool good = entra_expiry_moment(cases[i].text, &moment);

        if (good != (cases[i].moment != 0) || moment != cases[i].moment)
            fail_msg("%s: %lld", cases[i].text, (long long)moment);
    }
}

static void test_entra_12_nonsense_is_taken_for_600_seconds_with_a_warning(void **unused)
{
    static const char *const members[] = {
        "\"expires_in\":0",          "\"expires_in\":\"0\"",      "\"expires_in\":-3600",
        "\"expires_in\":\"-1\"",     "\"expires_in\":99999999",   "\"expires_in\":\"604801\"",
        "\"expires_in\":1e300",      "\"expires_in\":\"soon\"",   "\"expires_in\":null",
        "\"expires_in\":[]",         "\"expires_in\":0.5",        "\"expires_on\":1790000000",
        "\"expires_on\":1789999999", "\"expires_on\":1790604801", "\"expires_on\":\"never\"",
        "\"expires_on\":{}",         "\"expires_on\":0",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        assert_life(members[i], NULL, 600, true);
    assert_life("\"expires_in\":604800", NULL, 604800, false);
    assert_life("\"expires_in\":1", NULL, 1, false);
}

static void test_entra_12_where_both_are_there_the_earlier_end_counts(void **unused)
{
    (void)unused;
    /* A service's cache hands out an older token with the life of a new one. */
    assert_life("\"expires_in\":\"3600\",\"expires_on\":\"1790000900\"", NULL, 900, false);
    assert_life("\"expires_on\":1790007200,\"expires_in\":3600", NULL, 3600, false);
    /* One of them is nonsense. */
    assert_life("\"expires_in\":0,\"expires_on\":1790003600", NULL, 3600, false);
    assert_life("\"expires_in\":3600,\"expires_on\":\"0\"", NULL, 3600, false);
    assert_life("\"expires_in\":-1,\"expires_on\":1", NULL, 600, true);
}

static void test_entra_12_a_clock_that_is_ten_minutes_off_harms_nobody(void **unused)
{
    (void)unused;
    /* Ours is 10 minutes before: what lives for 500 s seems to be over. */
    assert_life("\"expires_in\":500,\"expires_on\":1789999900", NULL, 500, false);
    /* Ours is 10 minutes behind: what lives for an hour seems to live longer. */
    assert_life("\"expires_in\":3600,\"expires_on\":1790004200", NULL, 3600, false);
    /* The answer's own date says what time it is there. */
    assert_life("\"expires_on\":1790004200", "Mon, 21 Sep 2026 14:23:20 GMT", 3600, false);
    assert_life("\"expires_on\":1790003000", "Mon, 21 Sep 2026 14:03:20 GMT", 3600, false);
}

static void test_entra_11_refresh_in_is_read_where_it_makes_sense(void **unused)
{
    static const struct {
        const char *member;
        uint32_t refresh_s;
    } cases[] = {{"43200", 43200}, {"\"43200\"", 43200}, {"86399", 86399}, {"86400", 0}, {"0", 0},
                 {"-1", 0},        {"\"x\"", 0},         {"null", 0}};

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];
        struct entra_answer a;

        snprintf(body, sizeof(body),
                 "{\"access_token\":\"t\",\"expires_in\":86400,\"refresh_in\":%s}",
                 cases[i].member);
        a = heard(200, body);
        assert_int_equal(a.outcome, ENTRA_OK);
        assert_int_equal(a.refresh_s, cases[i].refresh_s);
        entra_answer_deinit(&a);
    }
}

/* --- tokens --- */

static struct entra_answer with_token(const char *token, size_t len)
{
    static char body[ENTRA_MAX_ANSWER];
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct heard h = {.status = 200, .body = body};
    int head = snprintf(body, sizeof(body), "{\"expires_in\":3600,\"access_token\":\"");

    memcpy(body + head, token, len);
    memcpy(body + head + len, "\"}", 3);
    return read_as(&c, &h, (size_t)head + len + 2);
}

static void test_entra_22_a_token_of_16_kib_works_and_a_longer_one_is_refused(void **unused)
{
    static char token[ENTRA_MAX_TOKEN + 1];
    struct entra_answer a;

    (void)unused;
    memset(token, 'x', sizeof(token));
    a = with_token(token, ENTRA_MAX_TOKEN);
    assert_int_equal(a.outcome, ENTRA_OK);
    assert_int_equal(a.token.len, ENTRA_MAX_TOKEN);
    entra_answer_deinit(&a);
    assert_null(a.token.data);
    a = with_token(token, ENTRA_MAX_TOKEN + 1);
    assert_int_equal(a.outcome, ENTRA_FINAL);
    assert_string_equal(a.message, "the token has more than 16384 bytes");
    assert_null(a.token.data);
}

static void test_entra_22_a_byte_that_no_header_carries_is_refused(void **unused)
{
    static const char *const tokens[] = {"a b",       "a\\nb",    "a\\u0000b",
                                         "a\\u007fb", "\xc3\xa9", "a\\r\\nX-Evil: 1"};

    (void)unused;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        struct entra_answer a = with_token(tokens[i], strlen(tokens[i]));

        assert_int_equal(a.outcome, ENTRA_FINAL);
        assert_string_equal(a.message, "the token has a byte in it that no header carries");
        assert_null(a.token.data);
    }
}

static void test_entra_22_bearer_in_any_case_and_nothing_else(void **unused)
{
    static const struct {
        const char *type;
        bool good;
    } cases[] = {{"\"Bearer\"", true}, {"\"bearer\"", true}, {"\"BEARER\"", true}, {"\"\"", false},
                 {"\"mac\"", false},   {"\"pop\"", false},   {"7", false},         {"null", false}};

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];
        struct entra_answer a;

        snprintf(body, sizeof(body),
                 "{\"access_token\":\"t\",\"expires_in\":3600,\"token_type\":%s}", cases[i].type);
        a = heard(200, body);
        assert_int_equal(a.outcome, cases[i].good ? ENTRA_OK : ENTRA_FINAL);
        if (!cases[i].good)
            assert_string_equal(a.message, "the token is of another type than Bearer");
        entra_answer_deinit(&a);
    }
}

static void test_members_that_nobody_knows_are_left_alone(void **unused)
{
    struct entra_answer a =
        heard(201, "{\"access_token\":\"t\",\"expires_in\":\"3599\",\"ext_expires_in\":\"3599\","
                   "\"not_before\":\"1890000000\",\"resource\":\"r\",\"refresh_token\":\"\","
                   "\"x\":{\"y\":[1,2]}}");

    (void)unused;
    assert_int_equal(a.outcome, ENTRA_OK);
    assert_int_equal(a.lives_s, 3599);
    entra_answer_deinit(&a);
}

static void assert_passing(int status, const char *body, const char *why)
{
    struct entra_answer a = heard(status, body);

    assert_int_equal(a.outcome, ENTRA_PASSING);
    assert_int_equal(a.status, status);
    assert_string_equal(a.message, why);
    assert_null(a.token.data);
}

static void test_entra_23_what_is_no_token_may_pass(void **unused)
{
    struct entra_answer a;

    (void)unused;
    assert_passing(200, "<html>Sign in</html>", "the answer is no JSON object");
    assert_passing(200, "", "the answer is no JSON object");
    assert_passing(200, "[]", "the answer is no JSON object");
    assert_passing(200, "{\"access_token\":\"t0k", "the answer is no JSON object");
    assert_passing(200, "{\"access_token\":\"t\"} x", "the answer is no JSON object");
    assert_passing(200, "{}", "there is no access_token in the answer");
    assert_passing(200, "{\"access_token\":\"\"}", "there is no access_token in the answer");
    assert_passing(204, "{\"access_token\":null}", "there is no access_token in the answer");
    assert_passing(503, "", "the answer says no more than that");
    assert_passing(502, "<html>Bad gateway</html>", "the answer says no more than that");
    a = heard_with(200, "\x1f\x8b", "content-encoding", "gzip", NULL);
    assert_int_equal(a.outcome, ENTRA_PASSING);
    assert_string_equal(a.message, "the answer is compressed, which was not asked for");
    a = heard_with(302, "", "location", "https://elsewhere.example/", NULL);
    assert_int_equal(a.outcome, ENTRA_FINAL);
    assert_string_equal(a.message, "the answer leads to another address, which is not followed");
}

static void test_entra_23_a_call_without_an_answer_may_pass(void **unused)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct entra_request request = {0};
    struct upstream_result result = {.end = UPSTREAM_TIMEOUT, .error = "no answer in 10000 ms"};
    struct entra_answer a;

    (void)unused;
    entra_answer_read(&c, &request, &result, NOW, &a);
    assert_int_equal(a.outcome, ENTRA_PASSING);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.retry_after_s, -1);
    assert_string_equal(a.message, "no answer in 10000 ms");
    result.end = UPSTREAM_REFUSED;
    entra_answer_read(&c, &request, &result, NOW, &a);
    assert_int_equal(a.outcome, ENTRA_FINAL);
}

/* --- refusals --- */

#define IDS                                                                                        \
    "\"trace_id\":\"0f0f0f0f-1111-4222-8333-444444444444\","                                       \
    "\"correlation_id\":\"5a5a5a5a-1111-4222-8333-444444444444\""

static void test_entra_15_a_refusal_is_told_by_number_line_and_ids(void **unused)
{
    struct entra_answer a = heard(
        401, "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client "
             "secret provided. Ensure the secret is right.\\r\\nTrace ID: 0f0f\\r\\nCorrelation "
             "ID: 5a5a\",\"error_codes\":[7000215],\"timestamp\":\"2026-09-21\"," IDS "}");
    struct strbuf text = STRBUF_INIT;

    (void)unused;
    assert_int_equal(a.outcome, ENTRA_FINAL);
    assert_int_equal(a.status, 401);
    assert_int_equal(a.number, 7000215);
    assert_string_equal(a.error, "invalid_client");
    assert_string_equal(a.message, "Invalid client secret provided. Ensure the secret is right");
    assert_string_equal(a.correlation, "5a5a5a5a-1111-4222-8333-444444444444");
    assert_string_equal(a.trace, "0f0f0f0f-1111-4222-8333-444444444444");
    entra_answer_describe(&a, &text);
    assert_string_equal(strbuf_str(&text),
                        "status 401, invalid_client, AADSTS7000215: Invalid client secret "
                        "provided. Ensure the secret is right (correlation id "
                        "5a5a5a5a-1111-4222-8333-444444444444)");
    strbuf_deinit(&text);
}

static void test_newer_descriptions_have_their_ids_in_the_first_line(void **unused)
{
    struct entra_answer a =
        heard(400, "{\"error\":\"unauthorized_client\",\"error_description\":\"AADSTS700016: "
                   "Application not found. Trace ID: 0f Correlation ID: 5a Timestamp: now\"}");

    (void)unused;
    assert_string_equal(a.message, "Application not found");
    assert_int_equal(a.number, 700016);
}

static void test_entra_15_what_was_sent_as_a_proof_is_never_shown(void **unused)
{
    static const char *const echoes[] = {
        "AADSTS7000215: Invalid secret 's3cr3t-Pr00f~of.the_client+1' provided",
        "AADSTS7000215: Invalid secret s3cr3t-Pr00f~of.the_client%2B1", "x s3cr3t-Pr00f~of.the_cli",
        "Authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhYmNkZWYifQ.c2ln"};
    static const char *const pieces[] = {"s3cr3t-Pr00f", "00f~of.the_c", "eyJ0eXAiOiJKV1Qi"};

    (void)unused;
    for (size_t i = 0; i < sizeof(echoes) / sizeof(echoes[0]); i++) {
        char body[512];
        struct entra_answer a;
        struct strbuf text = STRBUF_INIT;

        snprintf(body, sizeof(body),
                 "{\"error\":\"invalid_client\",\"error_description\":\"%s\",\"correlation_id\":"
                 "\"%s\",\"trace_id\":\"s3cr3t-Pr00f\"}",
                 echoes[i], "s3cr3t-Pr00f-00f_of.the_c");
        a = heard(401, body);
        entra_answer_describe(&a, &text);
        assert_true(a.message[0] != '\0');
        for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
            assert_null(strstr(strbuf_str(&text), pieces[k]));
            assert_null(strstr(a.trace, pieces[k]));
        }
        strbuf_deinit(&text);
    }
}

static void test_a_secret_at_the_cut_of_a_long_line_leaves_no_piece(void **unused)
{
    char body[1024];

    (void)unused;
    for (int before = 200; before < 260; before++) {
        struct entra_answer a;

        snprintf(body, sizeof(body),
                 "{\"error\":\"invalid_client\",\"error_description\":\"%0*d%s\"}", before, 0,
                 proof);
        a = heard(401, body);
        assert_null(strstr(a.message, "s3cr"));
    }
}

static void test_texts_of_others_are_one_printable_line(void **unused)
{
    struct entra_answer a = heard(
        400, "{\"error\":\"a b\\u001b[31m\",\"error_description\":\"\\r\\n bad\\u0007 \\u001b[31m "
             "\\u00e9 thing.\\nsecond line\",\"correlation_id\":\"a\\nb\"}");

    (void)unused;
    assert_string_equal(a.error, "");
    assert_string_equal(a.correlation, "");
    assert_string_equal(a.message, "bad? ?[31m ?? thing");
}

static void assert_class(int status, const char *error, const char *description,
                         enum entra_outcome outcome)
{
    char body[256];
    struct entra_answer a;

    snprintf(body, sizeof(body), "{\"error\":\"%s\",\"error_description\":\"%s\"}", error,
             description);
    a = heard(status, body);
    if (a.outcome != outcome)
        fail_msg("%d %s %s: %s", status, error, description, entra_outcome_name(a.outcome));
}

static void test_a_refusal_is_classed_by_status_and_error(void **unused)
{
    (void)unused;
    assert_class(429, "x", "x", ENTRA_THROTTLED);
    assert_class(400, "invalid_request", "AADSTS50196: loop", ENTRA_THROTTLED);
    assert_class(500, "x", "x", ENTRA_PASSING);
    assert_class(599, "invalid_client", "x", ENTRA_PASSING);
    assert_class(408, "x", "x", ENTRA_PASSING);
    assert_class(400, "temporarily_unavailable", "x", ENTRA_PASSING);
    assert_class(400, "server_error", "x", ENTRA_PASSING);
    assert_class(400, "invalid_request", "AADSTS90033: a transient error", ENTRA_PASSING);
    assert_class(400, "invalid_request", "AADSTS90002: no such tenant", ENTRA_FINAL);
    assert_class(401, "invalid_client", "AADSTS7000222: expired", ENTRA_FINAL);
    assert_class(401, "invalid_client", "AADSTS700024: not within its time", ENTRA_OUT_OF_TIME);
    assert_class(400, "unauthorized_client", "AADSTS700016: none", ENTRA_FINAL);
    assert_class(404, "x", "x", ENTRA_FINAL);
    assert_class(403, "x", "x", ENTRA_FINAL);
    assert_class(400, "invalid_client", "AADSTS700027: bad signature", ENTRA_FINAL);
}

static void test_entra_8_a_managed_identity_is_asked_again_after_404_and_410(void **unused)
{
    static const struct {
        int status;
        enum entra_outcome outcome;
    } cases[] = {{400, ENTRA_FINAL},   {403, ENTRA_FINAL},     {404, ENTRA_PASSING},
                 {410, ENTRA_PASSING}, {429, ENTRA_THROTTLED}, {500, ENTRA_PASSING}};
    struct entra_credential c = managed_by(ENTRA_IMDS, "http://169.254.169.254/t");

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct heard h = {.status = cases[i].status,
                          .body = "{\"error\":\"invalid_request\",\"error_description\":"
                                  "\"Identity not found\"}"};
        struct entra_answer a = read_as(&c, &h, strlen(h.body));

        assert_int_equal(a.outcome, cases[i].outcome);
        assert_string_equal(a.message, "Identity not found");
    }
}

static void test_other_shapes_of_errors_are_read_too(void **unused)
{
    struct entra_answer a =
        heard(400, "{\"statusCode\":400,\"message\":\"No identity.\",\"correlationId\":\"5a5a\"}");

    (void)unused;
    assert_string_equal(a.message, "No identity");
    assert_string_equal(a.correlation, "5a5a");
    a = heard(400, "{\"error\":{\"code\":\"bad_request_102\",\"message\":\"Not supported.\"}}");
    assert_string_equal(a.error, "bad_request_102");
    assert_string_equal(a.message, "Not supported");
    a = heard(400, "{\"error\":\"x\",\"error_description\":7,\"error_codes\":[700016]}");
    assert_int_equal(a.number, 700016);
    assert_string_equal(a.message, "the answer says no more than that");
    a = heard(400, "{\"error\":\"x\",\"error_description\":\"AADSTS99999999999999: y\"}");
    assert_int_equal(a.number, 0);
}

static void test_entra_14_throttling_is_plain_text_with_seconds_or_a_date(void **unused)
{
    static const struct {
        const char *value, *date;
        int64_t wait_s;
    } cases[] = {{"60", NULL, 60},
                 {"0", NULL, 0},
                 {"86400", NULL, 3600},
                 {"99999999999999999999", NULL, 3600},
                 {"Mon, 21 Sep 2026 14:14:20 GMT", NULL, 60},
                 {"Mon, 21 Sep 2026 14:14:20 GMT", DATE, 60},
                 /* by the clock of who wrote it, whatever ours says */
                 {"Mon, 21 Sep 2026 14:24:20 GMT", "Mon, 21 Sep 2026 14:23:20 GMT", 60},
                 {"Mon, 21 Sep 2026 14:00:00 GMT", DATE, 0},
                 {"soon", NULL, -1},
                 {"-1", NULL, -1},
                 {"", NULL, -1}};

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct entra_answer a =
            heard_with(429, "Too Many Requests\n", "retry-after", cases[i].value, cases[i].date);

        assert_int_equal(a.outcome, ENTRA_THROTTLED);
        assert_int_equal(a.retry_after_s, cases[i].wait_s);
        assert_string_equal(a.message, "Too Many Requests");
    }
}

static void test_entra_6_an_assertion_out_of_time_tells_how_far_the_clocks_differ(void **unused)
{
    static const char body[] =
        "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS700024: "
        "Client assertion is not within its valid time range.\"}";
    struct entra_answer a = heard_with(401, body, NULL, NULL, "Mon, 21 Sep 2026 14:23:20 GMT");

    (void)unused;
    assert_int_equal(a.outcome, ENTRA_OUT_OF_TIME);
    assert_true(a.has_clock);
    assert_int_equal(a.clock_ahead_s, 600);
    assert_string_equal(a.message, "Client assertion is not within its valid time range; our clock "
                                   "is 600 s behind the service's");
    a = heard_with(401, body, NULL, NULL, "Mon, 21 Sep 2026 14:03:20 GMT");
    assert_string_equal(a.message, "Client assertion is not within its valid time range; our clock "
                                   "is 600 s before the service's");
    a = heard_with(401, body, NULL, NULL, DATE);
    assert_string_equal(a.message, "Client assertion is not within its valid time range");
}

/* --- Azure Arc --- */

static void test_entra_9_arc_answers_with_a_challenge_first(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_ARC, "http://127.0.0.1:40342/t"),
                            imds = managed_by(ENTRA_IMDS, "http://127.0.0.1:40342/t");
    struct heard h = {401, "", "www-authenticate", "Basic realm=/var/opt/azcmagent/tokens/a.key",
                      NULL};
    struct entra_answer a = read_as(&c, &h, 0);

    (void)unused;
    assert_int_equal(a.outcome, ENTRA_CHALLENGE);
    assert_string_equal(a.challenge, "/var/opt/azcmagent/tokens/a.key");
    /* Nobody else is believed. */
    a = read_as(&imds, &h, 0);
    assert_int_equal(a.outcome, ENTRA_FINAL);
    h.value = "Bearer";
    a = read_as(&c, &h, 0);
    assert_int_equal(a.outcome, ENTRA_FINAL);
}

static void test_entra_9_a_second_challenge_is_a_refusal(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_ARC, "http://127.0.0.1:40342/t");
    struct upstream_header header = {"www-authenticate", "Basic realm=/a.key"};
    struct upstream_result result = {.end = UPSTREAM_ANSWERED};
    struct entra_request request = {.proof = "key", .proof_len = 3};
    struct entra_answer a;

    (void)unused;
    result.head = (struct upstream_head){.status = 401, .headers = &header, .num_headers = 1};
    entra_answer_read(&c, &request, &result, NOW, &a);
    assert_int_equal(a.outcome, ENTRA_FINAL);
    assert_string_equal(a.challenge, "");
}

static void test_entra_9_arc_has_to_repeat_whose_token_it_is(void **unused)
{
    static const struct {
        const char *value, *member;
        enum entra_selector selector;
        bool good;
    } cases[] = {{"ab-CD", "\"client_id\":\"AB-cd\",", ENTRA_BY_CLIENT_ID, true},
                 {"ab-CD", "\"client_id\":\"other\",", ENTRA_BY_CLIENT_ID, false},
                 {"ab-CD", "", ENTRA_BY_CLIENT_ID, false},
                 {"ab", "\"object_id\":\"ab\",", ENTRA_BY_OBJECT_ID, true},
                 {"/s/a", "\"msi_res_id\":\"/s/A\",", ENTRA_BY_RESOURCE_ID, true},
                 {"/s/a", "\"mi_res_id\":\"/s/a\",", ENTRA_BY_RESOURCE_ID, true},
                 {NULL, "", ENTRA_SELECT_NONE, true}};
    struct entra_credential c = managed_by(ENTRA_ARC, "http://127.0.0.1:40342/t");

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];
        struct heard h = {.status = 200, .body = body};
        struct entra_answer a;

        c.selector = cases[i].selector;
        c.selector_value = (char *)cases[i].value;
        snprintf(body, sizeof(body), "{%s\"access_token\":\"t\",\"expires_in\":3600}",
                 cases[i].member);
        a = read_as(&c, &h, strlen(body));
        assert_int_equal(a.outcome, cases[i].good ? ENTRA_OK : ENTRA_FINAL);
        entra_answer_deinit(&a);
    }
}

/* --- the rest --- */

static void test_a_call_that_was_never_made_has_an_answer_too(void **unused)
{
    struct entra_error error = {"/token: is empty"};
    struct strbuf text = STRBUF_INIT;
    struct entra_answer a;

    (void)unused;
    entra_answer_fail(ENTRA_PASSING, &error, &a);
    assert_int_equal(a.outcome, ENTRA_PASSING);
    assert_int_equal(a.retry_after_s, -1);
    entra_answer_describe(&a, &text);
    assert_string_equal(strbuf_str(&text), "/token: is empty");
    strbuf_deinit(&text);
    entra_answer_deinit(&a);
}

static void test_outcomes_have_names_for_metrics(void **unused)
{
    (void)unused;
    for (int i = 0; i < ENTRA_OUTCOMES; i++)
        assert_non_null(entra_outcome_name((enum entra_outcome)i));
    assert_string_equal(entra_outcome_name(ENTRA_OUT_OF_TIME), "out_of_time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entra_12_all_nine_spellings_of_the_expiry_are_read),
        cmocka_unit_test(test_entra_12_noon_and_midnight_of_a_12_hour_clock),
        cmocka_unit_test(test_entra_12_nonsense_is_taken_for_600_seconds_with_a_warning),
        cmocka_unit_test(test_entra_12_where_both_are_there_the_earlier_end_counts),
        cmocka_unit_test(test_entra_12_a_clock_that_is_ten_minutes_off_harms_nobody),
        cmocka_unit_test(test_entra_11_refresh_in_is_read_where_it_makes_sense),
        cmocka_unit_test(test_entra_22_a_token_of_16_kib_works_and_a_longer_one_is_refused),
        cmocka_unit_test(test_entra_22_a_byte_that_no_header_carries_is_refused),
        cmocka_unit_test(test_entra_22_bearer_in_any_case_and_nothing_else),
        cmocka_unit_test(test_members_that_nobody_knows_are_left_alone),
        cmocka_unit_test(test_entra_23_what_is_no_token_may_pass),
        cmocka_unit_test(test_entra_23_a_call_without_an_answer_may_pass),
        cmocka_unit_test(test_entra_15_a_refusal_is_told_by_number_line_and_ids),
        cmocka_unit_test(test_newer_descriptions_have_their_ids_in_the_first_line),
        cmocka_unit_test(test_entra_15_what_was_sent_as_a_proof_is_never_shown),
        cmocka_unit_test(test_a_secret_at_the_cut_of_a_long_line_leaves_no_piece),
        cmocka_unit_test(test_texts_of_others_are_one_printable_line),
        cmocka_unit_test(test_a_refusal_is_classed_by_status_and_error),
        cmocka_unit_test(test_entra_8_a_managed_identity_is_asked_again_after_404_and_410),
        cmocka_unit_test(test_other_shapes_of_errors_are_read_too),
        cmocka_unit_test(test_entra_14_throttling_is_plain_text_with_seconds_or_a_date),
        cmocka_unit_test(test_entra_6_an_assertion_out_of_time_tells_how_far_the_clocks_differ),
        cmocka_unit_test(test_entra_9_arc_answers_with_a_challenge_first),
        cmocka_unit_test(test_entra_9_a_second_challenge_is_a_refusal),
        cmocka_unit_test(test_entra_9_arc_has_to_repeat_whose_token_it_is),
        cmocka_unit_test(test_a_call_that_was_never_made_has_an_answer_too),
        cmocka_unit_test(test_outcomes_have_names_for_metrics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
