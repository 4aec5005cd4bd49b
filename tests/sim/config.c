/* See config.h. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "entra.h"
#include "journal.h"

#define CONFIG_MAX (1024 * 1024)

void config_pace(const struct json *obj, struct pace *pace)
{
    (void)json_int64(json_get(obj, "validate_ms"), &pace->validate_ms);
    (void)json_int64(json_get(obj, "run_ms"), &pace->run_ms);
    (void)json_int64(json_get(obj, "finalize_ms"), &pace->finalize_ms);
    (void)json_int64(json_get(obj, "cancel_ms"), &pace->cancel_ms);
    (void)json_int64(json_get(obj, "pending_ms"), &pace->pending_ms);
}

static struct deployment *add_deployment(struct account *acc, const char *name)
{
    struct deployment *d = sim_alloc(sizeof(*d));

    d->name = sim_strdup(name);
    acc->deployments =
        sim_realloc(acc->deployments, (acc->n_deployments + 1) * sizeof(*acc->deployments));
    acc->deployments[acc->n_deployments++] = d;
    return d;
}

static int read_deployment(struct account *acc, const struct json *v)
{
    const char *name = json_get_str(v, "name");
    const char *refusal = json_get_str(v, "refusal");
    const char *sku = json_get_str(v, "sku");

    if (name == NULL) {
        fprintf(stderr, "tranche-sim: account '%s': a deployment has no name\n", acc->name);
        return -1;
    }
    struct deployment *d = add_deployment(acc, name);
    d->model = sim_strdup(json_get_str(v, "model") != NULL ? json_get_str(v, "model") : name);
    d->sku = sim_strdup(sku != NULL ? sku : "GlobalBatch");
    (void)json_int64(json_get(v, "enqueued_token_limit"), &d->enqueued_limit);
    (void)json_int64(json_get(v, "latency_ms"), &d->latency_ms);
    d->fast_refusal = refusal == NULL || strcmp(refusal, "fast") == 0;
    if (refusal != NULL && !d->fast_refusal && strcmp(refusal, "slow") != 0) {
        fprintf(stderr, "tranche-sim: deployment '%s': refusal: want \"fast\" or \"slow\"\n", name);
        return -1;
    }
    return 0;
}

static int read_models(struct account *acc, const struct json *v)
{
    const struct json *models = json_get(v, "models");
    int64_t limit = 0;

    (void)json_int64(json_get(v, "enqueued_token_limit"), &limit);
    for (size_t i = 0; i < json_size(models); i++) {
        const struct json *model = json_at(models, i);
        const char *name = json_str(model, NULL), *ends = json_get_str(model, "shutdown_date");
        if (name == NULL)
            name = json_get_str(model, "name");
        if (name == NULL) {
            fprintf(stderr, "tranche-sim: account '%s': models: want names\n", acc->name);
            return -1;
        }
        struct deployment *d = add_deployment(acc, name);
        d->model = sim_strdup(name);
        d->shutdown_date = ends != NULL ? sim_strdup(ends) : NULL;
        d->sku = sim_strdup("GlobalBatch");
        d->enqueued_limit = limit;
    }
    return 0;
}

static int read_tls(struct account *acc, const struct json *tls)
{
    const char *cert = json_get_str(tls, "cert");
    const char *key = json_get_str(tls, "key");

    if (!json_is(tls, JSON_OBJECT))
        return 0;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || cert == NULL || key == NULL ||
        SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "tranche-sim: account '%s': tls: cannot load cert and key\n", acc->name);
        SSL_CTX_free(ctx);
        return -1;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    acc->tls = ctx;
    return 0;
}

static int read_switches(struct account *acc, const struct json *v)
{
    struct strbuf why = STRBUF_INIT;

    switches_init(&acc->sw, acc->kind == KIND_AZURE);
    int rc = switches_apply(&acc->sw, json_get(v, "switches"), &why);
    if (rc != 0)
        fprintf(stderr, "tranche-sim: account '%s': %s\n", acc->name, strbuf_str(&why));
    strbuf_deinit(&why);
    switches_copy(&acc->sw_start, &acc->sw);
    return rc;
}

static int read_kind(struct account *acc, const char *kind)
{
    static const char *const names[] = {"openai", "azure", "entra"};

    for (int i = 0; kind != NULL && i < 3; i++) {
        if (strcmp(kind, names[i]) == 0) {
            acc->kind = (enum kind)i;
            return 0;
        }
    }
    fprintf(stderr, "tranche-sim: account '%s': kind: want \"openai\", \"azure\" or \"entra\"\n",
            acc->name);
    return -1;
}

static void read_texts(struct account *acc, const struct json *v)
{
    const struct json *tokens = json_get(v, "tokens");
    int64_t port = 0;

    (void)json_int64(json_get(v, "port"), &port);
    acc->port = port > 0 && port < 65536 ? (int)port : 0;
    acc->key = sim_strdup(json_get_str(v, "key"));
    acc->organization = sim_strdup(json_get_str(v, "organization"));
    acc->project = sim_strdup(json_get_str(v, "project"));
    acc->expires_in = 3599;
    (void)json_int64(json_get(v, "expires_in"), &acc->expires_in);
    acc->tokens = sim_alloc((json_size(tokens) + 1) * sizeof(*acc->tokens));
    for (size_t i = 0; i < json_size(tokens); i++) {
        const char *text = json_str(json_at(tokens, i), NULL);
        if (text != NULL)
            acc->tokens[acc->n_tokens++] = sim_strdup(text);
    }
}

static int read_entra(struct account *acc, const struct json *v)
{
    struct strbuf why = STRBUF_INIT;
    int rc = acc->kind == KIND_ENTRA ? entra_config(acc, v, &why) : 0;

    if (rc != 0)
        fprintf(stderr, "tranche-sim: account '%s': %s\n", acc->name, strbuf_str(&why));
    strbuf_deinit(&why);
    return rc;
}

static int read_account(struct sim *sim, const struct json *v)
{
    const char *name = json_get_str(v, "name");
    const struct json *deployments = json_get(v, "deployments");

    if (name == NULL) {
        fprintf(stderr, "tranche-sim: an account has no name\n");
        return -1;
    }
    struct account *acc = sim_alloc(sizeof(*acc));
    sim->accounts = sim_realloc(sim->accounts, (sim->n_accounts + 1) * sizeof(*sim->accounts));
    sim->accounts[sim->n_accounts++] = acc;
    acc->sim = sim;
    acc->fd = -1;
    acc->name = sim_strdup(name);
    acc->config = v;
    acc->journal = journal_new();
    read_texts(acc, v);
    if (read_kind(acc, json_get_str(v, "kind")) != 0 || read_switches(acc, v) != 0 ||
        read_tls(acc, json_get(v, "tls")) != 0 || read_models(acc, v) != 0 ||
        read_entra(acc, v) != 0)
        return -1;
    for (size_t i = 0; i < json_size(deployments); i++) {
        if (read_deployment(acc, json_at(deployments, i)) != 0)
            return -1;
    }
    acc->rng = map_hash(name, strlen(name)) ^ ((uint64_t)acc->sw.seed * 0x9e3779b97f4a7c15u);
    acc->pace = sim->control->pace;
    config_pace(json_get(v, "time"), &acc->pace);
    acc->pace_start = acc->pace;
    return 0;
}

static int read_root(struct sim *sim, const struct json *root)
{
    const struct json *accounts = json_get(root, "accounts");
    struct account *control = sim_alloc(sizeof(*control));
    int64_t port = 0;

    sim->control = control;
    control->sim = sim;
    control->fd = -1;
    control->name = sim_strdup("control");
    switches_init(&control->sw, true);
    control->pace = (struct pace){50, 200, 20, 50, 0};
    (void)json_int64(json_get(root, "control_port"), &port);
    control->port = port > 0 && port < 65536 ? (int)port : 0;
    config_pace(json_get(root, "time"), &control->pace);
    if (json_size(accounts) == 0 || !json_is(accounts, JSON_ARRAY)) {
        fprintf(stderr, "tranche-sim: accounts: want at least one\n");
        return -1;
    }
    for (size_t i = 0; i < json_size(accounts); i++) {
        if (read_account(sim, json_at(accounts, i)) != 0)
            return -1;
    }
    return 0;
}

int config_load(struct sim *sim, const char *path)
{
    struct json_error error = {0};
    struct json_doc *doc = json_doc_new();
    char *text = sim_alloc(CONFIG_MAX);
    FILE *file = fopen(path, "re");
    int rc = -1;

    if (file == NULL) {
        perror(path);
        goto out;
    }
    size_t len = fread(text, 1, CONFIG_MAX, file);
    const struct json *root = json_parse_most(doc, text, len, SIZE_MAX, &error);
    if (root == NULL)
        fprintf(stderr, "%s:%zu:%zu: %s\n", path, error.line, error.column, error.message);
    else
        rc = read_root(sim, root);
    fclose(file);
out:
    free(text);
    sim->config = doc;
    return rc;
}
