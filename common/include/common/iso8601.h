/* Moments as people and other gateways write them: ISO 8601, with the zone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * Read "2026-12-31T23:59:59Z". A space may stand for the T, seconds and their fraction may be
 * missing, the zone is Z or +hh:mm (also +hhmm, +hh). A date alone is the beginning of its day in
 * UTC; a time without a zone is refused, since it would mean another moment on each machine. Pure.
 *
 * @param unix_ms  written when true is returned; what is finer than a millisecond is cut
 * @return false: it is none, or no day of the years 1970 to 9999
 */
bool iso8601_read(const char *text, int64_t *unix_ms);

#define ISO8601_SIZE 32 /* bytes of a text, with its NUL */

/** Write "2026-12-31T23:59:59Z", cut to the second. @param unix_ms  of the years 1970 to 9999 */
void iso8601_print(int64_t unix_ms, char out[ISO8601_SIZE]);
