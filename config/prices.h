/* What tokens cost (common/price): the prices of rows of model_list and the price map. */
#pragma once

#include "models.h"

/** Take the prices of all rows, from model_info first, then from litellm_params, and the names by
 * which the price map may know their models. Of the list as it is built. Faults are reported.
 *  @return 0, ERR_NOMEM */
MUST_USE int prices_of_rows(struct models_build *build);

/** Take tranche_settings.usage_tags. After the databases.
 *  @param raw  NULL: no file
 *  @return 0, ERR_NOMEM */
MUST_USE int prices_take_tags(const struct raw_config *raw, const struct node *root,
                              struct reporter *reporter, struct config *config);

/** Read tranche_settings.price_map, and tell of prices that nothing uses. After the databases.
 *  @return 0, ERR_NOMEM */
MUST_USE int prices_take_map(const struct node *root, struct reporter *reporter,
                             struct config *config);
