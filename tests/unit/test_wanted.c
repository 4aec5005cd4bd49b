/* Whether a batch of a provider's list is the one that is looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "once/wanted.h"

#define NONCE "00112233445566778899aabbccddeeff"
#define OTHER "ffeeddccbbaa99887766554433221100"

static struct json_doc *doc;

static int set_up(void **state)
{
    (void)state;
    doc = json_doc_new();
    return doc != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_doc_free(doc);
    return 0;
}

static const struct json *parse(const char *text)
{
    struct json_error error;
    const struct json *value = json_parse(doc, text, strlen(text), &error);

    assert_non_null(value);
    return value;
}

static enum wanted_match match(const struct wanted *wanted, const char *batch)
{
    const struct json *value = parse(batch);
    struct marker marker;

    return wanted_match(wanted, value, wanted_marker(value, &marker) ? &marker : NULL);
}

/* A batch with a marker that nobody's key has sealed. */
static const char *marked(const char *nonce, unsigned owner, unsigned request)
{
    static char text[512];

    snprintf(text, sizeof(text),
             "{\"input_file_id\":\"file-1\",\"metadata\":{\"tranche\":\"2.%016x.%016x.%s.%016x."
             "%08x.%08x.file-1.0000000000000000\"}}",
             owner, request, nonce, 0u, 0u, 0u);
    return text;
}

static struct wanted a_marked_one(const char *nonce)
{
    struct wanted wanted = {.owner = 1, .request = 2, .file = "file-1"};

    snprintf(wanted.nonce, sizeof(wanted.nonce), "%s", nonce);
    return wanted;
}

static struct wanted an_unmarked_one(const char *file, const char *body)
{
    struct wanted wanted = {.owner = 1, .request = 2, .unmarked = true};

    wanted_describe(&wanted, file, parse(body));
    return wanted;
}

static void a_nonce_is_proof_and_with_another_request_a_conflict(void **state)
{
    struct wanted wanted = a_marked_one(NONCE);

    (void)state;
    assert_int_equal(match(&wanted, marked(NONCE, 1, 2)), WANTED_YES);
    assert_int_equal(match(&wanted, marked(NONCE, 1, 3)), WANTED_CONFLICT);
    assert_int_equal(match(&wanted, marked(NONCE, 2, 2)), WANTED_CONFLICT);
    assert_int_equal(match(&wanted, marked(OTHER, 1, 2)), WANTED_NO);
}

static void without_a_nonce_owner_and_request_are(void **state)
{
    struct wanted wanted = a_marked_one("");

    (void)state;
    assert_int_equal(match(&wanted, marked(NONCE, 1, 2)), WANTED_YES);
    assert_int_equal(match(&wanted, marked(NONCE, 1, 3)), WANTED_NO);
    assert_int_equal(match(&wanted, marked(NONCE, 2, 2)), WANTED_NO);
}

static void a_batch_of_the_file_that_lost_its_marker_may_be_it(void **state)
{
    struct wanted wanted = a_marked_one(NONCE);

    (void)state;
    assert_int_equal(match(&wanted, "{\"input_file_id\":\"file-1\"}"), WANTED_MAYBE);
    assert_int_equal(match(&wanted, "{\"input_file_id\":\"file-1\",\"metadata\":{}}"),
                     WANTED_MAYBE);
    assert_int_equal(
        match(&wanted, "{\"input_file_id\":\"file-1\",\"metadata\":{\"tranche\":\"3.x\"}}"),
        WANTED_MAYBE);
    assert_int_equal(match(&wanted, "{\"input_file_id\":\"file-1\",\"metadata\":{\"a\":\"b\"}}"),
                     WANTED_NO);
    assert_int_equal(match(&wanted, "{\"input_file_id\":\"file-2\"}"), WANTED_NO);
    assert_int_equal(match(&wanted, "{}"), WANTED_NO);
}

#define BODY "{\"endpoint\":\"/v1/x\",\"metadata\":{\"a\":\"b\",\"c\":\"d\"}}"

static void what_carries_no_marker_is_known_by_file_endpoint_and_pairs(void **state)
{
    struct wanted wanted = an_unmarked_one("file-1", BODY);
    static const struct {
        const char *batch;
        enum wanted_match match;
    } rows[] = {
        {"{\"input_file_id\":\"file-1\",\"endpoint\":\"/v1/x\",\"metadata\":{\"a\":\"b\",\"c\":"
         "\"d\"}}",
         WANTED_YES},
        {"{\"input_file_id\":\"file-1\",\"endpoint\":\"/"
         "x\",\"metadata\":{\"c\":\"d\",\"a\":\"b\"}}",
         WANTED_YES},
        {"{\"input_file_id\":\"file-1\",\"endpoint\":\"/v1/y\",\"metadata\":{\"a\":\"b\",\"c\":"
         "\"d\"}}",
         WANTED_MAYBE},
        {"{\"input_file_id\":\"file-1\",\"endpoint\":null,\"metadata\":{\"a\":\"b\",\"c\":\"d\"}}",
         WANTED_MAYBE},
        {"{\"input_file_id\":\"file-1\",\"endpoint\":\"/v1/x\",\"metadata\":{\"a\":\"b\"}}",
         WANTED_MAYBE},
        {"{\"input_file_id\":\"file-1\",\"endpoint\":\"/v1/x\",\"metadata\":{\"a\":\"d\",\"c\":"
         "\"b\"}}",
         WANTED_MAYBE},
        {"{\"input_file_id\":\"file-1\",\"endpoint\":\"/v1/x\",\"metadata\":null}", WANTED_MAYBE},
        {"{\"input_file_id\":\"file-2\",\"endpoint\":\"/v1/x\",\"metadata\":{\"a\":\"b\",\"c\":"
         "\"d\"}}",
         WANTED_NO},
        {"{\"input_file_id\":null,\"input_blob\":\"https://x/y\"}", WANTED_NO},
        {"{\"endpoint\":\"/v1/x\"}", WANTED_MAYBE}, /* this list tells nothing */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(match(&wanted, rows[i].batch), rows[i].match);
    assert_int_equal(match(&wanted, marked(NONCE, 1, 2)), WANTED_NO);
}

static void two_batches_of_one_blob_cannot_be_told_apart(void **state)
{
    struct wanted wanted =
        an_unmarked_one("", "{\"endpoint\":\"/v1/x\",\"input_blob\":\"https://s/a?sig=1\"}");

    (void)state;
    assert_int_equal(
        match(&wanted, "{\"input_blob\":\"https://s/a?sig=2\",\"input_file_id\":\"\"}"),
        WANTED_MAYBE);
    assert_int_equal(
        match(&wanted, "{\"input_blob\":\"https://s/b?sig=1\",\"input_file_id\":null}"), WANTED_NO);
    assert_int_equal(match(&wanted, "{\"input_file_id\":null}"), WANTED_MAYBE);
    assert_int_equal(match(&wanted, "{\"input_file_id\":\"file-1\"}"), WANTED_NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_nonce_is_proof_and_with_another_request_a_conflict,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_nonce_owner_and_request_are, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_of_the_file_that_lost_its_marker_may_be_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_carries_no_marker_is_known_by_file_endpoint_and_pairs,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_batches_of_one_blob_cannot_be_told_apart, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
