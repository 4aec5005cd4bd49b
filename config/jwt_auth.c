/* See jwt_auth.h. */
#include "jwt_auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hosts.h"
#include "common/rights.h"
#include "config/guess.h"
#include "jwt/jwt.h"
#include "key_routes.h"
#include "settings.h"

#define MAX_ADDRESS     2000 /* characters of a URL */
#define MAX_PATH        511  /* of the place of a claim: claims.c takes no more */
#define MAX_ROLES       64
#define DEFAULT_SCOPE   "litellm_proxy_admin"
#define NO_TEAMS_MADE   "teams are not made of tokens: one that names an unknown team is refused"
#define NO_USERS        "users are not kept: a token's team says what it may"
#define NO_ORGANISATION "organisations are not kept: a token's team says what it may"
#define SET_LIFE        "key sets are kept for an hour, and asked for again when a key is new"

/* What LiteLLM takes in litellm_jwtauth and is not done here. */
static const struct name {
    const char *name;
    /* What is lost; NULL: it would refuse or restrict somebody, and so is an error unless it is
     * false or empty */
    const char *loss;
} names[] = {
    {"custom_validate", NULL},
    {"end_user_id_jwt_field", "end users are not told apart"},
    {"enforce_rbac", NULL},
    {"enforce_scope_based_access", NULL},
    {"fallback_to_db_teams", NO_USERS},
    {"issuers", NULL},
    {"jwt_client_id_field", NULL},
    {"object_id_jwt_field", NULL},
    {"oidc_userinfo_cache_ttl", "a token's own claims count"},
    {"oidc_userinfo_enabled", NULL},
    {"oidc_userinfo_endpoint", "a token's own claims count"},
    {"org_alias_jwt_field", NO_ORGANISATION},
    {"org_id_jwt_field", NO_ORGANISATION},
    {"public_allowed_routes", "routes for everybody are those that ask for no key"},
    {"public_key_ttl", SET_LIFE},
    {"role_mappings", NULL},
    {"role_permissions", NULL},
    {"routing_overrides", NULL},
    {"scope_mappings", NULL},
    {"sync_user_role_and_teams", NO_USERS},
    {"team_claim_fallback", NO_USERS "; the teams that it names count"},
    {"team_id_upsert", NO_TEAMS_MADE},
    {"unregistered_jwt_client_behavior", NULL},
    {"upsert_sso_user_to_team", NO_USERS},
    {"user_allowed_email_domain", NULL},
    {"user_allowed_roles", NULL},
    {"user_email_jwt_field", "addresses of users are not kept"},
    {"user_id_upsert", NO_USERS},
    {"user_roles_jwt_field", NULL},
    {"virtual_key_claim_field", NULL},
    {"virtual_key_mapping_cache_ttl", "tokens do not stand for keys"},
};

/* What is done. */
static const char *const taken[] = {
    "admin_allowed_routes", "admin_jwt_scope",  "enforce_team_based_model_access",
    "jwt_litellm_role_map", "roles_jwt_field",  "team_alias_jwt_field",
    "team_allowed_routes",  "team_id_default",  "team_id_jwt_field",
    "team_ids_jwt_field",   "user_id_jwt_field"};
