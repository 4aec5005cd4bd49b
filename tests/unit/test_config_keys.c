/* Keys of tenants as operators write them: entries, what they are told about them, and the file. */
#include "common/environment.h"
#include "config/keys.h"
#include "config_world.h"

#define HASH_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_A   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

#define MODELS                                                                                     \
    "model_list:\n"                                                                                \
    "- {model_name: gpt-4o-batch, litellm_params: {model: azure/a, api_base: 'https://a.test', "   \
    "api_key: k},\n"                                                                               \
    "   model_info: {access_groups: [cheap, all-of-them]}}\n"                                      \
    "- {model_name: gpt-4o-mini, litellm_params: {model: azure/b, api_base: 'https://a.test', "    \
    "api_key: k},\n"                                                                               \
    "   model_info: {access_groups: cheap}}\n"                                                     \
    "- {model_name: o3, litellm_params: {model: azure/c, api_base: 'https://a.test', api_key: "    \
    "k}}\n"                                                                                        \
    "router_settings: {model_group_alias: {gpt4: gpt-4o-batch}}\n"

#define KEYS MODELS "tranche_settings:\n  keys:\n"

static const struct rights_key *key(const struct loaded *l, size_t i)
{
    assert_non_null(l->config);
    assert_true(i < l->config->keys.num_keys);
    return &l->config->keys.keys[i];
}

static const struct rights_team *team(const struct loaded *l, size_t i)
{
    assert_non_null(l->config);
    assert_true(i < l->config->keys.num_teams);
    return &l->config->keys.teams[i];
}

static void expect_names(const struct rights_models *models, const char *const *names)
{
    size_t n = 0;

    while (names[n] != NULL)
        n++;
    assert_int_equal(models->num_names, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(models->names[i], names[i]);
}

/* --- entries --- */

static void an_entry_with_a_hash_is_a_key(void **state)
{
    struct loaded *l = *state;
    const struct rights_key *k;

    load(l, KEYS "  - hash: " HASH_A "\n"
                 "    key_alias: team-a-batch\n"
                 "    key_name: sk-...9xYz\n"
                 "    models: [gpt-4o-batch]\n"
                 "    team_id: team-a\n"
                 "    user_id: alice\n"
                 "    expires: 2026-12-31T23:59:59Z\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->has_tenants);
    assert_int_equal(l->config->keys.num_keys, 1);
    k = key(l, 0);
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++)
        assert_int_equal(k->hash[i], 0xaa);
    assert_string_equal(k->id, ID_A);
    assert_string_equal(k->alias, "team-a-batch");
    assert_string_equal(k->team_id, "team-a");
    assert_string_equal(k->user_id, "alice");
    assert_string_equal(k->tail, "9xYz");
    assert_int_equal(k->expires_unix_ms, INT64_C(1798761599000));
    assert_int_equal(k->routes, RIGHTS_ALL_ROUTES);
    assert_int_equal(k->source, RIGHTS_OF_CONFIG);
    assert_int_equal(k->line, 10);
    assert_false(k->admin);
    assert_false(k->blocked);
    assert_false(k->models.all);
    expect_names(&k->models, (const char *const[]){"gpt-4o-batch", NULL});
    assert_int_equal(k->limits.enqueued_tokens, RIGHTS_UNLIMITED);
    assert_int_equal(k->limits.file_expiry_s, 0);
}

static void a_key_of_the_environment_is_kept_as_its_hash(void **state)
{
    struct loaded *l = *state;
    static const unsigned char start[] = {0xde, 0x22, 0x4d, 0x1d}; /* sha256sum says so */

    setenv("TEAM_KEY", "sk-Tq8Rw2Lm5Xz7Kd4Np1Vs", 1);
    load(l, KEYS "  - {key: os.environ/TEAM_KEY, models: ['*']}\n"
                 "  - {key: os.environ/NO_SUCH_KEY, models: ['*']}\n");
    assert_told(l, "tranche_settings.keys[1].key: the environment variable NO_SUCH_KEY is not set");
    assert_int_equal(l->report.num_errors, 1);
    load(l, KEYS "  - {key: os.environ/TEAM_KEY, models: ['*']}\n");
    assert_int_equal(l->rc, 0);
    assert_memory_equal(key(l, 0)->hash, start, sizeof(start));
    assert_string_equal(key(l, 0)->tail, "p1Vs");
    assert_not_told(l, "warning: tranche_settings.keys");
    assert_not_told(l, "sk-Tq8");
}

static void a_key_that_stands_in_the_file_works_and_is_told_without_it(void **state)
{
    struct loaded *l = *state;

    load(l, KEYS "  - {key: sk-Tq8Rw2Lm5Xz7Kd4Np1Vs, models: ['*']}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":10: warning: tranche_settings.keys[0].key: the key stands here as it is");
    assert_not_told(l, "sk-Tq8");
    load(l, KEYS "  - {key: sk-1234567890123456, models: ['*']}\n");
    assert_told(l, "keys[0].key: weak");
}

static void what_is_no_key_is_refused_without_showing_it(void **state)
{
    static const char *const wrong[] = {
        "sk-short", "not-a-key-of-this-kind-1", "'sk-with space in it 1'",
        "sk-\xc3\xa4\xc3\xb6\xc3\xbc-0123456789", "[sk-Tq8Rw2Lm5Xz7Kd4Np1Vs]"};
    struct loaded *l = *state;
    char yaml[2048];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(yaml, sizeof(yaml), KEYS "  - {key: %s, models: ['*']}\n", wrong[i]);
        expect_error(l, yaml, "keys[0].key: got ***, wanted a key that begins with sk- and has 16");
        assert_not_told(l, "Tq8");
        assert_not_told(l, "short");
    }
}

static void what_is_no_hash_is_refused(void **state)
{
    static const char *const wrong[] = {
        ID_A,
        "sha256:aaaa",
        HASH_A "a",
        "sha256:AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "sha256:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "[]"};
    struct loaded *l = *state;
    char yaml[2048];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(yaml, sizeof(yaml), KEYS "  - {hash: %s, models: ['*']}\n", wrong[i]);
        expect_error(l, yaml, "keys[0].hash: wanted sha256: and the 64 hexadecimal digits");
        assert_not_told(l, "aaaa");
    }
    expect_error(l, KEYS "  - {models: ['*']}\n", "keys[0]: wanted either hash: sha256:... or key");
    expect_error(l, KEYS "  - {hash: " HASH_A ", key: os.environ/X, models: ['*']}\n",
                 "keys[0]: wanted either hash: sha256:... or key");
    expect_error(l, KEYS "  - sk-Tq8Rw2Lm5Xz7Kd4Np1Vs\n", "keys[0]: wanted a mapping");
    assert_not_told(l, "sk-Tq8");
    expect_error(l, KEYS "    {hash: " HASH_A "}\n", "tranche_settings.keys: got a mapping");
}

