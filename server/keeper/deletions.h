/* Files of batches that are to be deleted (store/store_deletions.h), as the keeper hands them out and
 * hears of them; and the rule of a batch whose create nobody told of. */
#pragma once

#include <stdint.h>

#include "common/err.h"
#include "core/inherited.h"
#include "journal/wire.h"
#include "keeper/calls.h"
#include "store/store_deletions.h"
#include "store/store_fleet.h"

#define DELETIONS_AT_ONCE 8 /* that one question hands out, at most */

struct deletions {
    const struct inherited *inherited; /* borrowed */
    struct store *store;               /* borrowed */
    const struct fleet_me *me;         /* borrowed */
};

/** How many a prober gets that could take `free` tasks more: batches go before, so that it keeps half
 * of its places for them. Pure. */
uint32_t deletions_share(uint32_t free);

/** As a task. @param out  its text is the row's */
void deletions_to_wire(const struct store_deletion *deletion, struct wire_due *out);

/** Serve KEEPER_DELETION. @param deletions  borrowed */
void deletions_serve(struct deletions *deletions, struct calls *calls);

/** `delete_after` of a batch that was found in a list, by its marker: of the key that it names, if it
 * is there still, else of its team, else of the configuration.
 *  @param key  0: its owner is the key
 *  @return seconds; 0: its files stay */
uint32_t deletions_rule(const struct inherited *inherited, uint64_t owner, uint64_t key);
