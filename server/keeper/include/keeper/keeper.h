/* The keeper: one process beside the workers, started where keys of tenants can change while the
 * gateway serves. It alone publishes keys after the fork, and answers what workers ask it. */
#pragma once

#include "core/inherited.h"

/** Its whole life, as child_role.run(); returns its exit code. SIGTERM or SIGQUIT: it answers what
 * it has been asked, for 2 s at most, and ends. */
int keeper_run(const struct inherited *inherited, uint32_t slot);
