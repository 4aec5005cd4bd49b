/* See tree.h. */
#include "config/tree.h"

#include <stdlib.h>
#include <string.h>

#include "common/secret.h"

#define SHOWN_BYTES    80 /* of a value in a message */
#define NAME_MAX_BYTES 64 /* a longer "name" of a variable is none */
#define WORD_BYTES     20 /* nor is one of this length without an underscore, or of mixed kinds */

struct node *node_new(enum node_kind kind, const char *file, unsigned line)
{
    struct node *node = calloc(1, sizeof(*node));

    if (node == NULL)
        return NULL;
    node->kind = kind;
    node->file = file;
    node->line = line;
    return node;
}

static void free_text(char *text)
{
    if (text != NULL)
        secret_wipe(text, strlen(text));
    free(text);
}

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->num_items; i++)
        node_free(node->items[i]);
    free(node->items);
    free(node->key);
    free_text(node->text);
    free(node->variable);
    free(node);
}

static char *copy_text(const char *text, bool *failed)
{
    char *copy = text == NULL ? NULL : strdup(text);

    if (text != NULL && copy == NULL)
        *failed = true;
    return copy;
}

struct node *node_copy(const struct node *node, size_t *budget)
{
    struct node *copy, *child;
    bool failed = false;

    if (*budget == 0)
        return NULL;
    (*budget)--;
    copy = node_new(node->kind, node->file, node->line);
    if (copy == NULL)
        return NULL;
    copy->column = node->column;
    copy->key = copy_text(node->key, &failed);
    copy->text = copy_text(node->text, &failed);
    copy->variable = copy_text(node->variable, &failed);
    if (failed)
        goto fail;
    for (size_t i = 0; i < node->num_items; i++) {
        child = node_copy(node->items[i], budget);
        if (child == NULL)
            goto fail;
        if (node_append(copy, child) != 0) {
            node_free(child);
            goto fail;
        }
    }
    return copy;
fail:
    node_free(copy);
    return NULL;
}

int node_append(struct node *parent, struct node *child)
{
    struct node **items;
    size_t cap;

    if (parent->num_items == parent->cap_items) {
        cap = parent->cap_items == 0 ? 4 : parent->cap_items * 2;
        items = realloc(parent->items, cap * sizeof(struct node *));
        if (items == NULL)
            return ERR_NOMEM;
        parent->items = items;
        parent->cap_items = cap;
    }
    parent->items[parent->num_items++] = child;
    child->parent = parent;
    return 0;
}

struct node *node_detach(struct node *parent, size_t index)
{
    struct node *child = parent->items[index];

    parent->num_items--;
    memmove(parent->items + index, parent->items + index + 1,
            (parent->num_items - index) * sizeof(struct node *));
    child->parent = NULL;
    return child;
}

static struct node *get_len(const struct node *map, const char *key, size_t len)
{
    if (map == NULL || map->kind != NODE_MAP)
        return NULL;
    for (size_t i = 0; i < map->num_items; i++) {
        const char *have = map->items[i]->key;

        if (strncmp(have, key, len) == 0 && have[len] == '\0')
            return map->items[i];
    }
    return NULL;
}

const char *node_text(const struct node *node)
{
    return node == NULL || node->kind != NODE_SCALAR ? NULL : node->text;
}

struct node *node_get(const struct node *map, const char *key)
{
    return get_len(map, key, strlen(key));
}

struct node *node_find(const struct node *map, const char *path)
{
    struct node *node = NULL;
    size_t len;

    do {
        len = strcspn(path, ".");
        node = get_len(map, path, len);
        map = node;
        path += len;
    } while (*path++ == '.' && node != NULL);
    return node;
}

void node_path(const struct node *node, struct strbuf *out)
{
    const struct node *parent = node->parent;

    if (parent == NULL)
        return;
    node_path(parent, out);
    if (node->key != NULL) {
        if (parent->parent != NULL)
            strbuf_addc(out, '.');
        strbuf_adds(out, secret_looks_like_one(node->key) ? SECRET_MASK : node->key);
        return;
    }
    for (size_t i = 0; i < parent->num_items; i++) {
        if (parent->items[i] == node)
            strbuf_addf(out, "[%zu]", parent->num_gone + i);
    }
}

