/* LiteLLM's own tables, as its Prisma file makes them in PostgreSQL, with rows as it writes them. */
#include "store_world.h"

#include "json/json.h"
#include "store/litellm.h"

static struct cluster cluster;

#define KEY_A  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY_C  "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define OLD_A  "0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PAGE_K "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

static const char tables[] =
    "drop schema if exists public cascade; create schema public;"
    "create table \"LiteLLM_BudgetTable\"(budget_id text primary key, max_budget double precision,"
    " soft_budget double precision, max_parallel_requests integer, tpm_limit bigint,"
    " rpm_limit bigint, model_max_budget jsonb, budget_duration text, budget_reset_at timestamp(3),"
    " created_at timestamp(3) not null default current_timestamp, created_by text not null,"
    " updated_at timestamp(3) not null default current_timestamp, updated_by text not null);"
    "create table \"LiteLLM_ModelTable\"(id serial primary key, aliases jsonb,"
    " created_by text not null, updated_by text not null);"
    "create table \"LiteLLM_TeamTable\"(team_id text primary key, team_alias text,"
    " organization_id text, object_permission_id text, admins text[], members text[],"
    " members_with_roles jsonb not null default '{}', metadata jsonb not null default '{}',"
    " max_budget double precision, spend double precision not null default 0.0, models text[],"
    " max_parallel_requests integer, tpm_limit bigint, rpm_limit bigint, budget_duration text,"
    " budget_reset_at timestamp(3), blocked boolean not null default false,"
    " created_at timestamp(3) not null default current_timestamp,"
    " updated_at timestamp(3) not null default current_timestamp,"
    " model_spend jsonb not null default '{}', model_max_budget jsonb not null default '{}',"
    " model_id integer unique);"
    "create table \"LiteLLM_VerificationToken\"(token text primary key, key_name text,"
    " key_alias text, soft_budget_cooldown boolean not null default false,"
    " spend double precision not null default 0.0, expires timestamp(3), models text[],"
    " aliases jsonb not null default '{}', config jsonb not null default '{}',"
    " router_settings jsonb default '{}', user_id text, team_id text, agent_id text,"
    " project_id text, permissions jsonb not null default '{}', max_parallel_requests integer,"
    " metadata jsonb not null default '{}', blocked boolean, tpm_limit bigint, rpm_limit bigint,"
    " max_budget double precision, budget_duration text, budget_reset_at timestamp(3),"
    " budget_limits jsonb, allowed_cache_controls text[] default array[]::text[],"
    " allowed_routes text[] default array[]::text[], policies text[] default array[]::text[],"
    " access_group_ids text[] default array[]::text[], model_spend jsonb not null default '{}',"
    " model_max_budget jsonb not null default '{}', budget_id text, organization_id text,"
    " object_permission_id text, created_at timestamp(3) default current_timestamp,"
    " created_by text, updated_at timestamp(3) default current_timestamp, updated_by text,"
    " last_active timestamp(3), rotation_count integer default 0, auto_rotate boolean default"
    " false, rotation_interval text, last_rotation_at timestamp(3), key_rotation_at timestamp(3));"
    "create table \"LiteLLM_DeprecatedVerificationToken\"(id text primary key default"
    " gen_random_uuid()::text, token text not null unique, active_token_id text not null,"
    " revoke_at timestamp(3) not null, created_at timestamp(3) not null default"
    " current_timestamp);";

