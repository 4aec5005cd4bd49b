/* A tenant's limits at providers, and the words of their refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "create/scopes.h"

#define KEY  UINT64_C(11)
#define TEAM UINT64_C(22)
#define NOW  UINT64_C(100000000)

static struct quota *quota;
static struct tenant tenant;
static struct scopes scopes;
static struct failure why;

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(quota_new(2, 16, &quota), 0);
    quota_bind(quota, 0, &(struct quota_terms){.fingerprint = 1});
    tenant = (struct tenant){.kind = TENANT_KEY,
                             .rights = {.key = KEY,
                                        .owner = TEAM,
                                        .team = TEAM,
                                        .tail = "abcd",
                                        .alias = "ann",
                                        .team_name = "red"}};
    rights_limits_init(&tenant.rights.key_limits);
    rights_limits_init(&tenant.rights.team_limits);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    quota_free(quota);
    return 0;
}

static void a_key_and_its_team_are_counted_and_named_without_a_hash(void **state)
{
    (void)state;
    tenant.rights.key_limits.enqueued_tokens = 100;
    tenant.rights.team_limits.open_batches = 7;
    scopes_of_tenant(&tenant, &scopes);
    assert_true(scopes.of[QUOTA_KEY].name == KEY && scopes.of[QUOTA_KEY].tokens == 100);
    assert_true(scopes.of[QUOTA_TEAM].name == TEAM && scopes.of[QUOTA_TEAM].batches == 7);
    assert_true(scopes.of[QUOTA_TEAM].tokens == RIGHTS_UNLIMITED);
    assert_string_equal(scopes.names[QUOTA_KEY], "ann");
    assert_string_equal(scopes.names[QUOTA_TEAM], "red");
    assert_true(scopes.marker_key == KEY); /* its owner is the team */
    assert_true(scopes_are_limited(&scopes));
    tenant.rights.alias[0] = '\0';
    scopes_of_tenant(&tenant, &scopes);
    assert_string_equal(scopes.names[QUOTA_KEY], "sk-...abcd");
}

static void a_key_without_a_team_is_its_own_owner(void **state)
{
    (void)state;
    tenant.rights.team = 0;
    tenant.rights.owner = KEY;
    scopes_of_tenant(&tenant, &scopes);
    assert_true(scopes.of[QUOTA_KEY].name == KEY && scopes.of[QUOTA_TEAM].name == 0);
    assert_true(scopes.marker_key == 0);
    assert_false(scopes_are_limited(&scopes));
}

static void who_sees_all_is_counted_nowhere(void **state)
{
    (void)state;
    for (int kind = TENANT_ANYBODY; kind < TENANT_KEY; kind++) {
        tenant.kind = (enum tenant_kind)kind;
        scopes_of_tenant(&tenant, &scopes);
        assert_true(scopes.of[QUOTA_KEY].name == 0 && scopes.of[QUOTA_TEAM].name == 0);
        assert_true(scopes.marker_key == 0);
    }
    scopes_of_tenant(NULL, &scopes);
    assert_true(scopes.of[QUOTA_KEY].name == 0);
}

static void explain(enum quota_refuser by, uint32_t scope, uint64_t used, uint64_t limit,
                    uint64_t tokens)
{
    const struct quota_refusal refusal = {by, scope, used, limit};

    scopes_of_tenant(&tenant, &scopes);
    scopes_explain(&scopes, quota, &refusal, tokens, NOW, &why);
}

/* LiteLLM's words to the letter: clients match on them. */
static void tokens_that_are_all_enqueued_are_refused_in_litellms_words(void **state)
{
    (void)state;
    explain(QUOTA_BY_TOKENS, QUOTA_KEY, 90, 100, 20);
    assert_int_equal(why.status, 429);
    assert_string_equal(why.code, "429");
    assert_string_equal(why.message,
                        "Batch enqueued token limit exceeded for api_key: ann. Batch requires 20 "
                        "tokens but only 10 enqueued tokens remaining out of 100 enqueued token "
                        "limit. Tokens free up as running batches complete or are cancelled.");
    assert_true(why.retry_after_ms >= 1000);
    explain(QUOTA_BY_TOKENS, QUOTA_TEAM, 150, 100, 20); /* a limit that was lowered */
    assert_string_equal(why.message,
                        "Batch enqueued token limit exceeded for team: red. Batch requires 20 "
                        "tokens but only 0 enqueued tokens remaining out of 100 enqueued token "
                        "limit. Tokens free up as running batches complete or are cancelled.");
}

