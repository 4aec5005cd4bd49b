/* The quota table of `tranche deployments`, as it is read out of /metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/cli/deployments.h"

#define EU "{model_group=\"g\",model_id=\"eu\"}"
#define US "{model_group=\"g\",model_id=\"us\"}"

static void numbers_of_a_deployment_stand_in_one_row(void **state)
{
    struct deployment_rows rows;

    (void)state;
    assert_int_equal(deployments_read("# HELP tranche_enqueued_tokens Tokens.\n"
                                      "tranche_enqueued_tokens" EU " 100\n"
                                      "tranche_enqueued_tokens" US " 200\n"
                                      "tranche_free_tokens" EU " 900\n"
                                      "tranche_enqueued_token_limit" EU " 1000\n"
                                      "tranche_drain_tokens_per_second" EU " 1.5\n"
                                      "tranche_deployment_healthy" US " 0\n"
                                      "process_cpu_seconds_total 17\n",
                                      &rows),
                     0);
    assert_int_equal(rows.num, 2);
    assert_string_equal(rows.rows[0].group, "g");
    assert_string_equal(rows.rows[0].id, "eu");
    assert_int_equal(rows.rows[0].enqueued, 100);
    assert_int_equal(rows.rows[0].free, 900);
    assert_int_equal(rows.rows[0].limit, 1000);
    assert_true(rows.rows[0].drain > 1.49 && rows.rows[0].drain < 1.51);
    assert_int_equal(rows.rows[1].enqueued, 200);
    assert_int_equal(rows.rows[1].free, -1);
    assert_int_equal(rows.rows[1].healthy, 0);
    free(rows.rows);
}

static void kinds_of_calls_that_rest_are_named(void **state)
{
    struct deployment_rows rows;

    (void)state;
    assert_int_equal(deployments_read("tranche_deployment_in_cooldown{model_group=\"g\",model_id="
                                      "\"eu\",operation=\"upload\"} 1\n"
                                      "tranche_deployment_in_cooldown{model_group=\"g\",model_id="
                                      "\"eu\",operation=\"create\"} 1\n"
                                      "tranche_deployment_in_cooldown{model_group=\"g\",model_id="
                                      "\"eu\",operation=\"read\"} 0\n",
                                      &rows),
                     0);
    assert_int_equal(rows.num, 1);
    assert_string_equal(rows.rows[0].resting, "upload,create");
    free(rows.rows);
}

static void names_are_unescaped_and_what_is_no_sample_is_passed_over(void **state)
{
    struct deployment_rows rows;

    (void)state;
    assert_int_equal(
        deployments_read("tranche_free_tokens{model_group=\"a\\\"}b\",model_id=\"x\\\\y\"} 5\n"
                         "tranche_free_tokens{model_group=\"a\n"
                         "tranche_free_tokens{model_id=\"\"} 1\n"
                         "tranche_free_tokens{model_id=\"z\"} NaN\n"
                         "tranche_free_tokens{model_id=\"z\"}\n"
                         "tranche_free_tokens{model_id\n"
                         "tranche_free_tokens{",
                         &rows),
        0);
    assert_int_equal(rows.num, 1);
    assert_string_equal(rows.rows[0].group, "a\"}b");
    assert_string_equal(rows.rows[0].id, "x\\y");
    assert_int_equal(rows.rows[0].free, 5);
    free(rows.rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_a_deployment_stand_in_one_row),
        cmocka_unit_test(kinds_of_calls_that_rest_are_named),
        cmocka_unit_test(names_are_unescaped_and_what_is_no_sample_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
