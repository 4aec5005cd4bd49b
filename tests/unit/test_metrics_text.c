/* From numbers to Prometheus' text format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "admin/metrics_text.h"

#define MODEL                                                                                      \
    "litellm_model_name=\"azure/m\",model_id=\"eu-1\",api_base=\"https://"                         \
    "a\",api_provider=\"azure\""
#define ASKED MODEL ",requested_model=\"gpt-4o\""
#define OURS  "model_group=\"gpt-4o\",model_id=\"eu-1\""

static struct metrics_row row;
static struct strbuf text;

static int set_up(void **state)
{
    (void)state;
    row = (struct metrics_row){.group = "gpt-4o",
                               .model = "azure/m",
                               .id = "eu-1",
                               .base = "https://a",
                               .provider = "azure",
                               .healthy = true,
                               .own_ledger = true,
                               .own_files = true,
                               .files = {UINT64_MAX, UINT64_MAX}};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    strbuf_deinit(&text);
    return 0;
}

/* A row's samples of the metric with that name. */
static const char *samples_of(const char *name)
{
    char head[128];

    snprintf(head, sizeof(head), "# TYPE %s ", name);
    for (size_t n = 0; n < metrics_count(); n++) {
        strbuf_reset(&text);
        metrics_write_head(n, &text);
        if (strstr(strbuf_str(&text), head) == NULL)
            continue;
        strbuf_reset(&text);
        metrics_write_row(n, &row, &text);
        return strbuf_str(&text);
    }
    fail_msg("no metric %s", name);
    return "";
}

static void assert_samples(const char *name, const char *wanted)
{
    assert_string_equal(samples_of(name), wanted);
}

static void litellms_names_have_litellms_labels(void **state)
{
    (void)state;
    row.sum.outcomes[OP_UPLOAD][OUTCOME_OK] = 5;
    row.sum.outcomes[OP_CREATE][OUTCOME_OK] = 3;
    row.sum.outcomes[OP_CREATE][OUTCOME_RATE_LIMIT] = 2;
    row.sum.outcomes[OP_READ][OUTCOME_RATE_LIMIT] = 1;
    row.sum.outcomes[OP_READ][OUTCOME_TIMEOUT] = 4;
    row.sum.outcomes[OP_READ][OUTCOME_CANCELLED] = 7;
    row.sum.rests = 6;
    assert_samples("litellm_deployment_state", "litellm_deployment_state{" MODEL "} 0\n");
    assert_samples("litellm_deployment_total_requests_total",
                   "litellm_deployment_total_requests_total{" ASKED "} 15\n");
    assert_samples("litellm_deployment_success_responses_total",
                   "litellm_deployment_success_responses_total{" ASKED "} 8\n");
    assert_samples(
        "litellm_deployment_failure_responses_total",
        "litellm_deployment_failure_responses_total{" ASKED ",exception_class=\"rate_limit\"} 3\n"
        "litellm_deployment_failure_responses_total{" ASKED ",exception_class=\"timeout\"} 4\n");
    assert_samples("litellm_deployment_cooled_down_total",
                   "litellm_deployment_cooled_down_total{" MODEL "} 6\n");
}

static void a_deployment_is_partly_out_while_some_operations_rest(void **state)
{
    (void)state;
    row.cooling_down[OP_CREATE] = true;
    assert_samples("litellm_deployment_state", "litellm_deployment_state{" MODEL "} 1\n");
    assert_samples("tranche_deployment_in_cooldown",
                   "tranche_deployment_in_cooldown{" OURS ",operation=\"upload\"} 0\n"
                   "tranche_deployment_in_cooldown{" OURS ",operation=\"create\"} 1\n"
                   "tranche_deployment_in_cooldown{" OURS ",operation=\"read\"} 0\n");
    row.cooling_down[OP_UPLOAD] = row.cooling_down[OP_READ] = true;
    assert_samples("litellm_deployment_state", "litellm_deployment_state{" MODEL "} 2\n");
    row.cooling_down[OP_UPLOAD] = row.cooling_down[OP_READ] = row.cooling_down[OP_CREATE] = false;
    row.healthy = false;
    assert_samples("litellm_deployment_state", "litellm_deployment_state{" MODEL "} 2\n");
    assert_samples("tranche_deployment_healthy", "tranche_deployment_healthy{" OURS "} 0\n");
}

static void each_outcome_that_was_met_is_a_series(void **state)
{
    (void)state;
    assert_samples("tranche_upstream_requests_total", "");
    row.sum.outcomes[OP_UPLOAD][OUTCOME_CONNECT] = 1;
    row.sum.outcomes[OP_READ][OUTCOME_CANCELLED] = UINT64_MAX;
    assert_samples("tranche_upstream_requests_total",
                   "tranche_upstream_requests_total{" OURS
                   ",operation=\"upload\",outcome=\"connect\"} 1\n"
                   "tranche_upstream_requests_total{" OURS
                   ",operation=\"read\",outcome=\"cancelled\"} 18446744073709551615\n");
}

