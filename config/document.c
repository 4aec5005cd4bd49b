/* See document.h. libyaml gives events; the tree is built here rather than with yaml_document_t,
 * because aliases must be counted while they unfold (nine lists of nine aliases each are half a
 * gigabyte) and because keys need their line. */
#include "document.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "common/secret.h"

#define MAX_FILE_BYTES ((size_t)8 << 20) /* 10,000 rows are some 4 MB */
#define MAX_LIST_MIB   64                /* of a file that is read item by item */
#define MAX_FILES      64
#define MAX_DEPTH      64
#define MAX_KEYS       4096 /* of one mapping; finding doubles is quadratic */
#define MAX_NODES      200000
#define MAX_ALIASED    10000
#define MAX_ANCHORS    1000
#define MAX_ITEM_NODES 20000   /* of an item that is handed on and gone */
#define MAX_UNFOLDED   4000000 /* by the aliases of all of them */

struct anchor {
    char *name;        /* owned */
    struct node *node; /* owned; a copy, so that replacing a doubled key cannot free it */
};

/* One file being parsed. */
struct parse {
    yaml_parser_t parser;
    const char *file; /* borrowed from the tree */
    struct reporter *reporter;
    size_t *nodes;   /* left for all files */
    size_t *aliased; /* left for all files */
    struct anchor anchors[MAX_ANCHORS];
    size_t num_anchors;
    const char *bytes; /* borrowed; the file */
    size_t len;
    const struct document_list *lists; /* handed on item by item; ends with a key of NULL */
    int failed;                        /* 0 or what document_load() returns */
};

/* All files of one load. */
struct loading {
    struct tree *tree;
    struct reporter *reporter;
    size_t nodes;
    size_t aliased;
    size_t max_bytes;                  /* of a file */
    const struct document_list *lists; /* as in struct parse */
    struct {
        dev_t dev;
        ino_t ino;
    } seen[MAX_FILES];
};

static struct node *take_value(struct parse *p, const yaml_event_t *event, unsigned depth);

static unsigned line_of(const yaml_event_t *event)
{
    return (unsigned)event->start_mark.line + 1;
}

/* One message per file: the first fault ends the parse. */
static void *fault(struct parse *p, unsigned line, const char *text)
{
    if (p->failed == 0) {
        report_add(p->reporter, CONFIG_ERROR, p->file, line, NULL, "%s", text);
        p->failed = ERR_SYNTAX;
    }
    return NULL;
}

static void *no_memory(struct parse *p)
{
    if (p->failed == 0)
        p->failed = ERR_NOMEM;
    return NULL;
}

static void *too_many(struct parse *p, unsigned line)
{
    return fault(p, line,
                 p->lists->key == NULL ? "more than 200000 values"
                                       : "more than 20000 values in one item, or outside of one");
}

static unsigned count_lines(const char *bytes, size_t len)
{
    unsigned lines = 1;

    for (size_t i = 0; i < len; i++)
        lines += bytes[i] == '\n';
    return lines;
}

/* What libyaml found wrong, in one line; it never quotes the text of the file. */
static void syntax_fault(struct parse *p)
{
    const yaml_parser_t *y = &p->parser;
    struct strbuf text = STRBUF_INIT;
    size_t at = y->problem_mark.index;
    unsigned line = (unsigned)y->problem_mark.line + 1;

    if (y->error == YAML_MEMORY_ERROR) {
        no_memory(p);
        return;
    }
    strbuf_addf(&text, "not YAML: %s", y->problem == NULL ? "unreadable" : y->problem);
    if (y->error == YAML_READER_ERROR) {
        line = count_lines(p->bytes, y->problem_offset < p->len ? y->problem_offset : p->len);
        strbuf_adds(&text, " (a binary file?)");
    } else {
        strbuf_addf(&text, " in column %zu", y->problem_mark.column + 1);
        if (y->context != NULL)
            strbuf_addf(&text, ", %s that started in line %zu", y->context,
                        y->context_mark.line + 1);
        if (at < p->len && p->bytes[at] == '\t')
            strbuf_adds(&text, " (a tab; indent with spaces)");
    }
    fault(p, line, strbuf_str(&text));
    strbuf_deinit(&text);
}