static void names_that_are_none_are_refused(void **state)
{
    struct loaded *l = *state;

    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], key_alias: \"a\\nb\"}\n",
                 "keys[0].key_alias: got \"a\\x0ab\", wanted a text of 1 to 255 bytes");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], team_id: ''}\n",
                 "keys[0].team_id: got \"\", wanted a text");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], id: [a]}\n",
                 "keys[0].id: got a list, wanted a text");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], key_name: sk-Tq8Rw2Lm5Xz7Kd4N}\n",
                 "keys[0].key_name: wanted sk-... and the last four characters of the key");
    assert_not_told(l, "Tq8");
    load(l, KEYS "  - {hash: " HASH_A
                 ", models: ['*'], key_alias: null, team_id: ~, expires: null}\n");
    assert_int_equal(l->rc, 0);
    assert_null(key(l, 0)->alias);
    assert_int_equal(key(l, 0)->expires_unix_ms, 0);
}

static void an_end_without_a_zone_is_refused(void **state)
{
    struct loaded *l = *state;

    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], expires: 2026-12-31T23:59:59}\n",
                 "keys[0].expires: got \"2026-12-31T23:59:59\", wanted a moment with its zone");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], duration: 30d}\n",
                 "keys[0].duration: a file has no moment from which it counts; give expires");
    load(l, KEYS "  - {hash: " HASH_A ", models: ['*'], expires: 2026-12-31}\n");
    assert_int_equal(key(l, 0)->expires_unix_ms, INT64_C(1798675200000));
    load(l, KEYS "  - {hash: " HASH_A ", models: ['*'], expires: 1970-01-01}\n");
    assert_int_equal(key(l, 0)->expires_unix_ms, 1);
}

/* --- models --- */

static void a_key_of_a_file_names_its_models(void **state)
{
    struct loaded *l = *state;

    expect_error(l, KEYS "  - {hash: " HASH_A "}\n",
                 "keys[0].models: missing: name the models that the key may use, or [\"*\"]");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: []}\n", "keys[0].models: missing");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: {a: b}}\n",
                 "keys[0].models: got a mapping, wanted a list of models");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: [gpt-*-batch]}\n",
                 "wanted a name, or a beginning of names with * behind it");
    load(l, KEYS "  - {hash: " HASH_A ", models: ['*']}\n"
                 "  - {hash: " HASH_B ", models: all-proxy-models}\n");
    assert_true(key(l, 0)->models.all);
    assert_true(key(l, 1)->models.all);
    load(l, KEYS "  - {hash: " HASH_A ", models: [no-default-models]}\n");
    assert_false(key(l, 0)->models.all);
    assert_int_equal(key(l, 0)->models.num_names, 0);
}

static void access_groups_and_aliases_of_groups_stand_for_their_groups(void **state)
{
    struct loaded *l = *state;

    load(l, KEYS "  - {hash: " HASH_A ", models: [cheap, o3]}\n"
                 "  - {hash: " HASH_B ", models: [gpt4]}\n");
    assert_int_equal(l->rc, 0);
    assert_not_told(l, "warning: tranche_settings.keys");
    assert_not_told(l, "warning: model_list");
    expect_names(&key(l, 0)->models,
                 (const char *const[]){"cheap", "gpt-4o-batch", "gpt-4o-mini", "o3", NULL});
    expect_names(&key(l, 1)->models, (const char *const[]){"gpt4", "gpt-4o-batch", NULL});
}

static void an_unknown_model_is_told_with_a_guess(void **state)
{
    struct loaded *l = *state;

    load(l, KEYS "  - {hash: " HASH_A ", models: [gpt-4o-bacth, 'gpt-4o*', 'claude*']}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l,
                "keys[0].models[0]: got \"gpt-4o-bacth\", which no model here is called, did you "
                "mean \"gpt-4o-batch\"?");
    assert_told(l, "keys[0].models[2]: got \"claude*\", which no model and no access group");
    assert_not_told(l, "models[1]");
    expect_names(&key(l, 0)->models,
                 (const char *const[]){"gpt-4o-bacth", "gpt-4o*", "claude*", NULL});
}

