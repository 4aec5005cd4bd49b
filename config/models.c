/* See models.h. */
#include "models.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ids.h"
#include "accounts.h"
#include "expand.h"
#include "keys_impl.h"
#include "prices.h"
#include "row_provider.h"
#include "rows.h"
#include "settings.h"

#define DAY_MS   86400000
#define MAX_ID   256
#define ID_BYTES 16 /* of the digest that stands in for a missing model_info.id */

/* A name that stays the same as long as the names and addresses do.
 * @param more  what tells the row from one that is alike otherwise; NULL: nothing */
static char *digest_id(const struct model_account *account, const struct model_deployment *d,
                       const char *more)
{
    const char *const parts[] = {d->group == NULL ? "" : d->group, provider_name(account->provider),
                                 account->base, d->upstream_model, more};
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct strbuf text = STRBUF_INIT, id = STRBUF_INIT;
    unsigned int len;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && parts[i] != NULL; i++)
        strbuf_add(&text, parts[i], strlen(parts[i]) + 1); /* with the NUL between them */
    if (!strbuf_failed(&text) &&
        EVP_Digest(text.data, text.len, digest, &len, EVP_sha256(), NULL) == 1) {
        for (size_t i = 0; i < ID_BYTES; i++)
            strbuf_addf(&id, "%02x", digest[i]);
    }
    strbuf_deinit(&text);
    if (id.len == 2 * ID_BYTES)
        return strbuf_take(&id);
    strbuf_deinit(&id);
    return NULL;
}

bool models_has_group(const struct model_list *models, const char *group)
{
    for (size_t i = 0; i < models->num_deployments; i++) {
        if (models->deployments[i].group != NULL &&
            strcmp(models->deployments[i].group, group) == 0)
            return true;
    }
    return false;
}

static bool has_text(const struct node *map, const char *path, const char *text)
{
    const char *have = node_text(node_find(map, path));

    return have != NULL && strcmp(have, text) == 0;
}

static bool is_unset(const struct node *row, const char *path)
{
    return report_was_unset(node_find(row, path));
}

bool models_names_group(const struct node *root, const char *group)
{
    const struct node *list = node_get(root, "model_list");

    for (size_t i = 0; list != NULL && i < list->num_items; i++) {
        if (has_text(list->items[i], "model_name", group))
            return true;
    }
    return false;
}

bool models_lacks_name(const struct node *root)
{
    const struct node *list = node_get(root, "model_list");

    for (size_t i = 0; list != NULL && i < list->num_items; i++)
        if (is_unset(list->items[i], "model_name"))
            return true;
    return false;
}

bool models_names_deployment(const struct node *root, const char *name, const char *group)
{
    const struct node *list = node_get(root, "model_list");

    for (size_t i = 0; list != NULL && i < list->num_items; i++) {
        const struct node *row = list->items[i];
        const char *model = node_text(node_find(row, "litellm_params.model"));
        const char *slash = model == NULL ? NULL : strchr(model, '/');

        if (group != NULL && !has_text(row, "model_name", group) && !is_unset(row, "model_name"))
            continue;
        if (has_text(row, "model_info.id", name) || is_unset(row, "model_info.id") ||
            is_unset(row, "litellm_params.model") ||
            (model != NULL && strcmp(slash == NULL ? model : slash + 1, name) == 0))
            return true;
    }
    return false;
}

void models_deployment_deinit(struct model_deployment *d)
{
    free(d->group);
    free(d->id);
    free(d->upstream_model);
    free(d->litellm_model);
    free(d->mode);
}

static bool same_target(const struct model_list *models, const struct model_deployment *a,
                        const struct model_deployment *b)
{
    const struct model_account *x = &models->accounts[a->account],
                               *y = &models->accounts[b->account];

    return x->provider == y->provider && strcmp(x->base, y->base) == 0 &&
           strcmp(a->upstream_model, b->upstream_model) == 0;
}

/* Whether their batches stand in one queue. Two keys are two ways to one Azure resource, but at
 * OpenAI each may be another organisation's (account_map.c sees it so, too). */
static bool same_queue(const struct model_list *models, const struct model_deployment *a,
                       const struct model_deployment *b)
{
    return same_target(models, a, b) &&
           (a->account == b->account || models->accounts[a->account].provider == PROVIDER_AZURE);
}