char *node_beside(const struct node *node, const char *path)
{
    const char *slash = node->file == NULL || *path == '/' ? NULL : strrchr(node->file, '/');
    struct strbuf full = STRBUF_INIT;

    if (slash != NULL)
        strbuf_add(&full, node->file, (size_t)(slash - node->file) + 1);
    strbuf_adds(&full, path);
    return strbuf_take(&full);
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

/* An entry of `keys:` has a key in one field, and tells about it in the others. */
static bool is_key_list(const struct node *node, const struct node *child)
{
    return node->kind == NODE_LIST && child != NULL && child->kind == NODE_MAP &&
           node->key != NULL && strcmp(node->key, "keys") == 0;
}

bool node_is_secret(const struct node *node)
{
    static const char *const ends[] = {
        "key",      "keys",        "token",     "secret",
        "password", "credentials", "_variables"}; /* cert and key *files* end otherwise */

    for (const struct node *child = NULL; node != NULL; child = node, node = node->parent) {
        if (is_key_list(node, child))
            continue;
        for (size_t i = 0; node->key != NULL && i < sizeof(ends) / sizeof(ends[0]); i++) {
            if (ends_with(node->key, ends[i]))
                return true;
        }
    }
    return false;
}

/* Keys are pasted into the wrong field now and then, and addresses carry passwords or codes: such
 * values are hidden too. */
static bool looks_secret(const char *text)
{
    const char *query = strchr(text, '?');

    if (secret_looks_like_one(text))
        return true;
    if (query != NULL && strncmp(query, "?api-version=", 13) != 0)
        return true;
    return strstr(text, "://") != NULL && strchr(text, '@') != NULL;
}

/* Of `os.environ/NAME`. A key may have been pasted behind it: what has not the form of a variable's
 * name is not shown. */
static bool is_variable_name(const char *text)
{
    bool lower = false, digit = false, joined = false;
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        lower |= text[i] >= 'a' && text[i] <= 'z';
        digit |= text[i] >= '0' && text[i] <= '9';
        joined |= text[i] == '_';
        if (!(text[i] == '_' || (text[i] >= '0' && text[i] <= '9' && i > 0) ||
              (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z')))
            return false;
    }
    return len > 0 && len <= NAME_MAX_BYTES && !secret_looks_like_one(text) &&
           (len < WORD_BYTES || (joined && !(lower && digit)));
}

const char *node_variable_name(const struct node *node)
{
    return is_variable_name(node->variable) ? node->variable : SECRET_MASK;
}

static void show_text(const char *text, struct strbuf *out)
{
    size_t len = strlen(text);

    strbuf_addc(out, '"');
    for (size_t i = 0; i < len && i < SHOWN_BYTES; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f)
            strbuf_addf(out, "\\x%02x", c);
        else if (c == '"' || c == '\\')
            strbuf_addf(out, "\\%c", c);
        else
            strbuf_addc(out, (char)c);
    }
    strbuf_adds(out, len > SHOWN_BYTES ? "...\"" : "\"");
}

void node_show(const struct node *node, struct strbuf *out)
{
    if (node == NULL || (node->kind == NODE_NULL && node->variable == NULL))
        strbuf_adds(out, "nothing");
    else if (node->variable != NULL)
        strbuf_addf(out, SECRET_MASK " (from os.environ/%s)", node_variable_name(node));
    else if (node->kind == NODE_LIST)
        strbuf_adds(out, "a list");
    else if (node->kind == NODE_MAP)
        strbuf_adds(out, "a mapping");
    else if (node_is_secret(node) || looks_secret(node->text))
        strbuf_adds(out, SECRET_MASK);
    else
        show_text(node->text, out);
}

void tree_free(struct tree *tree)
{
    node_free(tree->root);
    for (size_t i = 0; i < tree->num_files; i++)
        free(tree->files[i]);
    free(tree->files);
    *tree = (struct tree){0};
}