static void a_name_that_a_row_with_a_pattern_takes_is_known(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: 'azure/*', litellm_params: {model: 'azure/*', api_base: "
            "'https://a.test', api_key: k}}\n"
            "tranche_settings: {keys: [{hash: " HASH_A ", models: [azure/gpt-4o, azure/*, "
            "openai/gpt-4o]}]}\n");
    assert_int_equal(l->rc, 0);
    assert_not_told(l, "models[0]");
    assert_not_told(l, "models[1]");
    assert_told(l, "models[2]: got \"openai/gpt-4o\"");
}

static void the_models_of_a_team_need_a_team(void **state)
{
    struct loaded *l = *state;

    expect_error(l, KEYS "  - {hash: " HASH_A ", models: [all-team-models]}\n",
                 "keys[0].models: all-team-models, and the key has no team_id");
    load(l, KEYS "  - {hash: " HASH_A ", models: [all-team-models], team_id: t}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":10: warning: all-team-models, and no entry of teams has that team_id");
    write_file(l, "a.yaml",
               "teams: [{team_id: t}]\n"
               "keys:\n- {hash: " HASH_B ", models: [all-team-models], team_id: u}\n");
    load(l, KEYS "  - {hash: " HASH_A ", models: [all-team-models], team_id: t}\n"
                 "  keys_file: a.yaml\n");
    assert_told(l, "/a.yaml:3: warning: all-team-models, and no entry of teams");
    assert_not_told(l, "main.yaml:10: warning: all-team-models");
    assert_true(key(l, 0)->models.of_team);
    assert_false(key(l, 0)->models.all);
}

static void aliases_of_a_key_name_models(void **state)
{
    struct loaded *l = *state;

    load(l,
         KEYS "  - {hash: " HASH_A ", models: [gpt-4o-batch], aliases: {best: gpt-4o-batch, old: "
              "gpt-4o-bath}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(key(l, 0)->models.num_aliases, 2);
    assert_string_equal(key(l, 0)->models.aliases[0].name, "best");
    assert_string_equal(key(l, 0)->models.aliases[0].target, "gpt-4o-batch");
    assert_told(l, "keys[0].aliases.old: got \"gpt-4o-bath\", which no model here is called");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], aliases: [a]}\n",
                 "keys[0].aliases: got a list, wanted a mapping of names to models");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], aliases: {a: 'gpt*'}}\n",
                 "keys[0].aliases.a: got \"gpt*\", wanted the name of one model");
}

/* --- routes --- */

static void expect_routes(struct loaded *l, const char *fields, uint32_t routes)
{
    char yaml[2048];

    snprintf(yaml, sizeof(yaml), KEYS "  - {hash: " HASH_A ", models: ['*'], %s}\n", fields);
    load(l, yaml);
    if (l->rc != 0)
        fail_msg("%s: %s", fields, strbuf_str(&l->text));
    if (key(l, 0)->routes != routes)
        fail_msg("%s: got %#x, wanted %#x", fields, key(l, 0)->routes, routes);
}

static void routes_are_said_in_litellms_words(void **state)
{
    struct loaded *l = *state;
    uint32_t llm = RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY, info = RIGHTS_MODEL_INFO | RIGHTS_OWN_KEY;

    expect_routes(l, "blocked: false", RIGHTS_ALL_ROUTES);
    expect_routes(l, "key_type: default", RIGHTS_ALL_ROUTES);
    expect_routes(l, "key_type: llm_api", llm);
    expect_routes(l, "key_type: read_only", info);
    expect_routes(l, "allowed_routes: []", RIGHTS_ALL_ROUTES);
    expect_routes(l, "allowed_routes: [llm_api_routes]", llm);
    expect_routes(l, "allowed_routes: [openai_routes, info_routes]", llm | info);
    expect_routes(l, "key_type: default, allowed_routes: [info_routes]", info);
    expect_routes(l, "allowed_routes: ['*']", RIGHTS_ALL_ROUTES);
    expect_routes(l, "allowed_routes: [/v1/files]", RIGHTS_FILES | RIGHTS_OWN_KEY);
    expect_routes(l, "allowed_routes: [/files, '/v1/files/{file_id}', '/v1/files/*']",
                  RIGHTS_FILES | RIGHTS_OWN_KEY);
    expect_routes(l, "allowed_routes: [/v1/batches, /v1/models]",
                  RIGHTS_BATCHES | RIGHTS_PLACEMENT | RIGHTS_MODELS | RIGHTS_OWN_KEY);
    expect_routes(l, "allowed_routes: ['/v1/batches*']",
                  RIGHTS_BATCHES | RIGHTS_PLACEMENT | RIGHTS_OWN_KEY);
    expect_routes(l, "allowed_routes: [/v1/batches/placement]", RIGHTS_PLACEMENT | RIGHTS_OWN_KEY);
    expect_routes(l, "allowed_routes: [/azure/v1/files]", RIGHTS_FILES | RIGHTS_OWN_KEY);
    expect_routes(l, "allowed_routes: ['/v1/*']", RIGHTS_ALL_ROUTES);
    expect_routes(l, "allowed_routes: [/model/info, /chat/completions]", info);
    assert_not_told(l, "warning: tranche_settings.keys");
    expect_routes(l, "allowed_routes: [/chat/completions, anthropic_routes]", RIGHTS_OWN_KEY);
    assert_told(l, "keys[0].allowed_routes: nothing that is served here is allowed");
}

