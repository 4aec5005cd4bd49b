/* tranche_settings.quotas: how many tokens of unfinished batches each deployment may hold, for
 * operators who keep their limits in one place rather than in each row's model_info. */
#pragma once

#include "config/config.h"
#include "config/report.h"
#include "schema.h"

/** Fill in enqueued_token_limit of the deployments that the rows name; config->models must be
 * built. The closest word counts: the row's own model_info, then a quota that names the deployment
 * (by id before by upstream name, within a group before everywhere), then one that names its group.
 *  @param raw, root  the file; NULL: none
 *  @return 0, ERR_NOMEM */
MUST_USE int quotas_apply(const struct raw_config *raw, const struct node *root,
                          struct reporter *reporter, struct config *config);
