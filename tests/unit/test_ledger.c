/* What a batch object and a refusal's text tell the quota ledger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/ledger.h"

static struct json_doc *doc;

static int setup(void **state)
{
    (void)state;
    doc = json_doc_new();
    return doc == NULL;
}

static int teardown(void **state)
{
    (void)state;
    json_doc_free(doc);
    return 0;
}

static const struct json *batch(const char *text)
{
    struct json_error error;

    return json_parse(doc, text, strlen(text), &error);
}

static void a_batch_that_has_ended_is_told_from_one_that_runs(void **state)
{
    static const struct {
        const char *text;
        enum ledger_phase phase;
    } cases[] = {{"{\"status\":\"validating\"}", LEDGER_RUNNING},
                 {"{\"status\":\"in_progress\"}", LEDGER_RUNNING},
                 {"{\"status\":\"finalizing\"}", LEDGER_RUNNING},
                 {"{\"status\":\"cancelling\"}", LEDGER_RUNNING},
                 {"{\"status\":\"completed\"}", LEDGER_FINISHED},
                 {"{\"status\":\"Completed\"}", LEDGER_FINISHED},
                 {"{\"status\":\"failed\"}", LEDGER_DROPPED},
                 {"{\"status\":\"expired\"}", LEDGER_DROPPED},
                 {"{\"status\":\"cancelled\"}", LEDGER_DROPPED},
                 {"{\"status\":\"Canceled\"}", LEDGER_DROPPED}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(ledger_phase_of(batch(cases[i].text)), cases[i].phase);
}

static void a_status_that_nobody_knows_keeps_its_tokens(void **state)
{
    (void)state;
    assert_int_equal(ledger_phase_of(batch("{\"status\":\"paused\"}")), LEDGER_RUNNING);
    assert_int_equal(ledger_phase_of(batch("{\"status\":7}")), LEDGER_RUNNING);
    assert_int_equal(ledger_phase_of(batch("{}")), LEDGER_RUNNING);
    assert_int_equal(ledger_phase_of(batch("[]")), LEDGER_RUNNING);
    assert_int_equal(ledger_phase_of(NULL), LEDGER_RUNNING);
}

static void only_a_refusal_for_want_of_tokens_means_full(void **state)
{
    (void)state;
    assert_true(ledger_was_full(
        batch("{\"errors\":{\"data\":[{\"code\":\"x\"},{\"code\":\"token_limit_exceeded\"}]}}")));
    assert_false(ledger_was_full(batch("{\"errors\":{\"data\":[{\"code\":\"invalid_url\"}]}}")));
    assert_false(ledger_was_full(batch("{\"errors\":{\"data\":[{\"code\":null},7,null]}}")));
    assert_false(ledger_was_full(batch("{\"errors\":null}")));
    assert_false(ledger_was_full(batch("{\"errors\":\"token_limit_exceeded\"}")));
    assert_false(ledger_was_full(NULL));
}

static void a_refusal_names_its_limit_in_either_providers_words(void **state)
{
    (void)state;
    assert_int_equal(ledger_limit_in("Enqueued token limit reached for gpt-4o. Limit: 90000 "
                                     "enqueued tokens. Please try again"),
                     90000);
    assert_int_equal(ledger_limit_in("Limit: 1,350,000 enqueued tokens"), 1350000);
    assert_int_equal(ledger_limit_in("above the configured limit of 30K for the deployment"),
                     30000);
    assert_int_equal(ledger_limit_in("the configured limit of 5M"), 5000000);
    assert_int_equal(ledger_limit_in("the configured limit of 1B"), 1000000000);
}

static void what_is_no_limit_is_none(void **state)
{
    (void)state;
    assert_int_equal(ledger_limit_in(""), 0);
    assert_int_equal(ledger_limit_in("Limit: "), 0);
    assert_int_equal(ledger_limit_in("Limit: none"), 0);
    assert_int_equal(ledger_limit_in("Limit: ,,,"), 0);
    assert_int_equal(ledger_limit_in("a limit of 5"), 0);
    /* More digits than any limit has are cut, not wrapped around. */
    assert_true(ledger_limit_in("Limit: 99999999999999999999999999") <= UINT64_C(999999999999999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_that_has_ended_is_told_from_one_that_runs),
        cmocka_unit_test(a_status_that_nobody_knows_keeps_its_tokens),
        cmocka_unit_test(only_a_refusal_for_want_of_tokens_means_full),
        cmocka_unit_test(a_refusal_names_its_limit_in_either_providers_words),
        cmocka_unit_test(what_is_no_limit_is_none),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
