/* The listening socket: made by the master, shared by all workers (a connection never waits behind
 * one busy worker: front README 1.2). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define LISTENER_TEXT 128 /* room for "[address%scope]:port" */

/**
 * Bind and listen: SO_REUSEADDR, non-blocking, closed on exec. `host` is an IPv4 or IPv6 address
 * (with or without brackets; "::" takes IPv4 too), a name (its first address that can be bound,
 * IPv4 before IPv6), or "", which is 0.0.0.0.
 *
 * @param port   0: any free one
 * @param error  on failure one line that names host, port and reason
 * @return the descriptor (the caller's), or ERR_INVALID (no such host), ERR_IO (errno)
 */
MUST_USE int listener_open(const char *host, int port, char *error, size_t error_size);

/** Take over a descriptor that is listening already (of the program we replace): checks that it is
 * a listening stream socket, makes it non-blocking and closed on exec. @return `fd`, or ERR_INVALID
 */
MUST_USE int listener_adopt(int fd);

/** "127.0.0.1:4000", "[::1]:4000": where it really listens, port 0 resolved. @return 0 or ERR_IO */
MUST_USE int listener_name(int fd, char *text, size_t size);
