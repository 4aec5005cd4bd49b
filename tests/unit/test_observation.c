/* What a batch as its provider shows it means for the ledger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "objects/observation.h"

#define NOW UINT64_C(100000000)
#define ROW 3

static struct ids_seals seals;
static struct quota *quota;

static int set_up(void **state)
{
    (void)state;
    seals = (struct ids_seals){0};
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    assert_int_equal(quota_new(4, 100, &quota), 0);
    quota_bind(quota, 0, &(struct quota_terms){.fingerprint = 7, .limit = 10000});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    quota_free(quota);
    return 0;
}

static struct observation read_text(const char *text)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct observation s;

    assert_true(observation_read(doc, json_parse(doc, text, strlen(text), &error), &seals, &s));
    json_doc_free(doc);
    return s;
}

/* With our marker: of 500 tokens, of an owner and perhaps a key of its team. */
static struct observation made_by(uint64_t owner, uint64_t key, const char *status,
                                  const char *more)
{
    struct marker marker = {
        .owner = owner, .key = key, .tokens = 500, .deployment = 7, .file = "file-1"};
    struct strbuf pair = STRBUF_INIT;
    char text[1024];

    memset(marker.nonce, 'a', MARKER_NONCE);
    assert_int_equal(marker_write(&seals, &marker, &pair), 0);
    snprintf(text, sizeof(text),
             "{\"id\":\"b1\",\"status\":\"%s\",\"metadata\":{\"tranche\":\"%s\"}%s}", status,
             strbuf_str(&pair), more);
    strbuf_deinit(&pair);
    return read_text(text);
}

static struct observation ours(const char *status, const char *more)
{
    return made_by(0, 0, status, more);
}

static uint64_t token(void)
{
    char nonce[MARKER_NONCE + 1] = "";

    memset(nonce, 'a', MARKER_NONCE);
    return quota_token(quota, 0, nonce, MARKER_NONCE);
}

static enum observation_change record(const struct observation *s, uint64_t tokens)
{
    return observation_record(quota, ROW, 0, s, tokens, 1000, NOW);
}

static uint64_t enqueued(void)
{
    struct quota_sum sum;

    quota_read(quota, 0, NOW, &sum);
    return sum.reserved;
}

static void a_batch_is_read_in_any_dialect(void **state)
{
    struct observation s =
        read_text("{\"id\":\"batch_1\",\"status\":\"Failed\",\"created_at\":"
                  "\"2025-03-01T00:00:00Z\",\"request_counts\":{\"total\":10,"
                  "\"completed\":3,\"failed\":2},\"errors\":{\"data\":[{\"code\":"
                  "\"token_limit_exceeded\"}]}}");

    (void)state;
    assert_string_equal(s.id, "batch_1");
    assert_int_equal(s.phase, LEDGER_DROPPED);
    assert_true(s.too_large);
    assert_int_equal(s.created_s, 1740787200);
    assert_int_equal(s.done, 5);
    assert_int_equal(s.total, 10);
    assert_false(s.marked);
}

static void what_has_no_name_is_no_batch(void **state)
{
    static const char *const texts[] = {"[]", "{}", "{\"id\":\"\"}", "{\"id\":7}", "null"};
    struct observation s;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_doc *doc = json_doc_new();
        struct json_error error;

        assert_false(
            observation_read(doc, json_parse(doc, texts[i], strlen(texts[i]), &error), &seals, &s));
        json_doc_free(doc);
    }
}

static void a_status_that_nobody_knows_still_runs(void **state)
{
    (void)state;
    assert_int_equal(read_text("{\"id\":\"b\",\"status\":\"pondering\"}").phase, LEDGER_RUNNING);
    assert_int_equal(read_text("{\"id\":\"b\"}").phase, LEDGER_RUNNING);
}

static void an_age_is_never_negative(void **state)
{
    struct observation s = {.created_s = 1000};

    (void)state;
    assert_int_equal(observation_age_ms(&s, 1060), 60000);
    assert_int_equal(observation_age_ms(&s, 940), 0);
    s.created_s = 0;
    assert_int_equal(observation_age_ms(&s, 1060), 0);
}

static void one_that_runs_is_adopted_once(void **state)
{
    struct observation s = ours("in_progress", "");

    (void)state;
    assert_int_equal(record(&s, 500), OBSERVATION_ADOPTED);
    assert_int_equal(record(&s, 500), OBSERVATION_SEEN);
    assert_int_equal(enqueued(), 500);
}

static uint64_t scope_tokens(uint64_t name)
{
    struct quota_scope_sum sum;

    (void)quota_read_scope(quota, name, NOW, &sum);
    return sum.tokens;
}

static void one_that_is_adopted_counts_for_who_made_it(void **state)
{
    struct observation of_team = made_by(70, 71, "in_progress", "");
    struct observation of_key = made_by(80, 0, "in_progress", "");

    (void)state;
    assert_int_equal(record(&of_team, 500), OBSERVATION_ADOPTED);
    assert_true(scope_tokens(70) == 500 && scope_tokens(71) == 500);
    snprintf(of_key.id, sizeof(of_key.id), "b2");
    memset(of_key.marker.nonce, 'b', MARKER_NONCE);
    assert_int_equal(record(&of_key, 500), OBSERVATION_ADOPTED);
    assert_int_equal(scope_tokens(80), 500);
    of_team = made_by(70, 71, "completed", "");
    assert_int_equal(record(&of_team, 500), OBSERVATION_RELEASED);
    assert_int_equal(scope_tokens(70) + scope_tokens(71), 0);
}