/* Only a row that has a other by name is looked for in all of the list. */
static uint32_t find_real(const struct model_list *models, const struct model_deployment *d)
{
    for (size_t i = 0; i < models->num_deployments; i++)
        if (same_queue(models, &models->deployments[i], d))
            return models->deployments[i].fingerprint;
    return d->fingerprint;
}

static const struct model_deployment *with_fingerprint(const struct model_list *models,
                                                       uint32_t fingerprint, size_t *index)
{
    for (size_t i = 0; i < models->num_deployments; i++) {
        if (models->deployments[i].fingerprint == fingerprint) {
            *index = i;
            return &models->deployments[i];
        }
    }
    return NULL;
}

static void note_duplicate(const struct models_build *build, const struct node *row, size_t first)
{
    const struct node *other = build->rows[first];
    struct strbuf path = STRBUF_INIT;

    node_path(other, &path);
    report_at(build->reporter, CONFIG_SKIPPED, row,
              "the same deployment as %s in %s:%u, so ids could not tell them apart; remove one or "
              "give this one a model_info.id of its own",
              strbuf_str(&path), other->file, other->line);
    strbuf_deinit(&path);
}

/* What tells an account from others at its address: what the operator calls it, else its name in
 * logs. Owned by the caller; NULL: out of memory. */
static char *account_text(const struct model_account *account)
{
    const char *const names[] = {account->organization, account->project, account->credential};
    struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i] != NULL)
            strbuf_addf(&text, "%zu:%s\n", i, names[i]);
    if (text.len == 0)
        strbuf_adds(&text, account->name);
    return strbuf_take(&text);
}

/* A row like an earlier one, with another key, organization or project: LiteLLM's plainest load
 * balancing. Its id and fingerprint say which account it is of. */
static int tell_apart(const struct model_account *account, struct model_deployment *d)
{
    char *text = account_text(account), *id;
    struct strbuf name = STRBUF_INIT;
    int rc = ERR_NOMEM;

    if (text == NULL)
        return ERR_NOMEM;
    id = digest_id(account, d, text);
    strbuf_addf(&name, "%s\n%s\n\n%s", d->upstream_model, d->group, text);
    if (id != NULL && !strbuf_failed(&name)) {
        d->fingerprint = ids_deployment_fingerprint(provider_name(account->provider), account->base,
                                                    strbuf_str(&name));
        free(d->id);
        d->id = id;
        id = NULL;
        rc = 0;
    }
    free(id);
    free(text);
    strbuf_deinit(&name);
    return rc;
}

/* A row for the same deployment in another group, or with an id of its own. */
static int name_again(const struct model_account *account, struct model_deployment *d)
{
    struct strbuf name = STRBUF_INIT;
    int rc = 0;

    strbuf_addf(&name, "%s\n%s\n%s", d->upstream_model, d->group, d->own_id ? d->id : "");
    if (strbuf_failed(&name))
        rc = ERR_NOMEM;
    else
        d->fingerprint = ids_deployment_fingerprint(provider_name(account->provider), account->base,
                                                    strbuf_str(&name));
    strbuf_deinit(&name);
    return rc;
}

static bool same_row(const struct model_deployment *a, const struct model_deployment *b)
{
    return !b->own_id && strcmp(a->group, b->group) == 0;
}

/* A later row of a deployment that `other` names already. Returns ERR_DUPLICATE when reported. */
static int set_later_fingerprint(struct models_build *build, struct model_deployment *d,
                                 const struct node *row, size_t first)
{
    const struct model_list *models = &build->config->models;
    const struct model_account *account = &models->accounts[d->account];
    const struct model_deployment *other = &models->deployments[first];
    int rc;

    if (same_row(other, d) && other->account == d->account) {
        note_duplicate(build, row, first);
        return ERR_DUPLICATE;
    }
    rc = same_row(other, d) ? tell_apart(account, d) : name_again(account, d);
    if (rc != 0)
        return rc;
    if ((other = with_fingerprint(models, d->fingerprint, &first)) != NULL && same_row(other, d) &&
        other->account != d->account && (rc = tell_apart(account, d)) != 0)
        return rc; /* alike in a group that is not the first one's */
    d->real = find_real(models, d);
    other = with_fingerprint(models, d->fingerprint, &first);
    if (other != NULL && same_target(models, other, d) && strcmp(other->group, d->group) == 0) {
        note_duplicate(build, row, first);
        return ERR_DUPLICATE;
    }
    return 0;
}

