/* How many input files accounts hold, over all nodes of a database: the keeper's part. What came,
 * went or was counted at this node since the last time (balancer/slots.h keeps it) is told to the
 * database; what the database knows then is what this node holds for the account's number. So an
 * upload or a copy is not sent to an account that another node has filled.
 *
 * Several keepers of one node, during a reload or an upgrade, take each piece of news once. */
#pragma once

#include <stdint.h>

#include "common/err.h"
#include "core/inherited.h"
#include "store/store.h"

#define FILE_TOTALS_EVERY_MS 1000
/* Where nothing happens here, what happened elsewhere is heard that seldom */
#define FILE_TOTALS_QUIET_MS 5000

struct file_totals;

/** @param inherited, store  borrowed; outlive it @return 0, ERR_NOMEM, ERR_DUPLICATE */
MUST_USE int file_totals_new(const struct inherited *inherited, struct store *store,
                             struct file_totals **out);
void file_totals_free(struct file_totals *totals); /* NULL is fine */

/** Tell and hear, when that is due.
 *  @param now_ms  monotonic */
void file_totals_look(struct file_totals *totals, uint64_t now_ms);