static const char *const ours[] = {"audience", "issuer", "jwks_file", "jwks_url"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- names --- */

static bool is_among(const char *key, const char *const *list, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

static void note_unknown(const struct node *node, const char *const *list, size_t num,
                         struct reporter *reporter)
{
    struct guess guess;

    guess_init(&guess, node->key);
    for (size_t i = 0; i < num; i++)
        guess_offer(&guess, list[i]);
    if (guess.best != NULL)
        report_at(reporter, CONFIG_WARNING, node, "unknown key, did you mean \"%s\"?", guess.best);
    else
        report_at(reporter, CONFIG_WARNING, node, "unknown key");
}

static bool is_off(const struct node *node)
{
    return (node->kind == NODE_NULL && node->variable == NULL) ||
           ((node->kind == NODE_LIST || node->kind == NODE_MAP) && node->num_items == 0) ||
           (node->kind == NODE_SCALAR &&
            (strcasecmp(node->text, "false") == 0 || *node->text == '\0'));
}

static void note_not_done(const struct node *node, const struct name *name,
                          struct reporter *reporter)
{
    /* What is done anyway where no key is registered for a client */
    bool same = strcmp(name->name, "unregistered_jwt_client_behavior") == 0 &&
                node_text(node) != NULL && strcmp(node->text, "fallback_team_mapping") == 0;

    if (is_off(node) || same)
        return;
    if (name->loss != NULL)
        report_at(reporter, CONFIG_WARNING, node, "ignored: %s", name->loss);
    else
        report_at(reporter, CONFIG_ERROR, node,
                  "not done here: tokens that it would refuse or restrict would be let in; take it "
                  "out where that is meant");
}

static void check_names(const struct node *map, struct reporter *reporter)
{
    for (size_t i = 0; map != NULL && map->kind == NODE_MAP && i < map->num_items; i++) {
        const struct node *node = map->items[i];
        size_t k = 0;

        if (is_among(node->key, taken, COUNT(taken)))
            continue;
        while (k < COUNT(names) && strcmp(names[k].name, node->key) != 0)
            k++;
        if (k < COUNT(names))
            note_not_done(node, &names[k], reporter);
        else
            note_unknown(node, taken, COUNT(taken), reporter);
    }
}

/* --- texts --- */

static bool is_given(const struct node *node)
{
    return node != NULL && (node->kind != NODE_NULL || node->variable != NULL);
}

static int copy(const char *text, char **out)
{
    *out = strdup(text);
    return *out == NULL ? ERR_NOMEM : 0;
}

/* A text of a map. @return 0, ERR_NOMEM */
static int take_text(const struct node *map, const char *key, size_t longest,
                     struct reporter *reporter, char **out)
{
    const struct node *node = node_get(map, key);

    if (!is_given(node))
        return 0;
    if (node->kind != NODE_SCALAR || *node->text == '\0' || strlen(node->text) > longest) {
        report_wanted(reporter, node, "a text that is neither empty nor very long");
        return 0;
    }
    report_at(reporter, CONFIG_HONOURED, node, "= %s", node->text);
    return copy(node->text, out);
}

/* A text, or a list of at most `most` texts. */
static int take_texts(const struct node *node, size_t most, struct reporter *reporter, char ***out,
                      size_t *num)
{
    size_t items = node->kind == NODE_LIST ? node->num_items : 1;

    *num = 0;
    if (items > most || node->kind == NODE_MAP) {
        report_wanted(reporter, node,
                      most == CONFIG_JWT_MAX_URLS ? "a text, or a list of at most 8"
                                                  : "a text, or a list of at most 16");
        return 0;
    }
    *out = calloc(items + 1, sizeof(**out));
    if (*out == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < items; i++) {
        const struct node *item = node->kind == NODE_LIST ? node->items[i] : node;

        if (item->kind != NODE_SCALAR || *item->text == '\0')
            report_wanted(reporter, item, "a text that is not empty");
        else if (copy(item->text, &(*out)[(*num)++]) != 0)
            return ERR_NOMEM;
    }
    report_at(reporter, CONFIG_HONOURED, node, "= %zu", *num);
    return 0;
}

/* --- the issuer --- */

static int take_issuer(const struct node *ours_map, const struct env *env,
                       struct reporter *reporter, struct config_jwt *jwt)
{
    const char *variable = env_get(env, "JWT_ISSUER");
    int rc = take_text(ours_map, "issuer", MAX_ADDRESS, reporter, &jwt->issuer);

    if (rc != 0 || jwt->issuer != NULL)
        return rc;
    if (variable == NULL) {
        report_add(reporter, CONFIG_ERROR, NULL, 0, "tranche_settings.jwt.issuer",
                   "missing: without it, a token of everybody who has a key in the same set would "
                   "do; give it here, or in JWT_ISSUER");
        return 0;
    }
    report_add(reporter, CONFIG_HONOURED, NULL, 0, "JWT_ISSUER", "= %s", variable);
    return copy(variable, &jwt->issuer);
}

static int take_audience(const struct node *ours_map, const struct env *env,
                         struct reporter *reporter, struct config_jwt *jwt)
{
    const struct node *node = node_get(ours_map, "audience");
    const char *variable = env_get(env, "JWT_AUDIENCE");

    if (is_given(node))
        return take_texts(node, CONFIG_JWT_MAX_AUDIENCES, reporter, &jwt->audiences,
                          &jwt->num_audiences);
    if (variable == NULL) {
        report_add(reporter, CONFIG_ERROR, NULL, 0, "tranche_settings.jwt.audience",
                   "missing: without it, a token that its issuer made for another service would "
                   "do; give it here, or in JWT_AUDIENCE");
        return 0;
    }
    jwt->audiences = calloc(1, sizeof(*jwt->audiences));
    if (jwt->audiences == NULL || copy(variable, &jwt->audiences[0]) != 0)
        return ERR_NOMEM;
    jwt->num_audiences = 1;
    report_add(reporter, CONFIG_HONOURED, NULL, 0, "JWT_AUDIENCE", "= %s", variable);
    return 0;
}

/* --- its keys --- */

/* @return NULL: a good address; else why it is none */
static const char *judge_address(const char *url, bool allow_insecure)
{
    const char *host = strstr(url, "://");
    bool clear = strncmp(url, "http://", 7) == 0;

    if (host == NULL || (!clear && strncmp(url, "https://", 8) != 0) || strlen(url) > MAX_ADDRESS)
        return "wanted an address that begins with https://";
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return "wanted an address without spaces and special characters";
    if (strcspn(host + 3, "/?#") > strcspn(host + 3, "@") || strchr("/?#:", host[3]) != NULL)
        return "wanted an address with a host and without a name and a password";
    if (clear && !allow_insecure && !hosts_is_loopback(url))
        return "wanted https:// (who is on the way could put keys of his own there; "
               "tranche_settings.allow_insecure_upstream permits it)";
    return NULL;
}

/* The variable has a list with commas, as in LiteLLM. */
static int split_addresses(const char *text, struct reporter *reporter, struct config_jwt *jwt)
{
    jwt->urls = calloc(CONFIG_JWT_MAX_URLS, sizeof(*jwt->urls));
    if (jwt->urls == NULL)
        return ERR_NOMEM;
    for (;;) {
        size_t len;

        text += strspn(text, " ,");
        len = strcspn(text, " ,");
        if (len == 0)
            return 0;
        if (jwt->num_urls == CONFIG_JWT_MAX_URLS) {
            report_add(reporter, CONFIG_ERROR, NULL, 0, "JWT_PUBLIC_KEY_URL",
                       "wanted at most 8 addresses");
            return 0;
        }
        jwt->urls[jwt->num_urls] = strndup(text, len);
        if (jwt->urls[jwt->num_urls++] == NULL)
            return ERR_NOMEM;
        text += len;
    }
}

static void check_addresses(const struct node *node, bool allow_insecure, struct reporter *reporter,
                            const struct config_jwt *jwt)
{
    for (size_t i = 0; i < jwt->num_urls; i++) {
        const char *why = judge_address(jwt->urls[i], allow_insecure);

        if (why != NULL && node != NULL)
            report_at(reporter, CONFIG_ERROR, node, "%s", why);
        else if (why != NULL)
            report_add(reporter, CONFIG_ERROR, NULL, 0, "JWT_PUBLIC_KEY_URL", "%s", why);
    }
}

/* @return ERR_IO: it cannot be read, errno says why */
static int read_bytes(const char *path, char **text, size_t *len)
{
    FILE *file = fopen(path, "rbe");
    size_t room = JWKS_MAX_BYTES + 1; /* one more says that it is too long */
    bool failed;

    if (file == NULL)
        return ERR_IO;
    *text = malloc(room);
    *len = *text != NULL ? fread(*text, 1, room, file) : 0;
    failed = ferror(file) != 0; /* of a directory */
    fclose(file);
    return *text == NULL ? ERR_NOMEM : failed ? ERR_IO : 0;
}

static int read_set(const struct node *node, struct reporter *reporter, struct config_jwt *jwt)
{
    struct jwks_error error = {""};
    char *text = NULL;
    size_t len = 0;
    int rc = read_bytes(jwt->file, &text, &len);

    if (rc == ERR_IO)
        report_at(reporter, CONFIG_ERROR, node, "cannot be read: %s", strerror(errno));
    jwt->keys = rc == 0 ? calloc(1, sizeof(*jwt->keys)) : NULL;
    if (rc == 0 && jwt->keys == NULL)
        rc = ERR_NOMEM;
    if (rc == 0)
        rc = jwks_read(text, len, jwt->keys, &error);
    if (error.message[0] != '\0' && rc != ERR_NOMEM)
        report_at(reporter, CONFIG_ERROR, node, "%s: %s", jwt->file, error.message);
    else if (rc == 0)
        report_at(reporter, CONFIG_HONOURED, node, "= %s, %u keys", jwt->file, jwt->keys->num);
    free(text);
    return rc == ERR_NOMEM ? rc : 0;
}

/* Relative to the file that names it. */
static int take_file(const struct node *node, struct reporter *reporter, struct config_jwt *jwt)
{
    if (node->kind != NODE_SCALAR || *node->text == '\0') {
        report_wanted(reporter, node, "the path of a file");
        return 0;
    }
    jwt->file = node_beside(node, node->text);
    return jwt->file == NULL ? ERR_NOMEM : read_set(node, reporter, jwt);
}

static int take_keys(const struct node *ours_map, const struct env *env, struct reporter *reporter,
                     bool allow_insecure, struct config_jwt *jwt)
{
    const struct node *url = node_get(ours_map, "jwks_url"),
                      *file = node_get(ours_map, "jwks_file");
    const char *variable = env_get(env, "JWT_PUBLIC_KEY_URL");
    int rc = 0;

    if (is_given(url) && is_given(file))
        report_at(reporter, CONFIG_ERROR, file, "given beside jwks_url; give one of them");
    else if (is_given(file))
        return take_file(file, reporter, jwt);
    if (is_given(url))
        rc = take_texts(url, CONFIG_JWT_MAX_URLS, reporter, &jwt->urls, &jwt->num_urls);
    else if (variable != NULL)
        rc = split_addresses(variable, reporter, jwt);
    else
        report_add(reporter, CONFIG_ERROR, NULL, 0, "tranche_settings.jwt.jwks_url",
                   "missing: where the issuer's public keys are; give it here, a jwks_file, or "
                   "JWT_PUBLIC_KEY_URL");
    if (rc == 0)
        check_addresses(is_given(url) ? url : NULL, allow_insecure, reporter, jwt);
    return rc;
}

/* --- whom a token speaks for --- */

static int add_role(const struct node *entry, struct reporter *reporter, struct jwt_rules *rules)
{
    const struct node *role = node_get(entry, "jwt_role"),
                      *meaning = node_get(entry, "litellm_role");

    if (node_text(role) == NULL || *role->text == '\0' || node_text(meaning) == NULL ||
        strpbrk(role->text, "*?[") != NULL) {
        report_wanted(reporter, entry, "a jwt_role without a pattern and a litellm_role");
        return 0;
    }
    if (strcmp(meaning->text, "proxy_admin") != 0) {
        report_at(reporter, CONFIG_WARNING, meaning,
                  "ignored: of roles only proxy_admin has a meaning here; a token's team says what "
                  "it may");
        return 0;
    }
    return copy(role->text, &rules->admin_roles[rules->num_admin_roles++]);
}

static int take_roles(const struct node *map, struct reporter *reporter, struct jwt_rules *rules)
{
    const struct node *node = node_get(map, "jwt_litellm_role_map");
    int rc = 0;

    if (!is_given(node))
        return 0;
    if (node->kind != NODE_LIST || node->num_items > MAX_ROLES) {
        report_wanted(reporter, node, "a list of at most 64 maps of jwt_role and litellm_role");
        return 0;
    }
    if (rules->roles == NULL)
        report_at(reporter, CONFIG_WARNING, node, "without effect: no roles_jwt_field is given");
    rules->admin_roles = calloc(node->num_items + 1, sizeof(*rules->admin_roles));
    if (rules->admin_roles == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < node->num_items && rc == 0; i++)
        rc = add_role(node->items[i], reporter, rules);
    return rc;
}

static void check_enforced(const struct node *map, struct reporter *reporter)
{
    const struct node *node = node_get(map, "enforce_team_based_model_access");
    const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    union scalar_value value;

    if (is_given(node) &&
        settings_parse(&rule, node_text(node) == NULL ? "" : node->text, node, reporter, &value) &&
        !value.truth)
        report_at(reporter, CONFIG_WARNING, node,
                  "ignored: a token's team must be known, and its models are enforced");
}

static int take_rules(const struct node *map, struct reporter *reporter, struct config_jwt *jwt)
{
    struct jwt_rules *rules = &jwt->rules;
    const struct {
        const char *key;
        size_t longest;
        char **out;
    } texts[] = {{"admin_jwt_scope", RIGHTS_NAME_MAX, &rules->admin_scope},
                 {"user_id_jwt_field", MAX_PATH, &rules->user_id},
                 {"team_id_jwt_field", MAX_PATH, &rules->team_id},
                 {"team_ids_jwt_field", MAX_PATH, &rules->team_ids},
                 {"team_alias_jwt_field", MAX_PATH, &rules->team_alias},
                 {"roles_jwt_field", MAX_PATH, &rules->roles},
                 {"team_id_default", RIGHTS_NAME_MAX, &rules->team_id_default}};
    int rc = 0;

    for (size_t i = 0; i < COUNT(texts) && rc == 0; i++)
        rc = take_text(map, texts[i].key, texts[i].longest, reporter, texts[i].out);
    if (rc == 0 && rules->admin_scope == NULL)
        rc = copy(DEFAULT_SCOPE, &rules->admin_scope);
    if (rc == 0)
        rc = take_roles(map, reporter, rules);
    check_enforced(map, reporter);
    if (rules->team_id == NULL && rules->team_ids == NULL && rules->team_alias == NULL &&
        rules->team_id_default == NULL)
        report_under(reporter, CONFIG_WARNING, map, "team_id_jwt_field",
                     "no claim says a token's team: only administrators' tokens are let in");
    return rc;
}

/* What LiteLLM lets them call by default; of an administrator's that is no file and no batch. */
static void take_routes(const struct node *map, struct reporter *reporter, struct config_jwt *jwt)
{
    const struct node *team = node_get(map, "team_allowed_routes"),
                      *admin = node_get(map, "admin_allowed_routes");

    jwt->team_routes = RIGHTS_ALL_ROUTES;
    jwt->admin_routes = RIGHTS_ALL_ROUTES | RIGHTS_MANAGEMENT | RIGHTS_OPERATOR;
    if (is_given(team))
        jwt->team_routes = key_routes_list(team, true, reporter) & RIGHTS_ALL_ROUTES;
    if (is_given(admin))
        jwt->admin_routes = key_routes_list(admin, true, reporter);
}

/* --- all --- */

static bool is_enabled(const struct node *root, struct reporter *reporter)
{
    const struct node *node = node_find(root, "general_settings.enable_jwt_auth");
    const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    union scalar_value value;

    if (!is_given(node) ||
        !settings_parse(&rule, node_text(node) == NULL ? "" : node->text, node, reporter, &value))
        return false;
    settings_honoured(&rule, &value, node, reporter);
    return value.truth;
}

static bool is_map(const struct node *node, struct reporter *reporter)
{
    if (!is_given(node))
        return false;
    if (node->kind != NODE_MAP)
        report_wanted(reporter, node, "a map of settings");
    return node->kind == NODE_MAP;
}

int jwt_auth_take(const struct node *root, const struct env *env, struct reporter *reporter,
                  struct config *config)
{
    const struct node *rules = node_find(root, "general_settings.litellm_jwtauth"),
                      *issuer = node_find(root, "tranche_settings.jwt");
    struct config_jwt *jwt = &config->jwt;
    int rc;

    rules = is_map(rules, reporter) ? rules : NULL;
    issuer = is_map(issuer, reporter) ? issuer : NULL;
    jwt->enabled = is_enabled(root, reporter);
    if (!jwt->enabled) {
        if (rules != NULL || issuer != NULL)
            report_at(reporter, CONFIG_WARNING, rules != NULL ? rules : issuer,
                      "without effect: general_settings.enable_jwt_auth is not true");
        return 0;
    }
    check_names(rules, reporter);
    for (size_t i = 0; issuer != NULL && i < issuer->num_items; i++)
        if (!is_among(issuer->items[i]->key, ours, COUNT(ours)))
            note_unknown(issuer->items[i], ours, COUNT(ours), reporter);
    rc = take_issuer(issuer, env, reporter, jwt);
    if (rc == 0)
        rc = take_audience(issuer, env, reporter, jwt);
    if (rc == 0)
        rc = take_keys(issuer, env, reporter, config->allow_insecure_upstream, jwt);
    if (rc == 0)
        rc = take_rules(rules, reporter, jwt);
    if (rc == 0)
        take_routes(rules, reporter, jwt);
    return rc;
}

static void free_texts(char **texts, size_t num)
{
    for (size_t i = 0; texts != NULL && i < num; i++)
        free(texts[i]);
    free(texts);
}

void jwt_auth_deinit(struct config_jwt *jwt)
{
    free(jwt->issuer);
    free_texts(jwt->audiences, jwt->num_audiences);
    free_texts(jwt->urls, jwt->num_urls);
    free(jwt->file);
    free(jwt->keys);
    free(jwt->rules.admin_scope);
    free(jwt->rules.user_id);
    free(jwt->rules.team_id);
    free(jwt->rules.team_ids);
    free(jwt->rules.team_alias);
    free(jwt->rules.roles);
    free(jwt->rules.team_id_default);
    free_texts(jwt->rules.admin_roles, jwt->rules.num_admin_roles);
    memset(jwt, 0, sizeof(*jwt));
}
