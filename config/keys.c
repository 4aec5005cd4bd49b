/* See keys.h. */
#include "config/keys.h"

#include <stdlib.h>
#include <string.h>

#include "common/hidden.h"
#include "config/env.h"
#include "document.h"
#include "headers.h"
#include "databases.h"
#include "key_entry.h"
#include "key_fields.h"
#include "keys_impl.h"
#include "webhooks.h"
#include "models.h"

#define MAX_WARNINGS 100 /* of keys that are told one by one */

bool keys_has_form(const char *text)
{
    return strncmp(text, "sk-", 3) == 0 && strlen(text) >= SECRET_STRONG_MIN &&
           headers_is_visible(text);
}

/* --- access groups --- */

static int add_group(struct config_access_group *access, const char *group)
{
    char **groups = realloc(access->groups, (access->num_groups + 1) * sizeof(*groups));

    if (groups == NULL)
        return ERR_NOMEM;
    access->groups = groups;
    groups[access->num_groups] = strdup(group);
    if (groups[access->num_groups] == NULL)
        return ERR_NOMEM;
    access->num_groups++;
    return 0;
}

/* The access group of that name; a new one where there is none. NULL: out of memory. */
static struct config_access_group *find_access(struct config *config, const char *name)
{
    size_t num = config->num_access_groups;
    struct config_access_group *list = config->access_groups;

