/* See accounts.h. */
#include "accounts.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "upstream/provider.h"
#include "headers.h"
#include "row_provider.h"

#define DEFAULT_OPENAI_BASE   "https://api.openai.com/v1"
/* The latest dated one that is no preview: providers 2.2 */
#define DEFAULT_AZURE_VERSION "2024-10-21"
#define FIRST_BATCH_VERSION   "2024-07-01" /* older ones refuse purpose=batch: providers 2.2 */

static const char *const openai_keys[] = {"OPENAI_API_KEY", NULL};
static const char *const openai_bases[] = {"OPENAI_BASE_URL", "OPENAI_API_BASE", NULL};
static const char *const openai_organizations[] = {"OPENAI_ORGANIZATION", "OPENAI_ORG_ID", NULL};
static const char *const openai_projects[] = {"OPENAI_PROJECT_ID", NULL};
static const char *const azure_keys[] = {"AZURE_OPENAI_API_KEY", "AZURE_API_KEY", NULL};
static const char *const azure_tokens[] = {"AZURE_AD_TOKEN", NULL};
static const char *const azure_bases[] = {"AZURE_API_BASE", NULL};
static const char *const azure_versions[] = {"AZURE_API_VERSION", NULL};

/* LiteLLM's module-level credentials: keys of litellm_settings, read before the environment.
 * Sources: litellm/batches/main.py, litellm/files/main.py. */
static const char *const module_bases[] = {"api_base", NULL};
static const char *const module_versions[] = {"api_version", NULL};
static const char *const module_organizations[] = {"organization", NULL};
static const char *const openai_module_keys[] = {"api_key", "openai_key", NULL};
static const char *const azure_module_keys[] = {"api_key", "azure_key", NULL};
static const char *const none[] = {NULL};

/* Where else than in the row a value may stand. */
struct elsewhere {
    const char *const *module, *const *variables;
};

/* A text and the place to blame for it. */
struct value {
    const char *text;          /* borrowed; NULL: none */
    const struct node *node;   /* NULL: not from the row */
    const struct node *module; /* of litellm_settings, or NULL */
    const char *variable;      /* borrowed; of the environment, or NULL */
    bool refused;              /* it was given, and reported as wrong */
};

static const struct node *find_module(const struct models_build *build, const char *const *names)
{
    const struct node *settings = node_get(build->root, "litellm_settings");

    for (; *names != NULL; names++) {
        const struct node *node = node_get(settings, *names);

        if (node != NULL && !node->skipped && node->kind == NODE_SCALAR && *node->text != '\0')
            return node;
    }
    return NULL;
}

/* The row's own text, else the module's, else the first of the variables that is set. */
static struct value find(const struct models_build *build, const struct accounts_source *source,
                         const char *key, const char *own, struct elsewhere elsewhere)
{
    struct value value = {.node = node_get(source->node, key)};

    if (value.node != NULL && value.node->skipped &&
        (value.node->kind != NODE_NULL || value.node->variable != NULL)) {
        value.refused = true;
        return value;
    }
    if (own != NULL && *own != '\0') {
        value.text = own;
        return value;
    }
    value.node = NULL;
    if (source->compatible)
        return value;
    value.module = find_module(build, elsewhere.module);
    value.text = value.module != NULL ? value.module->text
                                      : env_first(build->env, elsewhere.variables, &value.variable);
    return value;
}

static void blame(const struct models_build *build, const struct value *value,
                  enum config_severity severity, const char *key, const char *text)
{
    struct node shown = {
        .kind = NODE_SCALAR, .key = (char *)(uintptr_t)key, .text = (char *)(uintptr_t)value->text};
    struct strbuf got = STRBUF_INIT;

    node_show(value->node != NULL     ? value->node
              : value->module != NULL ? value->module
                                      : &shown,
              &got);
    if (value->node != NULL || value->module != NULL)
        report_at(build->reporter, severity, value->node != NULL ? value->node : value->module,
                  "got %s, %s", strbuf_str(&got), text);
    else
        report_add(build->reporter, severity == CONFIG_SKIPPED ? CONFIG_ERROR : severity, NULL, 0,
                   value->variable, "got %s, %s", strbuf_str(&got), text);
    strbuf_deinit(&got);
}