static bool next_event(struct parse *p, yaml_event_t *event)
{
    if (p->failed != 0)
        return false;
    if (!yaml_parser_parse(&p->parser, event)) {
        syntax_fault(p);
        return false;
    }
    return true;
}

static struct node *new_node(struct parse *p, enum node_kind kind, const yaml_event_t *event)
{
    struct node *node;

    if (*p->nodes == 0)
        return too_many(p, line_of(event));
    (*p->nodes)--;
    node = node_new(kind, p->file, line_of(event));
    if (node == NULL)
        return no_memory(p);
    node->column = (unsigned)event->start_mark.column + 1;
    return node;
}

static bool append(struct parse *p, struct node *parent, struct node *child)
{
    if (node_append(parent, child) == 0)
        return true;
    node_free(child);
    no_memory(p);
    return false;
}

/* YAML's own types are fine (every scalar is text to us), an application's are not: LiteLLM's
 * loader refuses them as well. */
static bool known_tag(struct parse *p, const yaml_event_t *event, const yaml_char_t *tag)
{
    if (tag == NULL || strcmp((const char *)tag, "!") == 0 ||
        strncmp((const char *)tag, "tag:yaml.org,2002:", 18) == 0)
        return true;
    fault(p, line_of(event), "got a tag of its own kind (!...), wanted a plain value");
    return false;
}

static bool is_null(const yaml_event_t *event)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    const yaml_char_t *tag = event->data.scalar.tag;

    if (tag != NULL)
        return strcmp((const char *)tag, YAML_NULL_TAG) == 0;
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
        if (strcmp((const char *)event->data.scalar.value, nulls[i]) == 0)
            return true;
    }
    return false;
}

static char *scalar_text(struct parse *p, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    char *text;

    if (strlen(value) != event->data.scalar.length)
        return fault(p, line_of(event), "got a NUL byte inside a text");
    text = strdup(value);
    return text == NULL ? no_memory(p) : text;
}

static struct node *take_scalar(struct parse *p, const yaml_event_t *event)
{
    struct node *node;

    if (!known_tag(p, event, event->data.scalar.tag))
        return NULL;
    node = new_node(p, is_null(event) ? NODE_NULL : NODE_SCALAR, event);
    if (node == NULL || node->kind == NODE_NULL)
        return node;
    node->text = scalar_text(p, event);
    if (node->text != NULL)
        return node;
    node_free(node);
    return NULL;
}

static struct node *take_alias(struct parse *p, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct node *copy;

    /* The latest definition counts, as YAML wants. */
    for (size_t i = p->num_anchors; i-- > 0;) {
        if (strcmp(p->anchors[i].name, name) != 0)
            continue;
        copy = node_copy(p->anchors[i].node, p->aliased);
        if (copy != NULL)
            return copy;
        if (*p->aliased > 0)
            return no_memory(p);
        return fault(p, line_of(event),
                     p->lists->key == NULL ? "aliases unfold to more than 10000 values"
                                           : "aliases unfold to more than 4000000 values");
    }
    return fault(p, line_of(event), "an alias without its anchor before it");
}

static struct node *take_list(struct parse *p, const yaml_event_t *start, unsigned depth)
{
    struct node *list, *item;
    yaml_event_t event;
    bool end = false;

    if (!known_tag(p, start, start->data.sequence_start.tag))
        return NULL;
    list = new_node(p, NODE_LIST, start);
    while (list != NULL && !end && next_event(p, &event)) {
        end = event.type == YAML_SEQUENCE_END_EVENT;
        item = end ? NULL : take_value(p, &event, depth + 1);
        if (item != NULL)
            append(p, list, item);
        yaml_event_delete(&event);
    }
    if (p->failed == 0)
        return list;
    node_free(list);
    return NULL;
}

/* The last of several equal keys counts, as in LiteLLM's loader. */
static void put_entry(struct parse *p, struct node *map, struct node *entry)
{
    for (size_t i = 0; i < map->num_items; i++) {
        struct node *old = map->items[i];

        if (strcmp(old->key, entry->key) != 0)
            continue;
        entry->parent = map;
        report_at(p->reporter, CONFIG_WARNING, entry,
                  "given before in line %u; the last one counts", old->line);
        map->items[i] = entry;
        node_free(old);
        return;
    }
    if (map->num_items == MAX_KEYS) {
        fault(p, entry->line, "more than 4096 keys in one mapping");
        node_free(entry);
        return;
    }
    append(p, map, entry);
}

