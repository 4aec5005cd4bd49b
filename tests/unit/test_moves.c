/* Whether a batch that failed late is moved, how long it is shown as if it was, and how long it waits
 * (journal statements D13, D14). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "journal/moves.h"

static struct wire_seen failed_with(const char *errors)
{
    return (struct wire_seen){
        .status = "failed", .output = "", .error = "", .native = "batch_1", .errors = errors};
}

#define ONE(code)                                                                                  \
    "{\"object\":\"list\",\"data\":[{\"code\":\"" code "\",\"message\":\"m\",\"line\":null}]}"
#define TWO(a, b) "{\"data\":[{\"code\":\"" a "\"},{\"code\":\"" b "\"}]}"

static void a_deployment_that_is_full_or_gone_is_no_fault_of_the_batch(void **state)
{
    static const char *const moved[] = {ONE("token_limit_exceeded"), ONE("model_not_found"),
                                        TWO("token_limit_exceeded", "token_limit_exceeded")};
    static const char *const stays[] = {"",
                                        "{}",
                                        "{\"data\":[]}",
                                        "{\"data\":[{\"message\":\"m\"}]}",
                                        "{\"data\":",
                                        ONE("invalid_json_line"),
                                        ONE("duplicate_custom_id"),
                                        TWO("token_limit_exceeded", "model_mismatch")};

    (void)state;
    for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
        struct wire_seen seen = failed_with(moved[i]);

        assert_true(moves_is_refusal(&seen));
    }
    for (size_t i = 0; i < sizeof(stays) / sizeof(stays[0]); i++) {
        struct wire_seen seen = failed_with(stays[i]);

        assert_false(moves_is_refusal(&seen));
    }
}

static void what_ran_or_has_not_failed_stays(void **state)
{
    struct wire_seen seen = failed_with(ONE("token_limit_exceeded"));

    (void)state;
    seen.completed = 1;
    assert_false(moves_is_refusal(&seen));
    seen.completed = 0;
    seen.failed = 1;
    assert_false(moves_is_refusal(&seen));
    seen.failed = 0;
    seen.output = "file-1";
    assert_false(moves_is_refusal(&seen));
    seen.output = "";
    seen.status = "expired";
    assert_false(moves_is_refusal(&seen));
    seen.status = "validating";
    assert_false(moves_is_refusal(&seen));
}

/* Whoever shows it goes on longer than whoever moves it may begin: none is shown as failed and moved
 * afterwards. */
static void it_is_hidden_for_longer_than_it_may_begin_to_move(void **state)
{
    (void)state;
    for (uint64_t age_s = 0; age_s < 2 * MOVES_LATE_S; age_s += 60)
        if (moves_in_time(1000000, 1000000 + age_s, true))
            assert_true(moves_in_time(1000000, 1000000 + age_s + MOVES_SLACK_S - 1, false));
    assert_true(moves_in_time(1000000, 1000000, true));
    assert_true(moves_in_time(1000000, 999000, true)); /* the provider's clock is ahead */
    assert_false(moves_in_time(1000000, 1000000 + MOVES_LATE_S, false));
    assert_true(moves_in_time(0, 1000000, true));
}

static void it_waits_twice_as_long_each_time(void **state)
{
    (void)state;
    assert_int_equal(moves_wait_ms(0, 60000), 60000);
    assert_int_equal(moves_wait_ms(1, 60000), 120000);
    assert_int_equal(moves_wait_ms(3, 60000), 480000);
    for (uint32_t tries = 4; tries < 100; tries++)
        assert_int_equal(moves_wait_ms(tries, 60000), 900000);
    assert_int_equal(moves_wait_ms(5, UINT32_MAX), UINT32_MAX);
}

static void set_row(struct model_deployment *d, const char *group, const char *id,
                    const char *model, uint32_t account, uint32_t fingerprint)
{
    *d = (struct model_deployment){.group = (char *)(uintptr_t)group,
                                   .id = (char *)(uintptr_t)id,
                                   .upstream_model = (char *)(uintptr_t)model,
                                   .litellm_model = (char *)(uintptr_t)model,
                                   .mode = (char *)(uintptr_t) "batch",
                                   .account = account,
                                   .fingerprint = fingerprint};
}

static void another_deployment_of_the_group_is_wanted(void **state)
{
    struct model_account accounts[2] = {
        {.provider = PROVIDER_OPENAI, .base = (char *)"https://a", .name = (char *)"a"},
        {.provider = PROVIDER_OPENAI, .base = (char *)"https://b", .name = (char *)"b"}};
    struct model_deployment rows[3];
    struct model_list list = {
        .accounts = accounts, .num_accounts = 2, .deployments = rows, .num_deployments = 3};
    struct table *table;

    (void)state;
    set_row(&rows[0], "two", "1", "m", 0, 0xa1);
    set_row(&rows[1], "two", "2", "m", 1, 0xb1);
    set_row(&rows[2], "alone", "3", "n", 0, 0xa2);
    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_true(moves_have_place(table, 0xa1));
    assert_true(moves_have_place(table, 0xb1));
    assert_false(moves_have_place(table, 0xa2));
    assert_false(moves_have_place(table, 0xff));
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deployment_that_is_full_or_gone_is_no_fault_of_the_batch),
        cmocka_unit_test(what_ran_or_has_not_failed_stays),
        cmocka_unit_test(it_is_hidden_for_longer_than_it_may_begin_to_move),
        cmocka_unit_test(it_waits_twice_as_long_each_time),
        cmocka_unit_test(another_deployment_of_the_group_is_wanted)};

    return cmocka_run_group_tests_name("moves", tests, NULL, NULL);
}