static const char rows[] =
    "insert into \"LiteLLM_ModelTable\"(id, aliases, created_by, updated_by)"
    " values(1, '{\"fast\": \"gpt-4o-mini\"}', 'admin', 'admin');"
    "insert into \"LiteLLM_TeamTable\"(team_id, team_alias, models, metadata, rpm_limit, model_id,"
    " members_with_roles) values('team-1', 'Red', '{gpt-4o,gpt-4o-mini}',"
    " '{\"batch_enqueued_token_limit\": 9000, \"enforced_file_expires_after\":"
    " {\"anchor\": \"created_at\", \"seconds\": 86400}}', 600, 1,"
    " '[{\"role\": \"admin\", \"user_id\": \"u1\"}]');"
    "insert into \"LiteLLM_VerificationToken\"(token, key_name, key_alias, models, team_id,"
    " metadata, aliases, expires, created_by) values('" KEY_A
    "', 'sk-...Ab1_', 'batch-red', '{}', 'team-1',"
    " '{\"batch_enqueued_token_limit\": \"5000\", \"service_account_id\": \"s\"}',"
    " '{\"mini\": \"gpt-4o-mini\"}', '2099-01-02 03:04:05.678', 'default_user_id');"
    "insert into \"LiteLLM_BudgetTable\"(budget_id, rpm_limit, max_budget, created_by, updated_by)"
    " values('bud', 30, 2.5, 'admin', 'admin');"
    "insert into \"LiteLLM_VerificationToken\"(token, key_name, models, user_id, blocked,"
    " budget_id, allowed_routes) values('" KEY_B "', 'sk-...9999', '{\"gpt-4o\",\"o3 mini\"}',"
    " 'u2', true, 'bud', '{llm_api_routes}');"
    "insert into \"LiteLLM_VerificationToken\"(token, team_id, user_id) values('" PAGE_K
    "', 'litellm-dashboard', 'admin'), ('sk-never-hashed', null, null);";

/* What LiteLLM adds and we do not know, and what an older one has not. */
static const char other_version[] =
    "alter table \"LiteLLM_VerificationToken\" add column brand_new jsonb default '{\"a\": [1]}';"
    "alter table \"LiteLLM_VerificationToken\" drop column allowed_routes;"
    "alter table \"LiteLLM_VerificationToken\" drop column budget_id;"
    "alter table \"LiteLLM_VerificationToken\" drop column organization_id;"
    "alter table \"LiteLLM_TeamTable\" drop column model_id;"
    "drop table \"LiteLLM_ModelTable\"; drop table \"LiteLLM_BudgetTable\";"
    "drop table \"LiteLLM_DeprecatedVerificationToken\"";

static struct litellm *open_litellm(const char *more)
{
    struct litellm *l = NULL;
    char url[256], why[STORE_WHY_BYTES];

    snprintf(url, sizeof(url), "%s%s", cluster.url, more);
    if (litellm_new(url, 0, &l, why) != 0)
        fail_msg("%s", why);
    return l;
}

static int set_up(void **state)
{
    *state = NULL;
    if (!cluster.there)
        return 0;
    cluster_do(&cluster, tables, NULL, NULL);
    cluster_do(&cluster, rows, NULL, NULL);
    /* A URL as LiteLLM's operators have it, with what only Prisma knows. */
    *state = open_litellm("&schema=public&connection_limit=10&pool_timeout=60");
    return 0;
}

static int tear_down(void **state)
{
    litellm_free(*state);
    return 0;
}

#define LITELLM(l)                                                                                 \
    struct litellm *l = *state;                                                                    \
    if ((l) == NULL)                                                                               \
    skip()

#define REFRESH(l, list, changed)                                                                  \
    do {                                                                                           \
        if (litellm_refresh(l, &(list), &(changed)) != 0)                                          \
            fail_msg("%s", litellm_why(l));                                                        \
    } while (0)

static const struct rights_key *key_in(const struct rights_list *list, const char *hex)
{
    unsigned char hash[RIGHTS_HASH_BYTES];

    hash_bytes(hex, hash);
    for (size_t i = 0; i < list->num_keys; i++)
        if (memcmp(list->keys[i].hash, hash, sizeof(hash)) == 0)
            return &list->keys[i];
    return NULL;
}

