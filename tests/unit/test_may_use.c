/* Which models a tenant may use: names, patterns, aliases of keys, teams and the configuration, ids
 * of rows, fallbacks, and what is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "request/may_use.h"
#include "request/resolve.h"
#include "routing/candidates.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal)) /* nobody writes it */

/* Groups: 0 cheap, 1 dear, 2 azure/ *; the last row is an account as a whole. */
static struct model_account accounts[] = {{.provider = PROVIDER_AZURE, .name = TEXT("a")},
                                          {.provider = PROVIDER_OPENAI, .name = TEXT("o")}};
static struct model_deployment rows[] = {
    {.group = TEXT("cheap"), .id = TEXT("row-1"), .fingerprint = 1, .account = 0},
    {.group = TEXT("dear"), .id = TEXT("cheap-looking"), .fingerprint = 2, .account = 0},
    {.group = TEXT("azure/*"), .id = TEXT("row-3"), .fingerprint = 3, .account = 0},
    {.id = TEXT("row-4"), .fingerprint = 4, .account = 1},
};
static struct model_name names[] = {{.name = TEXT("nickname"), .target = TEXT("dear")}};
static const uint32_t to_dear[] = {1};
static struct fallback_rule rules[] = {{.group = 0, .to = to_dear, .num_to = 1}};
static struct config config = {.balance_batches = true, .max_fallbacks = 5};
static struct inherited inherited;
static struct runtime worker = {.config = &config, .inherited = &inherited, .fallbacks = rules};
static struct tenant tenant;
static struct relay relay = {.rt = &worker, .tenant = &tenant};

static int begin(void **state)
{
    struct model_list list = {.accounts = accounts,
                              .num_accounts = 2,
                              .deployments = rows,
                              .num_deployments = 4,
                              .names = names,
                              .num_names = 1};
    struct table *table;

    (void)state;
    list.default_deployment[PROVIDER_AZURE] = MODEL_NO_INDEX;
    list.default_deployment[PROVIDER_OPENAI] = 3;
    config.models = list;
    config.num_fallbacks = 1;
    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_int_equal(rights_table_new(16, &inherited.rights), 0);
    worker.table = table;
    return 0;
}

static int end(void **state)
{
    (void)state;
    table_free((struct table *)(uintptr_t)worker.table);
    rights_table_free(inherited.rights);
    return 0;
}

/* The tenant's key has these rights from now on. */
static void key_may(const char *models, const char *team_models, bool all)
{
    struct rights_alias alias = {TEXT("quick"), TEXT("cheap")};
    struct rights_key key = {.id = TEXT("k"),
                             .hash = {1},
                             .team_id = team_models != NULL ? TEXT("t") : NULL,
                             .routes = RIGHTS_ALL_ROUTES,
                             .models = {.all = all, .aliases = &alias, .num_aliases = 1}};
    struct rights_team team = {.id = TEXT("t")};
    char *list[] = {TEXT(models)}, *team_list[] = {TEXT(team_models)};
    struct rights_list all_of_it = {.keys = &key, .num_keys = 1, .teams = &team};
    const struct rights_list *lists[] = {&all_of_it};

    rights_limits_init(&key.limits);
    rights_limits_init(&team.limits);
    if (models != NULL) {
        key.models.names = list;
        key.models.num_names = 1;
    }
    if (team_models != NULL) {
        team.models.names = team_list;
        team.models.num_names = 1;
        all_of_it.num_teams = 1;
    }
    assert_int_equal(rights_publish(inherited.rights, 1, lists, 1, true), 0);
    tenant.kind = TENANT_KEY;
    assert_true(rights_find(inherited.rights, key.hash, &tenant.rights));
}

static enum rights_model may(const char *name)
{
    return may_use_either(&relay, name, strlen(name));
}

