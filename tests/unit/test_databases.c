/* What the keeper knows of its databases: on both engines, and beside a LiteLLM. */
#include "store_world.h"

#include "config/config.h"
#include "server/keeper/databases.h"

static struct cluster cluster;
static struct world world;
static uint64_t now_ms; /* of the keeper's clock */

static int set_up_sqlite(void **state)
{
    world_init(&world, NULL);
    now_ms = 1000;
    *state = &world;
    return 0;
}

static int set_up_postgres(void **state)
{
    *state = NULL;
    if (!cluster.there)
        return 0;
    world_init(&world, &cluster);
    now_ms = 1000;
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    if (*state != NULL)
        world_deinit(*state);
    return 0;
}

#define WORLD(w)                                                                                   \
    struct world *w = *state;                                                                      \
    if ((w) == NULL)                                                                               \
    skip()

static struct databases *open_databases(const char *database, const char *litellm, bool refuse)
{
    struct databases_options options = {.database = database,
                                        .litellm = litellm,
                                        .max_stale_ms = 60000,
                                        .refuse_when_stale = refuse};
    struct databases *d = NULL;
    char error[STORE_WHY_BYTES + 64];

    if (databases_new(&options, &d, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    return d;
}

/* The next look that is due. */
static bool look(struct databases *d)
{
    now_ms += DATABASES_LOOK_MS;
    return databases_look(d, now_ms);
}

static size_t num_keys(const struct databases *d)
{
    const struct rights_list *lists[2];
    size_t num = databases_lists(d, lists), sum = 0;

    for (size_t i = 0; i < num; i++)
        sum += lists[i]->num_keys;
    return sum;
}

static enum keeper_lookup find_key(struct databases *d, const char *hex)
{
    unsigned char hash[RIGHTS_HASH_BYTES];

    hash_bytes(hex, hash);
    return databases_find(d, hash, now_ms);
}

static void a_change_is_known_at_the_next_look(void **state)
{
    WORLD(w);
    struct databases *d = open_databases(w->url, NULL, false);
    struct store_key key = key_of(1);
    struct store_key_name name = {.hash = key.hash};
    const struct rights_list *lists[2];

    assert_int_equal(databases_lists(d, lists), 0); /* nothing is known before the first look */
    assert_false(databases_are_read(d));
    assert_true(look(d));
    assert_true(databases_are_read(d));
    assert_int_equal(num_keys(d), 0);
    assert_false(look(d));
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_false(databases_look(d, now_ms)); /* it is not due */
    assert_true(look(d));
    assert_int_equal(num_keys(d), 1);
    OK(w, store_key_block(w->store, &name, true, &tester, NULL));
    assert_true(look(d));
    databases_lists(d, lists);
    assert_true(lists[0]->keys[0].blocked);
    OK(w, store_key_delete(w->store, &name, &tester, NULL));
    assert_true(look(d));
    assert_int_equal(num_keys(d), 0);
    databases_free(d);
}

static void a_key_works_at_its_first_use(void **state)
{
    WORLD(w);
    struct databases *d = open_databases(w->url, NULL, false);
    struct store_key key = key_of(1);

    assert_true(look(d));
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_PUBLISHED);
    assert_int_equal(num_keys(d), 1);
    databases_free(d);
}

static void an_unknown_key_is_remembered_for_a_while(void **state)
{
    WORLD(w);
    struct databases *d = open_databases(w->url, NULL, false);
    struct store_key key = key_of(1);

    assert_true(look(d));
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_UNKNOWN);
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_UNKNOWN); /* nobody was asked */
    now_ms += DATABASES_MISS_MS;
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_PUBLISHED);
    databases_free(d);
}

/* Who made it knows it: the look after a change of ours forgets what was unknown. */
static void a_change_forgets_what_was_unknown(void **state)
{
    WORLD(w);
    struct databases *d = open_databases(w->url, NULL, false);
    struct store_key key = key_of(1);

    assert_true(look(d));
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_UNKNOWN);
    OK(w, store_key_add(databases_store(d), &key, &tester, NULL));
    assert_true(databases_look_now(d, now_ms));
    assert_int_equal(num_keys(d), 1);
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_PUBLISHED);
    databases_free(d);
}

/* A copy was put back: its generation is lower than what was read. */
static void an_older_database_is_read_as_well(void **state)
{
    WORLD(w);
    struct databases *d;
    struct store_key key = key_of(1);

    OK(w, store_key_add(w->store, &key, &tester, NULL));
    d = open_databases(w->url, NULL, false);
    assert_true(look(d));
    assert_int_equal(num_keys(d), 1);
    world_do(w, "delete from @api_key");
    world_do(w, "update @meta set value = '0' where name = 'gen'");
    assert_true(look(d));
    assert_int_equal(num_keys(d), 0);
    databases_free(d);
}

/* The table of statement C28: keys, while PostgreSQL is away. */
static void while_the_server_is_gone_known_keys_are_served(void **state)
{
    WORLD(w);
    struct databases *d = open_databases(w->url, NULL, false);
    struct store_key key = key_of(1), other = key_of(2);

    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_true(look(d));
    cluster_stop(&cluster, SIGQUIT);
    assert_false(look(d));
    assert_int_equal(num_keys(d), 1);
    assert_int_equal(find_key(d, other.hash), KEEPER_KEY_CANNOT_TELL); /* it may be new */
    now_ms += 120000;
    assert_false(look(d));
    assert_int_equal(num_keys(d), 1); /* keys_when_down: serve */
    cluster_start(&cluster);
    cluster_do(&cluster, "select 1", NULL, NULL);
    while (find_key(d, other.hash) != KEEPER_KEY_UNKNOWN)
        world_pause();
    databases_free(d);
}

