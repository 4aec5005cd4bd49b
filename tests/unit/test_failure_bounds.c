/* failure: how much of a provider's answer is looked at, and what stands at the edge of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/failure.h"
#include "exact.h"

#define NOW 1790000000 /* Mon, 21 Sep 2026 14:13:20 GMT */

enum {
    MOST_OF_A_BODY = 256 * 1024, /* bytes */
    MOST_OF_A_TEXT = 16 * 1024,
    MOST_OF_PLAIN_TEXT = 512
};

/* From an exact copy of the body, so that the sanitizer sees each byte read past the end. */
static struct failure of_bytes(int status, const char *body, size_t len, const char *name,
                               const char *value)
{
    struct upstream_header header = {name, value};
    char *copy = exact_copy(body, len);
    struct upstream_result result = {.end = UPSTREAM_ANSWERED, .body = copy, .body_len = len};
    struct failure out;

    result.head.status = status;
    result.head.headers = &header;
    result.head.num_headers = name != NULL;
    failure_from_result(&result, NOW, &out);
    free(copy);
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

/* An answer of OpenAI's shape and exactly so many bytes. */
static char *body_of(size_t len)
{
    static const char error[] = "{\"error\":{\"message\":\"said\",\"code\":\"c\"}}";
    char *body = malloc(len + 1);

    assert_non_null(body);
    memset(body, ' ', len);
    memcpy(body + len - strlen(error), error, strlen(error));
    body[len] = '\0';
    return body;
}

static void a_body_of_256_kib_is_read_and_one_byte_more_is_not(void **state)
{
    (void)state;
    for (size_t len = MOST_OF_A_BODY - 1; len <= MOST_OF_A_BODY + 1; len++) {
        char *body = body_of(len);
        struct upstream_result result = {
            .end = UPSTREAM_ANSWERED, .head.status = 429, .body = body, .body_len = len};

        assert_string_equal(of(400, body).code, len <= MOST_OF_A_BODY ? "c" : "");
        assert_int_equal(failure_is_from_provider(&result), len <= MOST_OF_A_BODY);
        free(body);
    }
}

/* What is behind it is not, although the key before it shrinks to three bytes. */
static void of_one_text_16_kib_are_looked_at(void **state)
{
    static const char head[] = "{\"error\":{\"message\":\"sk-";

    (void)state;
    for (size_t len = MOST_OF_A_TEXT - 3; len <= MOST_OF_A_TEXT + 2; len++) {
        struct strbuf body = STRBUF_INIT;
        size_t shown = MOST_OF_A_TEXT + 2 - len; /* of the two marks behind the key */
        char expected[16];

        strbuf_adds(&body, head);
        for (size_t i = strlen("sk-"); i < len - 2; i++)
            strbuf_addc(&body, 'a');
        strbuf_adds(&body, "!?\"}}");
        snprintf(expected, sizeof(expected), "***%.*s", shown < 2 ? (int)shown : 2, "!?");
        assert_string_equal(of(400, body.data).message, expected);
        strbuf_deinit(&body);
    }
}

static void of_a_character_at_the_end_of_16_kib_no_half_is_shown(void **state)
{
    struct strbuf body = STRBUF_INIT;

    (void)state;
    strbuf_adds(&body, "{\"error\":{\"message\":\"sk-");
    for (size_t i = strlen("sk-"); i < MOST_OF_A_TEXT - 1; i++)
        strbuf_addc(&body, 'a');
    strbuf_adds(&body, "\xc3\xa9\"}}");
    assert_string_equal(of(400, body.data).message, "***\xef\xbf\xbd");
    strbuf_deinit(&body);
}

static void an_empty_message_is_none_and_the_next_name_counts(void **state)
{
    (void)state;
    assert_string_equal(of(400, "{\"error\":{\"message\":\"\",\"msg\":\"m\"}}").message, "m");
    assert_string_equal(of(400, "{\"error\":{\"param\":\"\",\"target\":\"t\"}}").param, "t");
}

static void a_plain_text_of_512_bytes_is_shown_and_a_longer_one_is_not(void **state)
{
    char text[MOST_OF_PLAIN_TEXT + 2];
    struct failure f;

    (void)state;
    memset(text, 'x', sizeof(text));
    f = of_bytes(500, text, MOST_OF_PLAIN_TEXT, "content-type", "text/plain");
    assert_int_equal(strlen(f.message), MOST_OF_PLAIN_TEXT);
    f = of_bytes(500, text, MOST_OF_PLAIN_TEXT + 1, "content-type", "text/plain");
    assert_string_equal(f.message, "The provider failed (HTTP status 500).");
}

static void a_body_that_is_the_beginning_of_a_byte_order_mark_is_read_as_it_is(void **state)
{
    static const char mark[] = "\xef\xbb\xbf";

    (void)state;
    for (size_t len = 0; len <= 3; len++)
        assert_string_equal(of_bytes(500, mark, len, NULL, NULL).message,
                            "The provider failed (HTTP status 500).");
    assert_string_equal(of(400, "\xef\xbb\xbf\"a\"").message, "a");
}

/* In the body as it came, whatever the sequence lacks. */
static void a_character_that_is_cut_off_becomes_one_replacement_a_byte(void **state)
{
    static const char *const cut[] = {"\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xf0\x9f"};

    (void)state;
    for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
        char body[64], expected[16] = "";

        for (size_t n = 0; n < strlen(cut[i]); n++)
            strcat(expected, "\xef\xbf\xbd");
        snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\"}}", cut[i]);
        assert_string_equal(of(400, body).message, expected);
        snprintf(body, sizeof(body), "%s", cut[i]);
        assert_string_equal(of_bytes(400, body, strlen(body), "content-type", "text/plain").message,
                            expected);
    }
}

