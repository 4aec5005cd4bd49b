/* See check.h. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/account_map.h"
#include "common/secret.h"

/* About a setting that the file may or may not have. */
static void note(struct reporter *reporter, enum config_severity severity, const struct node *root,
                 const char *path, const char *text)
{
    const struct node *node = node_find(root, path);

    if (report_was_unset(node))
        return;
    if (node == NULL)
        node = root;
    report_add(reporter, severity, node == NULL ? NULL : node->file,
               node == NULL || node == root ? 0 : node->line, path, "%s", text);
}

static void check_readable(struct reporter *reporter, const struct node *root, const char *path,
                           const char *file)
{
    struct strbuf text = STRBUF_INIT;

    if (file == NULL || access(file, R_OK) == 0)
        return;
    strbuf_addf(&text, "got \"%s\", wanted a file that can be read: %s", file, strerror(errno));
    note(reporter, CONFIG_ERROR, root, path, strbuf_str(&text));
    strbuf_deinit(&text);
}

static void check_tls(const struct config *config, const struct node *root,
                      struct reporter *reporter)
{
    if (config->tls_cert_file != NULL && config->tls_key_file == NULL)
        note(reporter, CONFIG_ERROR, root, "tranche_settings.tls.key_file",
             "missing: cert_file needs the key that belongs to it");
    if (config->tls_key_file != NULL && config->tls_cert_file == NULL)
        note(reporter, CONFIG_ERROR, root, "tranche_settings.tls.cert_file",
             "missing: key_file needs the certificate that belongs to it");
    check_readable(reporter, root, "tranche_settings.tls.cert_file", config->tls_cert_file);
    check_readable(reporter, root, "tranche_settings.tls.key_file", config->tls_key_file);
    check_readable(reporter, root, "tranche_settings.upstream_ca_file", config->upstream_ca_file);
}

static void check_spool(const struct config *config, const struct node *root,
                        struct reporter *reporter)
{
    struct strbuf text = STRBUF_INIT;
    struct stat st;

    if (stat(config->spool_dir, &st) == 0 && S_ISDIR(st.st_mode) &&
        access(config->spool_dir, W_OK | X_OK) == 0)
        return;
    strbuf_addf(&text, "got \"%s\", wanted a directory that can be written to", config->spool_dir);
    note(reporter, CONFIG_ERROR, root, "tranche_settings.spool_dir", strbuf_str(&text));
    strbuf_deinit(&text);
}

/* Some may be given and not be there: that was told. */
static bool has_seal_keys(const struct config *config, const struct node *root)
{
    const struct node *list = node_find(root, "tranche_settings.seal_keys");

    return config->num_seal_keys > 0 || (list != NULL && list->num_items > 0) ||
           report_was_unset(list);
}

static void check_auth(const struct config *config, const struct node *root,
                       struct reporter *reporter)
{
    const char *served = config->permit_weak_master_key ? "everybody" : "only this machine";
    struct strbuf text = STRBUF_INIT;

    if (secret_is_weak(&config->master_key)) {
        strbuf_addf(&text,
                    "weak (under 16 bytes, few different ones, or one that is well known): it can "
                    "be guessed%s; openssl rand -hex 32 makes a better one%s; %s is served",
                    !has_seal_keys(config, root) ? ", also from any id, since it seals them" : "",
                    !has_seal_keys(config, root)
                        ? ", and tranche_settings.seal_keys another one for ids"
                        : "",
                    served);
        note(reporter, CONFIG_WARNING, root, "general_settings.master_key", strbuf_str(&text));
        strbuf_deinit(&text);
    }
    if (secret_is_set(&config->master_key) ||
        report_was_unset(node_find(root, "general_settings.master_key")))
        return;
    note(reporter, CONFIG_WARNING, root, "general_settings.master_key",
         config->permit_weak_master_key
             ? "missing, and LITELLM_MASTER_KEY is not set: everybody who reaches the port may use "
               "the providers' keys"
             : "missing, and LITELLM_MASTER_KEY is not set: only this machine is served");
    if (config->balance_batches && !has_seal_keys(config, root))
        note(reporter, CONFIG_WARNING, root, "tranche_settings.seal_keys",
             "missing, and there is no master key to derive one from: ids of balanced files and "
             "batches cannot outlive a restart, and no other node understands them; give all nodes "
             "the same one");
}

static void check_providers(const struct config *config, struct reporter *reporter)
{
    if (config->models.num_deployments > 0 || reporter->num_errors > 0)
        return;
    report_add(reporter, CONFIG_ERROR, NULL, 0, NULL,
               "no provider: set OPENAI_API_KEY, or AZURE_API_KEY and AZURE_API_BASE, or name a "
               "configuration file with a model_list");
}

/* Each has a cell of its own in shared memory. */
static void check_credentials(const struct config *config, const struct node *root,
                              struct reporter *reporter)
{
    struct strbuf text = STRBUF_INIT;

    if (config->models.num_credentials <= ENTRA_MAX_CREDENTIALS)
        return;
    strbuf_addf(&text,
                "the rows have %zu credentials of Entra ID, wanted %d at most: rows may "
                "share one",
                config->models.num_credentials, ENTRA_MAX_CREDENTIALS);
    note(reporter, CONFIG_ERROR, root, "model_list", strbuf_str(&text));
    strbuf_deinit(&text);
}