static void keys_and_teams_are_read_as_litellm_writes_them(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    const struct rights_key *a, *b;
    bool changed;

    REFRESH(l, list, changed);
    assert_true(changed);
    assert_int_equal(list->num_keys, 2);
    assert_int_equal(list->num_teams, 1);
    a = key_in(list, KEY_A);
    assert_string_equal(a->id, KEY_A);
    assert_string_equal(a->alias, "batch-red");
    assert_string_equal(a->team_id, "team-1");
    assert_string_equal(a->tail, "Ab1_");
    assert_true(a->models.all); /* an empty list is every model (A17) */
    assert_string_equal(a->models.aliases[0].name, "mini");
    assert_int_equal(a->limits.enqueued_tokens, 5000);
    assert_int_equal(a->expires_unix_ms, 4071006245678);
    assert_false(a->blocked); /* NULL (A13) */
    assert_false(a->admin);
    assert_int_equal(a->source, RIGHTS_OF_LITELLM);
    b = key_in(list, KEY_B);
    assert_true(b->blocked);
    assert_false(b->models.all);
    assert_string_equal(b->models.names[1], "o3 mini");
    assert_int_equal(b->limits.requests_per_minute, 30); /* of its shared budget */
    assert_int_equal(b->routes, RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY);
    assert_int_equal(b->expires_unix_ms, 0);
    assert_string_equal(list->teams[0].alias, "Red");
    assert_int_equal(list->teams[0].limits.enqueued_tokens, 9000);
    assert_int_equal(list->teams[0].limits.file_expiry_s, 86400);
    assert_int_equal(list->teams[0].limits.requests_per_minute, 600);
    assert_string_equal(list->teams[0].models.aliases[0].target, "gpt-4o-mini");
    assert_int_equal(litellm_counts(l)->of_pages, 1);
    assert_int_equal(litellm_counts(l)->without_hash, 1);
    assert_int_equal(litellm_counts(l)->with_budget, 1);
}