/* Characters of one to four bytes, at each place of the end. */
static void a_text_is_cut_before_the_character_that_does_not_fit(void **state)
{
    static const char *const characters[] = {"c", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

    (void)state;
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++) {
        size_t width = strlen(characters[i]);

        for (size_t shift = 0; shift < width; shift++) {
            struct strbuf body = STRBUF_INIT;
            struct failure f;

            strbuf_adds(&body, "{\"error\":{\"message\":\"m\",\"param\":\"");
            strbuf_add(&body, "xxxx", shift);
            for (int n = 0; n < 100; n++)
                strbuf_adds(&body, characters[i]);
            strbuf_adds(&body, "\"}}");
            f = of(400, body.data);
            assert_int_equal(strlen(f.param),
                             (sizeof(f.param) - 1 - shift) / width * width + shift);
            assert_string_equal(f.message, "m");
            strbuf_deinit(&body);
        }
    }
}

static void a_code_of_six_digits_is_a_code_and_a_million_is_none(void **state)
{
    (void)state;
    assert_string_equal(of(400, "{\"error\":{\"code\":999999}}").code, "999999");
    assert_string_equal(of(400, "{\"error\":{\"code\":1000000}}").code, "");
    assert_string_equal(of(400, "{\"error\":{\"code\":0}}").code, "0");
}

static void a_wait_of_32_characters_is_read_and_a_longer_one_is_not(void **state)
{
    char value[40];

    (void)state;
    memset(value, '0', sizeof(value));
    value[31] = '7';
    value[32] = '\0';
    assert_int_equal(with(429, "retry-after", value).retry_after_ms, 7000);
    value[31] = '0';
    value[32] = '7';
    value[33] = '\0';
    assert_int_equal(with(429, "retry-after", value).retry_after_ms, -1);
}

static void a_wait_in_a_sentence_needs_its_unit(void **state)
{
    static const struct {
        const char *message;
        int64_t want_ms;
    } rows[] = {
        {"Please retry after 26 seconds", 26000},
        {"Please retry after 1 SECOND", 1000},
        {"Please retry after 26 secon", -1},
        {"Please retry after 26", -1},
        {"Please retry after ", -1},
        {"Please retry after 299 seconds", 299000},
        {"Please retry after 301 seconds", 300000},
        {"Please retry after 9999999999 seconds", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char body[128];
        struct failure f;

        snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\"}}", rows[i].message);
        f = of(429, body);
        if (f.retry_after_ms != rows[i].want_ms)
            fail_msg("%s: %lld", rows[i].message, (long long)f.retry_after_ms);
    }
}

