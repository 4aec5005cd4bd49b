/* What a batch object and a refusal's text tell the quota ledger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "objects/facts.h"
#include "objects/ledger.h"
#include "objects/refusals.h"
#include "objects/observation.h"

#define NOW   UINT64_C(100000000)
#define ROW   3
#define HERE  0xdeadbeefu /* the fingerprint of the one deployment */
#define HOME  0x0badcafeu /* of its account */
#define OWNER UINT64_C(0x0123456789abcdef)

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

/* --- what a batch that passes by tells --- */

static struct ids_seals seals;
static const struct config config;
static struct inherited inherited = {.config = &config};

static int begin(void **state)
{
    static struct model_account account = {
        .provider = PROVIDER_OPENAI, .base = (char *)"http://a", .name = (char *)"a"};
    static struct model_deployment deployment = {.group = (char *)"m",
                                                 .id = (char *)"1",
                                                 .upstream_model = (char *)"m",
                                                 .litellm_model = (char *)"openai/m",
                                                 .fingerprint = HERE};
    static const struct model_list models = {
        .accounts = &account, .num_accounts = 1, .deployments = &deployment, .num_deployments = 1};
    static const uint32_t columns[] = {2};
    static struct table *table;

    ids_seals_clear(&seals);
    assert_int_equal(seal_cache_new(1024, &seals.cache), 0);
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    assert_int_equal(table_build(&models, 1, &table), 0);
    assert_int_equal(quota_new(4, 100, &inherited.quota), 0);
    quota_bind(inherited.quota, columns[0], &(struct quota_terms){.fingerprint = HERE});
    assert_int_equal(state_new(2, 4, &inherited.state), 0);
    assert_int_equal(memo_new(64, &inherited.memo), 0);
    inherited.table = table;
    inherited.columns = columns;
    inherited.seals = &seals;
    return setup(state);
}

static int end(void **state)
{
    quota_free(inherited.quota);
    memo_free(inherited.memo);
    state_free(inherited.state);
    table_free((struct table *)inherited.table);
    seal_cache_free(seals.cache);
    return teardown(state);
}

static struct marker marker_here(void)
{
    struct marker m = {.owner = OWNER, .tokens = 500, .deployment = HERE, .file = "file-1"};

    memset(m.nonce, 'a', MARKER_NONCE);
    return m;
}

/* As its provider sends it, with this text in place of our marker.
 * @param id  with its quotes, or what is there instead */
static const struct json *marked_batch(const char *id, const char *status, const char *marker)
{
    char text[2048];

    snprintf(text, sizeof(text),
             "{\"id\":%s,\"status\":\"%s\",\"created_at\":%lld,\"metadata\":{\"tranche\":\"%s\"}}",
             id, status, (long long)clock_unix_s() - 3600, marker);
    return batch(text);
}

static const char *sealed_by(const struct ids_seals *by, const struct marker *m)
{
    static char text[MARKER_MAX + 1];
    struct strbuf out = STRBUF_INIT;

    assert_int_equal(marker_write(by, m, &out), 0);
    snprintf(text, sizeof(text), "%s", strbuf_str(&out));
    strbuf_deinit(&out);
    return text;
}

static const char *ours(void)
{
    struct marker m = marker_here();

    return sealed_by(&seals, &m);
}

static bool observe(const struct json *object, struct observation *seen)
{
    memset(seen, 0x55, sizeof(*seen));
    return observation_of_batch(&inherited, ROW, HOME, object, NOW, seen);
}

static uint64_t enqueued(void)
{
    struct quota_sum sum;

    quota_read(inherited.quota, inherited.columns[0], NOW, &sum);
    return sum.reserved;
}

static void a_batch_that_runs_is_counted_with_the_tokens_of_its_marker_until_it_ends(void **state)
{
    struct observation seen;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(observe(marked_batch("\"b1\"", "in_progress", ours()), &seen));
        assert_true(seen.marked);
        assert_true(seen.marker.owner == OWNER);
        assert_string_equal(seen.marker.file, "file-1");
        assert_string_equal(seen.id, "b1");
        assert_int_equal(enqueued(), 500);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(observe(marked_batch("\"b1\"", "completed", ours()), &seen));
        assert_int_equal(seen.phase, LEDGER_FINISHED);
        assert_int_equal(enqueued(), 0);
    }
}

