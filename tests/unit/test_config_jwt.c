/* Tokens of an issuer, as operators ask for them. */
#include "common/rights.h"

#include "config_world.h"

#define ROWS                                                                                       \
    "model_list:\n"                                                                                \
    "- {model_name: a, litellm_params: {model: azure/a, api_base: 'https://a.test', api_key: "     \
    "k}}\n"
#define ISSUER "issuer: https://issuer.test, audience: tranche"
#define KEYS   ", jwks_url: https://issuer.test/keys"

/* What stands in litellm_jwtauth and in tranche_settings.jwt. */
static void load_jwt(struct loaded *l, const char *rules, const char *ours)
{
    char yaml[8192];

    snprintf(yaml, sizeof(yaml),
             ROWS "general_settings:\n  enable_jwt_auth: true\n  litellm_jwtauth: {%s}\n"
                  "tranche_settings: {jwt: {%s}}\n",
             rules, ours);
    load(l, yaml);
}

static void without_the_switch_nothing_is_taken(void **state)
{
    struct loaded *l = *state;

    load(l, ROWS "tranche_settings: {jwt: {" ISSUER KEYS "}}\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->jwt.enabled);
    assert_told(l, "tranche_settings.jwt: without effect: general_settings.enable_jwt_auth is not");
    load(l, ROWS "general_settings: {enable_jwt_auth: false}\n");
    assert_int_equal(l->rc, 0);
    load(l, ROWS "general_settings: {enable_jwt_auth: perhaps}\n");
    assert_told(l, "general_settings.enable_jwt_auth: got \"perhaps\", wanted true or false");
}

static void issuer_audience_and_keys_are_required(void **state)
{
    struct loaded *l = *state;

    load_jwt(l, "team_id_jwt_field: t", "");
    assert_int_equal(l->report.num_errors, 3);
    assert_told(l, "tranche_settings.jwt.issuer: missing: without it");
    assert_told(l, "tranche_settings.jwt.audience: missing: without it");
    assert_told(l, "tranche_settings.jwt.jwks_url: missing: where");
    load_jwt(l, "team_id_jwt_field: t", ISSUER KEYS);
    assert_int_equal(l->rc, 0);
    assert_true(l->config->jwt.enabled);
    assert_string_equal(l->config->jwt.issuer, "https://issuer.test");
    assert_int_equal(l->config->jwt.num_audiences, 1);
    assert_string_equal(l->config->jwt.audiences[0], "tranche");
    assert_string_equal(l->config->jwt.urls[0], "https://issuer.test/keys");
    assert_string_equal(l->config->jwt.rules.team_id, "t");
}

static void tokens_need_a_master_key(void **state)
{
    struct loaded *l = *state;

    unsetenv("LITELLM_MASTER_KEY");
    load_jwt(l, "team_id_jwt_field: t", ISSUER KEYS);
    assert_told(l, "tranche_settings.jwt: tokens need general_settings.master_key or "
                   "LITELLM_MASTER_KEY: without one everybody is served as its owner");
}

static void litellms_variables_do_as_well(void **state)
{
    struct loaded *l = *state;

    setenv("JWT_ISSUER", "https://issuer.test", 1);
    setenv("JWT_AUDIENCE", "tranche", 1);
    setenv("JWT_PUBLIC_KEY_URL", "https://a.test/keys, http://127.0.0.1:1/keys,", 1);
    load_jwt(l, "team_id_jwt_field: t", "");
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->jwt.issuer, "https://issuer.test");
    assert_string_equal(l->config->jwt.audiences[0], "tranche");
    assert_int_equal(l->config->jwt.num_urls, 2);
    assert_string_equal(l->config->jwt.urls[1], "http://127.0.0.1:1/keys");
    load_jwt(l, "team_id_jwt_field: t", "issuer: x, audience: [y, z], jwks_url: https://b.test/");
    assert_string_equal(l->config->jwt.issuer, "x");
    assert_int_equal(l->config->jwt.num_audiences, 2);
    assert_string_equal(l->config->jwt.urls[0], "https://b.test/");
    setenv("JWT_PUBLIC_KEY_URL", "ftp://a.test", 1);
    load_jwt(l, "team_id_jwt_field: t", "");
    assert_told(l, "JWT_PUBLIC_KEY_URL: wanted an address that begins with https://");
    unsetenv("JWT_ISSUER");
    unsetenv("JWT_AUDIENCE");
    unsetenv("JWT_PUBLIC_KEY_URL");
}

