/* Settings that hold for the files of all callers, whatever they send (tenants statements A33, A34,
 * A43): how large they may be, how their names may not end, and when files expire, also those of
 * which nobody says it. Keys and teams may have their own sizes and expiries. */
#pragma once

#include "settings.h"

/** Take them over. A wrong value is reported and leaves the default, which is none.
 *  @return 0, ERR_NOMEM */
MUST_USE int enforced_take(const struct settings_input *in, struct config *config);