static void the_ledger_of_a_deployment_is_shown_by_one_of_its_rows(void **state)
{
    static const char *const of_ledger[] = {"tranche_enqueued_tokens",
                                            "tranche_external_tokens",
                                            "tranche_expected_tokens",
                                            "tranche_free_tokens",
                                            "tranche_enqueued_token_limit",
                                            "tranche_drain_tokens_per_second",
                                            "tranche_refused_size_retry_seconds",
                                            "tranche_reservations",
                                            "tranche_orphaned_reservations",
                                            "tranche_oldest_reservation_seconds"};

    (void)state;
    row.quota = (struct quota_sum){.reserved = 700,
                                   .foreign = 200,
                                   .expected = 50,
                                   .limit = 1000,
                                   .drain_rate = 34.5,
                                   .full_for_ms = 1500};
    row.tally = (struct quota_tally){.reservations = 3, .orphans = 1};
    row.oldest_age_s = 60;
    assert_samples("tranche_enqueued_tokens", "tranche_enqueued_tokens{" OURS "} 700\n");
    assert_samples("tranche_external_tokens", "tranche_external_tokens{" OURS "} 200\n");
    assert_samples("tranche_expected_tokens", "tranche_expected_tokens{" OURS "} 50\n");
    assert_samples("tranche_enqueued_token_limit", "tranche_enqueued_token_limit{" OURS "} 1000\n");
    assert_samples("tranche_free_tokens", "tranche_free_tokens{" OURS "} 100\n");
    assert_samples("tranche_drain_tokens_per_second",
                   "tranche_drain_tokens_per_second{" OURS "} 34.5\n");
    assert_samples("tranche_refused_size_retry_seconds",
                   "tranche_refused_size_retry_seconds{" OURS "} 1.5\n");
    assert_samples("tranche_reservations", "tranche_reservations{" OURS "} 3\n");
    assert_samples("tranche_orphaned_reservations", "tranche_orphaned_reservations{" OURS "} 1\n");
    assert_samples("tranche_oldest_reservation_seconds",
                   "tranche_oldest_reservation_seconds{" OURS "} 60\n");
    row.quota.foreign = 400; /* more than the limit: others do as they like */
    assert_samples("tranche_free_tokens", "tranche_free_tokens{" OURS "} 0\n");
    row.own_ledger = false;
    for (size_t i = 0; i < sizeof(of_ledger) / sizeof(of_ledger[0]); i++)
        assert_samples(of_ledger[i], "");
}

static void what_is_not_known_is_not_shown(void **state)
{
    (void)state;
    assert_samples("tranche_upstream_latency_seconds", "");
    assert_samples("tranche_deployment_probe_timestamp_seconds", "");
    assert_samples("tranche_enqueued_token_limit", "");
    assert_samples("tranche_free_tokens", "");
    assert_samples("tranche_oldest_reservation_seconds", "");
    assert_samples("tranche_account_files", "");
    row.files[SLOTS_EXPIRING] = 12;
    assert_samples("tranche_account_files",
                   "tranche_account_files{" OURS ",expires=\"true\"} 12\n");
    row.own_files = false;
    assert_samples("tranche_account_files", "");
    assert_samples("tranche_account_clock_skew_seconds", "");
    row.own_clock = true;
    row.skew_s = -899;
    assert_samples("tranche_account_clock_skew_seconds",
                   "tranche_account_clock_skew_seconds{" OURS "} -899\n");
    row.sum.latency_us = 1234567;
    assert_samples("tranche_upstream_latency_seconds",
                   "tranche_upstream_latency_seconds{" OURS "} 1.234567\n");
}

static void names_of_any_characters_are_escaped(void **state)
{
    (void)state;
    row.group = "a\"b\\c\nd{}, \xc3\xa9";
    row.id = "";
    assert_samples("tranche_deployment_healthy",
                   "tranche_deployment_healthy{model_group=\"a\\\"b\\\\c\\nd{}, \xc3\xa9\","
                   "model_id=\"\"} 1\n");
}

static void each_metric_has_one_head(void **state)
{
    struct metrics_node node = {.generation = 3, .workers = 2, .scopes = {5, 6, {7, 8}, {9, 10}}};
    const char *all, *at;
    unsigned heads = 0;

    (void)state;
    metrics_write_node(&node, &text);
    for (size_t n = 0; n < metrics_count(); n++)
        metrics_write_head(n, &text);
    all = strbuf_str(&text);
    for (at = strstr(all, "# TYPE "); at != NULL; at = strstr(at + 1, "# TYPE ")) {
        char type[128], help[160];

        assert_int_equal(sscanf(at, "# TYPE %127s", type), 1);
        snprintf(help, sizeof(help), "# HELP %s ", type);
        assert_non_null(strstr(all, help));
        assert_null(strstr(strstr(all, help) + 1, help));
        heads++;
    }
    assert_true(heads > metrics_count());
    assert_non_null(strstr(all, "\ntranche_config_generation 3\n"));
    assert_non_null(strstr(all, "\ntranche_workers 2\n"));
    assert_non_null(strstr(all, "\ntranche_quota_scopes 5\n"));
    assert_non_null(strstr(all, "\ntranche_quota_unscoped_batches_total 6\n"));
    assert_non_null(
        strstr(all, "\ntranche_quota_scope_refusals_total{scope=\"key\",limit=\"tokens\"} 7\n"));
    assert_non_null(
        strstr(all, "\ntranche_quota_scope_refusals_total{scope=\"team\",limit=\"batches\"} 10\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(litellms_names_have_litellms_labels),
        TEST(a_deployment_is_partly_out_while_some_operations_rest),
        TEST(each_outcome_that_was_met_is_a_series),
        TEST(the_ledger_of_a_deployment_is_shown_by_one_of_its_rows),
        TEST(what_is_not_known_is_not_shown),
        TEST(names_of_any_characters_are_escaped),
        TEST(each_metric_has_one_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
