/* Closes what lists of tenants' files say that they lack (registry_gaps()): files that were made
 * before the database knew of any, or while a gateway was killed. Nobody but the registry knows
 * whose a file is; but where each file that the providers have of that time is known, none is
 * missing. So the accounts' lists of files are read once for a gap, back to its beginning, and the
 * keeper closes what was found to be none. One that stays is looked at again, for other nodes' files
 * are known a moment later, and files are deleted: after some seconds, then less and less often.
 * Where no database keeps what tenants own, nothing is read. */
#pragma once

#include "balancer/registry.h"
#include "upkeep.h"

#define GAPS_FIRST_MS  500     /* for the keeper to read what it has */
#define GAPS_LOOK_MS   5000    /* between two looks whether there is one */
#define GAPS_AGAIN_MS  10000   /* before one that stayed is looked at again; doubled each time */
#define GAPS_SELDOM_MS 3600000 /* up to this */
#define GAPS_RETRY_MS  60000   /* the same, when an account did not answer */
#define GAPS_MAX_PAGES 20      /* of ten thousand files */

/** Whether a file of that time may be one that is missing. Pure.
 *  @param created_s  Unix time; 0: not told */
bool gaps_cover(const struct registry_gaps *gaps, int64_t created_s);

/** Whether tenants upload files for it, as opposed to what providers make themselves. Pure.
 *  @param purpose  NULL: not told */
bool gaps_count_purpose(const char *purpose);

/** @return 0, ERR_NOMEM */
MUST_USE int gaps_start(struct upkeep *upkeep);
