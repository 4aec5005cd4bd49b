/* The models that the keys of a file may name: groups, aliases of groups, access groups. Made once
 * for a file, so that 100,000 keys are not compared with 10,000 rows each. */
#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

struct key_names {
    const struct config *config; /* borrowed */
    const char **exact;          /* owned, its texts borrowed from the configuration; sorted */
    size_t num_exact;
    const char **patterns; /* owned, as above; those with a `*` */
    size_t num_patterns;
};

/** @return 0, ERR_NOMEM. Free with key_names_deinit() in both cases */
MUST_USE int key_names_init(struct key_names *names, const struct config *config);
void key_names_deinit(struct key_names *names);

/**
 * Read `models`: names of groups and access groups (which are replaced by their groups), patterns
 * that end in `*`, "*" and "all-proxy-models" for all, "all-team-models" (tenants statement A17). A
 * name that nothing here has is a warning.
 *
 * @param node  a list or one text
 * @param team  of a team, which has no team itself
 * @param out   empty; the caller frees it
 * @return 0, faults are reported; ERR_NOMEM
 */
MUST_USE int key_names_take(const struct key_names *names, const struct node *node, bool team,
                            struct reporter *reporter, struct rights_models *out);

/** Read `aliases`: a mapping of names to models. @return 0, faults are reported; ERR_NOMEM */
MUST_USE int key_names_take_aliases(const struct key_names *names, const struct node *node,
                                    struct reporter *reporter, struct rights_models *out);
