/* LiteLLM's settings that hold for the files of all callers, whatever they send (tenants statements
 * A33, A43): how large a batch file may be, and when files expire. Keys and teams may have their
 * own. */
#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

/** Take them over. A wrong value is reported and leaves the default, which is none. */
void enforced_take(const struct node *root, struct reporter *reporter, struct config *config);
