/* model_group_retry_policy: retry policies of single groups. Its keys are the operator's own names,
 * so it is read from the tree instead of through libcyaml's tables. */
#pragma once

#include "config/config.h"
#include "config/report.h"

/** Fill config->group_retries; config->models must be built. Wrong shapes and numbers are errors;
 * of a group that no row served here has a warning tells, as LiteLLM takes any name.
 *  @param root  the file; NULL: none
 *  @return 0, ERR_NOMEM */
MUST_USE int group_retries_take(struct node *root, struct reporter *reporter,
                                struct config *config);
