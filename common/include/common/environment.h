/* The environment of a program that serves. Operators put keys into it (`OPENAI_API_KEY`, database
 * addresses with passwords, names that only the configuration knows), and everybody who may look at
 * a process reads it: /proc/PID/environ shows the bytes that execve(2) left behind, in every child,
 * for as long as it lives, and so does a core. So the whole of it is copied into secret memory, and
 * every value that is not known to be harmless is wiped where it was. A reload reads the copies,
 * children let go of them, but for the keeper, whose keys file may name some, and the program that
 * SIGUSR2 starts gets all of it back. */
#pragma once

#include <stdbool.h>

#include "common/err.h"

/**
 * Move the environment; before the first fork. From now on getenv(3) finds harmless variables only
 * (PATH, TZ, the sanitizers' and the like), and environment_get() all. TRANCHE_HANDOVER,
 * TRANCHE_LISTEN_FD, TRANCHE_HEALTH_FD and TRANCHE_UPGRADE_FROM stay as they are and are not kept:
 * they carry numbers from a program to the next.
 *
 * Called again, it does nothing.
 *
 * @return 0, ERR_NOMEM: then nothing has changed
 */
MUST_USE int environment_take(void);

/** The value of a variable, as it was at the start when environment_take() has been called; NULL:
 * unset. Valid until environment_drop(). */
const char *environment_get(const char *name);

/** In a child that is about to exec: `environ` is again what it was at the start, and those
 * three as they are now. setenv(3) and execv(3) go on from there. @return 0, ERR_NOMEM */
MUST_USE int environment_restore(void);

/** In a child that stays: the copies go, and environment_get() finds nothing. */
void environment_drop(void);
