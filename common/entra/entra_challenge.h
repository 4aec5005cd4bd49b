/* Azure Arc's challenge: it names a file that only its machine's administrators can read, and that
 * has to be shown (entra 2.3). Whoever listens on that port could name any file, so it is followed
 * into one directory alone (entra statement 9). */
#pragma once

#include <stdbool.h>

#include "entra/entra_answer.h"

/** The path of a WWW-Authenticate header, `Basic realm=PATH`, with or without quotes.
 *  @return false: it is another challenge, or no path that could be one */
bool entra_challenge_read(const char *header, char path[ENTRA_MAX_PATH]);

/** The name of the file in the directory, when it may be read: nothing deeper, nothing above, and its
 * name ends in ".key".
 *  @return of `path`; NULL: it may not */
const char *entra_challenge_name(const char *path, const char *directory);