/* Entries of a merged map that the map itself does not have. */
static void merge_map(struct parse *p, struct node *map, struct node *from)
{
    while (p->failed == 0 && from->num_items > 0) {
        struct node *entry = node_detach(from, 0);

        if (node_get(map, entry->key) != NULL)
            node_free(entry);
        else
            put_entry(p, map, entry);
    }
}

/* `<<: *base` or `<<: [*a, *b]`, taken in at the end of the mapping, because its own keys win
 * wherever they stand. */
static void merge(struct parse *p, struct node *map, struct node *from)
{
    if (from->kind == NODE_MAP) {
        merge_map(p, map, from);
        return;
    }
    if (from->kind != NODE_LIST)
        fault(p, from->line, "a merge key (<<) wants a mapping or a list of mappings");
    for (size_t i = 0; p->failed == 0 && i < from->num_items; i++) {
        if (from->items[i]->kind == NODE_MAP)
            merge_map(p, map, from->items[i]);
        else
            fault(p, from->line, "a merge key (<<) wants a mapping or a list of mappings");
    }
}

/* The list whose items are handed on, NULL: the value of this key at the top is none. */
static const struct document_list *list_of(const struct parse *p, const yaml_event_t *key,
                                           const yaml_event_t *value, unsigned depth)
{
    if (depth > 0 || value->type != YAML_SEQUENCE_START_EVENT)
        return NULL;
    for (const struct document_list *list = p->lists; list->key != NULL; list++)
        if (strcmp(list->key, (const char *)key->data.scalar.value) == 0)
            return list;
    return NULL;
}

/* One item lives at a time, at its place in the list. */
static void hand_on_item(struct parse *p, const struct document_list *list, struct node *parent,
                         struct node *item)
{
    int rc;

    if (!append(p, parent, item))
        return;
    rc = list->on_item(list->arg, item);
    if (rc != 0 && p->failed == 0)
        p->failed = rc;
    node_free(node_detach(parent, 0));
    parent->num_gone++;
    *p->nodes = MAX_ITEM_NODES;
}

/* What remains is the list without its items. An anchor before it names nothing. */
static struct node *hand_on(struct parse *p, const struct document_list *list,
                            const yaml_event_t *start, struct node *map)
{
    struct node *node = new_node(p, NODE_LIST, start), *item;
    yaml_event_t event;
    bool end = false;

    if (node == NULL)
        return NULL;
    node->parent = map;
    node->key = strdup(list->key);
    if (node->key == NULL)
        no_memory(p);
    else if (node_get(map, list->key) != NULL)
        fault(p, node->line, "given before; wanted one list");
    while (!end && next_event(p, &event)) {
        end = event.type == YAML_SEQUENCE_END_EVENT;
        item = end ? NULL : take_value(p, &event, 2);
        if (item != NULL)
            hand_on_item(p, list, node, item);
        yaml_event_delete(&event);
    }
    if (p->failed == 0)
        return node;
    node_free(node);
    return NULL;
}

/* The value of a key of `map` whose event is given. */
static struct node *take_entry(struct parse *p, const yaml_event_t *key, struct node *map,
                               unsigned depth)
{
    const struct document_list *list;
    struct node *entry = NULL;
    yaml_event_t event;

    if (key->type != YAML_SCALAR_EVENT)
        return fault(p, line_of(key), "got a list or a mapping as a key, wanted a text");
    if (!next_event(p, &event))
        return NULL;
    list = list_of(p, key, &event, depth);
    entry = list != NULL ? hand_on(p, list, &event, map) : take_value(p, &event, depth + 1);
    yaml_event_delete(&event);
    if (entry == NULL)
        return NULL;
    entry->line = line_of(key);
    free(entry->key); /* a copied alias brings the name it had */
    entry->key = scalar_text(p, key);
    if (entry->key != NULL)
        return entry;
    node_free(entry);
    return NULL;
}

static bool is_merge_key(const yaml_event_t *key)
{
    return key->type == YAML_SCALAR_EVENT && key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           strcmp((const char *)key->data.scalar.value, "<<") == 0;
}

