/* Lists taken apart: what is found, what is left, and what is no list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "calls/listing_scan.h"

/* The elements, each behind a '|', then what is left behind a '#'; or the error. */
static int take_apart(const char *text, char *out, size_t size)
{
    struct listing_scan scan = {0};
    char *copy = malloc(strlen(text) +
                        1); /* of the exact size, so that a sanitizer sees each byte too far */
    const char *element;
    size_t len, used = 0;
    int rc;

    assert_non_null(copy);
    memcpy(copy, text, strlen(text));
    listing_scan_init(&scan, copy, strlen(text));
    out[0] = '\0';
    while ((rc = listing_scan_next(&scan, &element, &len)) > 0)
        used += (size_t)snprintf(out + used, size - used, "|%.*s", (int)len, element);
    if (rc == 0) {
        snprintf(out + used, size - used, "#%s", strbuf_str(&scan.rest));
        assert_int_equal(listing_scan_next(&scan, &element, &len), 0);
    }
    listing_scan_deinit(&scan);
    free(copy);
    return rc;
}

static void assert_apart(const char *text, const char *wanted)
{
    char out[512];

    assert_int_equal(take_apart(text, out, sizeof(out)), 0);
    assert_string_equal(out, wanted);
}

static void objects_are_found_and_the_rest_is_kept(void **state)
{
    (void)state;
    assert_apart(
        "{\"object\":\"list\",\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"has_more\":true}",
        "|{\"id\":\"a\"}|{\"id\":\"b\"}#{\"object\":\"list\",\"data\":[],\"has_more\":true}");
    assert_apart(" { \"has_more\" : false , \"data\" : [ { } , 7 , \"x\" ] } ",
                 "|{ }|7|\"x\"# { \"has_more\" : false , \"data\" : [] } ");
    assert_apart("{\"value\":[[1,2],null]}", "|[1,2]|null#{\"value\":[]}");
    assert_apart("{\"data\":[]}", "#{\"data\":[]}");
}

static void brackets_and_quotes_in_text_are_text(void **state)
{
    (void)state;
    assert_apart("{\"x\":\"\\\"data\\\":[\",\"data\":[{\"s\":\"]}\\\"],[{\"},{\"t\":\"\\\\\"}]}",
                 "|{\"s\":\"]}\\\"],[{\"}|{\"t\":\"\\\\\"}#{\"x\":\"\\\"data\\\":[\",\"data\":[]}");
}

static void only_the_list_of_the_root_counts(void **state)
{
    (void)state;
    assert_apart("{\"page\":{\"data\":[1]},\"data\":[2]}",
                 "|2#{\"page\":{\"data\":[1]},\"data\":[]}");
    assert_apart("{\"data\":null}", "#{\"data\":null}");
    assert_apart("{\"object\":\"data\"}", "#{\"object\":\"data\"}");
    assert_apart("{}", "#{}");
}

static void what_is_no_list_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "[]",
                                        "x",
                                        "{\"data",
                                        "{\"data\"",
                                        "{\"data\":[",
                                        "{\"data\":[1",
                                        "{\"data\":[1,]}",
                                        "{\"data\":[,1]}",
                                        "{\"data\":[1 2]}",
                                        "{\"data\":[{]",
                                        "{\"data\":[\"a}",
                                        "{\"data\":[\"a\\",
                                        "{\"a\":}",
                                        "{\"a\" 1}"};
    char out[512];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_true(take_apart(texts[i], out, sizeof(out)) < 0);
}

/* What follows is read from the rest; a list that only the parser sees must not get lost there. */
static void a_list_beside_the_list_is_never_left_out_in_silence(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {{"{\"data\":[1]}", 0},
                 {"{\"value\":[]}", 0},
                 {"{\"data\":null,\"value\":[1]}", 0},
                 {"{\"data\":[1],\"error\":[2]}", 0},
                 {"{\"data\":[1],\"data\":[2]}", ERR_SYNTAX},
                 {"{\"data\":[1],\"data\":[]}", ERR_SYNTAX},
                 {"{\"value\":[],\"data\":[2]}", ERR_SYNTAX},
                 {"{\"d\\u0061ta\":[1]}", ERR_SYNTAX},
                 {"{\"data\":[1],\"d\\u0061ta\":[]}", ERR_SYNTAX},
                 {"{\"data\":[1],\"has_more\":true,\"has_more\":false}", ERR_SYNTAX},
                 {"{\"data\":{}}", ERR_SYNTAX},
                 {"{}", ERR_SYNTAX}};
    char out[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listing_scan scan = {0};
        const char *text;
        bool more, told;
        size_t len;

        assert_true(take_apart(cases[i].text, out, sizeof(out)) >= 0);
        listing_scan_init(&scan, cases[i].text, strlen(cases[i].text));
        while (listing_scan_next(&scan, &text, &len) > 0)
            ;
        assert_int_equal(listing_scan_rest(&scan, &more, &told), cases[i].rc);
        listing_scan_deinit(&scan);
    }
}

static void a_list_without_measure_is_refused(void **state)
{
    size_t len = LISTING_MAX_OBJECT + 64;
    char *text = malloc(len + 1), *out = malloc(2 * len);

    (void)state;
    assert_true(text != NULL && out != NULL);
    memset(text, ' ', len);
    text[len] = '\0';
    memcpy(text, "{\"data\":[\"", 10);
    memcpy(text + len - 3, "\"]}", 3);
    assert_int_equal(take_apart(text, out, 2 * len), ERR_SYNTAX);
    memcpy(text, "{\"dato\":[\"", 10);
    assert_int_equal(take_apart(text, out, 2 * len), ERR_SYNTAX);
    free(text);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_found_and_the_rest_is_kept),
        cmocka_unit_test(brackets_and_quotes_in_text_are_text),
        cmocka_unit_test(only_the_list_of_the_root_counts),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(a_list_beside_the_list_is_never_left_out_in_silence),
        cmocka_unit_test(a_list_without_measure_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
