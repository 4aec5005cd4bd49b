/* Where keys of tenants stand besides files: databases, by their addresses. */
#include "common/environment.h"
#include "config_world.h"

#define MODELS                                                                                     \
    "model_list:\n"                                                                                \
    "- {model_name: g, litellm_params: {model: azure/a, api_base: 'https://a.test', api_key: "     \
    "k}}\n"

static void databases_are_named_and_never_shown(void **state)
{
    struct loaded *l = *state;

    load(l, MODELS "general_settings: {database_url: 'postgresql://u:hunter22@h/d'}\n"
                   "tranche_settings: {database: database_url, litellm_database: database_url,\n"
                   "  keys_when_down: refuse, key_max_stale: 2m}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->database.data, "postgresql://u:hunter22@h/d");
    assert_string_equal(l->config->litellm_database.data, "postgresql://u:hunter22@h/d");
    assert_string_equal(l->config->database_passwords[0].data, "hunter22");
    assert_true(l->config->refuse_stale_keys);
    assert_int_equal(l->config->key_max_stale_ms, 120000);
    assert_true(l->config->has_tenants);
    assert_not_told(l, "hunter22");
}

static void a_database_url_alone_names_no_database(void **state)
{
    struct loaded *l = *state;

    setenv("DATABASE_URL", "postgresql://u:hunter22@h/d", 1);
    load(l, MODELS "general_settings: {database_url: os.environ/DATABASE_URL}\n");
    assert_int_equal(l->rc, 0);
    assert_false(secret_is_set(&l->config->database));
    assert_false(secret_is_set(&l->config->litellm_database));
    assert_false(l->config->has_tenants);
    unsetenv("DATABASE_URL");
}

static void a_place_that_is_none_is_told(void **state)
{
    static const char *const wrong[] = {"mysql://u:hunter22@h/d", "sqlite://relative", "keys.db",
                                        "database_url"};
    struct loaded *l = *state;
    char text[2048];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(text, sizeof(text), MODELS "tranche_settings: {database: '%s'}\n", wrong[i]);
        load(l, text);
        assert_int_equal(l->rc, ERR_INVALID);
        assert_told(l, "tranche_settings.database: ");
        assert_not_told(l, "hunter22");
    }
    load(l, MODELS "tranche_settings: {litellm_database: 'sqlite:///a/b.db'}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    load(l, MODELS "tranche_settings: {database: os.environ/NOT_SET_AT_ALL}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    load(l, MODELS "tranche_settings: {database: none, keys_when_down: perhaps}\n");
    assert_int_equal(l->rc, ERR_INVALID);
}

static void a_journal_stands_in_the_database(void **state)
{
    struct loaded *l = *state;

    load(l, MODELS);
    assert_int_equal(l->rc, 0);
    assert_false(l->config->journal);
    load(l, MODELS "tranche_settings: {litellm_database: 'postgresql://u:p@h/d'}\n"
                   "general_settings: {master_key: sk-0123456789abcdef}\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->journal);
    load(l, MODELS "tranche_settings: {database: 'sqlite:///a/b.db'}\n"
                   "general_settings: {master_key: sk-0123456789abcdef}\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->journal);
    load(l, MODELS "tranche_settings: {database: 'sqlite:///a/b.db', journal: false}\n"
                   "general_settings: {master_key: sk-0123456789abcdef}\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->journal);
}

static void a_journal_without_a_database_is_told(void **state)
{
    struct loaded *l = *state;

    load(l, MODELS "tranche_settings: {journal: true}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "tranche_settings.journal: a journal needs a database");
    load(l, MODELS "tranche_settings: {journal: false}\n");
    assert_int_equal(l->rc, 0);
    load(l, MODELS "tranche_settings: {journal: perhaps}\n");
    assert_int_equal(l->rc, ERR_INVALID);
}

static void leases_are_counted_where_another_gateway_can_be(void **state)
{
    static const char of_fleet[] = "database: 'postgresql://u@h/d', leases: counted";
    static const char *const alone[] = {
        "leases: counted", "database: 'sqlite:///a/b.db', leases: counted",
        "leases: counted, journal: false, database: 'postgresql://u@h/d'"};
    struct loaded *l = *state;
    char text[512];

    load(l, MODELS "tranche_settings: {database: 'postgresql://u@h/d', leases: shares}\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->count_leases);
    snprintf(text, sizeof(text), MODELS "tranche_settings: {%s}\n", of_fleet);
    load(l, text);
    assert_int_equal(l->rc, 0);
    assert_true(l->config->count_leases);
    assert_not_told(l, "without effect");
    for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++) {
        snprintf(text, sizeof(text), MODELS "tranche_settings: {%s}\n", alone[i]);
        load(l, text);
        assert_int_equal(l->rc, 0);
        assert_false(l->config->count_leases);
        assert_told(l, "tranche_settings.leases: without effect");
    }
    snprintf(text, sizeof(text), MODELS "tranche_settings: {%s, limits_when_down: open}\n",
             of_fleet);
    load(l, text);
    assert_told(l, "tranche_settings.leases: limits_when_down is open");
    load(l, MODELS "tranche_settings: {leases: held}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "shares or counted");
}

static void what_goes_on_without_the_database_is_said(void **state)
{
    struct loaded *l = *state;

    load(l, MODELS);
    assert_int_equal(l->rc, 0);
    assert_false(l->config->limits_open_when_down);
    assert_false(l->config->idempotency_strict);
    load(l, MODELS "tranche_settings: {limits_when_down: open, idempotency_when_down: strict}\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->limits_open_when_down);
    assert_true(l->config->idempotency_strict);
    load(l, MODELS "tranche_settings: {limits_when_down: refuse, idempotency_when_down: local}\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->limits_open_when_down);
    assert_false(l->config->idempotency_strict);
    assert_int_equal(l->config->outage_window_ms, 600000);
    load(l, MODELS "tranche_settings: {outage_window: 7200}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->outage_window_ms, 7200000);
    load(l, MODELS "tranche_settings: {outage_window: 24h}\n");
    assert_int_equal(l->config->outage_window_ms, 86400000);
    load(l, MODELS "tranche_settings: {outage_window: 59}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "tranche_settings.outage_window: ");
    load(l, MODELS "tranche_settings: {outage_window: 25h}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    load(l, MODELS "tranche_settings: {limits_when_down: perhaps}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "refuse or open");
    load(l, MODELS "tranche_settings: {idempotency_when_down: perhaps}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "local or strict");
}

static void files_of_batches_go_where_there_is_a_journal(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    load(l, MODELS);
    assert_int_equal(l->config->delete_after_s, 0);
    load(l, MODELS "tranche_settings: {database: 'sqlite:///tmp/x.db', delete_after: 2d}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->delete_after_s, 2 * 86400);
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "delete_after                   2d\n"));
    strbuf_deinit(&text);
    load(l, MODELS "tranche_settings: {database: 'sqlite:///tmp/x.db', delete_after: 24}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "tranche_settings.delete_after: got \"24\", wanted none, or hours");
    load(l, MODELS "tranche_settings: {delete_after: 24h}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "tranche_settings.delete_after: files of batches are deleted by the journal");
    assert_told(l, "set tranche_settings.database");
    load(l, MODELS "tranche_settings: {database: 'sqlite:///tmp/x.db', journal: false,\n"
                   "  delete_after: 24h}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    load(l, MODELS "tranche_settings: {delete_after: none}\n");
    assert_int_equal(l->rc, 0);
}

#define HASH_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define MASTER "general_settings: {master_key: sk-0123456789abcdef}\n"
#define HERE   MODELS MASTER "tranche_settings: {database: 'sqlite:///tmp/x.db',\n"
#define AWAY   MODELS MASTER "tranche_settings: {keys: [\n"

static void files_of_a_keys_batches_go_where_there_is_a_journal(void **state)
{
    struct loaded *l = *state;
    const struct rights_key *keys;

    load(l, HERE "  teams: [{team_id: t, metadata: {delete_after: 1w}}], keys: [\n"
                 "  {hash: " HASH_A ", models: ['*'], delete_after: 36h},\n"
                 "  {hash: " HASH_B ", models: ['*'], delete_after: none}]}\n");
    assert_int_equal(l->rc, 0);
    keys = l->config->keys.keys;
    assert_int_equal(keys[0].limits.delete_after_s, 36 * 3600);
    assert_int_equal(keys[1].limits.delete_after_s, UINT32_MAX);
    assert_int_equal(l->config->keys.teams[0].limits.delete_after_s, 7 * 86400);
    load(l, HERE "  keys: [{hash: " HASH_A ", models: ['*'], delete_after: 90}]}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "keys[0].delete_after: got \"90\", wanted none, or hours, days or weeks");
    load(l, AWAY "  {hash: " HASH_A ", models: ['*'], delete_after: 1h}]}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "keys[0].delete_after: files of batches are deleted by the journal, which needs "
                   "tranche_settings.database");
    load(l, AWAY "  {hash: " HASH_A ", models: ['*'], metadata: {delete_after: 1h}}]}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "keys[0].metadata.delete_after: files of batches are deleted by the journal");
    load(l, AWAY "  {hash: " HASH_A ", models: ['*'], delete_after: none}]}\n");
    assert_int_equal(l->rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(databases_are_named_and_never_shown),
                                       TEST(a_database_url_alone_names_no_database),
                                       TEST(a_place_that_is_none_is_told),
                                       TEST(a_journal_stands_in_the_database),
                                       TEST(a_journal_without_a_database_is_told),
                                       TEST(leases_are_counted_where_another_gateway_can_be),
                                       TEST(what_goes_on_without_the_database_is_said),
                                       TEST(files_of_batches_go_where_there_is_a_journal),
                                       TEST(files_of_a_keys_batches_go_where_there_is_a_journal)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