/* The fingerprint of an account's text; the `n`th one when those before are other rows' by chance.
 * Returns 0 or ERR_NOMEM. */
static int nth_fingerprint(const struct model_account *account, const char *text, unsigned n,
                           uint32_t *fingerprint)
{
    struct strbuf name = STRBUF_INIT;
    int rc = 0;

    strbuf_adds(&name, text);
    if (n > 0)
        strbuf_addf(&name, "\n\n\n\n%u", n); /* no name has a line end */
    if (strbuf_failed(&name))
        rc = ERR_NOMEM;
    else
        *fingerprint = ids_deployment_fingerprint(provider_name(account->provider), account->base,
                                                  strbuf_str(&name));
    strbuf_deinit(&name);
    return rc;
}

/* Of ten thousand rows two are met by chance in one configuration of a hundred: the later one takes
 * the next fingerprint of its name that is free, or is of this very deployment.
 * @param first  index of that one; SIZE_MAX: the fingerprint is free
 * @return 0, ERR_NOMEM */
static int find_fingerprint(const struct model_list *models, struct model_deployment *d,
                            size_t *first)
{
    const struct model_account *account = &models->accounts[d->account];
    const struct model_deployment *other = NULL;
    unsigned n = 0;

    do {
        int rc = nth_fingerprint(account, d->upstream_model, n++, &d->fingerprint);

        if (rc != 0)
            return rc;
        other = with_fingerprint(models, d->fingerprint, first);
    } while (other != NULL && !same_target(models, other, d));
    if (other == NULL)
        *first = SIZE_MAX;
    return 0;
}

/* The fingerprint that a later row of a deployment has, of names of its own, may be another row's
 * by chance, too. Returns 0 or ERR_NOMEM. */
static int leave_taken(const struct model_list *models, struct model_deployment *d)
{
    char taken[16];
    size_t first;
    int rc = 0;

    while (rc == 0 && with_fingerprint(models, d->fingerprint, &first) != NULL) {
        snprintf(taken, sizeof(taken), "%08x", d->fingerprint);
        rc = nth_fingerprint(&models->accounts[d->account], taken, 1, &d->fingerprint);
    }
    return rc;
}

/*
 * The fingerprint comes from provider, address and upstream name. The same deployment may stand in
 * several groups, or several times with ids or accounts of its own: such later rows add these, so
 * that the first one, and what was minted for it, stays as it is. Returns 0, ERR_DUPLICATE when
 * reported, ERR_NOMEM.
 */
static int set_fingerprint(struct models_build *build, struct model_deployment *d,
                           const struct node *row)
{
    const struct model_list *models = &build->config->models;
    size_t first;
    int rc = find_fingerprint(models, d, &first);

    d->real = d->fingerprint;
    if (rc != 0 || first == SIZE_MAX)
        return rc;
    if (row != NULL && build->rows[first] != NULL)
        rc = set_later_fingerprint(build, d, row, first);
    return rc != 0 ? rc : leave_taken(models, d);
}

/* Hands the deployment over to the list, or frees it: 0 and *index, ERR_DUPLICATE (reported),
 * ERR_NOMEM. */
static int put(struct models_build *build, struct model_deployment *d, const struct node *row,
               uint32_t *index)
{
    struct model_list *models = &build->config->models;
    int rc = set_fingerprint(build, d, row);
    struct model_deployment *deployments;
    const struct node **rows;
    size_t cap;

    if (rc == 0 && models->num_deployments == build->cap_deployments) {
        cap = build->cap_deployments == 0 ? 16 : build->cap_deployments * 2;
        deployments = realloc(models->deployments, cap * sizeof(*deployments));
        if (deployments != NULL)
            models->deployments = deployments;
        rows = realloc(build->rows, cap * sizeof(*rows));
        if (rows != NULL)
            build->rows = rows;
        if (deployments == NULL || rows == NULL)
            rc = ERR_NOMEM;
        else
            build->cap_deployments = cap;
    }
    if (rc != 0) {
        models_deployment_deinit(d);
        return rc;
    }
    *index = (uint32_t)models->num_deployments;
    build->rows[*index] = row;
    models->deployments[models->num_deployments++] = *d;
    return 0;
}

