/* The last known state of a batch (balancer/poll_cache.h), applied to a batch object that arrives
 * now. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "json/json.h"
#include "core/inherited.h"

/** The state to use for a batch that was seen. A batch that is known to have ended stays ended,
 * also when its provider shows it running again; new states are stored.
 *  @param account  fingerprint of where it is
 *  @param doc      owns `batch`, and the result
 *  @param batch    as the provider sent it
 *  @param moment   polls_moment() from before it was asked for; 0: not known
 *  @return `batch`, or the one that had ended, as the provider had sent that */
struct json *polls_believe(const struct inherited *inherited, uint32_t account,
                           struct json_doc *doc, struct json *batch, uint64_t now_ms,
                           uint64_t moment);

/** When something is asked of a provider, in the order of changes: poll_cache_moment(). */
uint64_t polls_moment(const struct inherited *inherited);

/** A cancel or delete has ended, whatever its answer says: poll_cache_change(). */
void polls_changed(const struct inherited *inherited, uint32_t account, const char *native);

/** Whether it runs, by its look, and is known to have ended. */
bool polls_is_outdated(const struct inherited *inherited, uint32_t account,
                       const struct json *batch, uint64_t now_ms);

/** What was seen of it last, however long ago. @return in `doc`, as the provider had sent it; NULL:
 * nothing is known. Of one that has not ended: as long as none was changed through us meanwhile */
struct json *polls_last(const struct inherited *inherited, uint32_t account, const char *native,
                        struct json_doc *doc, uint64_t now_ms);

/** What may be answered without asking the provider: what was seen within
 * `tranche_settings.poll_cache_ms`. @return in `doc`, as the provider had sent it; NULL: nothing */
struct json *polls_recall(const struct inherited *inherited, uint32_t account, const char *native,
                          struct json_doc *doc, uint64_t now_ms);
