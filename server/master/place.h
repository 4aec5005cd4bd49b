/* The place of a gateway: one address in one state directory, where it keeps what the next gateway
 * has to know (core/past, keeper/outbox). Two gateways there, such as two containers of one volume,
 * would each take the other one's words for its own, so the second one is refused.
 *
 * What holds a place is a lock (flock(2)) on a file beside the record, and the lock alone: it ends
 * with its master however that ends, and what stands in the file only tells people who it is. The
 * program that follows at a binary upgrade gets the descriptor, and with it the same lock. */
#pragma once

#include <stddef.h>

#include "common/err.h"
#include "config/config.h"
#include "handover.h"

#define PLACES 64 /* at once: of generations that serve, start and drain */

struct place;

/**
 * Hold the place of this configuration: one that an earlier generation holds, or that the program
 * before hands over, else a new lock. Waits up to a fifth of a second for one that is being let go.
 *
 * @param out    place_release(); NULL: there is none (port 0 in a directory that nobody named), or
 *               it cannot be locked, which the log is told and which hinders nothing
 * @param error  on failure one line for the log
 * @return 0, ERR_NOMEM, ERR_DUPLICATE (another gateway holds it)
 */
MUST_USE int place_take(const struct config *config, struct place **out, char *error,
                        size_t error_size);

/** Write into its file that this process holds it. NULL is fine. */
void place_sign(const struct place *place);

/** Name its descriptor to the next program. NULL is fine. */
void place_offer(const struct place *place, struct handover_offer *offer);

/** The descriptors of all places, which children must not keep. @return how many, at most PLACES */
size_t place_list(int fds[PLACES]);

/** With the last generation that holds it the lock ends. NULL is fine. */
void place_release(struct place *place);

/** From here on a lock outlives its generations: the program ends, and writes its records before
 * another one reads them. */
void place_keep_all(void);

/** All locks end. No place may be used afterwards. */
void place_end_all(void);
