/* How long the files of a batch stay at their provider after its end: `delete_after` of keys, teams
 * and the configuration. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RETENTION_UNSET 0          /* nothing is said */
#define RETENTION_NONE  UINT32_MAX /* "none": they stay, whatever is said elsewhere */
#define RETENTION_MIN_S 3600
#define RETENTION_MAX_S (366u * 86400)

#define RETENTION_WANTED "none, or hours, days or weeks: 1h, 30d, 2w; 366d at most"

/** Read a `delete_after`. A number alone is none: of hours and of seconds it could be either.
 *  @param seconds  written when true is returned: RETENTION_NONE, or RETENTION_MIN_S to
 *                  RETENTION_MAX_S
 *  @return false: it is none */
bool retention_read(const char *text, uint32_t *seconds);

/** What holds of a batch: its key's, else its team's, else the configuration's.
 *  @return seconds after its end; 0: its files stay */
uint32_t retention_of(uint32_t key_s, uint32_t team_s, uint32_t config_s);
