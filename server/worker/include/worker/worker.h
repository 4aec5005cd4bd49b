/* One worker: the process that serves clients, and the table of routes. */
#pragma once

#include "core/inherited.h"

/** A worker's whole life, as child_role.run(); returns its exit code. SIGTERM, SIGQUIT and SIGCHLD
 * are default before, nothing is blocked, terminal signals are ignored. SIGTERM or SIGQUIT: drain;
 * another one changes nothing. */
int worker_run(const struct inherited *inherited, uint32_t slot);