static void nothing_is_said_to_have_changed_when_nothing_did(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    bool changed;

    REFRESH(l, list, changed);
    REFRESH(l, list, changed);
    assert_false(changed);
    /* Spend is written all the time: a hundredth of a budget counts, and without one nothing. */
    cluster_do(&cluster, "update \"LiteLLM_VerificationToken\" set spend = spend + 0.001", NULL,
               NULL);
    REFRESH(l, list, changed);
    assert_false(changed);
    cluster_do(&cluster,
               "update \"LiteLLM_VerificationToken\" set spend = spend + 1 where budget_id is null",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_false(changed);
    assert_int_equal(list->num_keys, 2);
}

static void what_litellm_has_spent_of_a_budget_is_taken_off(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    bool changed;

    cluster_do(&cluster, "update \"LiteLLM_VerificationToken\" set spend = 1.01", NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(list->keys[0].limits.budget_nano == RIGHTS_UNLIMITED);
    assert_int_equal(list->keys[1].limits.budget_nano, 1500000000); /* of 2.5 */
    cluster_do(&cluster, "update \"LiteLLM_VerificationToken\" set spend = 2.5", NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(changed);
    assert_int_equal(list->keys[1].limits.budget_nano, 0);
    cluster_do(&cluster, "update \"LiteLLM_VerificationToken\" set spend = -1", NULL, NULL);
    cluster_do(&cluster, "update \"LiteLLM_BudgetTable\" set max_budget = 0", NULL, NULL);
    REFRESH(l, list, changed); /* a refund of a budget of nothing */
    assert_int_equal(list->keys[1].limits.budget_nano, 0);
}

static void each_kind_of_change_shows_at_the_next_look(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    bool changed;

    REFRESH(l, list, changed);
    cluster_do(&cluster,
               "update \"LiteLLM_VerificationToken\" set blocked = true where token = '" KEY_A "'",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(changed && key_in(list, KEY_A)->blocked);
    cluster_do(&cluster, "insert into \"LiteLLM_VerificationToken\"(token) values('" KEY_C "')",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(changed && key_in(list, KEY_C) != NULL);
    assert_int_equal(list->num_keys, 3);
    cluster_do(&cluster, "delete from \"LiteLLM_VerificationToken\" where token = '" KEY_C "'",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(changed && key_in(list, KEY_C) == NULL);
    /* One goes and one comes between two looks. */
    cluster_do(&cluster,
               "update \"LiteLLM_VerificationToken\" set token = '" KEY_C "' where token = '" KEY_B
               "'",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(changed && key_in(list, KEY_C) != NULL && key_in(list, KEY_B) == NULL);
    cluster_do(&cluster, "update \"LiteLLM_TeamTable\" set blocked = true", NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(changed && list->teams[0].blocked);
    cluster_do(&cluster, "update \"LiteLLM_BudgetTable\" set rpm_limit = 7", NULL, NULL);
    REFRESH(l, list, changed);
    assert_int_equal(key_in(list, KEY_C)->limits.requests_per_minute, 7);
    cluster_do(&cluster, "update \"LiteLLM_ModelTable\" set aliases = '{\"slow\": \"o3\"}'", NULL,
               NULL);
    REFRESH(l, list, changed);
    assert_string_equal(list->teams[0].models.aliases[0].name, "slow");
}

/* Two transactions: the first to begin is the last to end, after a look that saw the other's. */
static void a_change_that_ends_late_shows_as_well(void **state)
{
    LITELLM(l);
    struct engine *late = cluster_engine(&cluster);
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;
    const struct rights_list *list;
    bool changed;

    REFRESH(l, list, changed);
    assert_int_equal(engine_run(late,
                                "begin; update \"LiteLLM_VerificationToken\" set blocked = true"
                                " where token = '" KEY_A "'",
                                NULL, 0, until_ms, NULL, NULL),
                     0);
    cluster_do(&cluster,
               "update \"LiteLLM_VerificationToken\" set blocked = false where token = '" KEY_B "'",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_false(key_in(list, KEY_B)->blocked);
    assert_false(key_in(list, KEY_A)->blocked);
    assert_int_equal(engine_run(late, "commit", NULL, 0, until_ms, NULL, NULL), 0);
    REFRESH(l, list, changed);
    assert_true(key_in(list, KEY_A)->blocked);
    late->ops->free(late);
}

static void an_old_hash_is_good_until_it_is_revoked(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    struct rights_list one;
    unsigned char hash[RIGHTS_HASH_BYTES];
    bool changed;

    REFRESH(l, list, changed);
    cluster_do(&cluster,
               "insert into \"LiteLLM_DeprecatedVerificationToken\"(token, active_token_id,"
               " revoke_at) values('" OLD_A "', '" KEY_A "', '2098-01-01 00:00:00'),"
               " ('" KEY_C "', '" KEY_A "', '2020-01-01 00:00:00')",
               NULL, NULL);
    REFRESH(l, list, changed);
    assert_int_equal(list->num_keys, 3);
    assert_string_equal(key_in(list, OLD_A)->id, KEY_A);
    assert_int_equal(key_in(list, OLD_A)->expires_unix_ms, 4039372800000);
    assert_int_equal(key_in(list, OLD_A)->limits.enqueued_tokens, 5000);
    hash_bytes(OLD_A, hash);
    assert_int_equal(litellm_find(l, hash, &one), 0);
    assert_int_equal(one.keys[0].expires_unix_ms, 4039372800000);
    assert_int_equal(one.num_teams, 1);
    rights_list_deinit(&one);
    /* A block of the key is one of its old hash. */
    cluster_do(&cluster, "update \"LiteLLM_VerificationToken\" set blocked = true", NULL, NULL);
    REFRESH(l, list, changed);
    assert_true(key_in(list, OLD_A)->blocked);
}

static void one_key_is_found_at_its_first_use(void **state)
{
    LITELLM(l);
    struct rights_list one;
    unsigned char hash[RIGHTS_HASH_BYTES];

    hash_bytes(KEY_A, hash);
    assert_int_equal(litellm_find(l, hash, &one), 0);
    assert_int_equal(one.num_keys, 1);
    assert_string_equal(one.teams[0].id, "team-1");
    rights_list_deinit(&one);
    hash_bytes(PAGE_K, hash);
    assert_int_equal(litellm_find(l, hash, &one), ERR_NOT_FOUND);
    hash_bytes(KEY_C, hash);
    assert_int_equal(litellm_find(l, hash, &one), ERR_NOT_FOUND);
}

static void a_keys_row_is_read_as_an_administrator_sees_it(void **state)
{
    LITELLM(l);
    struct store_key row;

    assert_int_equal(litellm_get(l, KEY_A, &row), 0);
    assert_string_equal(row.hash, KEY_A);
    assert_string_equal(row.team_id, "team-1");
    store_key_deinit(&row);
    assert_int_equal(litellm_get(l, KEY_C, &row), ERR_NOT_FOUND);
    assert_int_equal(litellm_get(l, PAGE_K, &row), ERR_NOT_FOUND);
}

static void columns_may_be_missing_and_unknown(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    bool changed;

    cluster_do(&cluster, other_version, NULL, NULL);
    REFRESH(l, list, changed);
    assert_int_equal(list->num_keys, 2);
    assert_int_equal(key_in(list, KEY_B)->limits.requests_per_minute, RIGHTS_UNLIMITED);
    assert_int_equal(key_in(list, KEY_B)->routes, RIGHTS_ALL_ROUTES);
    assert_int_equal(list->teams[0].models.num_aliases, 0);
}

static void another_database_is_no_litellm(void **state)
{
    LITELLM(l);
    const struct rights_list *list;
    bool changed;

    cluster_do(&cluster, "drop schema public cascade; create schema public", NULL, NULL);
    assert_int_equal(litellm_refresh(l, &list, &changed), ERR_BAD_STATE);
    assert_int_equal(litellm_state(l), STORE_FOREIGN);
    assert_non_null(strstr(litellm_why(l), "LiteLLM_VerificationToken"));
}

/* A role that may only read is enough, and one that may not is told so. */
static void a_role_that_may_only_select_is_enough(void **state)
{
    LITELLM(l);
    struct litellm *reader;
    const struct rights_list *list;
    char url[256], why[STORE_WHY_BYTES];
    bool changed;

    (void)l;
    cluster_do(&cluster,
               "drop role if exists reader; create role reader login;"
               " alter role reader set default_transaction_read_only = on;"
               " grant usage on schema public to reader;"
               " grant select on all tables in schema public to reader",
               NULL, NULL);
    snprintf(url, sizeof(url), "postgresql://reader@/postgres?host=%s", cluster.dir);
    assert_int_equal(litellm_new(url, 0, &reader, why), 0);
    REFRESH(reader, list, changed);
    assert_int_equal(list->num_keys, 2);
    litellm_free(reader);
    cluster_do(&cluster, "drop owned by reader; drop role reader", NULL, NULL);
}

static void what_an_import_reads_are_whole_rows(void **state)
{
    LITELLM(l);
    struct litellm_rows read;

    if (litellm_read(l, &read) != 0)
        fail_msg("%s", litellm_why(l));
    assert_int_equal(read.num_keys, 2);
    assert_int_equal(read.num_teams, 1);
    assert_string_equal(read.keys[0].hash, KEY_A);
    assert_non_null(strstr(read.keys[0].metadata, "service_account_id"));
    assert_non_null(strstr(read.keys[1].fields, "\"max_budget\":2.5"));
    assert_true(read.num_unknown > 0);
    litellm_rows_deinit(&read);
}

/* ---- rows as CSV has them ---- */

static void read_row(const char *text, struct store_key *key, enum litellm_row *kind)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *row = json_parse(doc, text, strlen(text), &error);
    size_t unknown = 0;

    assert_non_null(row);
    memset(key, 0, sizeof(*key));
    assert_int_equal(litellm_key_of_row(row, key, kind, &unknown), 0);
    json_doc_free(doc);
}

static void values_may_be_texts_as_in_csv(void **state)
{
    struct store_key key;
    enum litellm_row kind;

    (void)state;
    read_row("{\"token\":\"" KEY_A "\",\"models\":\"{gpt-4o,\\\"a, b\\\"}\",\"blocked\":\"t\","
             "\"expires\":\"2099-01-02 03:04:05.678\",\"rpm_limit\":\"60\",\"team_id\":\"\","
             "\"metadata\":\"{\\\"batch_enqueued_token_limit\\\": 5}\"}",
             &key, &kind);
    assert_int_equal(kind, LITELLM_KEY);
    assert_string_equal(key.models, "[\"gpt-4o\",\"a, b\"]");
    assert_true(key.blocked);
    assert_null(key.team_id);
    assert_int_equal(key.expires_unix_ms, 4071006245678);
    assert_string_equal(key.fields, "{\"rpm_limit\":\"60\"}");
    store_key_deinit(&key);
}

static void what_cannot_be_read_narrows(void **state)
{
    struct store_key key;
    struct rights_key rights;
    enum litellm_row kind;

    (void)state;
    read_row("{\"token\":\"" KEY_A "\",\"models\":7,\"blocked\":\"perhaps\",\"expires\":\"soon\","
             "\"metadata\":\"{\",\"allowed_routes\":true,\"rpm_limit\":\"many\"}",
             &key, &kind);
    assert_int_equal(store_key_rights(&key, RIGHTS_OF_LITELLM, &rights), 0);
    assert_false(rights.models.all);
    assert_int_equal(rights.models.num_names, 0);
    assert_true(rights.blocked);
    assert_int_equal(rights.expires_unix_ms, 1);
    assert_int_equal(rights.limits.enqueued_tokens, 0);
    assert_int_equal(rights.limits.requests_per_minute, 0);
    assert_int_equal(rights.routes, RIGHTS_OWN_KEY);
    rights_key_deinit(&rights);
    store_key_deinit(&key);
}

static void a_place_that_is_none_is_refused_without_its_password(void **state)
{
    struct litellm *l;
    char why[STORE_WHY_BYTES];

    (void)state;
    assert_int_equal(litellm_new("sqlite:///a", 0, &l, why), ERR_INVALID);
    assert_int_equal(litellm_new("postgresql://u:geheim1@[::1/x", 0, &l, why), ERR_INVALID);
    assert_null(strstr(why, "geheim1"));
    assert_int_equal(litellm_new("postgresql://h/x?schema=a\"b", 0, &l, why), ERR_INVALID);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(keys_and_teams_are_read_as_litellm_writes_them),
        T(nothing_is_said_to_have_changed_when_nothing_did),
        T(what_litellm_has_spent_of_a_budget_is_taken_off),
        T(each_kind_of_change_shows_at_the_next_look),
        T(a_change_that_ends_late_shows_as_well),
        T(an_old_hash_is_good_until_it_is_revoked),
        T(one_key_is_found_at_its_first_use),
        T(a_keys_row_is_read_as_an_administrator_sees_it),
        T(columns_may_be_missing_and_unknown),
        T(another_database_is_no_litellm),
        T(a_role_that_may_only_select_is_enough),
        T(what_an_import_reads_are_whole_rows),
        cmocka_unit_test(values_may_be_texts_as_in_csv),
        cmocka_unit_test(what_cannot_be_read_narrows),
        cmocka_unit_test(a_place_that_is_none_is_refused_without_its_password),
    };
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_litellm", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