static void the_master_is_not_limited(void **state)
{
    (void)state;
    tenant = tenant_master;
    assert_false(may_use_is_limited(&relay));
    assert_int_equal(may("anything"), RIGHTS_MODEL_ALLOWED);
    relay.tenant = NULL; /* as in tests that know no tenants */
    assert_false(may_use_is_limited(&relay));
    relay.tenant = &tenant;
}

static void names_are_exact_or_patterns(void **state)
{
    (void)state;
    key_may("cheap", NULL, false);
    assert_true(may_use_is_limited(&relay));
    assert_int_equal(may("cheap"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("dear"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(may("cheaper"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(may("azure/gpt-5"), RIGHTS_MODEL_NOT_OF_KEY);
    key_may("azure/gpt-5", NULL, false);
    assert_int_equal(may("azure/gpt-5"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("azure/gpt-6"), RIGHTS_MODEL_NOT_OF_KEY);
    key_may("azure/*", NULL, false);
    assert_int_equal(may("azure/gpt-6"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("cheap"), RIGHTS_MODEL_NOT_OF_KEY);
    key_may(NULL, NULL, true);
    assert_false(may_use_is_limited(&relay));
    assert_int_equal(may("dear"), RIGHTS_MODEL_ALLOWED);
}

static void the_id_of_a_row_opens_its_group_only(void **state)
{
    (void)state;
    key_may("cheap*", NULL, false);
    assert_int_equal(may("cheap"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("row-1"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("cheap-looking"), RIGHTS_MODEL_NOT_OF_KEY); /* a row of dear */
    assert_int_equal(may("row-4"), RIGHTS_MODEL_NOT_OF_KEY);
}

static void an_alias_of_the_configuration_is_a_name(void **state)
{
    (void)state;
    key_may("nickname", NULL, false);
    assert_int_equal(may("nickname"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("dear"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(may_use_group(&relay, 1), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may_use_group(&relay, 0), RIGHTS_MODEL_NOT_OF_KEY);
    key_may("dear", NULL, false);
    assert_int_equal(may("nickname"), RIGHTS_MODEL_ALLOWED);
}

static void the_team_has_to_allow_it_too(void **state)
{
    (void)state;
    key_may("*", "cheap", false);
    assert_true(may_use_is_limited(&relay));
    assert_int_equal(may("cheap"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(may("dear"), RIGHTS_MODEL_NOT_OF_TEAM);
}

static void aliases_of_the_key_name_groups(void **state)
{
    char target[RIGHTS_NAME_MAX + 1];

    (void)state;
    key_may("cheap", NULL, false);
    assert_true(may_use_alias(&relay, "quick", 5, target));
    assert_string_equal(target, "cheap");
    assert_false(may_use_alias(&relay, "cheap", 5, target));
    tenant.kind = TENANT_ADMIN;
    assert_false(may_use_alias(&relay, "quick", 5, target));
}

static void fallbacks_that_may_not_be_used_are_dropped(void **state)
{
    struct candidates candidates;

    (void)state;
    key_may("cheap", NULL, false);
    assert_int_equal(candidates_of_group(&worker, 0, &candidates), 0);
    assert_int_equal(candidates.num, 2);
    may_use_drop_fallbacks(&relay, &candidates);
    assert_int_equal(candidates.num, 1);
    assert_int_equal(candidates.deployments[0], 0);
    candidates_deinit(&candidates);
    assert_int_equal(candidates_of_group(&worker, 1, &candidates), 0); /* tier 0 was judged */
    may_use_drop_fallbacks(&relay, &candidates);
    assert_int_equal(candidates.num, 1);
    candidates_deinit(&candidates);
}

/* --- where an upload may go --- */

static bool upload_of(const char *hint, const char *model, const char *target, struct failure *why)
{
    struct candidates candidates;
    bool may_go;

    memset(&relay.hints, 0, sizeof(relay.hints));
    snprintf(relay.hints.model, sizeof(relay.hints.model), "%s", hint);
    memset(why, 0, sizeof(*why));
    may_go = resolve_upload(&relay, model, target, &candidates, why);
    if (may_go)
        candidates_deinit(&candidates);
    return may_go;
}

static void every_name_of_an_upload_counts(void **state)
{
    struct failure why;

    (void)state;
    key_may("cheap", NULL, false);
    assert_true(upload_of("", "cheap", NULL, &why));
    assert_true(upload_of("cheap", "cheap", NULL, &why));
    assert_false(upload_of("dear", "cheap", NULL, &why));
    assert_string_equal(why.param, "model");
    assert_false(upload_of("cheap", "dear", NULL, &why));
    assert_string_equal(why.param, "file");
    assert_false(upload_of("", "cheap", "cheap,dear", &why));
    assert_int_equal(why.status, 403);
    assert_true(upload_of("", "cheap", "quick", &why)); /* an alias */
    assert_false(upload_of("cheap-looking", "cheap", NULL, &why));
    assert_false(upload_of("row-4", "cheap", NULL, &why));
}

static void who_may_use_some_hears_the_same_of_what_is_not_there(void **state)
{
    struct failure denied, unknown;

    (void)state;
    key_may("cheap", NULL, false);
    assert_false(upload_of("dear", "cheap", NULL, &denied));
    assert_false(upload_of("none", "cheap", NULL, &unknown));
    assert_string_equal(denied.message,
                        "The requested model 'dear' is not available for this API key, or the "
                        "model name is invalid. Check the models available to you and try again.");
    assert_string_equal(unknown.message,
                        "The requested model 'none' is not available for this API key, or the "
                        "model name is invalid. Check the models available to you and try again.");
    assert_string_equal(denied.type, "key_model_access_denied");
    assert_string_equal(denied.code, "403");
    assert_string_equal(denied.type, unknown.type);
    assert_string_equal(denied.param, unknown.param);
    key_may("no*", NULL, false);
    assert_false(upload_of("none", NULL, NULL, &unknown));
    assert_string_equal(unknown.message, "The model 'none' is not served here.");
}

/* A provider pin sends names to an account as they are. */
static void a_provider_pin_opens_no_other_models(void **state)
{
    struct failure why;
    struct candidates candidates;

    (void)state;
    key_may("cheap", NULL, false);
    memset(&relay.hints, 0, sizeof(relay.hints));
    relay.hints.has_provider = true;
    relay.hints.provider = PROVIDER_OPENAI;
    assert_false(resolve_upload(&relay, "gpt-5-pro", NULL, &candidates, &why));
    assert_int_equal(why.status, 403);
    assert_string_equal(why.message,
                        "Batch input file references a model the caller is not authorized to use: "
                        "model=gpt-5-pro, reason=key_model_access_denied, line=1");
    assert_false(resolve_upload(&relay, "row-1", NULL, &candidates, &why)); /* no name there */
    key_may("gpt-5*", NULL, false);
    assert_true(resolve_upload(&relay, "gpt-5-pro", NULL, &candidates, &why));
    assert_false(candidates.grouped);
    candidates_deinit(&candidates);
    memset(&relay.hints, 0, sizeof(relay.hints));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_master_is_not_limited),
        cmocka_unit_test(names_are_exact_or_patterns),
        cmocka_unit_test(the_id_of_a_row_opens_its_group_only),
        cmocka_unit_test(an_alias_of_the_configuration_is_a_name),
        cmocka_unit_test(the_team_has_to_allow_it_too),
        cmocka_unit_test(aliases_of_the_key_name_groups),
        cmocka_unit_test(fallbacks_that_may_not_be_used_are_dropped),
        cmocka_unit_test(every_name_of_an_upload_counts),
        cmocka_unit_test(who_may_use_some_hears_the_same_of_what_is_not_there),
        cmocka_unit_test(a_provider_pin_opens_no_other_models),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