static void a_part_of_a_resource_is_not_allowed_as_a_whole(void **state)
{
    struct loaded *l = *state;

    expect_error(l,
                 KEYS "  - {hash: " HASH_A ", models: ['*'], allowed_routes: "
                      "['/v1/batches/{batch_id}', /v1/files]}\n",
                 "keys[0].allowed_routes[0]: a part of a resource cannot be allowed alone");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], allowed_routes: ['/v1/files/*']}\n",
                 "keys[0].allowed_routes[0]: a part of a resource");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], allowed_routes: [llm_api_route]}\n",
                 "wanted \"llm_api_routes\", perhaps");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], allowed_routes: /v1/files}\n",
                 "allowed_routes: got \"/v1/files\", wanted a list of routes");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], key_type: readonly}\n",
                 "key_type: got \"readonly\", wanted \"read_only\", perhaps");
    expect_error(l,
                 KEYS "  - {hash: " HASH_A ", models: ['*'], key_type: llm_api, allowed_routes: "
                      "[info_routes]}\n",
                 "allowed_routes: given beside key_type");
}

static void administration_is_for_admin_keys(void **state)
{
    static const char *const routes[] = {"management_routes", "/key/generate", "/key/*",
                                         "/team/new",         "/health",       "/metrics"};
    struct loaded *l = *state;
    char yaml[2048];

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        snprintf(yaml, sizeof(yaml),
                 KEYS "  - {hash: " HASH_A ", models: ['*'], allowed_routes: ['%s']}\n", routes[i]);
        expect_error(l, yaml, "keys, teams, health and metrics are for admin keys alone");
    }
    expect_routes(l, "allowed_routes: [/health/liveliness, /v1/files]",
                  RIGHTS_FILES | RIGHTS_OWN_KEY);
    expect_routes(l, "admin: true", RIGHTS_ALL_ROUTES | RIGHTS_MANAGEMENT | RIGHTS_OPERATOR);
    assert_true(key(l, 0)->admin);
    expect_routes(l, "admin: true, allowed_routes: [/health, /metrics]",
                  RIGHTS_OPERATOR | RIGHTS_OWN_KEY);
    expect_routes(l, "key_type: management", RIGHTS_MANAGEMENT | RIGHTS_OPERATOR | RIGHTS_OWN_KEY);
    assert_true(key(l, 0)->admin);
    load(l, KEYS "  - {hash: " HASH_A ", admin: true}\n");
    assert_int_equal(l->rc, 0);
    assert_true(key(l, 0)->models.all);
    expect_error(l, KEYS "  - {hash: " HASH_A ", admin: true, max_open_batches: 3}\n",
                 "keys[0].max_open_batches: batches of an admin key are the operator's");
    expect_error(
        l, KEYS "  - {hash: " HASH_A ", admin: true, metadata: {batch_enqueued_token_limit: 3}}\n",
        "keys[0].batch_enqueued_token_limit: batches of an admin key are the operator's");
    load(l, KEYS "  - {hash: " HASH_A ", admin: true, team_id: t, rpm_limit: 5}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "warning: tranche_settings.keys[0].team_id: what an admin key makes is the");
    expect_error(l, KEYS "  - {hash: " HASH_A ", admin: true, models: [o3]}\n",
                 "keys[0].models: an admin key may use all models: leave it out");
}

/* --- limits --- */

static void limits_are_read_with_their_units(void **state)
{
    struct loaded *l = *state;
    const struct rights_limits *limits;

    load(l, KEYS "  - hash: " HASH_A "\n"
                 "    models: ['*']\n"
                 "    batch_enqueued_token_limit: 20M\n"
                 "    max_open_batches: 10\n"
                 "    rpm_limit: 600\n"
                 "    max_requests_per_second: 20\n"
                 "    request_burst: 40\n"
                 "    max_parallel_requests: 8\n"
                 "    max_concurrent_uploads: 2\n"
                 "    max_spool_bytes: 1GiB\n"
                 "    max_batch_file_size_mb: 50\n"
                 "    enforced_file_expires_after: {anchor: created_at, seconds: 1209600}\n"
                 "    enforced_batch_output_expires_after: {seconds: 2592000}\n");
    assert_int_equal(l->rc, 0);
    limits = &key(l, 0)->limits;
    assert_int_equal(limits->enqueued_tokens, 20000000);
    assert_int_equal(limits->open_batches, 10);
    assert_int_equal(limits->requests_per_minute, 600);
    assert_int_equal(limits->requests_per_second, 20);
    assert_int_equal(limits->request_burst, 40);
    assert_int_equal(limits->parallel_requests, 8);
    assert_int_equal(limits->uploads, 2);
    assert_int_equal(limits->spool_bytes, 1 << 30);
    assert_int_equal(limits->file_bytes, 50 << 20);
    assert_int_equal(limits->file_expiry_s, 1209600);
    assert_int_equal(limits->output_expiry_s, 2592000);
}

