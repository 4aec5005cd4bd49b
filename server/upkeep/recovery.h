/* The recovery fills the quota ledger after a start, when it is empty but the deployments are not.
 * The prober reads the list of each account that the balancer places work on once, newest batch
 * first (with tenants: of each account of a group, since their batches count for them wherever they
 * are); the ledger adopts every unfinished batch whose marker verifies with our seals, with the
 * tokens that the marker tells. Until an account was read its deployments seem empty: the provider
 * refuses what does not fit, and the work moves on.
 *
 * A column that was rebuilt says so in the ledger (quota_is_recovered()), so that a reload or a new
 * prober only reads accounts that have new deployments. Reading one twice changes nothing. */
#pragma once

#include "upkeep.h"
#include "objects/observation.h"

#define RECOVERY_MAX_PAGES 200 /* of a hundred batches */

/* What was read of one account. */
struct recovery_tally {
    uint32_t adopted, foreign; /* unfinished batches: ours, and those of which nothing is known */
    uint64_t tokens;           /* of ours */
    uint32_t refused;          /* ours, but the ledger is full */
    /* of the page being read: */
    bool unfinished;        /* some batch on it runs */
    uint64_t newest_age_ms; /* of its youngest batch */
};

/**
 * Whether older pages can hold anything that still counts. Pure.
 *
 * @param ask_first  Azure, where no job ever expires: only a page without an unfinished batch ends
 *                   the search; elsewhere the lease does
 * @param tally      of the page that was just read
 */
bool recovery_reads_on(bool ask_first, const struct recovery_tally *tally);

/** Begin with the accounts that need it. @return 0, ERR_NOMEM */
MUST_USE int recovery_start(struct upkeep *upkeep);