static void one_that_is_being_cancelled_pays_until_its_end_or_as_the_operator_wants(void **state)
{
    struct observation s = made_by(70, 71, "cancelling", "");
    struct config config = {.refund_at_cancelling = false};

    (void)state;
    assert_true(s.cancelling);
    assert_int_equal(record(&s, 500), OBSERVATION_ADOPTED);
    observation_refund(&config, &s);
    assert_int_equal(record(&s, 500), OBSERVATION_SEEN);
    assert_int_equal(scope_tokens(70), 500);
    config.refund_at_cancelling = true;
    observation_refund(&config, &s);
    assert_int_equal(record(&s, 500), OBSERVATION_SEEN);
    assert_int_equal(scope_tokens(70) + scope_tokens(71), 0);
    assert_int_equal(enqueued(), 500); /* its provider counts it */
    s = made_by(70, 71, "cancelled", "");
    assert_int_equal(record(&s, 500), OBSERVATION_RELEASED);
    s = made_by(70, 71, "Canceling", "");
    observation_refund(&config, &s);
    assert_int_equal(record(&s, 500), OBSERVATION_ADOPTED); /* after a restart */
    assert_int_equal(scope_tokens(70) + scope_tokens(71), 0);
    assert_int_equal(enqueued(), 500);
    assert_false(ours("in_progress", "").cancelling);
}

static void without_tokens_there_is_nothing_to_adopt(void **state)
{
    struct observation s = ours("in_progress", ""), strange = read_text("{\"id\":\"b2\"}");

    (void)state;
    assert_int_equal(record(&s, 0), OBSERVATION_NOTHING);
    assert_int_equal(record(&strange, 500), OBSERVATION_NOTHING);
    assert_int_equal(enqueued(), 0);
}

static void a_create_that_is_still_in_flight_is_not_counted_twice(void **state)
{
    struct observation s = ours("validating", "");
    struct quota_claim claim;

    (void)state;
    assert_int_equal(quota_reserve(quota, 1, 0, 500, token(), NOW, &claim), 0);
    assert_int_equal(record(&s, 500), OBSERVATION_SEEN);
    assert_int_equal(enqueued(), 500);
    assert_int_equal(quota_commit(quota, &claim, "b1", 2), 0);
    assert_int_equal(enqueued(), 500);
}

static void an_orphan_lives_on_under_its_id(void **state)
{
    struct observation s = ours("in_progress", ""), done = ours("completed", "");
    struct quota_claim claim;

    (void)state;
    assert_int_equal(quota_reserve(quota, 1, 0, 500, token(), NOW, &claim), 0);
    assert_true(quota_sent(quota, &claim));
    assert_int_equal(quota_undo_holder(quota, 1, NOW).orphans, 1);
    assert_int_equal(record(&s, 500), OBSERVATION_ADOPTED);
    assert_int_equal(enqueued(), 500);
    assert_int_equal(record(&done, 500), OBSERVATION_RELEASED);
    assert_int_equal(enqueued(), 0);
}

static void an_orphan_that_has_ended_is_released_by_its_marker(void **state)
{
    struct observation s = ours("cancelled", "");
    struct quota_claim claim;

    (void)state;
    assert_int_equal(quota_reserve(quota, 1, 0, 500, token(), NOW, &claim), 0);
    assert_true(quota_sent(quota, &claim));
    assert_int_equal(quota_undo_holder(quota, 1, NOW).orphans, 1);
    assert_int_equal(record(&s, 500), OBSERVATION_RELEASED);
    assert_int_equal(enqueued(), 0);
}

static void an_end_is_told_once(void **state)
{
    struct observation s = ours("in_progress", "");
    struct observation end = ours(
        "failed", ",\"errors\":{\"data\":[{\"code\":\"x\"},{\"code\":\"token_limit_exceeded\"}]}");

    (void)state;
    assert_int_equal(record(&s, 500), OBSERVATION_ADOPTED);
    assert_int_equal(record(&end, 500), OBSERVATION_RELEASED);
    assert_true(end.too_large);
    assert_int_equal(record(&end, 500), OBSERVATION_NOTHING);
}

static void a_full_ledger_says_so(void **state)
{
    struct observation s = ours("in_progress", "");
    struct quota_claim claim;

    (void)state;
    while (quota_reserve(quota, 1, 0, 1, 0, NOW, &claim) == 0)
        ;
    assert_int_equal(record(&s, 500), OBSERVATION_FULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_batch_is_read_in_any_dialect),
        T(what_has_no_name_is_no_batch),
        T(a_status_that_nobody_knows_still_runs),
        T(an_age_is_never_negative),
        T(one_that_runs_is_adopted_once),
        T(one_that_is_adopted_counts_for_who_made_it),
        T(one_that_is_being_cancelled_pays_until_its_end_or_as_the_operator_wants),
        T(without_tokens_there_is_nothing_to_adopt),
        T(a_create_that_is_still_in_flight_is_not_counted_twice),
        T(an_orphan_lives_on_under_its_id),
        T(an_orphan_that_has_ended_is_released_by_its_marker),
        T(an_end_is_told_once),
        T(a_full_ledger_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
