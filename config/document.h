/* One YAML file and what it includes, as a tree. Bounded: 8 MiB a file, 64 files, 64 levels, 4,096
 * keys a mapping, 200,000 nodes, of which aliases and merge keys may make 10,000. */
#pragma once

#include "common/err.h"
#include "config/report.h"
#include "config/tree.h"

/**
 * Read a file, resolve aliases and merge keys, merge the files of `include:` (relative to the file
 * that names them) the way LiteLLM does: lists are appended, other values of the included file win.
 * Mappings are merged key by key, which LiteLLM does not do. A file is read once, so circles end.
 *
 * @param out  on 0 the tree, its root a mapping; free with tree_free() (on errors too)
 * @return 0; ERR_SYNTAX (reported); ERR_NOMEM
 */
MUST_USE int document_load(const char *path, struct reporter *reporter, struct tree *out);

/** What is called for each item of a list, in order. The item is gone afterwards; it may be changed.
 *  @return 0; else the reading ends and returns that */
typedef int (*document_item_cb)(void *arg, struct node *item);

/* A list at the top of a file that may be too long for a tree. */
struct document_list {
    const char *key;
    document_item_cb on_item;
    void *arg; /* borrowed; the caller's */
};

/**
 * Read a file whose long lists are handed on item by item, so that its size costs no memory but its
 * own. Bounded: 64 MiB, 64 levels, 20,000 nodes an item, 4 million that aliases make. Anchors hold
 * across items. There are no includes.
 *
 * @param lists  the last one has no key
 * @param out    what the file has beside the items; free with tree_free() (on errors too)
 * @return 0; ERR_SYNTAX (reported); ERR_NOMEM; what an item's callback returned
 */
MUST_USE int document_read(const char *path, const struct document_list *lists,
                           struct reporter *reporter, struct tree *out);