    for (size_t i = 0; i < num; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    list = realloc(list, (num + 1) * sizeof(*list));
    if (list == NULL)
        return NULL;
    config->access_groups = list;
    list[num] = (struct config_access_group){.name = strdup(name)};
    if (list[num].name == NULL)
        return NULL;
    config->num_access_groups++;
    return &list[num];
}

static int add_access(struct config *config, const struct node *name, const char *group)
{
    struct config_access_group *access;

    if (node_text(name) == NULL || *name->text == '\0')
        return 0;
    access = find_access(config, name->text);
    if (access == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < access->num_groups; i++)
        if (strcmp(access->groups[i], group) == 0)
            return 0;
    return add_group(access, group);
}

/* model_info.access_groups of one row: a list or one name. */
static int take_access(const struct node *row, struct config *config)
{
    const struct node *groups = node_find(row, "model_info.access_groups");
    const char *name = node_text(node_get(row, "model_name"));
    int rc = 0;

    if (row->skipped || groups == NULL || name == NULL)
        return 0;
    if (groups->kind == NODE_SCALAR)
        return add_access(config, groups, name);
    for (size_t i = 0; i < groups->num_items && rc == 0; i++)
        rc = add_access(config, groups->items[i], name);
    return rc;
}

static int take_access_groups(const struct node *root, struct config *config)
{
    const struct node *list = node_get(root, "model_list");
    int rc = 0;

    for (size_t i = 0; list != NULL && i < list->num_items && rc == 0; i++)
        rc = take_access(list->items[i], config);
    return rc;
}

/* --- reading --- */

static int begin(struct key_reading *r, const struct config *config, struct reporter *reporter,
                 struct rights_list *list)
{
    *r = (struct key_reading){.config = config, .reporter = reporter, .list = list};
    return key_names_init(&r->names, config);
}

static void end(struct key_reading *r)
{
    key_names_deinit(&r->names);
    key_marks_deinit(&r->marks);
}

typedef int (*take_cb)(struct key_reading *r, const struct node *entry);

static int take_list(struct key_reading *r, const struct node *list, take_cb take)
{
    int rc = 0;

    if (!key_fields_given(list))
        return 0;
    if (list->kind != NODE_LIST) {
        report_wanted(r->reporter, list, "a list of mappings");
        return 0;
    }
    for (size_t i = 0; i < list->num_items && rc == 0; i++)
        rc = take(r, list->items[i]);
    return rc;
}

/* How many warnings were not told, if any. */
static void tell_rest(struct reporter *reporter, const char *file)
{
    size_t more = reporter->num_warnings - MAX_WARNINGS;

    reporter->max_warnings = 0;
    if (reporter->num_warnings > MAX_WARNINGS)
        report_add(reporter, CONFIG_WARNING, file, 0, NULL, "%zu more warnings are not shown",
                   more);
}

/* The reporter of a configuration has warnings already, which do not count here. */
static size_t begin_telling(struct reporter *reporter)
{
    size_t before = reporter->num_warnings;

    reporter->num_warnings = 0;
    reporter->max_warnings = MAX_WARNINGS;
    return before;
}

/* --- the keys of the configuration --- */

static int take_inline(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *keys = node_find(root, "tranche_settings.keys");
    const struct node *teams = node_find(root, "tranche_settings.teams");
    size_t before = begin_telling(reporter);
    struct key_reading r;
    int rc = begin(&r, config, reporter, &config->keys);

    if (rc == 0)
        rc = take_list(&r, teams, key_entry_take_team);
    if (rc == 0)
        rc = take_list(&r, keys, key_entry_take_key);
    if (rc == 0 && keys != NULL && config->keys_file == NULL)
        key_entry_check_teams(&r, keys->file);
    end(&r);
    tell_rest(reporter, root == NULL ? NULL : root->file);
    reporter->num_warnings += before;
    if (keys != NULL && config->keys.num_keys > 0)
        report_at(reporter, CONFIG_HONOURED, keys, "= %zu keys", config->keys.num_keys);
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* --- the keys file --- */

static int on_key(void *arg, struct node *item)
{
    static const struct env process = {NULL};
    struct key_reading *r = arg;
    int rc = env_resolve(&process, item, r->reporter);

    return rc != 0 ? rc : key_entry_take_key(r, item);
}

static int on_team(void *arg, struct node *item)
{
    return key_entry_take_team(arg, item);
}

/* What the file has beside its lists. */
static void check_top(const struct node *root, struct reporter *reporter)
{
    for (size_t i = 0; root != NULL && i < root->num_items; i++) {
        const struct node *node = root->items[i];

        if (strcmp(node->key, "keys") != 0 && strcmp(node->key, "teams") != 0)
            report_at(reporter, CONFIG_ERROR, node, "unknown key, wanted keys and teams");
        else if (node->kind != NODE_LIST && key_fields_given(node))
            report_wanted(reporter, node, "a list of mappings");
    }
}

/* @param tree  for the order of notes; freed by the caller, after them
 * @return 0 also when there are faults, which are reported; ERR_NOMEM */
static int read_file(const struct config *config, struct reporter *reporter, struct tree *tree,
                     struct rights_list *out)
{
    struct key_reading r;
    const struct document_list lists[] = {
        {"keys", on_key, &r}, {"teams", on_team, &r}, {NULL, NULL, NULL}};
    size_t before = begin_telling(reporter);
    int rc = begin(&r, config, reporter, out);

    *tree = (struct tree){0};
    r.num_other_keys = config->keys.num_keys;
    r.num_other_teams = config->keys.num_teams;
    if (rc == 0)
        rc = key_entry_mark_list(&r, &config->keys);
    r.in_file = true;
    if (rc == 0)
        rc = document_read(config->keys_file, lists, reporter, tree);
    if (rc == 0)
        check_top(tree->root, reporter);
    if (rc == 0)
        key_entry_check_teams(&r, config->keys_file);
    end(&r);
    tell_rest(reporter, config->keys_file);
    reporter->num_warnings += before;
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

static int load_file(struct reporter *reporter, struct config *config)
{
    size_t errors = reporter->num_errors;
    struct tree tree;
    int rc;

    if (config->keys_file == NULL)
        return 0;
    rc = read_file(config, reporter, &tree, &config->file_keys);
    tree_free(&tree);
    if (rc == 0 && reporter->num_errors == errors)
        report_add(reporter, CONFIG_HONOURED, config->keys_file, 0, NULL, "= %zu keys, %zu teams",
                   config->file_keys.num_keys, config->file_keys.num_teams);
    return rc;
}

struct read_call {
    const struct config *config;
    struct rights_list *out;
    struct config_report *report;
    int rc;
};

static void call_read(void *arg)
{
    struct read_call *call = arg;
    struct reporter reporter = {0};
    struct tree tree = {0};
    int rc = 0, finish;

    if (call->config->keys_file != NULL)
        rc = read_file(call->config, &reporter, &tree, call->out);
    if (rc == 0 && reporter.num_errors > 0)
        rc = ERR_INVALID;
    finish = report_finish(&reporter, &tree, call->report);
    tree_free(&tree);
    if (rc == 0)
        rc = finish;
    if (rc != 0)
        rights_list_deinit(call->out);
    call->rc = rc;
}

int config_keys_read(const struct config *config, struct rights_list *out,
                     struct config_report *report)
{
    struct read_call call = {config, out, report, ERR_NOMEM};

    *out = (struct rights_list){0};
    hidden_run(call_read, &call);
    return call.rc;
}

/* --- both --- */

bool keys_are_named(const struct node *root)
{
    const struct node *keys = node_find(root, "tranche_settings.keys");

    return (keys != NULL && keys->num_items > 0) ||
           key_fields_given(node_find(root, "tranche_settings.keys_file")) ||
           key_fields_given(node_find(root, "tranche_settings.database")) ||
           key_fields_given(node_find(root, "tranche_settings.litellm_database"));
}

static bool has_database(const struct config *config)
{
    return secret_is_set(&config->database) || secret_is_set(&config->litellm_database);
}

/* Without a master key whoever reaches the port is the master, so that a tenant needed no key of
 * its own to be more than with it. */
static void check_master(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *settings = node_get(root, "tranche_settings");
    const char *field = secret_is_set(&config->database)           ? "database"
                        : secret_is_set(&config->litellm_database) ? "litellm_database"
                        : config->keys_file != NULL                ? "keys_file"
                        : config->keys.num_keys > 0                ? "keys"
                                                                   : "jwt";

    config->has_tenants = config->keys_file != NULL || config->keys.num_keys > 0 ||
                          config->jwt.enabled || has_database(config);
    if (config->has_tenants && !secret_is_set(&config->master_key) &&
        !report_was_unset(node_find(root, "general_settings.master_key")))
        report_under(reporter, CONFIG_ERROR, settings, field,
                     "%s need general_settings.master_key or LITELLM_MASTER_KEY: "
                     "without one everybody is served as its owner",
                     config->keys_file != NULL || config->keys.num_keys > 0 ? "keys of tenants"
                                                                            : "tokens");
}

int keys_take(const struct node *root, struct reporter *reporter, struct config *config)
{
    int rc = take_access_groups(root, config);

    if (rc == 0) /* whether there is a journal, which keys with budgets need */
        rc = databases_take(root, reporter, config);
    if (rc == 0)
        rc = take_inline(root, reporter, config);
    if (rc == 0)
        rc = load_file(reporter, config);
    if (rc == 0)
        rc = webhooks_take(root, reporter, config);
    if (rc == 0)
        check_master(root, reporter, config);
    return rc;
}

void keys_deinit(struct config *config)
{
    rights_list_deinit(&config->keys);
    rights_list_deinit(&config->file_keys);
    webhooks_deinit(config);
    free(config->keys_file);
    secret_clear(&config->database);
    secret_clear(&config->litellm_database);
    secret_clear(&config->database_passwords[0]);
    secret_clear(&config->database_passwords[1]);
    for (size_t i = 0; i < config->num_access_groups; i++) {
        for (size_t k = 0; k < config->access_groups[i].num_groups; k++)
            free(config->access_groups[i].groups[k]);
        free(config->access_groups[i].groups);
        free(config->access_groups[i].name);
    }
    free(config->access_groups);
}
