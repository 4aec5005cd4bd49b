/* router_settings.model_group_alias: further names for groups. LiteLLM's form is a map of names to
 * a group, or to `{model: group, hidden: true}`. */
#pragma once

#include "config/config.h"
#include "config/report.h"

/** Put the aliases of served groups into config->models.names; others are told and left out, and
 * their names answer to nothing. @return 0, ERR_NOMEM */
MUST_USE int aliases_take(const struct node *root, struct reporter *reporter,
                          struct config *config);

/** The group that an entry stands for; NULL: it names none. */
const char *aliases_target(const struct node *entry);
