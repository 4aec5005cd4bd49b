/* What /health and /metrics make of the keeper's words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json/json.h"
#include "admin/health_database.h"
#include "server/admin/metrics_database.h"

#define NOW_MS UINT64_C(1000000)

static struct database_words *words;
static struct strbuf text;

static int set_up(void **state)
{
    (void)state;
    words = aligned_alloc(CACHE_LINE, sizeof(*words));
    assert_non_null(words);
    memset(words, 0, sizeof(*words));
    store_relaxed_32(&words->configured, 1);
    store_relaxed_32(&words->up, 1);
    store_relaxed_32(&words->journal, 1);
    store_relaxed(&words->contact_ms, NOW_MS - 2500);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    strbuf_deinit(&text);
    free(words);
    return 0;
}

static const char *metrics(void)
{
    strbuf_reset(&text);
    metrics_database_write(words, NOW_MS, &text);
    return strbuf_str(&text);
}

static void assert_line(const char *line)
{
    const char *page = metrics();

    if (strstr(page, line) == NULL)
        fail_msg("no %s in\n%s", line, page);
}

/* `health`, as an object. */
static struct json *health(struct json_doc *doc)
{
    struct strbuf out = STRBUF_INIT;
    struct json_error error;
    struct json *root;

    strbuf_adds(&out, "{\"a\":1");
    health_database_write(words, NOW_MS, &out);
    strbuf_addc(&out, '}');
    root = json_parse(doc, strbuf_str(&out), out.len, &error);
    assert_non_null(root);
    strbuf_deinit(&out);
    return json_get(root, "database");
}

static void without_a_database_nothing_is_told(void **state)
{
    struct json_doc *doc = json_doc_new();

    (void)state;
    store_relaxed_32(&words->configured, 0);
    assert_string_equal(metrics(), "");
    assert_null(health(doc));
    json_doc_free(doc);
}

static void a_database_of_keys_alone_has_no_fleet(void **state)
{
    struct json_doc *doc = json_doc_new();
    struct json *database;

    (void)state;
    store_relaxed_32(&words->journal, 0);
    assert_line("tranche_database_up 1\n");
    assert_null(strstr(metrics(), "tranche_database_nodes"));
    database = health(doc);
    assert_non_null(json_get(database, "up"));
    assert_null(json_get(database, "nodes"));
    json_doc_free(doc);
}

static void the_lag_is_the_time_since_the_last_contact(void **state)
{
    struct json_doc *doc = json_doc_new();
    int64_t lag_s = 0;

    (void)state;
    assert_line("tranche_database_lag_seconds 2.5\n");
    assert_true(json_int64(json_get(health(doc), "lag_s"), &lag_s));
    assert_int_equal(lag_s, 2);
    store_relaxed(&words->contact_ms, 0);
    assert_null(strstr(metrics(), "lag_seconds"));
    assert_null(json_get(health(doc), "lag_s"));
    json_doc_free(doc);
}

static void times_of_reservations_are_a_histogram(void **state)
{
    (void)state;
    database_reserved(words, 900);
    database_reserved(words, 1000);
    database_reserved(words, 30000);
    database_reserved(words, 5000000);
    assert_line("# TYPE tranche_database_reserve_seconds histogram\n");
    assert_line("tranche_database_reserve_seconds_bucket{le=\"0.001\"} 2\n");
    assert_line("tranche_database_reserve_seconds_bucket{le=\"0.025\"} 2\n");
    assert_line("tranche_database_reserve_seconds_bucket{le=\"0.05\"} 3\n");
    assert_line("tranche_database_reserve_seconds_bucket{le=\"2\"} 3\n");
    assert_line("tranche_database_reserve_seconds_bucket{le=\"+Inf\"} 4\n");
    assert_line("tranche_database_reserve_seconds_sum 5.0319\n");
    assert_line("tranche_database_reserve_seconds_count 4\n");
}

static void nodes_of_the_fleet_are_listed(void **state)
{
    struct json_doc *doc = json_doc_new();
    struct json *nodes;

    (void)state;
    store_relaxed_32(&words->nodes, 3);
    store_relaxed_32(&words->nodes_up, 2);
    problem_set(&words->node[0], "{\"id\":\"a:4000\",\"live\":true}");
    problem_set(&words->node[1], "{\"id\":\"b:40"); /* half of one */
    problem_set(&words->node[2], "{\"id\":\"c:4000\",\"live\":false}");
    assert_line("tranche_database_nodes{state=\"live\"} 2\n");
    assert_line("tranche_database_nodes{state=\"known\"} 3\n");
    nodes = json_get(health(doc), "nodes");
    assert_int_equal(json_size(nodes), 2);
    assert_string_equal(json_get_str(json_at(nodes, 1), "id"), "c:4000");
    json_doc_free(doc);
}

