/* A batch as its provider shows it becomes the message that tells the keeper of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "journal/seen.h"

struct world {
    struct json_doc *doc;
    struct wire_seen seen;
    struct strbuf errors;
};

static bool read(struct world *w, const char *text)
{
    struct json_error error;

    memset(w, 0, sizeof(*w));
    w->doc = json_doc_new();
    assert_non_null(w->doc);
    return seen_read(json_parse(w->doc, text, strlen(text), &error), &w->seen, &w->errors);
}

static void end(struct world *w)
{
    json_doc_free(w->doc);
    strbuf_deinit(&w->errors);
}

static const char completed[] =
    "{\"id\":\"batch_1\",\"object\":\"batch\",\"endpoint\":\"/v1/chat/completions\","
    "\"errors\":null,\"input_file_id\":\"file-in\",\"status\":\"completed\","
    "\"output_file_id\":\"file-out\",\"error_file_id\":null,\"created_at\":1800000000,"
    "\"in_progress_at\":1800000010,\"expires_at\":1800086400,\"finalizing_at\":1800000020,"
    "\"completed_at\":1800000030,\"failed_at\":1800000031,\"cancelling_at\":null,"
    "\"request_counts\":{\"total\":10,\"completed\":9,\"failed\":1}}";

static void what_a_batch_says_is_told(void **state)
{
    struct world w;

    (void)state;
    assert_true(read(&w, completed));
    assert_string_equal(w.seen.native, "batch_1");
    assert_string_equal(w.seen.status, "completed");
    assert_string_equal(w.seen.input, "file-in");
    assert_string_equal(w.seen.output, "file-out");
    assert_string_equal(w.seen.error, "");
    assert_string_equal(w.seen.errors, "");
    assert_int_equal(w.seen.total, 10);
    assert_int_equal(w.seen.completed, 9);
    assert_int_equal(w.seen.failed, 1);
    assert_int_equal(w.seen.created_s, 1800000000);
    assert_int_equal(w.seen.expires_s, 1800086400);
    assert_int_equal(w.seen.finished_s, 1800000030); /* the time of its own status */
    assert_int_equal(w.seen.source, WIRE_USAGE_UNKNOWN);
    assert_true(seen_is_ended(&w.seen));
    assert_false(seen_used_nothing(&w.seen));
    end(&w);
}

/* As Azure may write it: other letters, times as texts, "" for what is missing. */
static void another_spelling_says_the_same(void **state)
{
    struct world w;

    (void)state;
    assert_true(read(&w, "{\"id\":\"batch_2\",\"status\":\"Cancelled\",\"output_file_id\":\"\","
                         "\"created_at\":\"2027-01-15T08:00:00Z\","
                         "\"cancelled_at\":\"2027-01-15T08:00:10Z\",\"request_counts\":null}"));
    assert_int_equal(w.seen.created_s, 1800000000);
    assert_int_equal(w.seen.finished_s, 1800000010);
    assert_true(seen_is_ended(&w.seen));
    assert_true(seen_used_nothing(&w.seen));
    end(&w);
}

static void what_runs_has_not_ended(void **state)
{
    struct world w;

    (void)state;
    assert_true(read(&w, "{\"id\":\"batch_3\",\"status\":\"in_progress\",\"completed_at\":5}"));
    assert_int_equal(w.seen.finished_s, 0);
    assert_false(seen_is_ended(&w.seen));
    assert_false(seen_used_nothing(&w.seen));
    end(&w);
}

static void why_it_failed_goes_along(void **state)
{
    struct world w;

    (void)state;
    assert_true(read(&w, "{\"id\":\"b\",\"status\":\"failed\",\"errors\":{\"object\":\"list\","
                         "\"data\":[{\"code\":\"invalid_json_line\",\"line\":3}]}}"));
    assert_non_null(strstr(w.seen.errors, "invalid_json_line"));
    end(&w);
}