static void limits_of_litellms_metadata_count(void **state)
{
    struct loaded *l = *state;

    load(l,
         KEYS "  - hash: " HASH_A "\n"
              "    models: ['*']\n"
              "    metadata: {batch_enqueued_token_limit: '1000', service_account_id: x,\n"
              "       enforced_file_expires_after: {anchor: created_at, seconds: 86400},\n"
              "       enforced_batch_output_expires_after: {anchor: created_at, seconds: 3600}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(key(l, 0)->limits.enqueued_tokens, 1000);
    assert_int_equal(key(l, 0)->limits.file_expiry_s, 86400);
    assert_int_equal(key(l, 0)->limits.output_expiry_s, 3600);
    expect_error(l,
                 KEYS "  - {hash: " HASH_A ", models: ['*'], batch_enqueued_token_limit: 5,\n"
                      "     metadata: {batch_enqueued_token_limit: 6}}\n",
                 "metadata.batch_enqueued_token_limit: given beside metadata, too");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], metadata: [a]}\n",
                 "keys[0].metadata: got a list, wanted a mapping");
}

static void wrong_limits_say_what_was_wanted(void **state)
{
    static const struct {
        const char *field, *told;
    } wrong[] = {
        {"batch_enqueued_token_limit: 0", "got \"0\", wanted a whole number of 1 or more"},
        {"batch_enqueued_token_limit: lots", "got \"lots\", wanted a whole number"},
        {"max_open_batches: -1", "got \"-1\", wanted an integer from 0"},
        {"rpm_limit: 1.5", "got \"1.5\", wanted an integer from 1"},
        {"max_spool_bytes: 1Gx", "got \"1Gx\", wanted a size from 1"},
        {"max_batch_file_size_mb: 10MB", "got \"10MB\", wanted an integer"},
        {"max_parallel_requests: [1]", "got a list, wanted an integer"},
        {"request_burst: 5", "without effect: give max_requests_per_second"},
        {"enforced_file_expires_after: 3600", "wanted a mapping such as {anchor"},
        {"enforced_file_expires_after: {anchor: now, seconds: 3600}", "wanted created_at"},
        {"enforced_file_expires_after: {seconds: 60}", "wanted an integer from 3600 to 2592000"},
        {"enforced_file_expires_after: {seconds: 3600, days: 1}", "unknown key, wanted anchor"},
        {"blocked: maybe", "got \"maybe\", wanted true or false"}};
    struct loaded *l = *state;
    char yaml[2048];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(yaml, sizeof(yaml), KEYS "  - {hash: " HASH_A ", models: ['*'], %s}\n",
                 wrong[i].field);
        expect_error(l, yaml, wrong[i].told);
    }
}

/* --- names that are not read --- */

/* (tenants statement A21) */
static void a_budget_is_an_error_where_nobody_counts_money(void **state)
{
    static const char *const counted[] = {"max_budget: 10", "budget_duration: 30d"};
    static const char *const others[] = {
        "soft_budget: 5",          "budget_id: b",
        "budget_limits: []",       "model_max_budget: {o3: 5}",
        "temp_budget_increase: 1", "temp_budget_expiry: 2027-01-01"};
    struct loaded *l = *state;
    char yaml[2048];

    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        snprintf(yaml, sizeof(yaml), KEYS "  - {hash: " HASH_A ", models: ['*'], %s}\n",
                 counted[i]);
        expect_error(l, yaml, "budgets are counted by the journal, which needs");
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        snprintf(yaml, sizeof(yaml), KEYS "  - {hash: " HASH_A ", models: ['*'], %s}\n", others[i]);
        expect_error(l, yaml, "not enforced here: a key with one would spend without a bound");
    }
    expect_error(l, MODELS "tranche_settings: {teams: [{team_id: t, max_budget: 5}]}\n",
                 "teams[0].max_budget: budgets are counted by the journal");
    expect_error(l,
                 MODELS "tranche_settings: {database: 'sqlite:///tmp/x.db', journal: false, teams: "
                        "[{team_id: t, max_budget: 5}]}\n",
                 "teams[0].max_budget: budgets are counted by the journal");
    load(l, KEYS "  - {hash: " HASH_A ", models: ['*'], max_budget: null, spend: 0.5}\n");
    assert_int_equal(l->rc, 0);
}

static void what_litellm_would_do_and_is_not_done_is_told(void **state)
{
    struct loaded *l = *state;

    load(l, KEYS
         "  - {hash: " HASH_A ", models: ['*'], tpm_limit: 1000, tags: [a], guardrails: [b],\n"
         "     model_rpm_limit: {o3: 5}, created_at: x, auto_rotate: true, permissions: {}}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "keys[0].tpm_limit: ignored: tokens of batches are not counted by the minute");
    assert_told(l, "keys[0].tags: ignored: requests are not told apart by tags");
    assert_told(l,
                "keys[0].model_rpm_limit: ignored: requests are counted for all models together");
    assert_told(l, "keys[0].auto_rotate: ignored: no key is replaced by itself");
    assert_not_told(l, "guardrails");
    assert_not_told(l, "created_at");
}

/* A misspelt limit would be none. */
static void an_unknown_field_is_an_error(void **state)
{
    struct loaded *l = *state;

    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], expire: 2026-12-31}\n",
                 "keys[0].expire: unknown key, did you mean \"expires\"?");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*'], zzz: 1}\n",
                 "keys[0].zzz: unknown key: what it was to limit would be allowed; remove it");
    expect_error(l, MODELS "tranche_settings: {teams: [{team_id: t, key_alias: x}]}\n",
                 "teams[0].key_alias: unknown key");
}

