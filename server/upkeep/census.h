/* The census: how many input files an account holds. Azure bounds them (500 without expiry, 10,000
 * with one, providers 2.4) and says so only when an upload's bytes have all gone out; what is
 * counted here keeps new files away from a full account (balancer/slots.h). At the start, then
 * every ten minutes (timeouts.count_files_ms), ten times as often near a limit. Outputs are not
 * counted: the bound is on what was uploaded. */
#pragma once

#include "balancer/slots.h"
#include "json/json.h"
#include "errand.h"

#define CENSUS_MAX_PAGES 20 /* where a list has pages, of ten thousand files */

struct census_tally {
    uint64_t held[SLOTS_KINDS];
};

/** Count one file as its provider lists it. Pure. What lingers as deleted holds no place. */
void census_take(struct census_tally *tally, const struct json *file);

/** Until the next count. Pure.
 *  @param limits  per kind; 0: none */
uint32_t census_next_ms(const struct census_tally *tally, const uint64_t limits[SLOTS_KINDS],
                        uint32_t period_ms);

/** A file that was counted when it was stored is being deleted. */
void census_file_goes(const struct errand_account *account, const char *native);

/** Begin with all accounts whose provider has a limit. @return 0, ERR_NOMEM */
MUST_USE int census_start(struct errands *errands);
