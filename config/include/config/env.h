/* The environment as a configuration sees it: the file's `environment_variables:` over the
 * process's own (LiteLLM puts the former into the latter; here nothing is written, so that a reload
 * starts clean), and `os.environ/NAME` in any value. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/report.h"
#include "config/tree.h"

#define ENV_PREFIX "os.environ/"

struct env {
    const struct node *variables; /* borrowed; the map `environment_variables`, NULL: none */
};

/** Take `environment_variables:` from the tree, its own `os.environ/` references resolved. Wrong
 * shapes are reported and left out. */
void env_init(struct env *env, struct node *root, struct reporter *reporter);

/** The value of a variable; NULL when it is unset or empty. Valid as long as the tree and the
 * environment. */
const char *env_get(const struct env *env, const char *name);

/** The first of several that is set; *name says which (unchanged when none is). The list ends with
 * NULL. */
const char *env_first(const struct env *env, const char *const *names, const char **name);

/**
 * Replace every `os.environ/NAME` below `node` by the variable's value. An unset one leaves a
 * NODE_NULL that remembers the name: whether that matters is the reader's to say. White space
 * around a value (a key file's last newline) is cut with a warning.
 *
 * @return 0, ERR_NOMEM
 */
MUST_USE int env_resolve(const struct env *env, struct node *node, struct reporter *reporter);