static void errors_without_end_are_left_out(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct world w;

    (void)state;
    strbuf_adds(&text, "{\"id\":\"b\",\"status\":\"failed\",\"errors\":{\"data\":[");
    for (int i = 0; i < 2000; i++)
        strbuf_addf(&text, "%s{\"code\":\"%d\"}", i > 0 ? "," : "", 1000000 + i);
    strbuf_adds(&text, "]}}");
    assert_true(read(&w, strbuf_str(&text)));
    assert_string_equal(w.seen.errors, "");
    end(&w);
    strbuf_deinit(&text);
}

static void what_cannot_be_named_is_not_told(void **state)
{
    static const char *const none[] = {"[]",
                                       "\"batch\"",
                                       "{}",
                                       "{\"id\":\"\",\"status\":\"completed\"}",
                                       "{\"id\":7,\"status\":\"completed\"}",
                                       "{\"id\":\"batch_1\",\"status\":null}",
                                       "{\"id\":\"batch_1\"}"};
    char text[WIRE_MAX_ID + 100];
    struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(read(&w, none[i]));
        end(&w);
    }
    snprintf(text, sizeof(text), "{\"status\":\"completed\",\"id\":\"%0*d\"}", WIRE_MAX_ID + 1, 0);
    assert_false(read(&w, text));
    end(&w);
}

static void counts_that_are_none_are_zero(void **state)
{
    struct world w;

    (void)state;
    assert_true(read(&w, "{\"id\":\"b\",\"status\":\"validating\",\"created_at\":-5,"
                         "\"request_counts\":{\"total\":-1,\"completed\":\"9\",\"failed\":null}}"));
    assert_int_equal(w.seen.created_s, 0);
    assert_int_equal(w.seen.total, 0);
    assert_int_equal(w.seen.completed, 0);
    assert_int_equal(w.seen.failed, 0);
    end(&w);
}

static void marker_and_usage_go_along(void **state)
{
    struct marker marker = {.owner = 5,
                            .request = 6,
                            .nonce = "n",
                            .file = "file-1",
                            .tokens = 7,
                            .deployment = 8,
                            .key = 9};
    struct usage_counts counts = {.source = USAGE_OF_OUTPUT, .num = 2};
    struct world w;

    (void)state;
    counts.of[1] = (struct usage_count){.model = "m",
                                        .ok = 3,
                                        .bad = 4,
                                        .unmeasured = 2,
                                        .reasoning = 1,
                                        .tokens = {.in = 10, .cached = 5, .out = 20, .long_in = 6}};
    assert_true(read(&w, completed));
    seen_mark(&marker, &w.seen);
    seen_use(&counts, &w.seen);
    assert_string_equal(w.seen.nonce, "n");
    assert_string_equal(w.seen.file, "file-1");
    assert_int_equal(w.seen.owner, 5);
    assert_int_equal(w.seen.key, 9);
    assert_int_equal(w.seen.placed, 8);
    assert_int_equal(w.seen.tokens, 7);
    assert_int_equal(w.seen.source, WIRE_USAGE_OUTPUT);
    assert_int_equal(w.seen.num_usage, 2);
    assert_string_equal(w.seen.usage[1].model, "m");
    assert_int_equal(w.seen.usage[1].ok, 3);
    assert_int_equal(w.seen.usage[1].cached, 5);
    assert_int_equal(w.seen.usage[1].out, 20);
    assert_int_equal(w.seen.usage[1].long_in, 6);
    assert_int_equal(w.seen.usage[1].unmeasured, 2);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_batch_says_is_told),
        cmocka_unit_test(another_spelling_says_the_same),
        cmocka_unit_test(what_runs_has_not_ended),
        cmocka_unit_test(why_it_failed_goes_along),
        cmocka_unit_test(errors_without_end_are_left_out),
        cmocka_unit_test(what_cannot_be_named_is_not_told),
        cmocka_unit_test(counts_that_are_none_are_zero),
        cmocka_unit_test(marker_and_usage_go_along),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
