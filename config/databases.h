/* Where keys of tenants stand besides files: a database of ours, and a LiteLLM's. Both are named,
 * never guessed: a DATABASE_URL in the environment is LiteLLM's own, and nothing is made in it
 * before somebody says so. A place may hold a password, so it is kept as a secret and never shown. */
#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

/** Take tranche_settings.database, .litellm_database and what journal is without a word. Faults are
 * reported.
 *  @return 0, ERR_NOMEM */
MUST_USE int databases_take(const struct node *root, struct reporter *reporter,
                            struct config *config);
