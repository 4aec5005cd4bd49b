/* A YAML document with its places: what schema.c checks against the tables, and where messages
 * learn file, line and field. Aliases, merge keys and includes are resolved before anybody looks
 * (document.c). Texts may be secrets: everything is wiped when freed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/strbuf.h"

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    struct node *parent; /* borrowed; NULL: the root */
    const char *file;    /* borrowed from struct tree */
    unsigned line;       /* 1-based; the key's in a map */
    unsigned column;     /* 1-based; of the value; 0: not of a file */
    char *key;           /* owned; NULL: an item of a list, or the root */
    char *text;          /* owned; scalars only; no NUL inside */
    /* Owned; the environment variable that `text` came from; NODE_NULL with this set: the variable
     * is unset */
    char *variable;
    bool skipped;        /* somebody already said why this does not count */
    struct node **items; /* owned */
    size_t num_items;
    size_t cap_items;
    size_t num_gone; /* items that stood before these and were freed: document_read() */
};

struct tree {
    struct node *root; /* owned; NULL: none */
    char **files;      /* owned; as a person would name them, in the order they were read */
    size_t num_files;
};

/** A node without place in a tree. NULL: out of memory. */
struct node *node_new(enum node_kind kind, const char *file, unsigned line);
void node_free(struct node *node); /* with everything below; NULL is fine */

/** A deep copy, counted: fails with NULL when more than *budget nodes would be made (`*budget` is
 * then 0) or memory ends. */
struct node *node_copy(const struct node *node, size_t *budget);

/** Put `child` under `parent` as its last item. @return 0, ERR_NOMEM (the child stays the caller's)
 */
MUST_USE int node_append(struct node *parent, struct node *child);

/** Take an item out; the caller owns it. */
struct node *node_detach(struct node *parent, size_t index);

/** The entry of a map, or NULL (also when `map` is NULL or no map). */
struct node *node_get(const struct node *map, const char *key);

/** What a scalar says; NULL for anything else, or no node. Borrowed. */
const char *node_text(const struct node *node);

/** The node at a dotted path below a map, or NULL. */
struct node *node_find(const struct node *map, const char *path);

/** Append the name of the field: "model_list[2].litellm_params.rpm"; nothing for the root. */
void node_path(const struct node *node, struct strbuf *out);

/** The path of a file that a node names: relative to the file in which the node stands.
 *  @return the caller's; NULL: out of memory */
char *node_beside(const struct node *node, const char *path);

/** Append what is there, safe to show: "\"600.5\"", "***", "a list", "nothing". */
void node_show(const struct node *node, struct strbuf *out);

/** The name of the environment variable that it came from, safe to show: SECRET_MASK when it looks
 * like a key and not like a name. Only for nodes with a variable. */
const char *node_variable_name(const struct node *node);

/** Whether values under this key are never shown. */
bool node_is_secret(const struct node *node);

/** Release the nodes and the names of files; the struct is empty again. */
void tree_free(struct tree *tree);