static void each_hundred_of_statuses_has_its_words(void **state)
{
    (void)state;
    assert_string_equal(with(499, NULL, NULL).message,
                        "The provider refused the request (HTTP status 499).");
    assert_string_equal(with(499, NULL, NULL).type, "invalid_request_error");
    assert_string_equal(with(500, NULL, NULL).message, "The provider failed (HTTP status 500).");
    assert_string_equal(with(500, NULL, NULL).type, "server_error");
    assert_string_equal(with(400, NULL, NULL).message,
                        "The provider refused the request (HTTP status 400).");
    assert_int_equal(with(599, NULL, NULL).status, 599);
    assert_string_equal(with(600, NULL, NULL).code, "upstream_unexpected_status");
    assert_string_equal(with(399, NULL, NULL).code, "upstream_unexpected_status");
    assert_string_equal(with(300, NULL, NULL).code, "upstream_unexpected_status");
    assert_string_equal(with(299, NULL, NULL).code, "upstream_invalid_answer");
    assert_string_equal(with(200, NULL, NULL).code, "upstream_invalid_answer");
    assert_string_equal(with(199, NULL, NULL).code, "upstream_unexpected_status");
}

static void of_what_a_405_allows_63_bytes_are_taken_and_no_more(void **state)
{
    char allow[66];

    (void)state;
    memset(allow, 'A', sizeof(allow));
    allow[63] = '\0';
    assert_string_equal(with(405, "allow", allow).allow, allow);
    allow[63] = 'A';
    allow[64] = '\0';
    assert_string_equal(with(405, "allow", allow).allow, "");
}

static void an_answer_without_a_body_is_not_the_providers_own_word(void **state)
{
    struct upstream_result result = {.end = UPSTREAM_ANSWERED, .head.status = 503};

    (void)state;
    assert_false(failure_is_from_provider(&result));
    result.body = "";
    assert_false(failure_is_from_provider(&result));
}

/* The last word of each list as well as the first. */
static void a_key_is_refused_by_every_word_for_it_and_by_no_other(void **state)
{
    static const char *const refusals[] = {
        "{\"error\":{\"code\":\"invalid_api_key\"}}", "{\"error\":{\"type\":\"expired_api_key\"}}",
        "{\"error\":{\"message\":\"incorrect api key\"}}",
        "{\"error\":{\"message\":\"an invalid proxy server token!\"}}"};

    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct failure f = of(422, refusals[i]);

        assert_true(failure_is_refused_key(&f));
    }
    assert_int_equal(of(422, "{\"error\":{\"code\":\"x\",\"message\":\"y\"}}").status, 422);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_of_256_kib_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(of_one_text_16_kib_are_looked_at),
        cmocka_unit_test(of_a_character_at_the_end_of_16_kib_no_half_is_shown),
        cmocka_unit_test(an_empty_message_is_none_and_the_next_name_counts),
        cmocka_unit_test(a_plain_text_of_512_bytes_is_shown_and_a_longer_one_is_not),
        cmocka_unit_test(a_body_that_is_the_beginning_of_a_byte_order_mark_is_read_as_it_is),
        cmocka_unit_test(a_character_that_is_cut_off_becomes_one_replacement_a_byte),
        cmocka_unit_test(a_text_is_cut_before_the_character_that_does_not_fit),
        cmocka_unit_test(a_code_of_six_digits_is_a_code_and_a_million_is_none),
        cmocka_unit_test(a_wait_of_32_characters_is_read_and_a_longer_one_is_not),
        cmocka_unit_test(a_wait_in_a_sentence_needs_its_unit),
        cmocka_unit_test(each_hundred_of_statuses_has_its_words),
        cmocka_unit_test(of_what_a_405_allows_63_bytes_are_taken_and_no_more),
        cmocka_unit_test(an_answer_without_a_body_is_not_the_providers_own_word),
        cmocka_unit_test(a_key_is_refused_by_every_word_for_it_and_by_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
