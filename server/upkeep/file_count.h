/* Counts how many input files an account holds. Azure bounds them (500 without expiry, 10,000 with
 * one, providers 2.4) and says so only when an upload's bytes have all gone out; the count keeps
 * new files away from a full account (balancer/slots.h). Files are counted at the start, then every
 * ten minutes (timeouts.count_files_ms), and ten times as often near a limit. Outputs are not
 * counted: the bound is on what was uploaded. */
#pragma once

#include "balancer/slots.h"
#include "json/json.h"
#include "upkeep.h"

#define FILE_COUNT_MAX_PAGES 20 /* where a list has pages, of ten thousand files */

struct file_count_tally {
    uint64_t held[SLOTS_KINDS];
};

/** Count one file as its provider lists it. Pure. One that lingers as deleted is not held. */
void file_count_take(struct file_count_tally *tally, const struct json *file);

/** How long the next count waits, in ms. Pure.
 *  @param limits  per kind; 0: none */
uint32_t file_count_next_ms(const struct file_count_tally *tally,
                            const uint64_t limits[SLOTS_KINDS], uint32_t period_ms);

/** A file is being deleted: it is no longer held, if it was counted when it was stored. */
void file_count_forget(const struct upkeep_account *account, const char *native);

/** Begin with all accounts whose provider has a limit. @return 0, ERR_NOMEM */
MUST_USE int file_count_start(struct upkeep *upkeep);