static void after_key_max_stale_they_are_refused_where_that_is_asked_for(void **state)
{
    WORLD(w);
    struct databases *d = open_databases(w->url, NULL, true);
    struct store_key key = key_of(1);
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;

    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_true(look(d));
    cluster_stop(&cluster, SIGQUIT);
    assert_false(look(d));
    assert_int_equal(num_keys(d), 1);
    now_ms += 60001;
    assert_true(look(d));
    assert_int_equal(num_keys(d), 0);
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_CANNOT_TELL); /* a 503, no 401 */
    cluster_start(&cluster);
    cluster_do(&cluster, "select 1", NULL, NULL);
    while (!look(d)) {
        assert_true(clock_now_ms() < until_ms);
        world_pause();
    }
    assert_int_equal(num_keys(d), 1);
    databases_free(d);
}

static void a_database_that_was_never_read_tells_nothing(void **state)
{
    struct databases *d = open_databases("postgresql://127.0.0.1:1/x?sslmode=disable", NULL, false);
    struct store_key key = key_of(1);

    (void)state;
    now_ms = 1000;
    assert_false(look(d));
    assert_false(databases_are_read(d));
    assert_int_equal(find_key(d, key.hash), KEEPER_KEY_CANNOT_TELL);
    databases_free(d);
}

static void the_name_of_an_access_group_stands_for_its_groups(void **state)
{
    WORLD(w);
    char *members[] = {"gpt-4o", "o3"};
    struct config_access_group group = {.name = "beta", .groups = members, .num_groups = 2};
    struct databases_options options = {
        .database = w->url, .access_groups = &group, .num_access_groups = 1};
    struct store_key key = key_of(1);
    const struct rights_list *lists[2];
    const struct rights_models *models;
    struct databases *d;
    char error[STORE_WHY_BYTES + 64];

    key.models = "[\"a\",\"beta\",\"b\"]";
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_int_equal(databases_new(&options, &d, error, sizeof(error)), 0);
    assert_true(look(d));
    databases_lists(d, lists);
    models = &lists[0]->keys[0].models;
    assert_int_equal(models->num_names, 4);
    assert_string_equal(models->names[0], "a");
    assert_string_equal(models->names[1], "b");
    assert_string_equal(models->names[2], "gpt-4o");
    assert_string_equal(models->names[3], "o3");
    databases_free(d);
}

/* LiteLLM's tables and ours in one database, as DATABASE_URL has it: each sees its own. */
static void our_tables_and_litellms_share_a_database(void **state)
{
    WORLD(w);
    struct databases *d;
    struct store_key ours = key_of(1), theirs = key_of(2), both = key_of(3);
    char sql[512];

    cluster_do(
        &cluster,
        "drop schema if exists public cascade; create schema public; create table"
        " \"LiteLLM_VerificationToken\"(token text primary key, key_name text, models text[],"
        " metadata jsonb default '{}', blocked boolean, team_id text, expires timestamp(3))",
        NULL, NULL);
    snprintf(sql, sizeof(sql),
             "insert into \"LiteLLM_VerificationToken\"(token) values('%s'), ('%s')", theirs.hash,
             both.hash);
    cluster_do(&cluster, sql, NULL, NULL);
    OK(w, store_key_add(w->store, &ours, &tester, NULL));
    d = open_databases(w->url, w->url, false);
    assert_true(look(d));
    assert_int_equal(num_keys(d), 3);
    assert_int_equal(find_key(d, ours.hash), KEEPER_KEY_PUBLISHED);
    assert_int_equal(find_key(d, theirs.hash), KEEPER_KEY_PUBLISHED);
    snprintf(sql, sizeof(sql), "delete from \"LiteLLM_VerificationToken\" where token = '%s'",
             theirs.hash);
    cluster_do(&cluster, sql, NULL, NULL);
    assert_true(look(d));
    assert_int_equal(num_keys(d), 2);
    assert_int_equal(find_key(d, theirs.hash), KEEPER_KEY_UNKNOWN);
    databases_free(d);
}

static void a_place_that_is_none_is_refused_with_its_setting(void **state)
{
    struct databases_options options = {.litellm = "postgresql://u:geheim77@[x/y"};
    struct databases *d;
    char error[STORE_WHY_BYTES + 64];

    (void)state;
    assert_int_equal(databases_new(&options, &d, error, sizeof(error)), ERR_INVALID);
    assert_non_null(strstr(error, "tranche_settings.litellm_database"));
    assert_null(strstr(error, "geheim77"));
}

#define S(test)    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down)
#define P(test)    cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)
#define BOTH(test) S(test), P(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_change_is_known_at_the_next_look),
        BOTH(a_key_works_at_its_first_use),
        BOTH(an_unknown_key_is_remembered_for_a_while),
        BOTH(a_change_forgets_what_was_unknown),
        BOTH(an_older_database_is_read_as_well),
        S(the_name_of_an_access_group_stands_for_its_groups),
        P(while_the_server_is_gone_known_keys_are_served),
        P(after_key_max_stale_they_are_refused_where_that_is_asked_for),
        P(our_tables_and_litellms_share_a_database),
        cmocka_unit_test(a_database_that_was_never_read_tells_nothing),
        cmocka_unit_test(a_place_that_is_none_is_refused_with_its_setting),
    };
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("databases", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
