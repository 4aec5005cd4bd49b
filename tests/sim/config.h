/* sim.json: which accounts there are. */
#pragma once

#include "sim.h"

/** Read the configuration. Returns 0, or -1 with a message on stderr. */
int config_load(struct sim *sim, const char *path);

/** Take the members of a "time" object over; absent members stay. */
void config_pace(const struct json *obj, struct pace *pace);