/* --- teams --- */

static void a_team_has_models_and_limits(void **state)
{
    struct loaded *l = *state;

    load(l,
         MODELS "tranche_settings:\n"
                "  teams:\n"
                "  - {team_id: a, team_alias: Team A, models: [cheap], model_aliases: {best: o3},\n"
                "     batch_enqueued_token_limit: 1M, max_open_batches: 3, blocked: true}\n"
                "  - {team_id: b}\n"
                "  - {team_id: c, models: []}\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->has_tenants); /* nobody is in them */
    assert_string_equal(team(l, 0)->id, "a");
    assert_string_equal(team(l, 0)->alias, "Team A");
    assert_true(team(l, 0)->blocked);
    assert_int_equal(team(l, 0)->limits.enqueued_tokens, 1000000);
    assert_int_equal(team(l, 0)->limits.open_batches, 3);
    expect_names(&team(l, 0)->models,
                 (const char *const[]){"cheap", "gpt-4o-batch", "gpt-4o-mini", NULL});
    assert_string_equal(team(l, 0)->models.aliases[0].target, "o3");
    assert_true(team(l, 1)->models.all);
    assert_true(team(l, 2)->models.all);
    expect_error(l, MODELS "tranche_settings: {teams: [{team_alias: a}]}\n",
                 "teams[0].team_id: missing");
    expect_error(l, MODELS "tranche_settings: {teams: [{team_id: a, models: [all-team-models]}]}\n",
                 "teams[0].models[0]: got \"all-team-models\", wanted models: this is the team");
}

/* --- what stands twice --- */

static void what_stands_twice_is_told_with_both_lines(void **state)
{
    struct loaded *l = *state;

    expect_error(l,
                 KEYS "  - {hash: " HASH_A ", models: ['*']}\n"
                      "  - {hash: " HASH_A ", models: ['*']}\n",
                 ":11: error: tranche_settings.keys[1].hash: the same as in line 10\n");
    expect_error(l,
                 KEYS "  - {hash: " HASH_A ", models: ['*'], key_alias: a}\n"
                      "  - {hash: " HASH_B ", models: ['*'], key_alias: a}\n",
                 ":11: error: tranche_settings.keys[1].key_alias: the same as in line 10\n");
    expect_error(l,
                 KEYS "  - {hash: " HASH_A ", models: ['*']}\n"
                      "  - {hash: " HASH_B ", models: ['*'], id: " ID_A "}\n",
                 "keys[1].id: the same as in line 10\n");
    expect_error(l, MODELS "tranche_settings:\n  teams:\n  - team_id: a\n  - team_id: a\n",
                 "teams[1].team_id: the same as in line 10\n");
    expect_error(l,
                 MODELS "tranche_settings:\n  teams:\n  - {team_id: a, team_alias: x}\n"
                        "  - {team_id: b, team_alias: x}\n",
                 "teams[1].team_alias: the same as in line 10\n");
    load(l, KEYS "  - {hash: " HASH_A ", models: ['*'], id: a, key_alias: a, team_id: a}\n"
                 "  - {hash: " HASH_B ", models: ['*'], id: b, key_alias: b, team_id: a}\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(key(l, 1)->id, "b");
}

/* --- the master key --- */

static void keys_need_a_master_key(void **state)
{
    struct loaded *l = *state;

    unsetenv("LITELLM_MASTER_KEY");
    expect_error(l, KEYS "  - {hash: " HASH_A ", models: ['*']}\n",
                 "tranche_settings.keys: keys of tenants need general_settings.master_key or "
                 "LITELLM_MASTER_KEY: without one everybody is served as its owner");
    write_file(l, "a.yaml", "keys: []\n");
    expect_error(l, MODELS "tranche_settings: {keys_file: a.yaml}\n",
                 "tranche_settings.keys_file: keys of tenants need");
}

static void the_master_key_is_no_key_of_a_tenant(void **state)
{
    struct loaded *l = *state;

    setenv("LITELLM_MASTER_KEY", "sk-Tq8Rw2Lm5Xz7Kd4Np1Vs", 1);
    expect_error(l, KEYS "  - {key: os.environ/LITELLM_MASTER_KEY, models: ['*']}\n",
                 "tranche_settings.keys[0]: this is the master key");
}

/* --- the keys file --- */

static void load_file(struct loaded *l, const char *keys)
{
    write_file(l, "a.yaml", keys);
    load(l, MODELS "tranche_settings: {keys_file: a.yaml}\n");
}

static void a_keys_file_is_read_beside_the_configuration(void **state)
{
    struct loaded *l = *state;
    const struct rights_key *k;

    load_file(l, "teams:\n"
                 "- {team_id: a, models: [cheap]}\n"
                 "keys:\n"
                 "- {hash: " HASH_A ", models: [all-team-models], team_id: a}\n"
                 "- {hash: " HASH_B ", models: [o3], key_alias: b}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "a.yaml: honoured: = 2 keys, 1 teams\n");
    assert_true(l->config->has_tenants);
    assert_int_equal(l->config->keys.num_keys, 0);
    assert_int_equal(l->config->file_keys.num_keys, 2);
    assert_int_equal(l->config->file_keys.num_teams, 1);
    k = &l->config->file_keys.keys[1];
    assert_string_equal(k->alias, "b");
    assert_int_equal(k->line, 5);
    assert_int_equal(k->source, RIGHTS_OF_FILE);
    assert_int_equal(l->config->file_keys.teams[0].source, RIGHTS_OF_FILE);
    load_file(l, "{\"keys\": [{\"hash\": \"" HASH_A "\", \"models\": [\"*\"], \"blocked\": false,\n"
                 " \"team_id\": null, \"metadata\": {}}]}");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->file_keys.num_keys, 1);
    load_file(l, "keys:\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->has_tenants); /* some may come */
}

static void faults_of_a_keys_file_say_its_name_line_and_field(void **state)
{
    struct loaded *l = *state;

    load_file(l, "teams:\n"
                 "- {team_id: a, max_budget: 3}\n"
                 "keys:\n"
                 "- {hash: " HASH_A ", models: ['*']}\n"
                 "- {hash: " HASH_A ", models: ['*']}\n"
                 "- {hash: " HASH_B ", models: ['*'], expires: soon}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_int_equal(l->report.num_errors, 3);
    assert_told(l, "/a.yaml:2: error: teams[0].max_budget: budgets");
    assert_told(l, "/a.yaml:5: error: keys[1].hash: the same as in line 4\n");
    assert_told(l, "/a.yaml:6: error: keys[2].expires: got \"soon\"");
    load(l, MODELS "tranche_settings: {keys_file: b.yaml}\n");
    assert_int_equal(l->report.num_errors, 1);
    assert_told(l, "/b.yaml: error: cannot read: No such file");
    load_file(l, "keys: [\n");
    assert_told(l, "/a.yaml:2: error: not YAML");
    load_file(l, "keys: {a: b}\nkey: []\n");
    assert_told(l, "/a.yaml:1: error: keys: got a mapping, wanted a list of mappings");
    assert_told(l, "/a.yaml:2: error: key: unknown key, wanted keys and teams");
    load_file(l, "keys:\n- {hash: " HASH_A ", models: ['*']}\nkeys: []\n");
    assert_told(l, "/a.yaml:3: error: given before; wanted one list");
    load_file(l, "- a\n");
    assert_told(l, "/a.yaml:1: error: got a list or a text, wanted a mapping");
}

static void a_key_of_both_places_is_told(void **state)
{
    struct loaded *l = *state;

    write_file(l, "a.yaml", "keys:\n- {hash: " HASH_A ", models: ['*']}\n");
    expect_error(l,
                 MODELS "tranche_settings:\n"
                        "  keys_file: a.yaml\n"
                        "  keys: [{hash: " HASH_A ", models: ['*']}]\n",
                 "/a.yaml:2: error: keys[0].hash: the same as in line 10 of the configuration\n");
}

static void anchors_of_a_keys_file_hold_across_its_entries(void **state)
{
    struct loaded *l = *state;

    load_file(l, "keys:\n"
                 "- &first {hash: " HASH_A ", models: [o3], max_open_batches: 2}\n"
                 "- {<<: *first, hash: " HASH_B "}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->file_keys.num_keys, 2);
    assert_int_equal(l->config->file_keys.keys[1].limits.open_batches, 2);
}

static void more_keys_than_there_is_room_for_are_told(void **state)
{
    struct loaded *l = *state;

    write_file(l, "a.yaml", "keys:\n- {hash: " HASH_A ", models: ['*']}\n");
    expect_error(l,
                 MODELS "tranche_settings:\n"
                        "  max_keys: 1\n"
                        "  keys_file: a.yaml\n"
                        "  keys: [{hash: " HASH_B ", models: ['*']}]\n",
                 "/a.yaml:2: error: keys[0]: more than the 1 that tranche_settings.max_keys has "
                 "room for");
}

static void many_faults_and_warnings_are_not_all_told(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "keys:\n");
    for (int i = 0; i < 300; i++)
        strbuf_addf(&yaml, "- {hash: sha256:%064x, models: [o3], tags: [x]}\n", i);
    load_file(l, strbuf_str(&yaml));
    assert_int_equal(l->rc, 0);
    assert_told(l, "keys[99].tags");
    assert_not_told(l, "keys[100].tags");
    assert_told(l, "/a.yaml: warning: 200 more warnings are not shown");
    strbuf_reset(&yaml);
    strbuf_adds(&yaml, "keys:\n");
    for (int i = 0; i < 300; i++)
        strbuf_addf(&yaml, "- {hash: sha256:%064x, models: [o3], zzz: 1}\n", i);
    load_file(l, strbuf_str(&yaml));
    assert_int_equal(l->report.num_errors, 101);
    assert_told(l, "/a.yaml:102: error: keys[100]: too many faults before it; not read further");
    strbuf_deinit(&yaml);
}

static void the_file_alone_is_read_again(void **state)
{
    struct loaded *l = *state;
    struct rights_list list;
    struct config_report report;
    struct strbuf text = STRBUF_INIT;

    load_file(l, "keys:\n- {hash: " HASH_A ", models: [o3]}\n");
    assert_int_equal(config_keys_read(l->config, &list, &report), 0);
    assert_int_equal(list.num_keys, 1);
    rights_list_deinit(&list);
    config_report_free(&report);

    setenv("LATE_KEY", "sk-Tq8Rw2Lm5Xz7Kd4Np1Vs", 1);
    write_file(l, "a.yaml",
               "keys:\n- {key: os.environ/LATE_KEY, models: [cheap]}\n"
               "- {hash: " HASH_A ", models: [o4]}\n");
    assert_int_equal(config_keys_read(l->config, &list, &report), 0);
    assert_int_equal(list.num_keys, 2);
    assert_string_equal(list.keys[0].tail, "p1Vs");
    assert_string_equal(list.keys[0].models.names[1], "gpt-4o-batch");
    config_report_print(&report, &text);
    assert_non_null(strstr(strbuf_str(&text), "/a.yaml:3: warning: keys[1].models[0]: got \"o4\""));
    rights_list_deinit(&list);
    config_report_free(&report);

    write_file(l, "a.yaml",
               "keys:\n- {hash: " HASH_A ", models: ['*']}\n- {hash: x, models: ['*']}\n");
    assert_int_equal(config_keys_read(l->config, &list, &report), ERR_INVALID);
    assert_int_equal(list.num_keys, 0);
    assert_null(list.keys);
    assert_int_equal(report.num_errors, 1);
    assert_int_equal(report.notes[0].line, 3);
    assert_string_equal(report.notes[0].field, "keys[1].hash");
    config_report_free(&report);
    strbuf_deinit(&text);
}

static void without_a_keys_file_there_is_nothing_to_read_again(void **state)
{
    struct loaded *l = *state;
    struct rights_list list;
    struct config_report report;

    load(l, MODELS);
    assert_false(l->config->has_tenants);
    assert_int_equal(config_keys_read(l->config, &list, &report), 0);
    assert_int_equal(list.num_keys, 0);
    config_report_free(&report);
}

/* --- what is shown --- */

static void what_is_shown_counts_keys_and_names_those_that_may_all(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    write_file(l, "a.yaml",
               "teams: [{team_id: t}]\n"
               "keys:\n"
               "- {hash: " HASH_A ", models: ['*'], expires: 2020-01-01}\n"
               "- {hash: " HASH_B ", admin: true, key_alias: ops}\n");
    setenv("TEAM_KEY", "sk-Tq8Rw2Lm5Xz7Kd4Np1Vs", 1);
    load(l, KEYS "  - {key: os.environ/TEAM_KEY, admin: true, blocked: true}\n"
                 "  keys_file: a.yaml\n");
    assert_int_equal(l->rc, 0);
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text),
                           "  keys                           1 key in 0 teams, 1 "
                           "admin, 1 blocked\n"));
    assert_non_null(strstr(strbuf_str(&text),
                           "  keys of keys_file              2 keys in 1 team, 1 "
                           "admin, 1 expired\n"));
    assert_non_null(strstr(strbuf_str(&text), "  admin key                      sk-...p1Vs "
                                              "(tranche_settings.keys, line 10)\n"));
    assert_non_null(strstr(strbuf_str(&text),
                           "  admin key                      ops (keys_file, line "
                           "4)\n"));
    assert_non_null(strstr(strbuf_str(&text), "  max_keys                       200000\n"));
    assert_null(strstr(strbuf_str(&text), "aaaa"));
    strbuf_reset(&text);
    load(l, MODELS);
    config_describe(l->config, &text);
    assert_null(strstr(strbuf_str(&text), "max_keys"));
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_with_a_hash_is_a_key),
        TEST(a_key_of_the_environment_is_kept_as_its_hash),
        TEST(a_key_that_stands_in_the_file_works_and_is_told_without_it),
        TEST(what_is_no_key_is_refused_without_showing_it),
        TEST(what_is_no_hash_is_refused),
        TEST(names_that_are_none_are_refused),
        TEST(an_end_without_a_zone_is_refused),
        TEST(a_key_of_a_file_names_its_models),
        TEST(access_groups_and_aliases_of_groups_stand_for_their_groups),
        TEST(an_unknown_model_is_told_with_a_guess),
        TEST(a_name_that_a_row_with_a_pattern_takes_is_known),
        TEST(the_models_of_a_team_need_a_team),
        TEST(aliases_of_a_key_name_models),
        TEST(routes_are_said_in_litellms_words),
        TEST(a_part_of_a_resource_is_not_allowed_as_a_whole),
        TEST(administration_is_for_admin_keys),
        TEST(limits_are_read_with_their_units),
        TEST(limits_of_litellms_metadata_count),
        TEST(wrong_limits_say_what_was_wanted),
        TEST(a_budget_is_an_error_where_nobody_counts_money),
        TEST(what_litellm_would_do_and_is_not_done_is_told),
        TEST(an_unknown_field_is_an_error),
        TEST(a_team_has_models_and_limits),
        TEST(what_stands_twice_is_told_with_both_lines),
        TEST(keys_need_a_master_key),
        TEST(the_master_key_is_no_key_of_a_tenant),
        TEST(a_keys_file_is_read_beside_the_configuration),
        TEST(faults_of_a_keys_file_say_its_name_line_and_field),
        TEST(a_key_of_both_places_is_told),
        TEST(anchors_of_a_keys_file_hold_across_its_entries),
        TEST(more_keys_than_there_is_room_for_are_told),
        TEST(many_faults_and_warnings_are_not_all_told),
        TEST(the_file_alone_is_read_again),
        TEST(without_a_keys_file_there_is_nothing_to_read_again),
        TEST(what_is_shown_counts_keys_and_names_those_that_may_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