/* OpenAI accounts without a name of their own: ids cannot say which of them is meant. */
static void tell_nameless(const struct config *config, const struct node *root,
                          const struct account_map *map, struct reporter *reporter)
{
    struct strbuf text = STRBUF_INIT;
    uint32_t num = 0, *places = calloc(map->num + 1u, sizeof(*places));
    bool sure;

    for (uint32_t i = 0; places != NULL && config->balance_batches && i < map->num && num < 2; i++)
        if (map->same_resource[i] == i)
            num = account_map_candidates(map, map->fingerprint[i], places, &sure);
    for (uint32_t i = 0; num > 1 && i < num; i++)
        strbuf_addf(&text, "%s%s", i > 0 ? ", " : "", config->models.accounts[places[i]].name);
    free(places);
    if (num > 1) {
        strbuf_adds(&text, " share an address and have no name that ids could carry: their objects "
                           "are looked for among them. An organization, a project, a "
                           "litellm_credential_name or a model_info.id in their rows names them");
        note(reporter, CONFIG_HONOURED, root, "model_list", strbuf_str(&text));
    }
    strbuf_deinit(&text);
}

/* Ids name an account by a fingerprint of its address, or of what the operator calls it. */
static void check_accounts(const struct config *config, const struct node *root,
                           struct reporter *reporter)
{
    const struct model_account *list = config->models.accounts;
    struct strbuf text = STRBUF_INIT;
    struct account_map map;
    int rc = account_map_init(&map, &config->models, config->balance_batches);

    if (rc == ERR_DUPLICATE) {
        strbuf_addf(&text,
                    "the fingerprints of %s and %s are equal by chance, so ids could not tell them "
                    "apart; reach one of them by another of its host names",
                    list[map.clash[0]].base, list[map.clash[1]].base);
        note(reporter, CONFIG_ERROR, root, "model_list", strbuf_str(&text));
    }
    if (rc == 0)
        tell_nameless(config, root, &map, reporter);
    strbuf_deinit(&text);
    account_map_deinit(&map);
}

/* A path that means two things. */
static void check_openai_path(const struct config *config, const struct node *root,
                              struct reporter *reporter)
{
    const uint32_t *by_provider = config->models.default_deployment;

    if (by_provider[PROVIDER_OPENAI] != MODEL_NO_INDEX &&
        by_provider[PROVIDER_AZURE] != MODEL_NO_INDEX && !config->openai_path_given)
        note(reporter, CONFIG_WARNING, root, "tranche_settings.openai_path",
             "missing, and both providers are served: a client of Azure's v1 API that sends a "
             "bearer token to /openai/v1 is served by OpenAI, whose path this is in LiteLLM (one "
             "that sends api-key is served by Azure); set openai or azure");
}

/* Module-level credentials that are not there: the environment's would be used in their place. */
static void check_module(const struct node *root, struct reporter *reporter)
{
    static const char *const names[] = {"api_base",  "api_key",    "api_version",
                                        "azure_key", "openai_key", "organization"};
    const struct node *settings = node_get(root, "litellm_settings");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)report_unset(reporter, CONFIG_ERROR, node_get(settings, names[i]));
}

/* A variable of environment_variables is not a secret for being there. */
static bool is_key(const struct node *node)
{
    static const char *const parts[] = {"KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL"};

    if (node->parent == NULL || node->parent->key == NULL ||
        strcmp(node->parent->key, "environment_variables") != 0)
        return node_is_secret(node);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (strcasestr(node->key, parts[i]) != NULL)
            return true;
    return secret_looks_like_one(node->text);
}

/* "true" and "60" are settings of something that is called a key. */
static bool stands_in_clear(const struct node *node)
{
    return node->kind == NODE_SCALAR && node->variable == NULL && node->text[0] != '\0' &&
           node->text[strspn(node->text, "0123456789")] != '\0' &&
           strncmp(node->text, "oidc/", 5) != 0 && strcasecmp(node->text, "true") != 0 &&
           strcasecmp(node->text, "false") != 0 && is_key(node);
}

/* The first key of that file that stands in it as it is. */
static const struct node *find_key(const struct node *node, const char *file)
{
    const struct node *found = NULL;

    if (stands_in_clear(node) && strcmp(node->file, file) == 0)
        return node;
    for (size_t i = 0; i < node->num_items && found == NULL; i++)
        found = find_key(node->items[i], file);
    return found;
}

void check_files(const struct tree *tree, struct reporter *reporter)
{
    const struct node *key;
    struct stat st;

    for (size_t i = 0; tree->root != NULL && i < tree->num_files; i++) {
        if (stat(tree->files[i], &st) == -1 || (st.st_mode & S_IROTH) == 0)
            continue;
        key = find_key(tree->root, tree->files[i]);
        if (key != NULL)
            report_at(reporter, CONFIG_WARNING, key,
                      "a key stands here as it is, and every user of this machine may read the "
                      "file: chmod o-r, or os.environ/NAME");
    }
}

void check_config(const struct config *config, const struct node *root, struct reporter *reporter)
{
    check_providers(config, reporter);
    check_credentials(config, root, reporter);
    check_tls(config, root, reporter);
    check_spool(config, root, reporter);
    check_auth(config, root, reporter);
    check_accounts(config, root, reporter);
    check_openai_path(config, root, reporter);
    check_module(root, reporter);
}