bool accounts_is_loopback(const char *base)
{
    const char *host = strstr(base, "://");
    size_t len;

    host = host == NULL ? base : host + 3;
    if (strncmp(host, "[::1]", 5) == 0)
        return host[5] == '\0' || host[5] == ':' || host[5] == '/';
    len = strcspn(host, ":/");
    if (len == 9 && strncasecmp(host, "localhost", 9) == 0)
        return true;
    if (len == 7 && strncmp(host, "0.0.0.0", 7) == 0)
        return true;
    if (strncmp(host, "127.", 4) != 0)
        return false;
    return strspn(host, "0123456789.") == len;
}

/* The address that a source names, as it stands there. @return false: there is none; told */
static bool find_base(const struct models_build *build, const struct accounts_source *source,
                      struct value *base)
{
    bool azure = source->provider == PROVIDER_AZURE;

    *base =
        find(build, source, "api_base", source->params == NULL ? NULL : source->params->api_base,
             (struct elsewhere){module_bases, azure ? azure_bases : openai_bases});
    if (base->refused)
        return false;
    if (base->text == NULL && (source->compatible || azure)) {
        report_under(build->reporter, CONFIG_SKIPPED, source->node, "api_base",
                     source->compatible
                         ? "missing: a server with OpenAI's API is found by its address"
                         : "missing: give the resource's address here or in the environment "
                           "variable AZURE_API_BASE");
        return false;
    }
    if (base->text == NULL)
        base->text = DEFAULT_OPENAI_BASE;
    if (!secret_looks_like_one(base->text))
        return true;
    /* It would be asked of a name server. */
    blame(build, base, CONFIG_ERROR, "api_base", "wanted an address, and it looks like a key");
    return false;
}

/* Take the address apart. 0 with account->base NULL: reported. */
static int take_address(const struct models_build *build, const struct accounts_source *source,
                        struct model_account *account, struct azure_endpoint *endpoint)
{
    bool azure = source->provider == PROVIDER_AZURE;
    struct strbuf text = STRBUF_INIT;
    struct value base;
    const char *why = "";
    int rc;

    if (!find_base(build, source, &base))
        return 0;
    rc = azure ? azure_endpoint_parse(base.text, endpoint, &why)
               : openai_base_parse(base.text, &account->base, &why);
    if (rc == ERR_INVALID) {
        strbuf_addf(&text, "which is no address: %s", why);
        blame(build, &base, CONFIG_ERROR, "api_base", strbuf_str(&text));
        strbuf_deinit(&text);
        return 0;
    }
    if (rc != 0)
        return rc;
    if (azure) {
        account->base = endpoint->base;
        endpoint->base = NULL;
    }
    if (strncmp(account->base, "http://", 7) == 0 && !accounts_is_loopback(account->base) &&
        !build->config->allow_insecure_upstream) {
        blame(build, &base, CONFIG_ERROR, "api_base",
              "wanted https:// (keys and data would travel in the clear; "
              "tranche_settings.allow_insecure_upstream permits it)");
        free(account->base);
        account->base = NULL;
    }
    return 0;
}

static bool is_v1(const char *version)
{
    return strcasecmp(version, "v1") == 0 || strcasecmp(version, "latest") == 0;
}

/* YYYY-MM-DD, possibly with -preview. */
static bool is_date(const char *version)
{
    static const char form[] = "dddd-dd-dd";

    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        if (form[i] == 'd' ? !isdigit((unsigned char)version[i]) : version[i] != form[i])
            return false;
    }
    return strcmp(version + 10, "") == 0 || strcmp(version + 10, "-preview") == 0;
}

static int set_version(struct model_account *account, const char *version)
{
    account->api_version = strdup(version);
    return account->api_version == NULL ? ERR_NOMEM : 0;
}

/* The row's api_version, else the one in the address, else the environment's, else our default. An
 * address of the v1 form has none. Returns ERR_INVALID when reported. */
