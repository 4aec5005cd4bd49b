/* What the processes of a gateway forbid themselves, so that keys do not leave by the system's own
 * ways: cores, files that others may read, programs with more rights. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

/** At the start, before anything is made: files are for their owner alone (umask), and the
 * environment's keys and SSLKEYLOGFILE are taken away (environment_take()), with a warning where
 * that changes something, or where we run as root. */
void posture_init(void);

/** Allow or forbid cores of this process and its later children. Forbidden, the process is not
 * dumpable either: PR_SET_DUMPABLE keeps it from core handlers that ignore RLIMIT_CORE, and from
 * other processes of its user that would read its memory (ptrace(2), /proc/PID/mem, environ). */
void posture_set_cores(bool allowed);

/** No program that this process or its children could be made to start gets more rights than they
 * have (PR_SET_NO_NEW_PRIVS). */
void posture_forbid_new_privileges(void);

/** Descriptors for the connections of a worker: the soft limit of a login shell (1,024) is for
 * programs that use select(2), the hard one is the administrator's word. */
void posture_raise_descriptors(void);

/** Whether posture_become() will make this process another user. @param user  as there */
bool posture_will_change(const char *user);

/** Started as root: become the user, with its groups, for good; the files of the logs become its own.
 * Started as somebody else: nothing.
 *  @param user   NULL: `tranche`, if it exists, else stay root, with a warning
 *  @param error  on failure one line for the log
 *  @return 0, ERR_NOT_FOUND, ERR_IO */
MUST_USE int posture_become(const char *user, bool core_dumps, char *error, size_t error_size);

/** Capabilities of a process that is not root's: none, and none for what it would start. */
void posture_drop_capabilities(void);
