/* See key_names.h. */
#include "key_names.h"

#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "config/guess.h"

static int compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void add(struct key_names *names, const char *name)
{
    if (strchr(name, '*') != NULL)
        names->patterns[names->num_patterns++] = name;
    names->exact[names->num_exact++] = name;
}

int key_names_init(struct key_names *names, const struct config *config)
{
    const struct model_list *models = &config->models;
    size_t max = models->num_deployments + models->num_names + config->num_access_groups + 1;

    *names = (struct key_names){.config = config,
                                .exact = calloc(max, sizeof(*names->exact)),
                                .patterns = calloc(max, sizeof(*names->patterns))};
    if (names->exact == NULL || names->patterns == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < models->num_deployments; i++)
        if (models->deployments[i].group != NULL)
            add(names, models->deployments[i].group);
    for (size_t i = 0; i < models->num_names; i++)
        add(names, models->names[i].name);
    for (size_t i = 0; i < config->num_access_groups; i++)
        add(names, config->access_groups[i].name);
    qsort(names->exact, names->num_exact, sizeof(*names->exact), compare);
    return 0;
}

void key_names_deinit(struct key_names *names)
{
    free(names->exact);
    free(names->patterns);
    *names = (struct key_names){0};
}

static bool is_pattern(const char *name)
{
    return strchr(name, '*') != NULL;
}

/* Whether some name begins so. */
static bool begins(const struct key_names *names, const char *text, size_t len)
{
    size_t from = 0, to = names->num_exact;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (strncmp(names->exact[middle], text, len) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from < names->num_exact && strncmp(names->exact[from], text, len) == 0;
}

/* Of a key: one that fits something. Of a row: one that the name fits. */
static bool is_known(const struct key_names *names, const char *name)
{
    if (bsearch(&name, names->exact, names->num_exact, sizeof(*names->exact), compare) != NULL)
        return true;
    if (is_pattern(name) && begins(names, name, strlen(name) - 1)) /* the `*` is its end */
        return true;
    for (size_t i = 0; i < names->num_patterns; i++)
        if (names_fit(names->patterns[i], name, strlen(name)))
            return true;
    return false;
}

static void tell_unknown(const struct key_names *names, const char *name, const struct node *node,
                         struct reporter *reporter)
{
    struct strbuf got = STRBUF_INIT;
    struct guess guess;

    if (is_known(names, name))
        return;
    if (reporter->max_warnings > 0 && reporter->num_warnings >= reporter->max_warnings) {
        reporter->num_warnings++; /* nobody reads it: what it might have meant is not looked for */
        return;
    }
    guess_init(&guess, name);
    for (size_t i = 0; i < names->num_exact; i++)
        guess_offer(&guess, names->exact[i]);
    node_show(node, &got);
    if (guess.best != NULL)
        report_at(reporter, CONFIG_WARNING, node,
                  "got %s, which no model here is called, did you mean \"%s\"?", strbuf_str(&got),
                  guess.best);
    else
        report_at(reporter, CONFIG_WARNING, node,
                  "got %s, which no model and no access group here is called", strbuf_str(&got));
    strbuf_deinit(&got);
}

static int append(struct rights_models *out, const char *name)
{
    size_t n = out->num_names;
    char **list;

    /* Room doubles when the number is a power of two. */
    if ((n & (n - 1)) == 0) {
        list = realloc(out->names, (n == 0 ? 1 : 2 * n) * sizeof(*list));
        if (list == NULL)
            return ERR_NOMEM;
        out->names = list;
    }
    out->names[n] = strdup(name);
    if (out->names[n] == NULL)
        return ERR_NOMEM;
    out->num_names++;
    return 0;
}

static const struct config_access_group *access_group(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->num_access_groups; i++)
        if (strcmp(config->access_groups[i].name, name) == 0)
            return &config->access_groups[i];
    return NULL;
}

/* The name itself, the groups that it stands for, and the group that it is an alias of: rights are
 * checked against groups. */
static int append_meaning(const struct config *config, const char *name, struct rights_models *out)
{
    const struct config_access_group *access = access_group(config, name);
    int rc = append(out, name);

    for (size_t i = 0; access != NULL && i < access->num_groups && rc == 0; i++)
        rc = append(out, access->groups[i]);
    for (size_t i = 0; i < config->models.num_names && rc == 0; i++)
        if (config->models.names[i].target != NULL &&
            strcmp(config->models.names[i].name, name) == 0)
            rc = append(out, config->models.names[i].target);
    return rc;
}

static bool is_name(const char *text)
{
    return text != NULL && *text != '\0' && strlen(text) <= RIGHTS_NAME_MAX;
}

static int take_name(const struct key_names *names, const struct node *node, bool team,
                     struct reporter *reporter, struct rights_models *out)
{
    const char *name = node_text(node);
    const char *star = name == NULL ? NULL : strchr(name, '*');

    if (!is_name(name)) {
        report_wanted(reporter, node, "the name of a model, of 1 to 255 bytes");
        return 0;
    }
    if (strcmp(name, "*") == 0 || strcmp(name, "all-proxy-models") == 0) {
        out->all = true;
        return 0;
    }
    if (strcmp(name, "no-default-models") == 0)
        return 0; /* LiteLLM's name for none */
    if (strcmp(name, "all-team-models") == 0) {
        if (team)
            report_wanted(reporter, node, "models: this is the team");
        out->of_team = true;
        return 0;
    }
    if (star != NULL && star[1] != '\0') {
        report_wanted(reporter, node, "a name, or a beginning of names with * behind it");
        return 0;
    }
    tell_unknown(names, name, node, reporter);
    return append_meaning(names->config, name, out);
}

int key_names_take(const struct key_names *names, const struct node *node, bool team,
                   struct reporter *reporter, struct rights_models *out)
{
    int rc = 0;

    if (node->kind == NODE_SCALAR)
        return take_name(names, node, team, reporter, out);
    if (node->kind != NODE_LIST) {
        report_wanted(reporter, node, "a list of models");
        return 0;
    }
    for (size_t i = 0; i < node->num_items && rc == 0; i++)
        rc = take_name(names, node->items[i], team, reporter, out);
    return rc;
}

int key_names_take_aliases(const struct key_names *names, const struct node *node,
                           struct reporter *reporter, struct rights_models *out)
{
    if (node->kind != NODE_MAP) {
        report_wanted(reporter, node, "a mapping of names to models");
        return 0;
    }
    out->aliases = calloc(node->num_items + 1, sizeof(*out->aliases));
    if (out->aliases == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < node->num_items; i++) {
        const struct node *entry = node->items[i];
        struct rights_alias *alias = &out->aliases[out->num_aliases];

        if (!is_name(entry->key) || !is_name(node_text(entry)) || is_pattern(entry->text)) {
            report_wanted(reporter, entry, "the name of one model, of 1 to 255 bytes");
            continue;
        }
        tell_unknown(names, entry->text, entry, reporter);
        alias->name = strdup(entry->key);
        alias->target = strdup(entry->text);
        out->num_aliases++;
        if (alias->name == NULL || alias->target == NULL)
            return ERR_NOMEM;
    }
    return 0;
}