static int take_version(const struct models_build *build, const struct accounts_source *source,
                        const struct azure_endpoint *endpoint, struct model_account *account)
{
    const char *own = source->params == NULL ? NULL : source->params->api_version;
    struct value version = find(build, source, "api_version", own,
                                (struct elsewhere){module_versions, azure_versions});

    if (version.refused)
        return ERR_INVALID;
    if (version.node == NULL && endpoint->api_version != NULL && *endpoint->api_version != '\0')
        return set_version(account, endpoint->api_version);
    if (endpoint->v1) {
        if (version.node != NULL && is_date(version.text))
            blame(build, &version, CONFIG_WARNING, "api_version",
                  "not used: the address is of the v1 form, which has no dated versions");
        return version.node != NULL && strcasecmp(version.text, "preview") == 0
                   ? set_version(account, "preview")
                   : 0;
    }
    if (version.text == NULL)
        return set_version(account, DEFAULT_AZURE_VERSION);
    if (is_v1(version.text))
        return 0;
    if (strcasecmp(version.text, "preview") == 0)
        return set_version(account, "preview");
    if (!is_date(version.text)) {
        blame(build, &version, CONFIG_SKIPPED, "api_version",
              "wanted a date such as 2024-10-21 or 2025-04-01-preview, or v1");
        return ERR_INVALID;
    }
    if (strncmp(version.text, FIRST_BATCH_VERSION, 10) < 0)
        blame(build, &version, CONFIG_WARNING, "api_version",
              "older than 2024-07-01-preview, the first version with batches");
    return set_version(account, version.text);
}

/* A row that says how to get a token of Entra ID says that no other credential is its own: the
 * environment's key is of another resource. */
static bool refuse_entra(const struct models_build *build, const struct accounts_source *source,
                         const struct value *key, const struct value *token)
{
    static const char *const fields[] = {
        "tenant_id",      "client_id",   "client_secret",    "azure_username",
        "azure_password", "azure_scope", "azure_credential", "azure_federated_token_file"};

    if (source->provider != PROVIDER_AZURE || key->node != NULL || token->node != NULL)
        return false;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const struct node *node = node_get(source->node, fields[i]);

        if (node == NULL || (node->kind == NODE_NULL && node->variable == NULL))
            continue;
        report_at(build->reporter, CONFIG_SKIPPED, node,
                  "the row is left out: its tokens of Entra ID are not fetched here, and no other "
                  "key is for it; give api_key or azure_ad_token");
        return true;
    }
    return false;
}

/* A key that was pasted into the wrong row. */
static void doubt_key(const struct models_build *build, const struct value *found)
{
    const char *other = row_foreign_key(found->text);
    struct strbuf text = STRBUF_INIT;

    if (other == NULL)
        return;
    strbuf_addf(&text, "which looks like a key of %s: it goes to the address of this account",
                other);
    blame(build, found, CONFIG_WARNING, "api_key", strbuf_str(&text));
    strbuf_deinit(&text);
}

/* The API key, or Azure's token. *found says whose mistake it would be. Returns ERR_INVALID when
 * reported. */
static int find_credential(const struct models_build *build, const struct accounts_source *source,
                           struct value *found, enum account_auth *auth)
{
    const struct raw_params *params = source->params;
    bool azure = source->provider == PROVIDER_AZURE;
    struct value token = {0};

    *auth = ACCOUNT_AUTH_API_KEY;
    *found = find(build, source, "api_key", params == NULL ? NULL : params->api_key,
                  (struct elsewhere){azure ? azure_module_keys : openai_module_keys,
                                     azure ? azure_keys : openai_keys});
    if (azure)
        token =
            find(build, source, "azure_ad_token", params == NULL ? NULL : params->azure_ad_token,
                 (struct elsewhere){none, azure_tokens});
    if (found->refused || token.refused || refuse_entra(build, source, found, &token))
        return ERR_INVALID;
    if (!azure && params != NULL && params->azure_ad_token != NULL)
        report_under(build->reporter, CONFIG_WARNING, source->node, "azure_ad_token",
                     "ignored: this row is not of Azure");
    if (token.node != NULL && found->node != NULL)
        report_at(build->reporter, CONFIG_WARNING, token.node,
                  "ignored: the row has an api_key as well, which is used");
    /* The row's own token goes over a key that only the environment has. */
    if (token.text != NULL &&
        (found->text == NULL || (found->node == NULL && token.node != NULL))) {
        *found = token;
        *auth = ACCOUNT_AUTH_BEARER;
    }
    if (found->text != NULL)
        return 0;
    report_under(build->reporter, CONFIG_SKIPPED, source->node, "api_key",
                 source->compatible
                     ? "missing: a server with OpenAI's API gets no key of the environment's; give "
                       "any text when it asks for none"
                 : azure
                     ? "missing: give the key here or in the environment variable AZURE_API_KEY, "
                       "or a token in azure_ad_token or AZURE_AD_TOKEN"
                     : "missing: give the key here or in the environment variable "
                       "OPENAI_API_KEY");
    return ERR_INVALID;
}