static void what_can_never_fit_is_no_429(void **state)
{
    (void)state;
    explain(QUOTA_BY_TOKENS, QUOTA_KEY, 0, 100, 101);
    assert_int_equal(why.status, 400);
    assert_int_equal(why.retry_after_ms, -1);
    explain(QUOTA_BY_TOKENS, QUOTA_KEY, 1, 100, 100);
    assert_int_equal(why.status, 429);
    explain(QUOTA_BY_BATCHES, QUOTA_KEY, 0, 0, 1);
    assert_int_equal(why.status, 400);
}

/* (tenants statement A27) */
static void a_budget_that_is_spent_is_refused_in_litellms_words(void **state)
{
    (void)state;
    scopes_of_tenant(&tenant, &scopes);
    scopes_explain_budget(&scopes, QUOTA_KEY, 1000000000, 100000, 422, &why);
    assert_int_equal(why.status, 422);
    assert_string_equal(why.type, "budget_exceeded");
    assert_string_equal(why.code, "422");
    assert_string_equal(why.param, "");
    assert_true(why.should_not_retry);
    assert_int_equal(why.retry_after_ms, -1);
    assert_non_null(strstr(why.message, "Budget has been exceeded! Key=ann Current cost: 1.0, Max "
                                        "budget: 0.0001."));
    scopes_explain_budget(&scopes, QUOTA_TEAM, 0, 340, 400, &why);
    assert_int_equal(why.status, 400);
    assert_string_equal(why.code, "400");
    assert_non_null(strstr(why.message, "Team=red Current cost: 0.0, Max budget: 0.00000034."));
}

static void a_budget_is_a_limit(void **state)
{
    (void)state;
    scopes_of_tenant(&tenant, &scopes);
    assert_false(scopes_are_limited(&scopes));
    assert_true(scopes.budgets[QUOTA_KEY] == RIGHTS_UNLIMITED);
    tenant.rights.team_limits.budget_nano = 5;
    tenant.rights.team_limits.budget_period_s = 86400;
    scopes_of_tenant(&tenant, &scopes);
    assert_true(scopes_are_limited(&scopes));
    assert_true(scopes.budgets[QUOTA_KEY] == RIGHTS_UNLIMITED);
    assert_true(scopes.budgets[QUOTA_TEAM] == 5 && scopes.periods_s[QUOTA_TEAM] == 86400);
    scopes_of_tenant(NULL, &scopes);
    assert_true(scopes.budgets[QUOTA_TEAM] == RIGHTS_UNLIMITED);
}

static void open_batches_and_a_full_ledger_have_words_of_their_own(void **state)
{
    (void)state;
    explain(QUOTA_BY_BATCHES, QUOTA_TEAM, 3, 3, 1);
    assert_int_equal(why.status, 429);
    assert_non_null(strstr(why.message, "Open batch limit exceeded for team: red. It has 3 "
                                        "unfinished batches out of an open batch limit of 3."));
    assert_string_equal(why.rate_limit, "batches");
    explain(QUOTA_BY_TOKENS, QUOTA_KEY, 90, 100, 20);
    assert_string_equal(why.rate_limit, "tokens");
    explain(QUOTA_BY_TABLE, 0, 0, 0, 1);
    assert_int_equal(why.status, 503);
    assert_string_equal(why.rate_limit, "");
    assert_true(why.retry_after_ms > 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_key_and_its_team_are_counted_and_named_without_a_hash),
        T(a_key_without_a_team_is_its_own_owner),
        T(who_sees_all_is_counted_nowhere),
        T(tokens_that_are_all_enqueued_are_refused_in_litellms_words),
        T(what_can_never_fit_is_no_429),
        T(a_budget_that_is_spent_is_refused_in_litellms_words),
        T(a_budget_is_a_limit),
        T(open_batches_and_a_full_ledger_have_words_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