static int64_t take_number(const struct models_build *build, const struct node *params,
                           const char *key, const char *text, const struct scalar_rule *rule,
                           int64_t missing)
{
    union scalar_value value;

    if (text == NULL || !settings_parse(rule, text, node_get(params, key), build->reporter, &value))
        return missing;
    return value.integer;
}

static void take_numbers(const struct models_build *build, const struct raw_params *raw,
                         const struct node *params, struct model_deployment *d)
{
    static const struct scalar_rule small = {SCALAR_INT, 0, 1000000};
    static const struct scalar_rule weight = {SCALAR_FLOAT, 0, INT64_MAX};
    static const struct scalar_rule timeout = {SCALAR_SECONDS, 1, 7 * (int64_t)DAY_MS};
    static const struct scalar_rule cooldown = {SCALAR_SECONDS, 0, DAY_MS};
    union scalar_value value;

    d->order = (int32_t)take_number(build, params, "order", raw->order, &small, 0);
    d->timeout_ms = (uint32_t)take_number(build, params, "timeout", raw->timeout, &timeout,
                                          build->default_timeout_ms);
    d->max_retries =
        (uint32_t)take_number(build, params, "max_retries", raw->max_retries, &small, UINT32_MAX);
    d->max_retries = (uint32_t)take_number(build, params, "num_retries", raw->num_retries, &small,
                                           d->max_retries); /* the router's own name for it */
    d->cooldown_ms = (uint32_t)take_number(build, params, "cooldown_time", raw->cooldown_time,
                                           &cooldown, UINT32_MAX);
    if (raw->weight != NULL &&
        settings_parse(&weight, raw->weight, node_get(params, "weight"), build->reporter, &value))
        d->weight = value.number > 0 ? value.number
                                     : -1; /* a given 0 drains a row: not the same as not given */
}

/* LiteLLM reads each of them from the row, then from its litellm_params, then from its model_info,
 * as its lowest_tpm_rpm.py does. */
static void take_minute_limits(const struct models_build *build, const struct raw_row *raw,
                               const struct node *row, struct model_deployment *d)
{
    static const struct scalar_rule count = {SCALAR_INT, 0, INT64_MAX};
    const struct {
        const struct node *node;
        const char *rpm, *tpm;
    } places[] = {{node_get(row, "model_info"), raw->info.rpm, raw->info.tpm},
                  {node_get(row, "litellm_params"), raw->params.rpm, raw->params.tpm},
                  {row, raw->rpm, raw->tpm}};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        d->rpm = take_number(build, places[i].node, "rpm", places[i].rpm, &count, d->rpm);
        d->tpm = take_number(build, places[i].node, "tpm", places[i].tpm, &count, d->tpm);
    }
}

static void take_token_limit(const struct models_build *build, const struct raw_info *raw,
                             const struct node *row, struct model_deployment *d)
{
    static const struct scalar_rule tokens = {SCALAR_TOKENS, 1, INT64_MAX};

    d->enqueued_token_limit =
        (uint64_t)take_number(build, node_get(row, "model_info"), "enqueued_token_limit",
                              raw->enqueued_token_limit, &tokens, 0);
}

static bool is_id(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f)
            return false;
    }
    return len > 0 && len <= MAX_ID;
}

/* model_info.id, checked; false: reported. */
static bool check_id(const struct models_build *build, const char *id, const struct node *row)
{
    const struct model_list *models = &build->config->models;
    const struct node *node = node_find(row, "model_info.id");

    if (!is_id(id)) {
        report_wanted(build->reporter, node, "1 to 256 visible ASCII characters without spaces");
        return false;
    }
    for (size_t i = 0; i < models->num_deployments; i++) {
        if (strcmp(models->deployments[i].id, id) == 0) {
            report_at(build->reporter, CONFIG_SKIPPED, node,
                      "the id is taken by another row, in line %u",
                      build->rows[i] == NULL ? 0 : build->rows[i]->line);
            return false;
        }
    }
    return true;
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : strdup(text);
}

