/* See quotas.h. */
#include "quotas.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "models.h"
#include "settings.h"

/* How closely a word is about a deployment; more is closer, sums included. */
#define CLOSE_GROUP      1
#define CLOSE_DEPLOYMENT 2
#define CLOSE_ID         4
#define CLOSE_MODEL_INFO 8

/* Who set the limit of a deployment. */
struct claim {
    int closeness;          /* 0: nobody */
    const struct node *row; /* borrowed; NULL: model_info */
};

struct applying {
    const struct node *root;
    struct reporter *reporter;
    struct model_list *models;
    struct claim *claims; /* owned; as many as deployments */
};

/* 0: the row is not about this deployment. */
static int closeness_of(const struct raw_quota *quota, const struct model_deployment *d)
{
    int closeness = 0;

    if (d->group == NULL)
        return 0;
    if (quota->model_name != NULL) {
        if (strcmp(quota->model_name, d->group) != 0)
            return 0;
        closeness += CLOSE_GROUP;
    }
    if (quota->deployment != NULL) {
        if (strcmp(quota->deployment, d->id) == 0)
            closeness += CLOSE_ID;
        else if (strcmp(quota->deployment, d->upstream_model) == 0)
            closeness += CLOSE_DEPLOYMENT;
        else
            return 0;
    }
    return closeness;
}

/* Whether the row says what it is about and how much; otherwise somebody is told. */
static bool read_row(const struct applying *a, const struct raw_quota *quota,
                     const struct node *row, int64_t *tokens)
{
    static const struct scalar_rule rule = {SCALAR_TOKENS, 1, INT64_MAX};
    union scalar_value value;

    if (quota->deployment == NULL && quota->model_name == NULL) {
        if (report_was_unset(node_get(row, "model_name")))
            return false;
        report_under(a->reporter, CONFIG_ERROR, row, "deployment",
                     "missing, as is model_name: say whose quota it is");
        return false;
    }
    if (quota->enqueued_tokens == NULL) {
        report_under(a->reporter, CONFIG_ERROR, row, "enqueued_tokens",
                     "missing: how many tokens of unfinished batches there may be");
        return false;
    }
    if (!settings_parse(&rule, quota->enqueued_tokens, node_get(row, "enqueued_tokens"),
                        a->reporter, &value))
        return false;
    *tokens = value.integer;
    return true;
}

/* Nobody is meant: a mistake, unless the name is of a row that is not served here. */
static void note_nobody(const struct applying *a, const struct raw_quota *quota,
                        const struct node *row)
{
    bool by_group = quota->deployment == NULL;
    const struct node *node = node_get(row, by_group ? "model_name" : "deployment");

    if (by_group ? models_names_group(a->root, quota->model_name) || models_lacks_name(a->root)
                 : models_names_deployment(a->root, quota->deployment, quota->model_name))
        report_at(a->reporter, CONFIG_WARNING, node, "ignored: no such row is served here");
    else if (by_group)
        report_wanted(a->reporter, node, "a model_name of model_list");
    else
        report_wanted(a->reporter, node,
                      quota->model_name == NULL
                          ? "a model_info.id or the name of a deployment in model_list"
                          : "a model_info.id or the name of a deployment in that group");
}

static void note_conflict(const struct applying *a, const struct node *row,
                          const struct model_deployment *d, const struct claim *claim)
{
    assert(claim->row != NULL); /* a row of model_list is never as close as one of quotas */
    report_at(a->reporter, CONFIG_ERROR, row,
              "the limit of deployment %s is in line %u already; remove one", d->id,
              claim->row->line);
}

static void apply_row(const struct applying *a, const struct raw_quota *quota,
                      const struct node *row)
{
    struct strbuf text = STRBUF_INIT;
    int64_t tokens;
    size_t num = 0;

    if (!read_row(a, quota, row, &tokens))
        return;
    for (size_t i = 0; i < a->models->num_deployments; i++) {
        struct model_deployment *d = &a->models->deployments[i];
        int closeness = closeness_of(quota, d);

        num += closeness > 0;
        if (closeness > a->claims[i].closeness) {
            a->claims[i] = (struct claim){closeness, row};
            d->enqueued_token_limit = (uint64_t)tokens;
        } else if (closeness > 0 && closeness == a->claims[i].closeness) {
            note_conflict(a, row, d, &a->claims[i]);
            return;
        }
    }
    if (num == 0) {
        note_nobody(a, quota, row);
        return;
    }
    scalar_print_tokens(tokens, &text);
    report_at(a->reporter, CONFIG_HONOURED, row, "= %s for %zu deployment%s", strbuf_str(&text),
              num, num == 1 ? "" : "s");
    strbuf_deinit(&text);
}

int quotas_apply(const struct raw_config *raw, const struct node *root, struct reporter *reporter,
                 struct config *config)
{
    struct applying a = {.root = root, .reporter = reporter, .models = &config->models};
    const struct node *list = node_find(root, "tranche_settings.quotas");

    if (raw == NULL || raw->tranche.quotas_count == 0)
        return 0;
    a.claims = calloc(a.models->num_deployments + 1, sizeof(*a.claims));
    if (a.claims == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < a.models->num_deployments; i++) {
        if (a.models->deployments[i].enqueued_token_limit > 0)
            a.claims[i].closeness = CLOSE_MODEL_INFO;
    }
    for (uint32_t i = 0; i < raw->tranche.quotas_count; i++) {
        if (!list->items[i]->skipped)
            apply_row(&a, &raw->tranche.quotas[i], list->items[i]);
    }
    free(a.claims);
    return 0;
}