static void addresses_of_keys_are_safe(void **state)
{
    static const char *const wrong[] = {"http://issuer.test/keys",
                                        "'https://me:secret@issuer.test/'",
                                        "https:///keys",
                                        "'https://issuer.test/a b'",
                                        "issuer.test",
                                        "file:///etc/passwd",
                                        "{a: b}",
                                        "''"};
    struct loaded *l = *state;
    char ours[256];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(ours, sizeof(ours), ISSUER ", jwks_url: %s", wrong[i]);
        load_jwt(l, "team_id_jwt_field: t", ours);
        assert_int_equal(l->report.num_errors, 1);
        assert_told(l, "tranche_settings.jwt.jwks_url");
        assert_not_told(l, "secret@");
    }
    load(l,
         ROWS "general_settings: {enable_jwt_auth: true, litellm_jwtauth: {team_id_default: t}}\n"
              "tranche_settings: {allow_insecure_upstream: true, jwt: {" ISSUER
              ", jwks_url: 'http://issuer.test/keys'}}\n");
    assert_int_equal(l->rc, 0);
}

static void a_file_has_keys_too(void **state)
{
    struct loaded *l = *state;
    char wanted[256];

    load_jwt(l, "team_id_jwt_field: t", ISSUER ", jwks_file: a.yaml");
    assert_told(l, "tranche_settings.jwt.jwks_file: cannot be read: No such file or directory");
    write_file(l, "a.yaml", "{\"keys\": 7}");
    load_jwt(l, "team_id_jwt_field: t", ISSUER ", jwks_file: a.yaml");
    assert_told(l, "a.yaml: no key set: wanted an object with an array");
    load_jwt(l, "team_id_jwt_field: t", ISSUER ", jwks_file: .");
    assert_told(l, "tranche_settings.jwt.jwks_file: cannot be read: Is a directory");
    write_file(l, "a.yaml",
               "{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": "
               "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\", \"y\": "
               "\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}");
    load_jwt(l, "team_id_jwt_field: t", ISSUER ", jwks_file: a.yaml");
    assert_int_equal(l->rc, 0);
    snprintf(wanted, sizeof(wanted), "%s/a.yaml", l->dir);
    assert_string_equal(l->config->jwt.file, wanted);
    assert_int_equal(l->config->jwt.keys->num, 1);
    load_jwt(l, "team_id_jwt_field: t", ISSUER ", jwks_file: a.yaml" KEYS);
    assert_told(l, "tranche_settings.jwt.jwks_file: given beside jwks_url");
}

static void claims_and_routes_are_taken(void **state)
{
    struct loaded *l = *state;
    const struct jwt_rules *rules;

    load_jwt(l,
             "team_ids_jwt_field: 'a\\.b.groups', user_id_jwt_field: sub, admin_jwt_scope: boss, "
             "roles_jwt_field: roles, jwt_litellm_role_map: [{jwt_role: x, litellm_role: "
             "proxy_admin}, {jwt_role: y, litellm_role: internal_user}], team_id_default: d, "
             "team_allowed_routes: [/v1/files], enforce_team_based_model_access: true",
             ISSUER KEYS);
    assert_int_equal(l->rc, 0);
    rules = &l->config->jwt.rules;
    assert_string_equal(rules->team_ids, "a\\.b.groups");
    assert_string_equal(rules->user_id, "sub");
    assert_string_equal(rules->admin_scope, "boss");
    assert_string_equal(rules->team_id_default, "d");
    assert_int_equal(rules->num_admin_roles, 1);
    assert_string_equal(rules->admin_roles[0], "x");
    assert_int_equal(l->config->jwt.team_routes, RIGHTS_FILES | RIGHTS_OWN_KEY);
    assert_told(l, "litellm_role: ignored: of roles only proxy_admin");
    load_jwt(l, "team_id_jwt_field: t", ISSUER KEYS);
    assert_string_equal(l->config->jwt.rules.admin_scope, "litellm_proxy_admin");
    assert_int_equal(l->config->jwt.team_routes, RIGHTS_ALL_ROUTES);
}

