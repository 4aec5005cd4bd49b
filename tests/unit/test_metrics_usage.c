/* From series to lines of the metrics page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/admin/metrics_usage.h"

static struct strbuf page;

static void write_page(const struct series *series)
{
    strbuf_reset(&page);
    for (size_t n = 0; n < metrics_usage_count(); n++) {
        uint32_t row = 0;

        while (metrics_usage_write(n, series, &row, &page))
            ;
    }
}

static void expect(const char *line)
{
    const char *at = strstr(strbuf_str(&page), line);

    if (at == NULL || (at != page.data && at[-1] != '\n') || at[strlen(line)] != '\n')
        fail_msg("\"%s\" is no line of:\n%s", line, strbuf_str(&page));
}

static void counters_have_their_labels_and_dollars_are_dollars(void **state)
{
    const struct series_name batches = {SERIES_BATCHES, {"gpt-4o", "azure", "ni\"ght", "red"}};
    const struct series_name spend = {SERIES_SPEND, {"night", "gpt-4o", "red", NULL}};
    const struct series_name polls = {SERIES_POLLS, {NULL}};
    const struct series_name moves = {SERIES_MOVES, {"gpt-4o", "azure", "token_limit_exceeded"}};
    struct series *series;

    (void)state;
    assert_int_equal(series_new(10, &series), 0);
    series_add(series, &moves, 0, 2);
    series_add(series, &batches, 0, 3);
    series_add(series, &spend, 0, 340);
    series_add(series, &spend, 0, 1000000000);
    series_add(series, &polls, 0, 7);
    series_set(series, &polls, 3, 1793491200);
    write_page(series);
    expect("# TYPE litellm_managed_batch_created_total counter");
    expect("litellm_managed_batch_created_total{model=\"gpt-4o\",api_provider=\"azure\","
           "api_key_alias=\"ni\\\"ght\",team=\"red\"} 3");
    expect("litellm_spend_metric_total{api_key_alias=\"night\",model=\"gpt-4o\",team=\"red\"} "
           "1.000000340");
    expect("litellm_check_batch_cost_jobs_polled_total 7");
    expect("tranche_batch_moves_total{model=\"gpt-4o\",api_provider=\"azure\","
           "reason=\"token_limit_exceeded\"} 2");
    expect("litellm_check_batch_cost_last_run_timestamp 1793491200");
    series_free(series);
}

static void a_histogram_has_all_its_buckets(void **state)
{
    static const uint64_t bounds[] = SERIES_DURATION_BOUNDS;
    const struct series_name name = {SERIES_DURATION, {"m", "openai", "completed", NULL}};
    struct series *series;

    (void)state;
    assert_int_equal(series_new(10, &series), 0);
    series_observe(series, &name, 60, bounds, sizeof(bounds) / sizeof(bounds[0]));
    series_observe(series, &name, 61, bounds, sizeof(bounds) / sizeof(bounds[0]));
    series_observe(series, &name, 999999, bounds, sizeof(bounds) / sizeof(bounds[0]));
    write_page(series);
#define LABELS "{model=\"m\",api_provider=\"openai\",status=\"completed\""
    expect("litellm_managed_batch_duration_seconds_bucket" LABELS ",le=\"60\"} 1");
    expect("litellm_managed_batch_duration_seconds_bucket" LABELS ",le=\"300\"} 2");
    expect("litellm_managed_batch_duration_seconds_bucket" LABELS ",le=\"100800\"} 2");
    expect("litellm_managed_batch_duration_seconds_bucket" LABELS ",le=\"+Inf\"} 3");
    expect("litellm_managed_batch_duration_seconds_sum" LABELS "} 1000120");
    expect("litellm_managed_batch_duration_seconds_count" LABELS "} 3");
    series_free(series);
}

static void a_page_of_many_series_comes_in_pieces(void **state)
{
    struct series *series;
    uint32_t row = 0;
    unsigned pieces = 0;
    char alias[16];

    (void)state;
    assert_int_equal(series_new(5000, &series), 0);
    for (int i = 0; i < 5000; i++) {
        struct series_name name = {SERIES_BATCHES, {"m", "azure", alias, NULL}};

        snprintf(alias, sizeof(alias), "key-%d", i);
        series_add(series, &name, 0, 1);
    }
    strbuf_reset(&page);
    for (bool more = true; more; pieces++) {
        size_t before = page.len;

        more = metrics_usage_write(0, series, &row, &page);
        assert_true(page.len - before < 40000);
    }
    assert_true(pieces > 5);
    expect("litellm_managed_batch_created_total{model=\"m\",api_provider=\"azure\","
           "api_key_alias=\"key-4999\",team=\"\"} 1");
    series_free(series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_have_their_labels_and_dollars_are_dollars),
        cmocka_unit_test(a_histogram_has_all_its_buckets),
        cmocka_unit_test(a_page_of_many_series_comes_in_pieces),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    strbuf_deinit(&page);
    return failed;
}
