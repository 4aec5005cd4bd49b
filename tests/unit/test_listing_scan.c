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
#include "exact.h"

/* The elements, each behind a '|', then what is left behind a '#'; or the error. */
static int take_apart(const char *text, char *out, size_t size)
{
    struct listing_scan scan = {0};
    char *copy = exact_copy(text, strlen(text));
    const char *begin = text[0] != '\0' ? copy : copy + 1; /* of no bytes none may be read */
    const char *element;
    size_t len, used = 0;
    int rc;

    listing_scan_init(&scan, begin, strlen(text));
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
    assert_apart("{", "#{");
    assert_apart("{ ", "#{ ");
    assert_apart("{\"a\":1", "#{\"a\":1");
    assert_apart("{\"a\":1,", "#{\"a\":1,");
    assert_apart("{\"a\":1 ", "#{\"a\":1 ");
    assert_apart("{\"\":[1]}", "#{\"\":[1]}");
    assert_apart("{\"a\":[]", "#{\"a\":[]");
}

static void what_is_no_list_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "[]",
                                        "x",
                                        "{\"data",
                                        "{\"data\"",
                                        "{\"data\" ",
                                        "{\"data\":",
                                        "{\"data\": ",
                                        "{\"\":[",
                                        "{\"a\":[",
                                        "{\"data\":[",
                                        "{\"data\":[ ",
                                        "{\"data\":[1",
                                        "{\"data\":[1 ",
                                        "{\"data\":[1,",
                                        "{\"data\":[{\"a\":1",
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

/* A text of `len` bytes: `before`, a filling of x, `behind`. */
static int take_apart_long(size_t len, const char *before, const char *behind)
{
    char *text = malloc(len + 1), *out = malloc(2 * len);
    int rc;

    assert_true(text != NULL && out != NULL);
    memset(text, 'x', len);
    memcpy(text, before, strlen(before));
    strcpy(text + len - strlen(behind), behind);
    rc = take_apart(text, out, 2 * len);
    free(text);
    free(out);
    return rc;
}

static void a_list_without_measure_is_refused(void **state)
{
    size_t object = strlen("{\"data\":[]}");

    (void)state;
    /* an object, and what is not of objects, to the byte */
    assert_int_equal(take_apart_long(object + LISTING_MAX_OBJECT, "{\"data\":[\"", "\"]}"), 0);
    assert_int_equal(take_apart_long(object + LISTING_MAX_OBJECT + 1, "{\"data\":[\"", "\"]}"),
                     ERR_SYNTAX);
    assert_int_equal(take_apart_long(LISTING_MAX_REST, "{\"x\":\"", "\",\"data\":[]}"), 0);
    assert_int_equal(take_apart_long(LISTING_MAX_REST + 1, "{\"x\":\"", "\",\"data\":[]}"),
                     ERR_SYNTAX);
    assert_int_equal(take_apart_long(LISTING_MAX_REST, "{\"data\":[],\"x\":\"", "\"}"), 0);
    assert_int_equal(take_apart_long(LISTING_MAX_REST + 1, "{\"data\":[],\"x\":\"", "\"}"),
                     ERR_SYNTAX);
    assert_int_equal(take_apart_long(LISTING_MAX_OBJECT + 64, "{\"dato\":[\"", "\"]}"), ERR_SYNTAX);
}

static int count(void *arg, struct json_doc *doc, struct json *object, const char *text, size_t len)
{
    (void)doc;
    (void)text;
    assert_true(json_is(object, JSON_STRING) && len > 0);
    ++*(unsigned *)arg;
    return 0;
}

/* Objects of `size` bytes, each with its comma. @return how many the first slice reads */
static unsigned first_slice(unsigned size, unsigned num, int *rc)
{
    struct listing_scan scan = {0};
    struct strbuf text = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    unsigned found = 0;

    strbuf_adds(&text, "{\"data\":[");
    for (unsigned i = 0; i < num; i++)
        strbuf_addf(&text, "\"%0*u\"%s", (int)size - 3, i, i + 1 < num ? "," : "]}");
    listing_scan_init(&scan, strbuf_str(&text), text.len);
    *rc = listing_scan_slice(&scan, doc, count, &found);
    json_doc_free(doc);
    listing_scan_deinit(&scan);
    strbuf_deinit(&text);
    return found;
}

static void a_turn_reads_so_many_bytes_and_what_the_last_object_has_beyond(void **state)
{
    int rc;

    (void)state;
    /* nine bytes stand in front of the first object, and no comma behind the last */
    assert_int_equal(LISTING_SLICE_BYTES, 32768);
    assert_int_equal(first_slice(32768 - 9 + 1, 2, &rc), 1); /* up to the bound */
    assert_int_equal(rc, LISTING_SCAN_MORE);
    assert_int_equal(first_slice(32768 - 9, 2, &rc), 2); /* one byte is left */
    assert_int_equal(rc, LISTING_SCAN_MORE);
    assert_int_equal(first_slice(1000, 20, &rc), 20);
    assert_int_equal(rc, 0);
    assert_int_equal(first_slice(1000, 200, &rc), 33);
    assert_int_equal(rc, LISTING_SCAN_MORE);
}

static void where_nobody_says_that_more_follows_a_list_with_elements_has_more(void **state)
{
    static const struct {
        const char *text;
        bool more, told;
    } cases[] = {{"{\"data\":[]}", false, false},
                 {"{\"data\":[1]}", true, false},
                 {"{\"data\":[1],\"has_more\":false}", false, true},
                 {"{\"data\":[],\"has_more\":true}", true, true}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listing_scan scan = {0};
        const char *text;
        bool more, told;
        size_t len;

        listing_scan_init(&scan, cases[i].text, strlen(cases[i].text));
        while (listing_scan_next(&scan, &text, &len) > 0)
            ;
        assert_int_equal(listing_scan_rest(&scan, &more, &told), 0);
        assert_int_equal(more, cases[i].more);
        assert_int_equal(told, cases[i].told);
        listing_scan_deinit(&scan);
    }
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
        cmocka_unit_test(a_turn_reads_so_many_bytes_and_what_the_last_object_has_beyond),
        cmocka_unit_test(where_nobody_says_that_more_follows_a_list_with_elements_has_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
