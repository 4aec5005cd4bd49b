/* What a client that waits for a batch waits for: its status and its counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "read/long_poll.h"

static uint64_t state_of(const char *text)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *batch = json_parse(doc, text, strlen(text), &error);
    uint64_t out = long_poll_state(batch);

    assert_non_null(batch);
    json_doc_free(doc);
    return out;
}

#define BATCH(status, counts, more)                                                                \
    "{\"id\":\"batch_1\",\"status\":\"" status "\",\"request_counts\":" counts more "}"
#define COUNTS "{\"total\":10,\"completed\":3,\"failed\":1}"

static void status_and_counts_are_news(void **state)
{
    uint64_t first = state_of(BATCH("in_progress", COUNTS, ""));

    (void)state;
    assert_true(first != 0);
    assert_true(state_of(BATCH("finalizing", COUNTS, "")) != first);
    assert_true(state_of(BATCH("in_progress", "{\"total\":11,\"completed\":3,\"failed\":1}", "")) !=
                first);
    assert_true(state_of(BATCH("in_progress", "{\"total\":10,\"completed\":4,\"failed\":1}", "")) !=
                first);
    assert_true(state_of(BATCH("in_progress", "{\"total\":10,\"completed\":3,\"failed\":2}", "")) !=
                first);
    assert_true(state_of(BATCH("in_progress", "null", "")) != first);
    assert_true(state_of(BATCH("in_progress", "{\"total\":103,\"completed\":1}", "")) !=
                state_of(BATCH("in_progress", "{\"total\":10,\"completed\":31}", "")));
}

static void the_rest_is_none(void **state)
{
    (void)state;
    assert_true(state_of(BATCH("in_progress", COUNTS, ",\"in_progress_at\":17")) ==
                state_of(BATCH("in_progress", COUNTS, ",\"metadata\":{\"a\":\"b\"}")));
}

static void a_status_of_any_length_is_one(void **state)
{
    char text[4096], status[3000];

    (void)state;
    memset(status, 'x', sizeof(status) - 1);
    status[sizeof(status) - 1] = '\0';
    snprintf(text, sizeof(text),
             "{\"id\":\"b\",\"status\":\"%s\",\"request_counts\":{\"total\":-9223372036854775807,"
             "\"completed\":-9223372036854775807,\"failed\":-9223372036854775807}}",
             status);
    assert_true(state_of(text) != 0);
    assert_true(state_of("{\"id\":\"b\"}") != 0);
    assert_true(state_of("{\"id\":\"b\",\"status\":7,\"request_counts\":[1]}") != 0);
}

static void nobody_waits_where_enough_do(void **state)
{
    static struct runtime rt;
    struct long_poll poll = {0};
    struct long_poll_view view = {"{}", 2, 0};

    (void)state;
    rt.num_long_polls = LONG_POLLS_MOST;
    assert_int_equal(long_poll_begin(&rt, 0, "batch_1", &view, 1000, &poll), ERR_FULL);
    rt.num_long_polls = 0;
    rt.draining = true;
    assert_int_equal(long_poll_begin(&rt, 0, "batch_1", &view, 1000, &poll), ERR_FULL);
    assert_null(poll.batch);
    long_poll_end(&rt, &poll);
    long_poll_drain(&rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_and_counts_are_news),
        cmocka_unit_test(the_rest_is_none),
        cmocka_unit_test(a_status_of_any_length_is_one),
        cmocka_unit_test(nobody_waits_where_enough_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