static struct node *take_map(struct parse *p, const yaml_event_t *start, unsigned depth)
{
    struct node *map, *entry, *merged = NULL;
    yaml_event_t event;
    bool end = false;

    if (!known_tag(p, start, start->data.mapping_start.tag))
        return NULL;
    map = new_node(p, NODE_MAP, start);
    while (map != NULL && !end && next_event(p, &event)) {
        end = event.type == YAML_MAPPING_END_EVENT;
        entry = end ? NULL : take_entry(p, &event, map, depth);
        if (entry != NULL && is_merge_key(&event) && merged == NULL)
            merged = entry;
        else if (entry != NULL && is_merge_key(&event)) {
            fault(p, entry->line, "two merge keys (<<) in one mapping");
            node_free(entry);
        } else if (entry != NULL)
            put_entry(p, map, entry);
        yaml_event_delete(&event);
    }
    if (merged != NULL && p->failed == 0)
        merge(p, map, merged);
    node_free(merged);
    if (p->failed == 0)
        return map;
    node_free(map);
    return NULL;
}

static const yaml_char_t *anchor_of(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

static void remember(struct parse *p, const yaml_event_t *event, const struct node *node)
{
    struct anchor *anchor = &p->anchors[p->num_anchors];
    const char *name = (const char *)anchor_of(event);

    if (name == NULL)
        return;
    if (p->num_anchors == MAX_ANCHORS) {
        fault(p, line_of(event), "more than 1000 anchors");
        return;
    }
    *anchor = (struct anchor){.name = strdup(name), .node = node_copy(node, p->nodes)};
    p->num_anchors++;
    if (anchor->node == NULL && *p->nodes == 0)
        too_many(p, line_of(event));
    else if (anchor->name == NULL || anchor->node == NULL)
        no_memory(p);
}

static struct node *take_value(struct parse *p, const yaml_event_t *event, unsigned depth)
{
    struct node *node;

    if (depth > MAX_DEPTH)
        return fault(p, line_of(event), "nested deeper than 64 levels");
    if (event->type == YAML_ALIAS_EVENT)
        return take_alias(p, event);
    if (event->type == YAML_SCALAR_EVENT)
        node = take_scalar(p, event);
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        node = take_list(p, event, depth);
    else
        node = take_map(p, event, depth);
    if (node != NULL)
        remember(p, event, node);
    if (p->failed == 0)
        return node;
    node_free(node);
    return NULL;
}

/* The one document of a file; NULL when it is empty or wrong. */
static struct node *take_document(struct parse *p)
{
    struct node *root = NULL;
    yaml_event_t event;
    bool end = false;

    while (!end && next_event(p, &event)) {
        end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && root != NULL)
            fault(p, line_of(&event), "a second document starts here; wanted one");
        else if (event.type == YAML_SCALAR_EVENT || event.type == YAML_ALIAS_EVENT ||
                 event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT)
            root = take_value(p, &event, 0);
        yaml_event_delete(&event);
    }
    if (p->failed == 0 && (root == NULL || root->kind == NODE_NULL))
        fault(p, 1, "the file is empty; wanted settings");
    else if (p->failed == 0 && root->kind != NODE_MAP)
        fault(p, root->line, "got a list or a text, wanted a mapping of settings at the top");
    if (p->failed == 0)
        return root;
    node_free(root);
    return NULL;
}

static int parse_bytes(struct loading *l, const char *file, const char *bytes, size_t len,
                       struct node **out)
{
    struct parse *p = calloc(1, sizeof(*p));
    int rc;

    if (p == NULL)
        return ERR_NOMEM;
    p->file = file;
    p->reporter = l->reporter;
    p->nodes = &l->nodes;
    p->aliased = &l->aliased;
    p->bytes = bytes;
    p->len = len;
    p->lists = l->lists;
    if (!yaml_parser_initialize(&p->parser)) {
        free(p);
        return ERR_NOMEM;
    }
    yaml_parser_set_input_string(&p->parser, (const unsigned char *)bytes, len);
    *out = take_document(p);
    rc = p->failed;
    for (size_t i = 0; i < p->num_anchors; i++) {
        free(p->anchors[i].name);
        node_free(p->anchors[i].node);
    }
    yaml_parser_delete(&p->parser);
    free(p);
    return rc;
}

