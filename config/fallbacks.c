/* See fallbacks.h. LiteLLM's form is a list of maps, `[{group: [other, another]}]`; "*" as the
 * group is what default_fallbacks is a shorter way of saying. */
#include "fallbacks.h"

#include <stdlib.h>
#include <string.h>

#include "models.h"

#define ANY_GROUP "*"

/* One reading. */
struct taking {
    const struct node *root;
    struct reporter *reporter;
    struct config *config;
};

/* The router's value or LiteLLM's own; NULL: neither is given. */
static const struct node *setting(const struct node *root, const char *key)
{
    static const char *const sections[] = {"router_settings", "litellm_settings"};

    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        const struct node *node = node_get(node_get(root, sections[i]), key);

        if (node != NULL && !node->skipped && (node->kind != NODE_NULL || node->variable != NULL))
            return node;
    }
    return NULL;
}

/* Whether work can go from or to the group, which is the key or the text of the node; otherwise
 * somebody is told why not. */
static bool is_served(const struct taking *t, const struct node *node, const char *name)
{
    struct strbuf got = STRBUF_INIT;

    if (models_has_group(&t->config->models, name))
        return true;
    if (models_names_group(t->root, name)) {
        report_at(t->reporter, CONFIG_WARNING, node,
                  "ignored: no row of that group is served here");
        return false;
    }
    for (size_t i = 0; i < t->config->models.num_names; i++)
        if (t->config->models.names[i].target != NULL &&
            strcmp(t->config->models.names[i].name, name) == 0)
            return true; /* an alias */
    if (models_lacks_name(t->root)) {
        report_at(t->reporter, CONFIG_WARNING, node,
                  "ignored: no row of that group is served here");
        return false;
    }
    node_show(&(struct node){.kind = NODE_SCALAR, .text = (char *)(uintptr_t)name}, &got);
    report_at(t->reporter, CONFIG_WARNING, node,
              "ignored: %s is no model_name of model_list, no alias and no model_info.id, and no "
              "pattern takes it",
              strbuf_str(&got));
    strbuf_deinit(&got);
    return false;
}

static int add_name(struct config_fallback *fallback, const char *name)
{
    char **to = realloc(fallback->to, (fallback->num_to + 1) * sizeof(*to));

    if (to == NULL)
        return ERR_NOMEM;
    fallback->to = to;
    to[fallback->num_to] = strdup(name);
    if (to[fallback->num_to] == NULL)
        return ERR_NOMEM;
    fallback->num_to++;
    return 0;
}

static int take_name(const struct taking *t, const struct node *node,
                     struct config_fallback *fallback)
{
    if (node->kind == NODE_NULL && node->variable != NULL)
        report_at(t->reporter, CONFIG_ERROR, node,
                  "the environment variable %s is not set or empty", node_variable_name(node));
    else if (node->kind != NODE_SCALAR)
        report_wanted(t->reporter, node, "a model_name of model_list");
    else if (is_served(t, node, node->text))
        return add_name(fallback, node->text);
    return 0;
}

/* One name or a list of them. */
static int take_names(const struct taking *t, const struct node *node,
                      struct config_fallback *fallback)
{
    int rc = 0;

    if (node->kind != NODE_LIST)
        return take_name(t, node, fallback);
    for (size_t i = 0; i < node->num_items && rc == 0; i++)
        rc = take_name(t, node->items[i], fallback);
    return rc;
}

static void note_honoured(const struct taking *t, const struct node *node,
                          const struct config_fallback *fallback)
{
    struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < fallback->num_to; i++)
        strbuf_addf(&text, "%s%s", i == 0 ? "" : ", ", fallback->to[i]);
    report_at(t->reporter, CONFIG_HONOURED, node, "= %s", strbuf_str(&text));
    strbuf_deinit(&text);
}

/* Groups that `node` names become what `group` falls back to. */
static int add_fallback(const struct taking *t, const char *group, const struct node *node)
{
    struct config *config = t->config;
    struct config_fallback fallback = {.group = strdup(group)}, *all;
    int rc = fallback.group == NULL ? ERR_NOMEM : take_names(t, node, &fallback);

    if (rc != 0 || fallback.num_to == 0) {
        fallbacks_deinit(&fallback);
        return rc;
    }
    all = realloc(config->fallbacks, (config->num_fallbacks + 1) * sizeof(*all));
    if (all == NULL) {
        fallbacks_deinit(&fallback);
        return ERR_NOMEM;
    }
    note_honoured(t, node, &fallback);
    config->fallbacks = all;
    all[config->num_fallbacks++] = fallback;
    return 0;
}

static bool has_fallback(const struct config *config, const char *group)
{
    for (size_t i = 0; i < config->num_fallbacks; i++) {
        if (strcmp(config->fallbacks[i].group, group) == 0)
            return true;
    }
    return false;
}

/* The entry of one group, in the pass over named groups or in the one over "*". */
static int take_entry(const struct taking *t, const struct node *entry, bool any)
{
    if (any != (strcmp(entry->key, ANY_GROUP) == 0))
        return 0;
    if (!any && has_fallback(t->config, entry->key)) {
        report_at(t->reporter, CONFIG_WARNING, entry,
                  "ignored: an earlier entry is for this group as well, and the first one counts");
        return 0;
    }
    if (!any && !is_served(t, entry, entry->key))
        return 0;
    return add_fallback(t, entry->key, entry);
}

static int take_list(const struct taking *t, const struct node *list, bool any)
{
    int rc = 0;

    for (size_t i = 0; i < list->num_items; i++) {
        const struct node *map = list->items[i];

        if (map->kind != NODE_MAP) {
            if (!any)
                report_wanted(t->reporter, map, "a mapping such as {group: [other-group]}");
            continue;
        }
        for (size_t k = 0; k < map->num_items && rc == 0; k++)
            rc = take_entry(t, map->items[k], any);
    }
    return rc;
}

int fallbacks_take(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct taking t = {root, reporter, config};
    const struct node *list = setting(root, "fallbacks");
    const struct node *defaults = setting(root, "default_fallbacks");
    int rc = 0;

    if (list != NULL && list->kind != NODE_LIST) {
        report_wanted(reporter, list, "a list such as [{group: [other-group]}]");
        list = NULL;
    }
    if (defaults != NULL && defaults->kind == NODE_MAP) {
        report_wanted(reporter, defaults, "a list of groups");
        defaults = NULL;
    }
    if (list != NULL)
        rc = take_list(&t, list, false);
    if (rc == 0 && list != NULL)
        rc = take_list(&t, list, true);
    if (rc == 0 && defaults != NULL)
        rc = add_fallback(&t, ANY_GROUP, defaults);
    return rc;
}

void fallbacks_deinit(struct config_fallback *fallback)
{
    for (size_t i = 0; i < fallback->num_to; i++)
        free(fallback->to[i]);
    free(fallback->to);
    free(fallback->group);
}
