/* The prober: one process beside the workers, which asks each account whether it works and looks
 * after what the workers share. */
#pragma once

#include "core/inherited.h"

/** Its whole life, as child_role.run(); returns its exit code. SIGTERM or SIGQUIT: ends at once,
 * nobody waits for it. */
int prober_run(const struct inherited *inherited, uint32_t slot);