static int read_all(int fd, size_t max_bytes, char *bytes, size_t *len)
{
    ssize_t n;

    *len = 0;
    do {
        n = read(fd, bytes + *len, max_bytes + 1 - *len);
        if (n > 0)
            *len += (size_t)n;
    } while (n > 0 || (n == -1 && errno == EINTR));
    if (n == -1)
        return ERR_IO;
    return *len > max_bytes ? ERR_LIMIT : 0;
}

/* Whether this very file was read before; otherwise it is remembered. */
static bool was_seen(struct loading *l, const struct stat *st)
{
    size_t n = l->tree->num_files;

    for (size_t i = 0; i < n; i++) {
        if (l->seen[i].dev == st->st_dev && l->seen[i].ino == st->st_ino)
            return true;
    }
    l->seen[n].dev = st->st_dev;
    l->seen[n].ino = st->st_ino;
    return false;
}

static int name_file(struct tree *tree, const char *path)
{
    char **files = realloc(tree->files, (tree->num_files + 1) * sizeof(*files));
    char *name = strdup(path);

    if (files != NULL)
        tree->files = files;
    if (files == NULL || name == NULL) {
        free(name);
        return ERR_NOMEM;
    }
    tree->files[tree->num_files++] = name;
    return 0;
}

/* Where a file cannot be read, the place that asked for it is to blame: the `include` entry, or
 * nobody but the name itself. */
static int unreadable(struct loading *l, const char *path, const struct node *asked,
                      const char *why)
{
    if (asked != NULL)
        report_at(l->reporter, CONFIG_ERROR, asked, "cannot read %s: %s", path, why);
    else
        report_add(l->reporter, CONFIG_ERROR, path, 0, NULL, "cannot read: %s", why);
    return ERR_SYNTAX;
}

/* What a file may have: what it has now, where that is known (not of what a kernel makes up). */
static size_t most_bytes(const struct loading *l, const struct stat *st)
{
    size_t size = S_ISREG(st->st_mode) && st->st_size > 0 ? (size_t)st->st_size : l->max_bytes;

    return size < l->max_bytes ? size : l->max_bytes;
}

static const char *too_long(const struct loading *l, size_t most)
{
    if (most < l->max_bytes)
        return "it was written to meanwhile";
    return l->max_bytes == MAX_FILE_BYTES ? "longer than 8 MiB" : "longer than 64 MiB";
}

/* *out stays NULL when the file was read before. */
static int load_file(struct loading *l, const char *path, const struct node *asked,
                     struct node **out)
{
    char *bytes = NULL;
    size_t len = 0, most;
    struct stat st;
    int fd, rc;

    *out = NULL;
    if (l->tree->num_files == MAX_FILES)
        return unreadable(l, path, asked, "more than 64 files");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1) {
        rc = unreadable(l, path, asked, strerror(errno));
        goto done;
    }
    rc = 0;
    if (was_seen(l, &st)) {
        report_at(l->reporter, CONFIG_WARNING, asked, "%s was read before; not read again", path);
        goto done;
    }
    most = most_bytes(l, &st);
    bytes = malloc(most + 1);
    rc = bytes == NULL ? ERR_NOMEM : read_all(fd, most, bytes, &len);
    if (rc == ERR_IO)
        rc = unreadable(l, path, asked, strerror(errno));
    else if (rc == ERR_LIMIT)
        rc = unreadable(l, path, asked, too_long(l, most));
    if (rc == 0)
        rc = name_file(l->tree, path);
    if (rc == 0)
        rc = parse_bytes(l, l->tree->files[l->tree->num_files - 1], bytes, len, out);
done:
    if (bytes != NULL)
        secret_wipe(bytes, len);
    free(bytes);
    if (fd != -1)
        close(fd);
    return rc;
}