static struct quota_sum sum(void)
{
    struct quota_sum sum;

    quota_read(inherited.quota, inherited.columns[0], NOW, &sum);
    return sum;
}

/* A job whose estimate is too low is refused everywhere, for ever: only the first refusal may speak
 * about a deployment. */
static void a_job_that_was_refused_elsewhere_says_nothing_about_the_next_deployment(void **state)
{
    struct refusal refusal;
    struct observation seen;

    (void)state;
    assert_true(observe(marked_batch("\"b1\"", "in_progress", ours()), &seen)); /* 500 tokens */
    (void)refusals_note(inherited.memo, 7, HERE + 1, false, NOW);
    ledger_note_refused(&inherited, 0, 7, 400, NOW);
    assert_int_equal(sum().full_for_ms, 0);
    assert_true(refusals_find(inherited.memo, 7, HERE, NOW, &refusal));
    assert_false(refusal.hopeless);
    ledger_note_refused(&inherited, 0, 8, 400, NOW);
    assert_int_equal(sum().full_tokens, 400);
}

static void a_job_that_was_refused_where_nothing_is_enqueued_is_known_as_such(void **state)
{
    struct refusal refusal;

    (void)state;
    ledger_note_refused(&inherited, 0, 7, 400, NOW);
    assert_int_equal(sum().full_for_ms, 0);
    assert_true(refusals_find(inherited.memo, 7, HERE, NOW, &refusal));
    assert_true(refusal.hopeless);
    assert_int_equal(refusal.for_ms, REFUSALS_FIRST_MS);
}

static void a_batch_that_failed_as_too_large_speaks_about_its_file_first(void **state)
{
    const struct facts facts = {.bytes = 100, .lines = 2, .prompt = {{80}}};
    struct refusal refusal;
    struct observation seen;
    char text[2048];
    uint64_t words[MEMO_WORDS];

    (void)state;
    facts_pack(&facts, HERE, words);
    memo_put(inherited.memo, memo_key('F', HOME, "file-1", 6), words, NOW);
    assert_true(observe(marked_batch("\"b1\"", "in_progress", ours()), &seen));
    snprintf(text, sizeof(text),
             "{\"id\":\"b1\",\"status\":\"failed\",\"errors\":{\"data\":[{\"code\":"
             "\"token_limit_exceeded\"}]},\"metadata\":{\"tranche\":\"%s\"}}",
             ours());
    assert_true(observe(batch(text), &seen));
    assert_int_equal(enqueued(), 0);
    assert_int_equal(sum().full_for_ms, 0);
    assert_true(refusals_find(inherited.memo, facts_job(&facts, OWNER), HERE, NOW, &refusal));
    assert_true(refusal.hopeless);
}

static void one_that_is_adopted_is_as_old_as_its_provider_says(void **state)
{
    struct quota_view view;
    struct observation seen;
    uint32_t cursor = 0;

    (void)state;
    assert_true(observe(marked_batch("\"b1\"", "in_progress", ours()), &seen));
    assert_true(quota_watch(inherited.quota, &cursor, NOW + QUOTA_ASK_MS, &view));
    assert_in_range(view.begun_ms, NOW - 3700 * 1000, NOW - 3600 * 1000);
}

/* Its worker died before it had an id. */
static void an_end_is_told_by_the_marker_where_the_id_is_not_known(void **state)
{
    char nonce[MARKER_NONCE];
    struct quota_claim claim;
    struct observation seen;

    (void)state;
    memset(nonce, 'a', MARKER_NONCE);
    assert_int_equal(
        quota_reserve(inherited.quota, 1, inherited.columns[0], 500,
                      quota_token(inherited.quota, inherited.columns[0], nonce, MARKER_NONCE), NOW,
                      &claim),
        0);
    assert_true(quota_sent(inherited.quota, &claim));
    assert_int_equal(quota_undo_holder(inherited.quota, 1, NOW).orphans, 1);
    assert_true(observe(marked_batch("\"b1\"", "cancelled", ours()), &seen));
    assert_int_equal(enqueued(), 0);
}

