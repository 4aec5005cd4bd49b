/* See accounts.h. */
#include "accounts.h"

#include <inttypes.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "upstream/provider.h"
#include "entra.h"
#include "headers.h"
#include "hosts.h"
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
    if (hosts_is_link_local(account->base)) {
        blame(build, &base, CONFIG_ERROR, "api_base",
              "which is a link-local address: no provider is there, but what this machine's cloud "
              "tells it alone");
        free(account->base);
        account->base = NULL;
        return 0;
    }
    if (strncmp(account->base, "http://", 7) == 0 && !hosts_is_loopback(account->base) &&
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

/* What an account is called upon by. */
struct found {
    enum account_auth auth;
    struct value value; /* a key, a token, or a reference to an assertion */
    enum entra_way way; /* of ACCOUNT_AUTH_ENTRA */
};

/* What would be used if somebody said so (entra statement 4). */
static const char *find_unused(const struct models_build *build)
{
    static const char *const variables[] = {"AZURE_FEDERATED_TOKEN_FILE",
                                            "AZURE_CLIENT_CERTIFICATE_PATH",
                                            "AZURE_CERTIFICATE_PATH",
                                            "IDENTITY_ENDPOINT",
                                            "MSI_ENDPOINT",
                                            NULL};
    const char *name = NULL;

    (void)env_first(build->env, variables, &name);
    return name;
}

/* What a row without a key lacks. @param user  the environment has a user's name or password */
static const char *what_is_missing(const struct accounts_source *source, bool user)
{
    if (source->compatible)
        return "missing: a server with OpenAI's API gets no key of the environment's; give any "
               "text when it asks for none";
    if (source->provider != PROVIDER_AZURE)
        return "missing: give the key here or in the environment variable OPENAI_API_KEY";
    if (user)
        return "missing; the user's name and password of AZURE_USERNAME and AZURE_PASSWORD get no "
               "token here (a second factor blocks them, and Microsoft's libraries have given them "
               "up): give client_secret, client_certificate_path, azure_federated_token_file or a "
               "managed identity";
    return "missing: give the key here or in the environment variable AZURE_API_KEY, a token in "
           "azure_ad_token or AZURE_AD_TOKEN, or what gets tokens of Entra ID: tenant_id, "
           "client_id and client_secret, or azure_credential";
}

static int tell_missing(const struct models_build *build, const struct accounts_source *source)
{
    const char *unused = find_unused(build);

    if (source->provider == PROVIDER_AZURE && unused != NULL)
        report_under(build->reporter, CONFIG_SKIPPED, source->node, "api_key",
                     "missing; %s is set, and litellm_settings.enable_azure_ad_token_refresh: true "
                     "would use it",
                     unused);
    else
        report_under(build->reporter, CONFIG_SKIPPED, source->node, "api_key", "%s",
                     what_is_missing(source, entra_user_in_environment(build->env)));
    return ERR_INVALID;
}

static bool take_token(const struct value *token, struct found *found)
{
    if (token->text == NULL)
        return false;
    found->value = *token;
    found->way = ENTRA_WAY_TOKEN;
    found->auth = entra_is_reference(token->text) ? ACCOUNT_AUTH_ENTRA : ACCOUNT_AUTH_BEARER;
    return true;
}

static bool take_way(bool is_it, enum entra_way way, struct found *found)
{
    if (is_it)
        *found = (struct found){.auth = ACCOUNT_AUTH_ENTRA, .way = way};
    return is_it;
}

/* What is the row's own goes before what the environment has, and a key before a token (entra
 * statement 1). @return false: there is nothing */
static bool choose(const struct entra_row *row, const struct value *key, const struct value *token,
                   struct found *found)
{
    bool own = entra_fields_first(row->source) != NULL;

    *found = (struct found){.auth = ACCOUNT_AUTH_API_KEY, .value = *key};
    if (key->node != NULL)
        return true;
    if (token->node != NULL)
        return take_token(token, found);
    return take_way(own, ENTRA_WAY_OWN, found) || key->text != NULL || take_token(token, found) ||
           take_way(entra_in_environment(row), ENTRA_WAY_SECRET, found) ||
           take_way(row->build->config->azure_token_refresh, ENTRA_WAY_REFRESH, found);
}

/* What the row says besides. */
static void tell_ignored(const struct entra_row *row, const struct value *key,
                         const struct value *token, const struct found *found)
{
    if (token->node != NULL && key->node != NULL)
        report_at(row->build->reporter, CONFIG_WARNING, token->node,
                  "ignored: the row has an api_key as well, which is used");
    if (key->node != NULL)
        entra_ignored(row, "the row has an api_key, which is used");
    else if (token->node != NULL && found->auth == ACCOUNT_AUTH_BEARER)
        entra_ignored(row, "the row has an azure_ad_token, which is used");
}

/* Returns ERR_INVALID when reported. */
static int find_credential(const struct entra_row *row, struct found *found)
{
    const struct models_build *build = row->build;
    const struct accounts_source *source = row->source;
    const struct raw_params *params = source->params;
    bool azure = source->provider == PROVIDER_AZURE;
    struct value key, token = {0};

    key = find(build, source, "api_key", params == NULL ? NULL : params->api_key,
               (struct elsewhere){azure ? azure_module_keys : openai_module_keys,
                                  azure ? azure_keys : openai_keys});
    if (azure)
        token =
            find(build, source, "azure_ad_token", params == NULL ? NULL : params->azure_ad_token,
                 (struct elsewhere){none, azure_tokens});
    if (key.refused || token.refused)
        return ERR_INVALID;
    if (!azure && params != NULL && params->azure_ad_token != NULL)
        report_under(build->reporter, CONFIG_WARNING, source->node, "azure_ad_token",
                     "ignored: this row is not of Azure");
    if (!azure)
        entra_ignored(row, "this row is not of Azure");
    if (azure && choose(row, &key, &token, found)) {
        tell_ignored(row, &key, &token, found);
        return 0;
    }
    *found = (struct found){.auth = ACCOUNT_AUTH_API_KEY, .value = key};
    return key.text != NULL ? 0 : tell_missing(build, source);
}

/* A key, or a token that somebody pasted. */
static int take_text(const struct models_build *build, const struct value *value,
                     struct model_account *account)
{
    if (entra_is_reference(value->text)) {
        blame(build, value, CONFIG_SKIPPED, "api_key",
              "wanted the key itself; oidc/ references stand in azure_ad_token");
        return ERR_INVALID;
    }
    if (!headers_is_visible(value->text)) {
        blame(build, value, CONFIG_ERROR, "api_key",
              "wanted visible ASCII characters without spaces, as a header can carry them");
        return ERR_INVALID;
    }
    return secret_set(&account->key, value->text, strlen(value->text));
}

/* "by the key of AZURE_API_KEY": for `tranche check`. */
static void tell_how(struct models_build *build, const struct found *found,
                     const struct entra_credential *credential)
{
    const struct value *value = &found->value;
    const char *what = found->auth == ACCOUNT_AUTH_BEARER ? "token" : "key";

    if (found->auth == ACCOUNT_AUTH_ENTRA)
        snprintf(build->how, sizeof(build->how), "by Entra ID: %s (%s)", credential->name,
                 credential->why);
    else
        snprintf(build->how, sizeof(build->how), "by the %s of %s%s", what,
                 value->module != NULL ? "litellm_settings." : "",
                 value->node != NULL     ? value->node->key
                 : value->module != NULL ? value->module->key
                                         : value->variable);
}

static int take_credential(struct models_build *build, const struct accounts_source *source,
                           struct model_account *account, struct entra_credential *credential)
{
    struct entra_row row = {build, source, account->base == NULL ? "" : account->base};
    struct found found = {0};
    struct entra_value reference;
    int rc = find_credential(&row, &found);

    if (rc != 0)
        return rc;
    account->auth = found.auth;
    if (found.auth == ACCOUNT_AUTH_ENTRA) {
        reference = (struct entra_value){found.value.text,
                                         found.value.text == NULL ? 0 : strlen(found.value.text),
                                         found.value.node, found.value.variable};
        rc = entra_take(&row, found.way, &reference, credential);
    } else {
        doubt_key(build, &found.value);
        rc = take_text(build, &found.value, account);
    }
    if (rc == 0)
        tell_how(build, &found, credential);
    return rc;
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
    return a->provider == b->provider && a->auth == b->auth && a->entra == b->entra &&
           strcmp(a->base, b->base) == 0 && same_text(a->api_version, b->api_version) &&
           headers_equal(a, b) && same_text(a->organization, b->organization) &&
           same_text(a->project, b->project) && a->key.len == b->key.len &&
           (a->key.len == 0 || memcmp(a->key.data, b->key.data, a->key.len) == 0);
}

static uint32_t hash_text(uint32_t hash, const char *text)
{
    return account_hash(hash, text, text != NULL ? strlen(text) : 0);
}

/* Of all that same_account() looks at but the headers. */
static uint32_t hash_of(const struct model_account *account)
{
    const uint32_t kinds[] = {account->provider, account->auth, account->entra};
    uint32_t hash = account_hash(ACCOUNT_HASH, kinds, sizeof(kinds));

    hash = hash_text(hash_text(hash, account->base), account->api_version);
    hash = hash_text(hash_text(hash, account->organization), account->project);
    return account_hash(hash, account->key.data, account->key.len);
}

/* The same account of the list. @return false: it is not there */
static bool find_same(const struct models_build *build, const struct model_account *account,
                      uint32_t hash, uint32_t *index)
{
    const struct model_account *accounts = build->config->models.accounts;
    size_t at = 0;

    while (account_index_next(&build->accounts, hash, &at, index))
        if (same_account(&accounts[*index], account))
            return true;
    return false;
}

static const char *host_of(const struct model_account *account, size_t *len)
{
    const char *host = strstr(account->base, "://");

    host = host == NULL ? account->base : host + 3;
    *len = strcspn(host, "/");
    return host;
}

/* Count it at its host. @return how many that has now; 0: out of memory */
static uint32_t count_twin(struct models_build *build, const char *host, size_t len)
{
    const struct model_list *models = &build->config->models;
    uint32_t hash = account_hash(ACCOUNT_HASH, host, len), first;
    size_t at = 0, other_len;

    while (account_index_next(&build->hosts, hash, &at, &first)) {
        const char *other = host_of(&models->accounts[first], &other_len);

        if (other_len == len && memcmp(other, host, len) == 0)
            return ++build->twins[first];
    }
    first = (uint32_t)models->num_accounts;
    if (account_index_add(&build->hosts, hash, first) != 0)
        return 0;
    return build->twins[first] = 1;
}

/* host[:port], and "#2" for the second account there. @return owned; NULL: out of memory */
static char *name_for(struct models_build *build, const struct model_account *account)
{
    struct strbuf name = STRBUF_INIT;
    size_t len;
    const char *host = host_of(account, &len);
    uint32_t twins = count_twin(build, host, len);

    if (twins == 0)
        return NULL;
    strbuf_add(&name, host, len);
    if (twins > 1)
        strbuf_addf(&name, "#%" PRIu32, twins);
    return strbuf_take(&name);
}

static int make_room(struct models_build *build)
{
    struct model_list *models = &build->config->models;
    size_t cap = build->cap_accounts == 0 ? 8 : build->cap_accounts * 2;
    struct model_account *accounts;
    uint32_t *twins;

    if (models->num_accounts < build->cap_accounts)
        return 0;
    accounts = realloc(models->accounts, cap * sizeof(*accounts));
    if (accounts == NULL)
        return ERR_NOMEM;
    models->accounts = accounts;
    twins = realloc(build->twins, cap * sizeof(*twins));
    if (twins == NULL)
        return ERR_NOMEM;
    build->twins = twins;
    build->cap_accounts = cap;
    return 0;
}

/* Hands the account over: into the list, or away when it is there already. */
static int put(struct models_build *build, struct model_account *account, uint32_t *index)
{
    struct model_list *models = &build->config->models;
    uint32_t hash = hash_of(account);

    if (find_same(build, account, hash, index)) {
        merge_name(&models->accounts[*index], account);
        accounts_deinit(account);
        return 0;
    }
    if (make_room(build) != 0)
        return ERR_NOMEM;
    *index = (uint32_t)models->num_accounts;
    account->name = name_for(build, account);
    if (account->name == NULL || account_index_add(&build->accounts, hash, *index) != 0)
        return ERR_NOMEM;
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

/* Address and credential, both reported at once. */
static int take_both(struct models_build *build, const struct accounts_source *source,
                     struct model_account *account, struct azure_endpoint *endpoint,
                     struct entra_credential *token)
{
    int rc = take_address(build, source, account, endpoint);
    int credential = rc == 0 ? take_credential(build, source, account, token) : 0;

    if (rc == 0 && account->base == NULL)
        rc = ERR_INVALID;
    if (rc == 0 || credential == ERR_NOMEM)
        rc = credential;
    return rc;
}

int accounts_take(struct models_build *build, const struct accounts_source *source, uint32_t *index,
                  char **url_deployment)
{
    struct model_account account = {.provider = source->provider, .entra = MODEL_NO_INDEX};
    struct azure_endpoint endpoint = {0};
    struct entra_credential token = {0};
    int rc;

    *index = MODEL_NO_INDEX;
    *url_deployment = NULL;
    rc = take_both(build, source, &account, &endpoint, &token);
    if (rc == 0 && source->provider == PROVIDER_AZURE)
        rc = take_version(build, source, &endpoint, &account);
    if (rc == 0)
        rc = take_project(build, source, &account);
    if (rc == 0)
        rc = take_credential_name(source, &account);
    if (rc == 0)
        rc = headers_take(build, source->node, &account);
    if (rc == 0 && account.auth == ACCOUNT_AUTH_ENTRA)
        rc = entra_put(build, &token, &account.entra);
    if (rc == 0)
        rc = put(build, &account, index);
    if (rc != 0) {
        accounts_deinit(&account);
        build->missed++;
    } else {
        *url_deployment = endpoint.deployment;
        endpoint.deployment = NULL;
    }
    entra_credential_deinit(&token);
    azure_endpoint_free(&endpoint);
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* What makes an Azure account of an address. */
static bool azure_in_env(const struct models_build *build, const char **key)
{
    static const struct accounts_source nothing = {.provider = PROVIDER_AZURE};
    struct entra_row row = {build, &nothing, ""};

    if (env_first(build->env, azure_keys, key) != NULL ||
        env_first(build->env, azure_tokens, key) != NULL)
        return true;
    if (!entra_in_environment(&row))
        return build->config->azure_token_refresh;
    *key = "AZURE_CLIENT_SECRET";
    return true;
}

bool accounts_in_env(struct models_build *build, enum provider provider, bool warn)
{
    const char *key = NULL, *base = NULL;
    bool has_key;

    if (find_module(build, provider == PROVIDER_OPENAI ? openai_module_keys : azure_module_keys) !=
            NULL &&
        (provider == PROVIDER_OPENAI || find_module(build, module_bases) != NULL))
        return true;
    if (provider == PROVIDER_OPENAI)
        return env_first(build->env, openai_keys, &key) != NULL;
    has_key = azure_in_env(build, &key);
    (void)env_first(build->env, azure_bases, &base);
    if (key != NULL && base == NULL && warn)
        report_add(build->reporter, CONFIG_WARNING, NULL, 0, key,
                   "set, but AZURE_API_BASE is not: there is no Azure account");
    if (!has_key && base != NULL && warn)
        report_add(build->reporter, CONFIG_WARNING, NULL, 0, base,
                   "set, but neither AZURE_API_KEY nor AZURE_AD_TOKEN is, nor are AZURE_TENANT_ID, "
                   "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET: there is no Azure account");
    return has_key && base != NULL;
}
