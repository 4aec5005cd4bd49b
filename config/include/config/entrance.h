/* How clients come in: a path before all routes, further headers for the key, and the origins whose
 * pages may call. */
#pragma once

#include "config/config.h"
#include "config/env.h"
#include "config/report.h"

/** Check that the port of health is another one than that of all routes, and fill in root_path (the variable SERVER_ROOT_PATH, as in LiteLLM), key_header
 * (general_settings.litellm_key_header_name) and cors_origins (tranche_settings.cors_origins).
 *  @param root  NULL: no file
 *  @return 0, ERR_NOMEM */
MUST_USE int entrance_take(const struct node *root, const struct env *env,
                           struct reporter *reporter, struct config *config);

/** What operators have to know of the master key, on one line: for the log and /health. "" when all
 * is well. */
const char *entrance_warning(const struct config *config);
