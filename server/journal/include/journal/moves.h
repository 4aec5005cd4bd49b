/* A batch that failed late: whether it runs at another deployment instead of being shown as failed
 * (journal statements D13, D14). Workers ask this before they show one, the keeper before it ends one:
 * both have to come to the same answer, so all of it is read off the batch, the table and the clock.
 * Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/table.h"
#include "journal/wire.h"

#define MOVES_MAX       3 /* of one batch; after them its failure is shown */
/* How long after its failure a batch is not shown as failed, since it may yet be moved. One that
 * nobody looked at for so long has failed, and stays so. Its move begins MOVES_SLACK_S before that at
 * the latest: clocks of nodes and providers differ */
#define MOVES_LATE_S    1800
#define MOVES_SLACK_S   300
/* Where no other deployment has room it is tried again: first after the time between two looks at a
 * batch (`timeouts.watch_ms`), twice as long each time, up to so many of it */
#define MOVES_WAIT_MOST 15

/** Whether nothing of it ran, and it failed for a reason that is its deployment's alone: it was full,
 * or it is gone there. */
bool moves_is_refusal(const struct wire_seen *seen);

/** Whether another deployment has the model of this one: the row with that fingerprint.
 *  @param fingerprint  of the row; one that is not configured any more has no others */
bool moves_have_place(const struct table *table, uint32_t fingerprint);

/** Whether a batch that failed at a time may still be moved, or be shown as if it was going to be.
 *  @param finished_s, now_s  Unix; 0: not known, it may
 *  @param begins  a move would begin now; else it is shown */
bool moves_in_time(uint64_t finished_s, uint64_t now_s, bool begins);

/** How long it waits after so many tries in vain. */
uint32_t moves_wait_ms(uint32_t tries, uint32_t watch_ms);
