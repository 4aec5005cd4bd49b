/* fallbacks and default_fallbacks: which groups take over the work of another one. Their keys are
 * the operator's own names, so they are read from the tree instead of through libcyaml's tables. */
#pragma once

#include "config/config.h"
#include "config/report.h"

/** Fill config->fallbacks; config->models must be built. router_settings go over litellm_settings,
 * whole lists at a time. Wrong shapes and names that no row has are errors; of names whose rows are
 * not served here a warning tells.
 *  @param root  the file; NULL: none
 *  @return 0, ERR_NOMEM */
MUST_USE int fallbacks_take(const struct node *root, struct reporter *reporter,
                            struct config *config);

/** Free what a fallback owns. */
void fallbacks_deinit(struct config_fallback *fallback);
