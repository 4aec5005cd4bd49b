/* `tranche id ID`: what a gateway with this configuration makes of an id, for its operator. Nobody
 * is asked; no secret is printed. */
#pragma once

#include "config/config.h"

/** @return exit code: 0 explained; 1 an id that is answered with 404 whoever sends it, or that
 * looks like none of a provider's; 2 out of memory */
int explain_id(const struct config *config, const char *id);
