/* Settings that hold for the files of all callers, whatever they send (tenants statements A33, A43):
 * how large a batch file may be, and when files expire, also those of which nobody says it. Keys and
 * teams may have their own. */
#pragma once

#include "settings.h"

/** Take them over. A wrong value is reported and leaves the default, which is none. */
void enforced_take(const struct settings_input *in, struct config *config);
