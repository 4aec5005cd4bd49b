/* One YAML file and what it includes, as a tree. Bounded: 1 MiB a file, 64 files, 64 levels, 4,096
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