static int fill_names(const struct models_build *build, const struct raw_row *raw,
                      const char *upstream, struct model_deployment *d)
{
    d->group = copy(raw->model_name);
    d->upstream_model = copy(upstream);
    d->litellm_model = copy(raw->params.model);
    d->mode = copy(raw->info.mode);
    if (d->group == NULL || d->upstream_model == NULL || d->litellm_model == NULL ||
        (raw->info.mode != NULL && d->mode == NULL))
        return ERR_NOMEM;
    d->id = raw->info.id != NULL ? copy(raw->info.id)
                                 : digest_id(&build->config->models.accounts[d->account], d, NULL);
    d->own_id = raw->info.id != NULL;
    return d->id == NULL ? ERR_NOMEM : 0;
}

/* An address that names a deployment means that one, whatever the row calls it. */
static const char *choose_upstream(const struct models_build *build, const char *url_deployment,
                                   const char *name, const struct node *params)
{
    if (url_deployment == NULL || strcmp(url_deployment, name) == 0)
        return name;
    report_under(build->reporter, CONFIG_WARNING, params, "api_base",
                 "the address names the deployment \"%s\", the model \"%s\"; the address wins",
                 url_deployment, name);
    return url_deployment;
}

/* Whether a row can be served, by what stands in it alone; who provides it, and the name behind the
 * provider's. @return false: told */
static bool row_is_ours(const struct models_build *build, const struct raw_row *raw,
                        struct node *row, struct accounts_source *source, const char **name)
{
    enum row_kind kind;

    if (raw->params.model == NULL)
        return false; /* schema_check() has told */
    kind = row_provider(raw->params.custom_llm_provider, raw->params.model,
                        raw->params.api_base != NULL, &source->provider, name);
    if (kind != ROW_OWN && kind != ROW_COMPATIBLE)
        return false; /* as has rows_mark() */
    source->compatible = kind == ROW_COMPATIBLE;
    if (!rows_for_all(row, secret_is_set(&build->config->master_key), keys_are_named(build->root),
                      build->reporter))
        return false;
    if (raw->model_name == NULL || *raw->model_name == '\0') {
        report_under(build->reporter, CONFIG_ERROR, row, "model_name",
                     "missing: the name that clients ask for");
        return false;
    }
    if (**name == '\0') {
        report_wanted(build->reporter, node_get(source->node, "model"), "a name after the slash");
        return false;
    }
    return true;
}

