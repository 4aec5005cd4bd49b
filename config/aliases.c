/* See aliases.h. */
#include "aliases.h"

#include <stdlib.h>
#include <string.h>

#include "models.h"
#include "scalar.h"

const char *aliases_target(const struct node *entry)
{
    const struct node *model = entry->kind == NODE_MAP ? node_get(entry, "model") : entry;

    return model != NULL && model->kind == NODE_SCALAR && *model->text != '\0' ? model->text : NULL;
}

static bool is_hidden(const struct node *entry)
{
    static const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    const struct node *hidden = node_get(entry, "hidden");
    union scalar_value value;

    return hidden != NULL && hidden->kind == NODE_SCALAR &&
           scalar_parse(&rule, hidden->text, &value) == 0 && value.truth;
}

/* @param target  NULL: the name answers to nothing */
static int add(struct config *config, const struct node *entry, const char *target)
{
    struct model_name name = {.name = strdup(entry->key), .hidden = is_hidden(entry)};

    if (target != NULL)
        name.target = strdup(target);
    if (name.name == NULL || (target != NULL && name.target == NULL) ||
        models_add_name(&config->models, &name) != 0) {
        free(name.name);
        free(name.target);
        return ERR_NOMEM;
    }
    return 0;
}

static int take(const struct node *entry, struct reporter *reporter, struct config *config)
{
    const char *target = aliases_target(entry);

    if (target == NULL) {
        report_wanted(reporter, entry, "a model_name, or a mapping such as {model: group}");
        return 0;
    }
    if (!models_has_group(&config->models, target)) {
        report_at(
            reporter, CONFIG_WARNING, entry,
            "no row of the group \"%s\" is served here, so requests for this name are refused",
            target);
        return models_has_group(&config->models, entry->key) ? 0 : add(config, entry, NULL);
    }
    if (models_has_group(&config->models, entry->key))
        report_at(
            reporter, CONFIG_WARNING, entry,
            "the name of a group as well: the alias goes first, so that group is out of reach");
    report_at(reporter, CONFIG_HONOURED, entry, "= %s", target);
    return add(config, entry, target);
}

int aliases_take(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *map = node_find(root, "router_settings.model_group_alias");
    int rc = 0;

    if (map == NULL || map->kind == NODE_NULL)
        return 0;
    if (map->kind != NODE_MAP) {
        report_wanted(reporter, map, "a mapping of names to groups");
        return 0;
    }
    for (size_t i = 0; i < map->num_items && rc == 0; i++)
        rc = take(map->items[i], reporter, config);
    return rc;
}
