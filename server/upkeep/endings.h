/* Which models end: the lists of models of all accounts that speak OpenAI's dialect, at the start
 * and once a day. What they say stands beside the probe words, for POST files/validate; what is
 * near stands in the log. */
#pragma once

#include "upkeep.h"

/** Note what an account's list of models says of its deployments, and log each model whose end is
 * near. @return models that end soon */
unsigned endings_take(const struct upkeep_account *account, const struct json *list, int64_t now_s);

/** Begin with all accounts. @return 0, ERR_NOMEM */
MUST_USE int endings_start(struct upkeep *upkeep);
