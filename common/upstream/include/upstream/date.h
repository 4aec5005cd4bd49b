/* When an answer was made, by the clock of who made it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "upstream/client.h"

/** Read an HTTP date in any of its three forms (RFC 9110 section 5.6.7). Pure.
 *  @param unix_s  written when it is one
 *  @return false: it is none */
bool date_read(const char *text, int64_t *unix_s);

/** The `Date` of an answer (RFC 9110 section 6.6.1), as its origin wrote it. An answer out of a
 * cache (`Age`, RFC 9111 section 5.1) tells an old time, so it counts as none. Pure.
 *  @param unix_s  written when there is one
 *  @return false: it tells none that can be used */
bool date_of(const struct upstream_head *head, int64_t *unix_s);
