/* See rows.h. Sources: LiteLLM's Router (deployment_is_active_for_environment) and its pages on
 * team models and model access groups. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "credentials.h"
#include "row_provider.h"
#include "scalar.h"
#include "schema.h"

static bool is_given(const struct node *node)
{
    return node != NULL && (node->kind != NODE_NULL || node->variable != NULL);
}

/* --- providers --- */

static void tell_foreign(const struct node *model, enum row_kind kind, struct reporter *reporter)
{
    struct strbuf got = STRBUF_INIT;

    node_show(model, &got);
    report_at(
        reporter, CONFIG_WARNING, model,
        kind == ROW_UNKNOWN
            ? "got %s, which is no name of OpenAI's; the row is ignored (write openai/<model>, "
              "azure/<deployment>, or give custom_llm_provider or api_base)"
            : "got %s, which is not a batch provider here; the row is ignored",
        strbuf_str(&got));
    strbuf_deinit(&got);
}

/* Whether the row names a model of a provider of ours; otherwise somebody is told why not. */
static bool is_ours(struct node *row, struct reporter *reporter)
{
    const struct node *params = node_get(row, "litellm_params");
    const struct node *model = node_get(params, "model");
    enum provider provider;
    enum row_kind kind;
    const char *rest;

    if (params == NULL || params->kind == NODE_NULL) {
        schema_check_row(row, reporter);
        report_under(reporter, CONFIG_ERROR, row, "litellm_params", "missing");
        return false;
    }
    if (params->kind != NODE_MAP || (model != NULL && model->kind != NODE_SCALAR &&
                                     (model->kind != NODE_NULL || model->variable != NULL)))
        return true; /* schema_check() says what is wrong */
    if (model == NULL || node_text(model) == NULL || *model->text == '\0') {
        schema_check_row(row, reporter);
        report_under(reporter, CONFIG_ERROR, params, "model",
                     "missing: give azure/<deployment> or openai/<model>");
        return false;
    }
    kind = row_provider(node_text(node_get(params, "custom_llm_provider")), model->text,
                        is_given(node_get(params, "api_base")), &provider, &rest);
    if (kind == ROW_OWN || kind == ROW_COMPATIBLE)
        return true;
    tell_foreign(model, kind, reporter);
    return false;
}

/* LiteLLM takes `base_url` for `api_base`; not following it would send a key to the wrong place. */
static void rename_base_url(const struct node *params, struct reporter *reporter)
{
    struct node *base_url = node_get(params, "base_url");
    char *key;

    if (base_url == NULL || node_get(params, "api_base") != NULL)
        return;
    key = strdup("api_base");
    if (key == NULL) {
        reporter->failed = true;
        return;
    }
    free(base_url->key);
    base_url->key = key;
}

/* --- environments --- */

#define ENVIRONMENT "LITELLM_ENVIRONMENT"

static bool names_environment(const struct node *list, const char *environment)
{
    if (list->kind == NODE_SCALAR)
        return strcmp(list->text, environment) == 0;
    for (size_t i = 0; i < list->num_items; i++) {
        const char *text = node_text(list->items[i]);

        if (text != NULL && strcmp(text, environment) == 0)
            return true;
    }
    return false;
}

static bool is_for_environment(const struct node *row, const struct env *env,
                               struct reporter *reporter)
{
    const struct node *list = node_find(row, "model_info.supported_environments");
    const char *environment = env_get(env, ENVIRONMENT);

    if (list == NULL || list->kind == NODE_NULL)
        return true;
    if (environment == NULL) {
        report_at(
            reporter, CONFIG_SKIPPED, list,
            "the row is left out: it is for some environments only, and the variable " ENVIRONMENT
            " does not say which one this is");
        return false;
    }
    if (names_environment(list, environment))
        return true;
    report_at(reporter, CONFIG_HONOURED, list,
              "the row is left out: " ENVIRONMENT " is \"%s\" here", environment);
    return false;
}

void rows_mark(struct node *root, const struct env *env, struct reporter *reporter)
{
    const struct node *list = node_get(root, "model_list");

    if (list == NULL || list->kind != NODE_LIST)
        return;
    for (size_t i = 0; i < list->num_items; i++) {
        struct node *row = list->items[i];

        if (row->kind != NODE_MAP)
            continue;
        rename_base_url(node_get(row, "litellm_params"), reporter);
        if (!is_ours(row, reporter) || !is_for_environment(row, env, reporter))
            row->skipped = true;
        else
            credentials_take(root, node_get(row, "litellm_params"), reporter);
    }
}

/* --- callers --- */

static bool is_true(const struct node *node)
{
    static const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    union scalar_value value;

    return node_text(node) != NULL && scalar_parse(&rule, node->text, &value) == 0 && value.truth;
}

bool rows_for_all(struct node *row, bool keyed, bool tenants, struct reporter *reporter)
{
    const struct node *blocked = node_find(row, "model_info.blocked");
    const struct node *team = node_find(row, "model_info.team_id");
    const struct node *groups = node_find(row, "model_info.access_groups");

    if (blocked == NULL)
        blocked = node_find(row, "litellm_params.blocked");
    if (is_true(blocked)) {
        report_at(reporter, CONFIG_HONOURED, blocked, "the row is left out: it is blocked");
        row->skipped = true;
        return false;
    }
    if (is_given(team)) {
        report_at(
            reporter, CONFIG_SKIPPED, team,
            "the row is left out: it is for one team alone, which is not followed here; name the "
            "model in the models of that team's keys");
        return false;
    }
    if (!is_given(groups))
        return true;
    if (!keyed) {
        report_at(reporter, CONFIG_SKIPPED, groups,
                  "the row is left out: it is for some callers only, and without a master key "
                  "everybody may call");
        return false;
    }
    if (tenants)
        report_at(reporter, CONFIG_HONOURED, groups, "models of a key may name them");
    else
        report_at(reporter, CONFIG_WARNING, groups,
                  "ignored: whoever has the master key may use the row");
    return true;
}