/* An entry of an included file goes over the one that is there, lists after lists. */
static int merge_entry(struct loading *l, struct node *map, struct node *entry)
{
    struct node *have = node_get(map, entry->key);
    int rc = 0;

    if (have == NULL || have->kind == NODE_NULL) {
        for (size_t i = 0; have != NULL && i < map->num_items; i++) {
            if (map->items[i] == have)
                node_free(node_detach(map, i));
        }
        return node_append(map, entry);
    }
    if (have->kind == entry->kind && have->kind != NODE_SCALAR) {
        while (rc == 0 && entry->num_items > 0) {
            struct node *child = node_detach(entry, 0);

            rc = have->kind == NODE_MAP ? merge_entry(l, have, child) : node_append(have, child);
            if (rc != 0)
                node_free(child);
        }
        if (rc == 0)
            node_free(entry);
        return rc;
    }
    report_at(l->reporter, CONFIG_WARNING, have, "also given in %s:%u; the included file wins",
              entry->file, entry->line);
    for (size_t i = 0; i < map->num_items; i++) {
        if (map->items[i] == have) {
            entry->parent = map;
            map->items[i] = entry;
        }
    }
    node_free(have);
    return 0;
}

static int merge_file(struct loading *l, struct node *root, struct node *included)
{
    int rc = 0;

    while (rc == 0 && included->num_items > 0) {
        struct node *entry = node_detach(included, 0);

        rc = merge_entry(l, root, entry);
        if (rc != 0)
            node_free(entry);
    }
    node_free(included);
    return rc;
}

static char *beside(const char *file, const char *name)
{
    const char *slash = strrchr(file, '/');
    struct strbuf path = STRBUF_INIT;

    if (name[0] != '/' && slash != NULL)
        strbuf_add(&path, file, (size_t)(slash - file) + 1);
    strbuf_adds(&path, name);
    return strbuf_take(&path);
}

static int load_with_includes(struct loading *l, const char *path, const struct node *asked,
                              struct node **out);

static int include_one(struct loading *l, struct node *root, const struct node *name)
{
    struct node *included;
    char *path;
    int rc;

    if (name->kind != NODE_SCALAR) {
        report_wanted(l->reporter, name, "the name of a file");
        return ERR_SYNTAX;
    }
    path = beside(name->file, name->text);
    if (path == NULL)
        return ERR_NOMEM;
    rc = load_with_includes(l, path, name, &included);
    free(path);
    if (rc == 0 && included != NULL)
        rc = merge_file(l, root, included);
    return rc;
}

/* `include` leaves the tree; what it names comes in, in its order. */
static int process_includes(struct loading *l, struct node *root)
{
    struct node *include = NULL;
    int rc = 0;

    for (size_t i = 0; i < root->num_items && include == NULL; i++) {
        if (strcmp(root->items[i]->key, "include") == 0) {
            include = node_detach(root, i);
            include->parent = root; /* for the names in messages */
        }
    }
    if (include == NULL)
        return 0;
    if (include->kind == NODE_SCALAR)
        rc = include_one(l, root, include);
    else if (include->kind == NODE_MAP)
        report_wanted(l->reporter, include, "a list of files");
    for (size_t i = 0; include->kind == NODE_LIST && i < include->num_items && rc != ERR_NOMEM;
         i++) {
        int one = include_one(l, root, include->items[i]);

        rc = one == 0 ? rc : one;
    }
    node_free(include);
    return rc;
}

static int load_with_includes(struct loading *l, const char *path, const struct node *asked,
                              struct node **out)
{
    int rc = load_file(l, path, asked, out);

    if (rc == 0 && *out != NULL)
        rc = process_includes(l, *out);
    if (rc != 0) {
        node_free(*out);
        *out = NULL;
    }
    return rc;
}

int document_load(const char *path, struct reporter *reporter, struct tree *out)
{
    static const struct document_list none = {NULL, NULL, NULL};
    struct loading l = {.tree = out,
                        .reporter = reporter,
                        .nodes = MAX_NODES,
                        .aliased = MAX_ALIASED,
                        .max_bytes = MAX_FILE_BYTES,
                        .lists = &none};

    *out = (struct tree){0};
    return load_with_includes(&l, path, NULL, &out->root);
}

int document_read(const char *path, const struct document_list *lists, struct reporter *reporter,
                  struct tree *out)
{
    struct loading l = {.tree = out,
                        .reporter = reporter,
                        .nodes = MAX_ITEM_NODES,
                        .aliased = MAX_UNFOLDED,
                        .max_bytes = (size_t)MAX_LIST_MIB << 20,
                        .lists = lists};

    *out = (struct tree){0};
    return load_file(&l, path, NULL, &out->root);
}