static void what_is_watched_and_what_was_done_alone_is_counted(void **state)
{
    struct json_doc *doc = json_doc_new();
    struct json *database, *batches, *leases;
    int64_t value = 0;
    bool counted = false;

    (void)state;
    store_relaxed(&words->open, 12);
    store_relaxed(&words->unmeasured, 3);
    store_relaxed(&words->due, 2);
    store_relaxed(&words->claimed, 4);
    store_relaxed(&words->late_ms, 1500);
    store_relaxed(&words->claims_expired, 5);
    store_relaxed(&words->outage_grants, 6);
    store_relaxed(&words->drift_tokens, 7);
    store_relaxed(&words->key_leases.scopes, 2);
    store_relaxed(&words->key_leases.tokens, 123456789012);
    store_relaxed(&words->team_leases.batches, 4);
    store_relaxed(&words->team_leases.nano, 2500000000);
    store_relaxed_32(&words->leases_counted, 1);
    store_relaxed(&words->spool_bytes, 8);
    store_relaxed(&words->keys_generation, 9);
    store_relaxed(&words->hooks_due, 10);
    store_relaxed(&words->hooks_late_ms, 2500);
    store_relaxed(&words->deletions, 11);
    store_relaxed(&words->deletions_late_ms, 3500);
    store_relaxed(&words->hooks, 5);
    store_relaxed(&words->hooks_off, 2);
    store_relaxed(&words->clock_skew_ms, (uint64_t)-1500);
    assert_line("tranche_journal_batches{state=\"open\"} 12\n");
    assert_line("tranche_journal_batches{state=\"claimed\"} 4\n");
    assert_line("tranche_journal_late_seconds 1.5\n");
    assert_line("tranche_database_claims_expired_total 5\n");
    assert_line("tranche_database_outage_grants_total 6\n");
    assert_line("tranche_database_allowance_drift_tokens 7\n");
    assert_line("tranche_database_lease_scopes{scope=\"key\"} 2\n");
    assert_line("tranche_database_lease_tokens{scope=\"key\"} 123456789012\n");
    assert_line("tranche_database_lease_batches{scope=\"team\"} 4\n");
    assert_line("tranche_database_lease_dollars{scope=\"team\"} 2.5\n");
    assert_line("tranche_database_spool_bytes 8\n");
    assert_line("tranche_database_keys_generation 9\n");
    assert_line("tranche_database_clock_skew_seconds -1.5\n");
    assert_line("tranche_webhook_endpoints{state=\"on\"} 3\n");
    assert_line("tranche_webhook_endpoints{state=\"off\"} 2\n");
    assert_line("tranche_webhook_tries_due 10\n");
    assert_line("tranche_webhook_late_seconds 2.5\n");
    assert_line("tranche_deletions_waiting 11\n");
    assert_line("tranche_deletions_late_seconds 3.5\n");
    database = health(doc);
    assert_true(json_int64(json_get(json_get(database, "webhooks"), "off"), &value) && value == 2);
    batches = json_get(database, "batches");
    assert_true(json_int64(json_get(batches, "usage_unknown"), &value) && value == 3);
    assert_true(json_int64(json_get(database, "outage_grants"), &value) && value == 6);
    leases = json_get(database, "leases");
    assert_true(json_bool(json_get(leases, "counted"), &counted) && counted);
    assert_true(json_int64(json_get(json_get(leases, "teams"), "batches"), &value) && value == 4);
    json_doc_free(doc);
}

static void why_it_is_down_is_told(void **state)
{
    struct json_doc *doc = json_doc_new();

    (void)state;
    store_relaxed_32(&words->up, 0);
    problem_set(&words->why, "connection \"refused\"");
    assert_line("tranche_database_up 0\n");
    assert_string_equal(json_get_str(health(doc), "problem"), "connection \"refused\"");
    json_doc_free(doc);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        EACH(without_a_database_nothing_is_told),
        EACH(a_database_of_keys_alone_has_no_fleet),
        EACH(the_lag_is_the_time_since_the_last_contact),
        EACH(times_of_reservations_are_a_histogram),
        EACH(nodes_of_the_fleet_are_listed),
        EACH(what_is_watched_and_what_was_done_alone_is_counted),
        EACH(why_it_is_down_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
