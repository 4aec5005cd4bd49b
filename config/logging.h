/* Where the two logs go, which lines there are, and how they begin; and what is logged of system
 * calls (tranche_settings.seccomp). */
#pragma once

#include "settings.h"

/** Take the settings over. A wrong value is reported and leaves the default.
 *  @return 0, ERR_NOMEM */
MUST_USE int logging_take(const struct settings_input *in, struct config *config);