static int take_credential(const struct models_build *build, const struct accounts_source *source,
                           struct model_account *account)
{
    struct value found;
    int rc = find_credential(build, source, &found, &account->auth);

    if (rc != 0)
        return rc;
    doubt_key(build, &found);
    if (strncmp(found.text, "oidc/", 5) == 0) {
        blame(build, &found, CONFIG_SKIPPED, "api_key",
              "wanted the token itself; oidc/ references are not followed");
        return ERR_INVALID;
    }
    if (!headers_is_visible(found.text)) {
        blame(build, &found, CONFIG_ERROR, "api_key",
              "wanted visible ASCII characters without spaces, as a header can carry them");
        return ERR_INVALID;
    }
    return secret_set(&account->key, found.text, strlen(found.text));
}

static int take_header(const struct models_build *build, const struct accounts_source *source,
                       const char *key, const char *own, struct elsewhere elsewhere, char **out)
{
    struct value value = find(build, source, key, own, elsewhere);

    if (value.refused)
        return ERR_INVALID;
    if (value.text == NULL)
        return 0;
    if (!headers_is_visible(value.text)) {
        blame(build, &value, CONFIG_ERROR, key, "wanted visible ASCII characters without spaces");
        return ERR_INVALID;
    }
    *out = strdup(value.text);
    return *out == NULL ? ERR_NOMEM : 0;
}

static int take_project(const struct models_build *build, const struct accounts_source *source,
                        struct model_account *account)
{
    const struct raw_params *p = source->params;
    int rc;

    if (source->provider != PROVIDER_OPENAI)
        return 0;
    rc = take_header(build, source, "organization", p == NULL ? NULL : p->organization,
                     (struct elsewhere){module_organizations, openai_organizations},
                     &account->organization);
    if (rc == 0)
        rc = take_header(build, source, "project", p == NULL ? NULL : p->project,
                         (struct elsewhere){none, openai_projects}, &account->project);
    return rc;
}

/* The name under which the row took its key from credential_list. */
static int take_credential_name(const struct accounts_source *source, struct model_account *account)
{
    const struct node *name = node_get(source->node, "litellm_credential_name");

    if (name == NULL || name->kind != NODE_SCALAR || name->skipped || *name->text == '\0')
        return 0;
    account->credential = strdup(name->text);
    return account->credential == NULL ? ERR_NOMEM : 0;
}

