/* Loading in order: tree, environment, tables, settings, models, rules across them. Faults are
 * gathered, not returned one by one. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

#include "common/hidden.h"
#include "accounts.h"
#include "aliases.h"
#include "check.h"
#include "document.h"
#include "egress.h"
#include "config/entrance.h"
#include "config/env.h"
#include "fallbacks.h"
#include "group_retries.h"
#include "jwt_auth.h"
#include "keys_impl.h"
#include "models.h"
#include "prices.h"
#include "quotas.h"
#include "config/report.h"
#include "rows.h"
#include "schema.h"
#include "settings.h"

/* All that lives only while loading. */
struct loading {
    const struct config_overrides *overrides;
    struct reporter reporter;
    struct tree tree;
    struct env env;
    struct raw_config *raw;
    struct config *config;
};

/* The file as struct raw_config. */
static int read_file(struct loading *l, const char *path)
{
    int rc = document_load(path, &l->reporter, &l->tree);

    if (rc != 0)
        return rc;
    env_init(&l->env, l->tree.root, &l->reporter);
    rc = env_resolve(&l->env, l->tree.root, &l->reporter);
    if (rc != 0)
        return rc;
    rows_mark(l->tree.root, &l->env, &l->reporter);
    schema_check(l->tree.root, &l->reporter);
    return schema_load(l->tree.root, &l->reporter, &l->raw);
}

static int build(struct loading *l)
{
    struct settings_input in = {.raw = l->raw,
                                .root = l->tree.root,
                                .env = &l->env,
                                .overrides = l->overrides,
                                .reporter = &l->reporter};
    struct models_build models = {.config = l->config,
                                  .raw = l->raw,
                                  .root = l->tree.root,
                                  .env = &l->env,
                                  .reporter = &l->reporter};
    int rc = settings_defaults(l->config);

    if (rc == 0)
        rc = settings_apply(&in, l->config, &models.default_timeout_ms);
    if (rc == 0)
        rc = egress_take(l->tree.root, &l->env, &l->reporter, l->config);
    if (rc == 0)
        rc = entrance_take(l->tree.root, &l->env, &l->reporter, l->config);
    if (rc == 0)
        rc = jwt_auth_take(l->tree.root, &l->env, &l->reporter, l->config);
    if (rc == 0)
        rc = models_build(&models);
    if (rc == 0)
        rc = quotas_apply(l->raw, l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        rc = aliases_take(l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        rc = fallbacks_take(l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        rc = group_retries_take(l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        rc = keys_take(l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        rc = prices_take_map(l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        rc = prices_take_tags(l->raw, l->tree.root, &l->reporter, l->config);
    if (rc == 0)
        check_config(l->config, l->tree.root, &l->reporter);
    if (rc == 0)
        check_files(&l->tree, &l->reporter);
    return rc;
}

static int load(const char *path, const struct config_overrides *overrides, struct config **out,
                struct config_report *report)
{
    struct loading l = {.overrides = overrides};
    int rc = 0, finish;

    *out = NULL;
    l.config = calloc(1, sizeof(*l.config));
    if (l.config == NULL)
        rc = ERR_NOMEM;
    if (rc == 0 && path != NULL)
        rc = read_file(&l, path);
    if (rc == 0)
        rc = build(&l);
    if (rc != ERR_NOMEM)
        rc = l.reporter.num_errors > 0 ? ERR_INVALID : 0;
    finish = report_finish(&l.reporter, &l.tree, report);
    if (finish != 0)
        rc = finish;
    schema_free(l.raw);
    tree_free(&l.tree);
    if (rc == 0)
        *out = l.config;
    else
        config_free(l.config);
    return rc;
}

struct load_call {
    const char *path;
    const struct config_overrides *overrides;
    struct config **out;
    struct config_report *report;
    int rc;
};

static void call_load(void *arg)
{
    struct load_call *call = arg;

    call->rc = load(call->path, call->overrides, call->out, call->report);
}

int config_load(const char *path, const struct config_overrides *overrides, struct config **out,
                struct config_report *report)
{
    struct load_call call = {path, overrides, out, report, ERR_NOMEM};

    hidden_run(call_load, &call);
    return call.rc;
}

int config_default_limits(struct config_limits *out)
{
    struct config *config = calloc(1, sizeof(*config));
    int ret = config != NULL ? settings_defaults(config) : ERR_NOMEM;

    if (config != NULL)
        *out = config->limits;
    config_free(config);
    return ret;
}

static void free_models(struct model_list *models)
{
    for (size_t i = 0; i < models->num_accounts; i++)
        accounts_deinit(&models->accounts[i]);
    for (size_t i = 0; i < models->num_credentials; i++)
        entra_credential_deinit(&models->credentials[i]);
    for (size_t i = 0; i < models->num_deployments; i++)
        models_deployment_deinit(&models->deployments[i]);
    free(models->accounts);
    free(models->credentials);
    free(models->deployments);
    for (size_t i = 0; i < models->num_names; i++) {
        free(models->names[i].name);
        free(models->names[i].target);
    }
    free(models->names);
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    free_models(&config->models);
    secret_clear(&config->master_key);
    for (size_t i = 0; i < config->num_seal_keys; i++)
        secret_clear(&config->seal_keys[i]);
    free(config->seal_keys);
    free(config->limits.proxies);
    for (size_t i = 0; i < config->num_allowed_hosts; i++)
        free(config->allowed_hosts[i]);
    free(config->allowed_hosts);
    free(config->host);
    free(config->routing_strategy);
    for (size_t i = 0; i < config->num_fallbacks; i++)
        fallbacks_deinit(&config->fallbacks[i]);
    free(config->fallbacks);
    for (size_t i = 0; i < config->num_group_retries; i++)
        free(config->group_retries[i].group);
    free(config->group_retries);
    free(config->tls_cert_file);
    free(config->tls_key_file);
    free(config->spool_dir);
    free(config->state_dir);
    free(config->access_log);
    free(config->error_log);
    free(config->user);
    free(config->upstream_ca_file);
    secret_clear(&config->upstream_proxy);
    secret_clear(&config->proxy_credential);
    free(config->no_proxy);
    free(config->root_path);
    free(config->key_header);
    for (size_t i = 0; i < config->num_cors_origins; i++)
        free(config->cors_origins[i]);
    free(config->cors_origins);
    for (size_t i = 0; i < config->num_blocked_extensions; i++)
        free(config->blocked_extensions[i]);
    free(config->blocked_extensions);
    keys_deinit(config);
    for (size_t i = 0; i < config->num_usage_tags; i++)
        free(config->usage_tags[i]);
    free(config->usage_tags);
    price_book_deinit(&config->prices);
    free(config->price_map);
    jwt_auth_deinit(&config->jwt);
    free(config);
}

bool config_asks_over_tls(const struct config *config)
{
    for (size_t i = 0; i < config->models.num_accounts; i++)
        if (strncmp(config->models.accounts[i].base, "https://", 8) == 0)
            return true;
    return false;
}