/* Somebody else who uses the account may write what he likes into his batch. */
static void what_a_forged_marker_says_is_not_believed_and_changes_nothing(void **state)
{
    struct ids_seals others = {0};
    struct marker m = marker_here();
    char text[MARKER_MAX + 1];
    struct observation seen;
    size_t len;

    (void)state;
    assert_int_equal(ids_seals_add(&others, "another key", 11, "test"), 0);
    assert_false(observe(marked_batch("\"b2\"", "in_progress", sealed_by(&others, &m)), &seen));
    assert_int_equal(enqueued(), 0);
    assert_true(observe(marked_batch("\"b1\"", "in_progress", ours()), &seen));
    len = (size_t)snprintf(text, sizeof(text), "%s", ours());
    for (size_t i = 0; i < len; i++) {
        char was = text[i];

        text[i] = was == 'a' ? 'b' : 'a';
        assert_false(observe(marked_batch("\"b2\"", "in_progress", text), &seen));
        assert_false(seen.marked);
        assert_false(observe(marked_batch("\"b1\"", "completed", text), &seen));
        assert_false(seen.marked);
        assert_int_equal(enqueued(), 500);
        text[i] = was;
    }
}

static void what_has_no_marker_is_not_ours(void **state)
{
    static const char *const texts[] = {"null",
                                        "[]",
                                        "{}",
                                        "{\"id\":\"b1\",\"status\":\"in_progress\"}",
                                        "{\"id\":\"b1\",\"metadata\":7}",
                                        "{\"id\":\"b1\",\"metadata\":{\"tranche\":7}}"};
    struct observation seen;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(observe(batch(texts[i]), &seen));
        assert_false(seen.marked);
    }
    assert_false(observe(NULL, &seen));
    assert_int_equal(enqueued(), 0);
}

/* A deployment that left the configuration, and version 0.1.0, whose markers named none. */
static void one_of_ours_that_ran_elsewhere_is_ours_and_not_counted(void **state)
{
    static const uint32_t elsewhere[] = {0, 1, HERE - 1, HERE + 1, UINT32_MAX};
    struct marker m = marker_here();
    struct observation seen;

    (void)state;
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        m.deployment = elsewhere[i];
        assert_true(observe(marked_batch("\"b1\"", "in_progress", sealed_by(&seals, &m)), &seen));
        assert_true(seen.marked && seen.marker.owner == OWNER);
        assert_int_equal(enqueued(), 0);
    }
}

static void one_of_ours_without_a_name_is_ours_and_not_counted(void **state)
{
    static const char *const names[] = {"7", "null", "\"\"", "{}"};
    struct observation seen;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(observe(marked_batch(names[i], "in_progress", ours()), &seen));
        assert_true(seen.marked && seen.marker.owner == OWNER);
        assert_int_equal(enqueued(), 0);
    }
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

    const struct CMUnitTest passing[] = {
        cmocka_unit_test_setup_teardown(
            a_batch_that_runs_is_counted_with_the_tokens_of_its_marker_until_it_ends, begin, end),
        cmocka_unit_test_setup_teardown(
            a_job_that_was_refused_where_nothing_is_enqueued_is_known_as_such, begin, end),
        cmocka_unit_test_setup_teardown(
            a_job_that_was_refused_elsewhere_says_nothing_about_the_next_deployment, begin, end),
        cmocka_unit_test_setup_teardown(
            a_batch_that_failed_as_too_large_speaks_about_its_file_first, begin, end),
        cmocka_unit_test_setup_teardown(one_that_is_adopted_is_as_old_as_its_provider_says, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_end_is_told_by_the_marker_where_the_id_is_not_known,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            what_a_forged_marker_says_is_not_believed_and_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(what_has_no_marker_is_not_ours, begin, end),
        cmocka_unit_test_setup_teardown(one_of_ours_that_ran_elsewhere_is_ours_and_not_counted,
                                        begin, end),
        cmocka_unit_test_setup_teardown(one_of_ours_without_a_name_is_ours_and_not_counted, begin,
                                        end),
    };

    return cmocka_run_group_tests_name("pure", tests, setup, teardown) +
           cmocka_run_group_tests_name("passing by", passing, NULL, NULL);
}
