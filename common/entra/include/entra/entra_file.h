/* The files of credentials: the only part of this room that touches a disk. They are read whole, for
 * each token call (entra statement 6), into memory that cores leave out. Blocks as files do: for the
 * process that makes token calls, not for a worker. */
#pragma once

#include "common/err.h"
#include "common/secret.h"
#include "entra/entra_error.h"

#define ENTRA_MAX_FILE    65536 /* bytes of an assertion, a secret, a certificate with its chain */
#define ENTRA_MAX_ARC_KEY 4096  /* (entra 2.3) */
#define ENTRA_ARC_KEYS    "/var/opt/azcmagent/tokens"

/** Read a credential's file. Links are followed: mounted secrets are links, which is how they are
 * replaced in one step.
 *  @param out  empty; secret_clear() it
 *  @return 0; ERR_IO: it cannot be read; ERR_INVALID: no regular file, or empty; ERR_LIMIT; ERR_NOMEM:
 *          the message says which file and why */
MUST_USE int entra_file_read(const char *path, struct secret *out, struct entra_error *error);

/** Read the key file that Azure Arc's challenge names (entra_answer.challenge), if it may be: directly
 * in the directory, its name ends in ".key", a regular file and no link, ENTRA_MAX_ARC_KEY bytes at
 * most (entra statement 9).
 *  @param directory  ENTRA_ARC_KEYS; absolute, without a slash behind it; tests have their own
 *  @return as entra_file_read(); ERR_INVALID also for a path that may not be read */
MUST_USE int entra_file_arc_key(const char *path, const char *directory, struct secret *out,
                                struct entra_error *error);