static int add_row(struct models_build *build, const struct raw_row *raw, struct node *row)
{
    const struct node *params = node_get(row, "litellm_params");
    struct accounts_source source = {.params = &raw->params, .node = params};
    struct model_deployment d = {0};
    char *url_deployment = NULL;
    const char *name, *upstream;
    uint32_t index;
    int rc;

    if (!row_is_ours(build, raw, row, &source, &name))
        return 0;
    rc = accounts_take(build, &source, &d.account, &url_deployment);
    take_numbers(build, &raw->params, params, &d);
    take_minute_limits(build, raw, row, &d);
    take_token_limit(build, &raw->info, row, &d);
    if (rc != 0 || d.account == MODEL_NO_INDEX ||
        (raw->info.id != NULL && !check_id(build, raw->info.id, row)) || row->skipped)
        goto done;
    upstream = choose_upstream(build, url_deployment, name, params);
    rc = fill_names(build, raw, upstream, &d);
    if (rc != 0) {
        models_deployment_deinit(&d);
        goto done;
    }
    rc = put(build, &d, row, &index);
    build->config->models.num_rows += rc == 0;
    if (rc == 0)
        report_at(build->reporter, CONFIG_HONOURED, row, "%s deployment \"%s\" of account %s, %s",
                  provider_name(source.provider), upstream,
                  build->config->models.accounts[d.account].name, build->how);
done:
    free(url_deployment);
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

static int add_rows(struct models_build *build)
{
    const struct node *list = node_get(build->root, "model_list");
    int rc = 0;

    for (uint32_t i = 0; i < build->raw->rows_count && rc == 0; i++) {
        if (!list->items[i]->skipped)
            rc = add_row(build, &build->raw->rows[i], list->items[i]);
    }
    return rc;
}

/* The account used as a whole: for calls that name a provider and no model. `node` is its place in
 * the file, NULL: the environment. */
static int add_default(struct models_build *build, uint32_t account, uint32_t timeout_ms)
{
    struct model_list *models = &build->config->models;
    enum provider provider = models->accounts[account].provider;
    struct model_deployment d = {.account = account,
                                 .timeout_ms = timeout_ms,
                                 .max_retries = UINT32_MAX,
                                 .cooldown_ms = UINT32_MAX};
    int rc;

    d.upstream_model = strdup("");
    d.litellm_model = strdup(provider_name(provider));
    if (d.upstream_model != NULL)
        d.id = digest_id(&models->accounts[account], &d, NULL);
    if (d.litellm_model == NULL || d.id == NULL) {
        models_deployment_deinit(&d);
        return ERR_NOMEM;
    }
    rc = put(build, &d, NULL, &models->default_deployment[provider]);
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

static int add_files_row(struct models_build *build, const struct raw_params *raw,
                         const struct node *node)
{
    static const struct scalar_rule timeout = {SCALAR_SECONDS, 1, 7 * (int64_t)DAY_MS};
    struct model_list *models = &build->config->models;
    struct accounts_source source = {.params = raw, .node = node};
    char *url_deployment;
    enum row_kind kind;
    const char *rest;
    uint32_t account, timeout_ms;
    int rc;

    if (raw->custom_llm_provider == NULL) {
        report_under(build->reporter, CONFIG_SKIPPED, node, "custom_llm_provider",
                     "missing: openai or azure");
        return 0;
    }
    kind =
        row_provider(raw->custom_llm_provider, "", raw->api_base != NULL, &source.provider, &rest);
    source.compatible = kind == ROW_COMPATIBLE;
    if (kind != ROW_OWN && kind != ROW_COMPATIBLE) {
        report_under(build->reporter, CONFIG_WARNING, node, "custom_llm_provider",
                     "not a batch provider here; ignored");
        return 0;
    }
    if (models->default_deployment[source.provider] != MODEL_NO_INDEX) {
        report_at(build->reporter, CONFIG_WARNING, node,
                  "ignored: an earlier row is for %s as well, and the first one counts",
                  provider_name(source.provider));
        return 0;
    }
    timeout_ms = (uint32_t)take_number(build, node, "timeout", raw->timeout, &timeout,
                                       build->default_timeout_ms);
    rc = accounts_take(build, &source, &account, &url_deployment);
    free(url_deployment);
    if (rc != 0 || account == MODEL_NO_INDEX)
        return rc;
    report_at(build->reporter, CONFIG_HONOURED, node,
              "%s account %s, %s, for calls that name no model", provider_name(source.provider),
              models->accounts[account].name, build->how);
    return add_default(build, account, timeout_ms);
}

static int add_files_rows(struct models_build *build)
{
    const struct node *list = node_get(build->root, "files_settings");
    int rc = 0;

    for (uint32_t i = 0; i < build->raw->files_count && rc == 0; i++) {
        if (!list->items[i]->skipped)
            rc = add_files_row(build, &build->raw->files[i], list->items[i]);
    }
    return rc;
}

static int add_env_default(struct models_build *build, enum provider provider)
{
    struct accounts_source source = {.provider = provider};
    struct model_list *models = &build->config->models;
    char *url_deployment;
    uint32_t account;
    int rc = accounts_take(build, &source, &account, &url_deployment);

    free(url_deployment);
    if (rc != 0 || account == MODEL_NO_INDEX)
        return rc;
    report_add(build->reporter, CONFIG_HONOURED, NULL, 0, NULL,
               "%s account %s, %s, for calls that name no model", provider_name(provider),
               models->accounts[account].name, build->how);
    return add_default(build, account, build->default_timeout_ms);
}

/* Bare calls need a place even when only model_list knows the provider: its first account. */
static int add_first_default(struct models_build *build, enum provider provider)
{
    const struct model_list *models = &build->config->models;
    uint32_t first = MODEL_NO_INDEX;
    size_t num = 0;

    for (size_t i = 0; i < models->num_deployments; i++) {
        uint32_t account = models->deployments[i].account;

        if (models->accounts[account].provider == provider && first == MODEL_NO_INDEX)
            first = (uint32_t)i;
    }
    if (first == MODEL_NO_INDEX)
        return 0;
    for (size_t i = 0; i < models->num_accounts; i++)
        num += models->accounts[i].provider == provider;
    if (num > 1)
        report_at(build->reporter, CONFIG_HONOURED, build->rows[first],
                  "calls that name no model go to account %s, the first of %zu for %s",
                  models->accounts[models->deployments[first].account].name, num,
                  provider_name(provider));
    return add_default(build, models->deployments[first].account, build->default_timeout_ms);
}

static int add_missing_default(struct models_build *build, enum provider provider)
{
    if (build->config->models.default_deployment[provider] != MODEL_NO_INDEX)
        return 0;
    if (accounts_in_env(build, provider, build->raw == NULL))
        return add_env_default(build, provider);
    return add_first_default(build, provider);
}

/* A copy of a row for a name that other settings use. */
static int add_expanded(struct models_build *build, struct model_deployment *copy,
                        const struct node *row)
{
    uint32_t index;
    int rc = ERR_NOMEM;

    copy->id = digest_id(&build->config->models.accounts[copy->account], copy, NULL);
    if (copy->id == NULL)
        models_deployment_deinit(copy);
    else
        rc = put(build, copy, row, &index);
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* What the rows that are left out name stays theirs: nothing else may answer to it. */
static int keep_names(struct models_build *build, size_t *faulty)
{
    const struct node *list = node_get(build->root, "model_list");
    struct model_list *models = &build->config->models;

    for (size_t i = 0; list != NULL && i < list->num_items; i++) {
        const char *name = node_text(node_get(list->items[i], "model_name"));
        struct model_name lost = {0};

        if (!list->items[i]->skipped || name == NULL || *name == '\0')
            continue;
        lost.name = strdup(name);
        if (lost.name == NULL || models_add_name(models, &lost) != 0) {
            free(lost.name);
            return ERR_NOMEM;
        }
    }
    *faulty = build->reporter->num_skipped;
    return 0;
}

int models_add_name(struct model_list *models, const struct model_name *name)
{
    struct model_name *names = realloc(models->names, (models->num_names + 1) * sizeof(*names));

    if (names == NULL)
        return ERR_NOMEM;
    models->names = names;
    names[models->num_names++] = *name;
    return 0;
}

/* Rows that cannot be used, and none that can: not what the operator meant. */
static void refuse_nothing(const struct models_build *build, size_t faulty)
{
    const struct node *list = node_get(build->root, "model_list");

    for (size_t i = 0; i < build->config->models.num_deployments; i++)
        if (build->config->models.deployments[i].group != NULL)
            return;
    if (faulty > 0 && list != NULL && list->num_items > 0)
        report_at(build->reporter, CONFIG_ERROR, list,
                  "no row can be served; what is wrong with them stands beside this line");
}

int models_build(struct models_build *build)
{
    struct model_list *models = &build->config->models;
    size_t faulty = 0;
    int rc = 0;

    for (int p = 0; p < PROVIDER_COUNT; p++)
        models->default_deployment[p] = MODEL_NO_INDEX;
    if (build->raw != NULL)
        rc = add_rows(build);
    if (rc == 0 && build->raw != NULL)
        rc = add_files_rows(build);
    for (int p = 0; p < PROVIDER_COUNT && rc == 0; p++)
        rc = add_missing_default(build, (enum provider)p);
    if (rc == 0 && build->raw != NULL)
        rc = expand_names(build, add_expanded);
    if (rc == 0 && build->raw != NULL)
        rc = keep_names(build, &faulty);
    if (rc == 0)
        refuse_nothing(build, faulty);
    if (rc == 0)
        rc = prices_of_rows(build);
    free(build->rows);
    build->rows = NULL;
    free(build->twins);
    build->twins = NULL;
    account_index_deinit(&build->accounts);
    account_index_deinit(&build->hosts);
    return rc;
}