static void what_would_refuse_somebody_and_does_not_is_an_error(void **state)
{
    static const char *const names[] = {"custom_validate: f.g",
                                        "user_allowed_email_domain: a.test",
                                        "user_roles_jwt_field: r",
                                        "user_allowed_roles: [x]",
                                        "enforce_rbac: true",
                                        "enforce_scope_based_access: true",
                                        "scope_mappings: [{scope: x, models: [y]}]",
                                        "issuers: [{issuer: x}]",
                                        "virtual_key_claim_field: email",
                                        "unregistered_jwt_client_behavior: reject",
                                        "role_mappings: [{role: x}]"};
    struct loaded *l = *state;
    char rules[256];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(rules, sizeof(rules), "team_id_jwt_field: t, %s", names[i]);
        load_jwt(l, rules, ISSUER KEYS);
        assert_int_equal(l->report.num_errors, 1);
        assert_told(l, "not done here: tokens that it would refuse or restrict would be let in");
    }
    load_jwt(l,
             "team_id_jwt_field: t, enforce_rbac: false, scope_mappings: [], issuers: null, "
             "unregistered_jwt_client_behavior: fallback_team_mapping",
             ISSUER KEYS);
    assert_int_equal(l->rc, 0);
    assert_not_told(l, "not done here");
}

static void what_is_lost_with_the_others_is_told(void **state)
{
    struct loaded *l = *state;

    load_jwt(
        l,
        "team_id_jwt_field: t, user_id_upsert: true, team_id_upsert: true, "
        "team_claim_fallback: true, public_key_ttl: 600, org_id_jwt_field: o, team_id_jwt_feild: "
        "x, enforce_team_based_model_access: false",
        ISSUER KEYS ", jwks_ulr: x");
    assert_int_equal(l->rc, 0);
    assert_told(l, "litellm_jwtauth.user_id_upsert: ignored: users are not kept");
    assert_told(l, "litellm_jwtauth.team_id_upsert: ignored: teams are not made of tokens");
    assert_told(l, "litellm_jwtauth.team_claim_fallback: ignored: users are not kept");
    assert_told(l, "litellm_jwtauth.public_key_ttl: ignored: key sets are kept for an hour");
    assert_told(l, "litellm_jwtauth.org_id_jwt_field: ignored: organisations are not kept");
    assert_told(l, "team_id_jwt_feild: unknown key, did you mean \"team_id_jwt_field\"?");
    assert_told(l, "tranche_settings.jwt.jwks_ulr: unknown key, did you mean \"jwks_url\"?");
    assert_told(l, "enforce_team_based_model_access: ignored: a token's team must be known");
    load_jwt(l, "user_id_jwt_field: sub", ISSUER KEYS);
    assert_told(l, "no claim says a token's team: only administrators' tokens are let in");
}

static void a_check_shows_whom_is_believed(void **state)
{
    struct loaded *l = *state;
    struct strbuf out = STRBUF_INIT;

    load_jwt(l, "team_id_jwt_field: t", ISSUER KEYS);
    config_describe(l->config, &out);
    assert_non_null(strstr(strbuf_str(&out), "jwt.issuer"));
    assert_non_null(strstr(strbuf_str(&out), "https://issuer.test/keys\n"));
    strbuf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_the_switch_nothing_is_taken),
        TEST(issuer_audience_and_keys_are_required),
        TEST(tokens_need_a_master_key),
        TEST(litellms_variables_do_as_well),
        TEST(addresses_of_keys_are_safe),
        TEST(a_file_has_keys_too),
        TEST(claims_and_routes_are_taken),
        TEST(what_would_refuse_somebody_and_does_not_is_an_error),
        TEST(what_is_lost_with_the_others_is_told),
        TEST(a_check_shows_whom_is_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
