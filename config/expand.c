/* See expand.h. */
#include "expand.h"

#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "aliases.h"

#define MAX_NAME 512

struct expanding {
    struct models_build *build;
    expand_add_cb add;
};

static char *copy_text(const char *text, bool *failed)
{
    char *copy = text == NULL ? NULL : strdup(text);

    *failed |= text != NULL && copy == NULL;
    return copy;
}

/* The row as one of the group `name`, called `upstream` at its provider. */
static int add_copy(const struct expanding *e, size_t i, const char *name, const char *upstream)
{
    struct model_list *models = &e->build->config->models;
    struct model_deployment copy = models->deployments[i];
    bool failed = false;

    copy.group = copy_text(name, &failed);
    copy.upstream_model = copy_text(upstream, &failed);
    copy.litellm_model = copy_text(copy.litellm_model, &failed);
    copy.mode = copy_text(copy.mode, &failed);
    copy.id = NULL;
    copy.own_id = false;
    if (!failed)
        return e->add(e->build, &copy, e->build->rows[i]);
    models_deployment_deinit(&copy);
    return ERR_NOMEM;
}

static size_t literal_chars(const char *pattern)
{
    size_t n = 0;

    for (; *pattern != '\0'; pattern++)
        n += *pattern != '*';
    return n;
}

/* The pattern that takes the name: the one with most literal characters, the first of equals; NULL:
 * none. */
static const char *best_pattern(const struct model_list *models, const char *name)
{
    const char *best = NULL;

    for (size_t i = 0; i < models->num_deployments; i++) {
        const char *group = models->deployments[i].group;

        if (group != NULL && strchr(group, '*') != NULL && names_fit(group, name, strlen(name)) &&
            (best == NULL || literal_chars(group) > literal_chars(best)))
            best = group;
    }
    return best;
}

static int expand_pattern(const struct expanding *e, const char *name)
{
    const struct model_list *models = &e->build->config->models;
    const char *pattern = best_pattern(models, name);
    size_t num = models->num_deployments;
    char filled[MAX_NAME];
    int rc = 0;

    for (size_t i = 0; pattern != NULL && i < num && rc == 0; i++) {
        const struct model_deployment *d = &models->deployments[i];
        const char *upstream = d->upstream_model;

        if (d->group == NULL || strcmp(d->group, pattern) != 0)
            continue;
        if (names_fill(pattern, upstream, name, filled, sizeof(filled)))
            upstream = names_without_hint(filled);
        rc = add_copy(e, i, name, upstream);
    }
    return rc;
}

static int expand(const struct expanding *e, const char *name)
{
    const struct model_list *models = &e->build->config->models;

    if (name == NULL || *name == '\0' || strchr(name, '*') != NULL || strlen(name) >= MAX_NAME ||
        models_has_group(models, name) || models_names_group(e->build->root, name))
        return 0;
    for (size_t i = 0; i < models->num_deployments; i++)
        if (models->deployments[i].group != NULL && strcmp(models->deployments[i].id, name) == 0)
            return add_copy(e, i, name, models->deployments[i].upstream_model);
    return expand_pattern(e, name);
}

/* All texts below a node, and the keys of maps. */
static int expand_all(const struct expanding *e, const struct node *node)
{
    int rc = 0;

    if (node == NULL || node->skipped)
        return 0;
    if (node->kind == NODE_SCALAR)
        rc = expand(e, node->text);
    for (size_t i = 0; i < node->num_items && rc == 0; i++) {
        if (node->kind == NODE_MAP)
            rc = expand(e, node->items[i]->key);
        if (rc == 0)
            rc = expand_all(e, node->items[i]);
    }
    return rc;
}

int expand_names(struct models_build *build, expand_add_cb add)
{
    static const char *const lists[] = {
        "router_settings.fallbacks", "router_settings.default_fallbacks",
        "litellm_settings.fallbacks", "litellm_settings.default_fallbacks"};
    const struct node *aliases = node_find(build->root, "router_settings.model_group_alias");
    const struct expanding e = {build, add};
    int rc = 0;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]) && rc == 0; i++)
        rc = expand_all(&e, node_find(build->root, lists[i]));
    for (size_t i = 0; aliases != NULL && i < aliases->num_items && rc == 0; i++)
        rc = expand(&e, aliases_target(aliases->items[i]));
    return rc;
}
