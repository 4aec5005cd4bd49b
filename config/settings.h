/* Everything of the file but models: one row per setting with its bounds and its place in struct
 * config. */
#pragma once

#include "config/config.h"
#include "config/env.h"
#include "config/report.h"
#include "scalar.h"
#include "schema.h"

/* The warning about a policy for failures that never lead to another try, nor to a cooldown. */
#define SETTINGS_IDLE_FAILURE                                                                      \
    "without effect: a request that is at fault is answered, and counts for no deployment"

struct settings_input {
    const struct raw_config *raw; /* NULL: no file */
    const struct node *root;      /* NULL: no file */
    const struct env *env;
    const struct config_overrides *overrides; /* NULL: none */
    struct reporter *reporter;
};

/** Fill in the defaults that need no file and no environment. @return 0, ERR_NOMEM */
MUST_USE int settings_defaults(struct config *config);

/** Take over what the environment, the file and the command line say, in this order; wrong values
 * are reported and leave the default.
 *  @param default_timeout_ms  router_settings.timeout or litellm_settings.request_timeout, for rows
 *         without their own; 0: none
 *  @return 0, ERR_NOMEM */
MUST_USE int settings_apply(const struct settings_input *in, struct config *config,
                            uint32_t *default_timeout_ms);

/** Parse one text of the file under a rule; a wrong one is reported at `node`. @return whether *out
 * was written */
bool settings_parse(const struct scalar_rule *rule, const char *text, const struct node *node,
                    struct reporter *reporter, union scalar_value *out);

/** Note the value as it is understood: "= 30s". */
void settings_honoured(const struct scalar_rule *rule, const union scalar_value *value,
                       const struct node *node, struct reporter *reporter);