/* Of two names of one account the lesser stays, whichever row came first. */
static void merge_name(struct model_account *have, struct model_account *other)
{
    char *name = have->credential;

    if (other->credential == NULL || (name != NULL && strcmp(name, other->credential) <= 0))
        return;
    have->credential = other->credential;
    other->credential = name;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_account(const struct model_account *a, const struct model_account *b)
{
    return a->provider == b->provider && a->auth == b->auth && strcmp(a->base, b->base) == 0 &&
           same_text(a->api_version, b->api_version) && headers_equal(a, b) &&
           same_text(a->organization, b->organization) && same_text(a->project, b->project) &&
           a->key.len == b->key.len && memcmp(a->key.data, b->key.data, a->key.len) == 0;
}

/* host[:port], and "#2" for the second account there. */
static char *name_for(const struct model_list *models, const struct model_account *account)
{
    const char *host = strstr(account->base, "://");
    struct strbuf name = STRBUF_INIT;
    size_t len, twins = 1;

    host = host == NULL ? account->base : host + 3;
    len = strcspn(host, "/");
    for (size_t i = 0; i < models->num_accounts; i++) {
        const char *other = models->accounts[i].name;

        if (strncmp(other, host, len) == 0 && (other[len] == '\0' || other[len] == '#'))
            twins++;
    }
    strbuf_add(&name, host, len);
    if (twins > 1)
        strbuf_addf(&name, "#%zu", twins);
    return strbuf_take(&name);
}

/* Hands the account over: into the list, or away when it is there already. */
static int put(struct models_build *build, struct model_account *account, uint32_t *index)
{
    struct model_list *models = &build->config->models;
    struct model_account *accounts;
    size_t cap;

    for (size_t i = 0; i < models->num_accounts; i++) {
        if (same_account(&models->accounts[i], account)) {
            merge_name(&models->accounts[i], account);
            accounts_deinit(account);
            *index = (uint32_t)i;
            return 0;
        }
    }
    if (models->num_accounts == build->cap_accounts) {
        cap = build->cap_accounts == 0 ? 8 : build->cap_accounts * 2;
        accounts = realloc(models->accounts, cap * sizeof(*accounts));
        if (accounts == NULL)
            return ERR_NOMEM;
        models->accounts = accounts;
        build->cap_accounts = cap;
    }
    account->name = name_for(models, account);
    if (account->name == NULL)
        return ERR_NOMEM;
    *index = (uint32_t)models->num_accounts;
    models->accounts[models->num_accounts++] = *account;
    return 0;
}

void accounts_deinit(struct model_account *account)
{
    free(account->base);
    free(account->api_version);
    free(account->name);
    free(account->organization);
    free(account->project);
    free(account->credential);
    headers_deinit(account);
    secret_clear(&account->key);
    *account = (struct model_account){0};
}

int accounts_take(struct models_build *build, const struct accounts_source *source, uint32_t *index,
                  char **url_deployment)
{
    struct model_account account = {.provider = source->provider};
    struct azure_endpoint endpoint = {0};
    int rc, credential;

    *index = MODEL_NO_INDEX;
    *url_deployment = NULL;
    rc = take_address(build, source, &account, &endpoint);
    credential = rc == 0 ? take_credential(build, source, &account) : 0; /* report both at once */
    if (rc == 0 && account.base == NULL)
        rc = ERR_INVALID;
    if (rc == 0 || credential == ERR_NOMEM)
        rc = credential;
    if (rc == 0 && source->provider == PROVIDER_AZURE)
        rc = take_version(build, source, &endpoint, &account);
    if (rc == 0)
        rc = take_project(build, source, &account);
    if (rc == 0)
        rc = take_credential_name(source, &account);
    if (rc == 0)
        rc = headers_take(build, source->node, &account);
    if (rc == 0)
        rc = put(build, &account, index);
    if (rc != 0) {
        accounts_deinit(&account);
        build->missed++;
    } else {
        *url_deployment = endpoint.deployment;
        endpoint.deployment = NULL;
    }
    azure_endpoint_free(&endpoint);
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

bool accounts_in_env(struct models_build *build, enum provider provider, bool warn)
{
    const char *key = NULL, *base = NULL;

    if (find_module(build, provider == PROVIDER_OPENAI ? openai_module_keys : azure_module_keys) !=
            NULL &&
        (provider == PROVIDER_OPENAI || find_module(build, module_bases) != NULL))
        return true;
    if (provider == PROVIDER_OPENAI)
        return env_first(build->env, openai_keys, &key) != NULL;
    if (env_first(build->env, azure_keys, &key) == NULL)
        (void)env_first(build->env, azure_tokens, &key);
    (void)env_first(build->env, azure_bases, &base);
    if (key != NULL && base == NULL && warn)
        report_add(build->reporter, CONFIG_WARNING, NULL, 0, key,
                   "set, but AZURE_API_BASE is not: there is no Azure account");
    if (key == NULL && base != NULL && warn)
        report_add(build->reporter, CONFIG_WARNING, NULL, 0, base,
                   "set, but neither AZURE_API_KEY nor AZURE_AD_TOKEN is: there is no Azure "
                   "account");
    return key != NULL && base != NULL;
}
