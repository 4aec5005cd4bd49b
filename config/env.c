/* See env.h. */
#include "config/env.h"

#include <stdlib.h>
#include <string.h>

#include "common/environment.h"
#include "common/secret.h"

static bool is_reference(const struct node *node)
{
    return node->kind == NODE_SCALAR && node->variable == NULL &&
           strncmp(node->text, ENV_PREFIX, strlen(ENV_PREFIX)) == 0;
}

/* The length of one UTF-8 sequence (RFC 3629, no surrogates, nothing overlong), or 0. */
static size_t utf8_len(const unsigned char *s)
{
    static const struct {
        unsigned char first, last, low, high;
        size_t len;
    } forms[] = {
        {0x20, 0x7e, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (s[0] < forms[i].first || s[0] > forms[i].last)
            continue;
        if (forms[i].len > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++) {
            if (s[k] < 0x80 || s[k] > 0xbf)
                return 0;
        }
        return forms[i].len;
    }
    return 0;
}

static bool is_text(const char *value)
{
    const unsigned char *at = (const unsigned char *)value;
    size_t len;

    while (*at != '\0') {
        len = utf8_len(at);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}

static void set_null(struct node *node)
{
    if (node->text != NULL)
        secret_wipe(node->text, strlen(node->text));
    free(node->text);
    node->text = NULL;
    node->kind = NODE_NULL;
}

static void set_text(struct node *node, char *text)
{
    set_null(node);
    node->text = text;
    node->kind = NODE_SCALAR;
}

/* Put the value of the variable in the node's place. */
static int put_value(struct node *node, const char *value, struct reporter *reporter)
{
    size_t start, len;
    char *text;

    if (value == NULL) {
        set_null(node);
        return 0;
    }
    start = strspn(value, " \t\r\n");
    len = strlen(value + start);
    while (len > 0 && strchr(" \t\r\n", value[start + len - 1]) != NULL)
        len--;
    if (value[start + len] != '\0' || start > 0)
        report_at(reporter, CONFIG_WARNING, node,
                  "white space around the value of the environment variable %s is cut off",
                  node_variable_name(node));
    text = strndup(value + start, len);
    if (text == NULL)
        return ERR_NOMEM;
    set_text(node, text);
    if (len == 0) {
        set_null(node);
    } else if (!is_text(text)) {
        report_at(reporter, CONFIG_ERROR, node,
                  "the environment variable %s holds bytes that are not text",
                  node_variable_name(node));
        set_null(node);
        node->skipped = true;
    }
    return 0;
}

static int resolve_one(const struct env *env, struct node *node, struct reporter *reporter)
{
    node->variable = strdup(node->text + strlen(ENV_PREFIX));
    if (node->variable == NULL)
        return ERR_NOMEM;
    return put_value(node, env_get(env, node->variable), reporter);
}

int env_resolve(const struct env *env, struct node *node, struct reporter *reporter)
{
    int rc = 0;

    if (node == env->variables)
        return 0;
    if (is_reference(node))
        return resolve_one(env, node, reporter);
    for (size_t i = 0; i < node->num_items && rc == 0; i++)
        rc = env_resolve(env, node->items[i], reporter);
    return rc;
}

void env_init(struct env *env, struct node *root, struct reporter *reporter)
{
    static const struct env process = {NULL};
    struct node *map = root == NULL ? NULL : node_get(root, "environment_variables");

    env->variables = NULL;
    if (map == NULL)
        return;
    if (map->kind != NODE_MAP) {
        if (map->kind != NODE_NULL)
            report_wanted(reporter, map, "a mapping of names to values");
        return;
    }
    for (size_t i = 0; i < map->num_items; i++) {
        struct node *entry = map->items[i];

        if (entry->kind != NODE_SCALAR && entry->kind != NODE_NULL) {
            report_wanted(reporter, entry, "a text");
            entry->skipped = true;
        } else if (is_reference(entry) && resolve_one(&process, entry, reporter) != 0) {
            reporter->failed = true;
        }
    }
    env->variables = map;
}

const char *env_get(const struct env *env, const char *name)
{
    const struct node *entry = node_get(env->variables, name);
    const char *value = NULL;

    if (entry != NULL && entry->kind == NODE_SCALAR)
        value = entry->text;
    if (value == NULL)
        value = environment_get(name);
    return value == NULL || *value == '\0' ? NULL : value;
}

const char *env_first(const struct env *env, const char *const *names, const char **name)
{
    for (; *names != NULL; names++) {
        const char *value = env_get(env, *names);

        if (value != NULL) {
            *name = *names;
            return value;
        }
    }
    return NULL;
}
