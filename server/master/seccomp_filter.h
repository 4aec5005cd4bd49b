/* Which system calls a process may make that reads what strangers send (seccomp(2)): those that it
 * is known to need. A hole in a parser then reaches no program, no other process and no kernel
 * interface that the gateway has no use for. */
#pragma once

#include <stdbool.h>

/**
 * From here on this process, its threads and its children are held to the list; there is no way
 * back. To be called with PR_SET_NO_NEW_PRIVS set, and before there are threads.
 *
 * A build with a sanitizer has no filter: the sanitizers' own calls are others.
 *
 * @param mode  enum config_seccomp; of another call than those listed: LOG: it is made, and the
 *              kernel's log tells process and number; KILL: the process ends by SIGSYS; OFF:
 *              there is no filter
 * @return false: the kernel or its sandbox has no filters (errno); nothing has changed then
 */
bool seccomp_filter_install(int mode);
