/* The regions that a master keeps for all its generations, besides each generation's own state:
 * made, taken over from the program before, offered to the next one, and cleared of what a program
 * left that is gone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "generation.h"

/** Each one that the program before hands over, else a new one; what does not fit is told.
 * @param known  whether it handed over what it knows of creates
 * @return 0 or ERR_NOMEM; regions_close() in any case */
MUST_USE int regions_open(struct generation_base *base, bool *known);
void regions_close(struct generation_base *base);

/** The one whose size the configuration says, if it is not there yet: it keeps the size that it has
 * at the start. @return 0 or ERR_NOMEM */
MUST_USE int regions_open_registry(struct generation_base *base, const struct config *config);

/** Where batches are that wait or were moved, where there is a journal: that of the program before, or
 * a new one. @return 0 or ERR_NOMEM */
MUST_USE int regions_open_followed(struct generation_base *base, const struct config *config);

/** The counters with labels, where there is a journal, if they are not there yet: as large as the
 * configuration says at the start. @return 0 or ERR_NOMEM */
MUST_USE int regions_open_series(struct generation_base *base, const struct config *config);

/** Cells for the tokens of these credentials, of the program before or of a generation before if they
 * are there. Nothing is made where there are none. @return 0, ERR_NOMEM, ERR_FULL */
MUST_USE int regions_bind_tokens(struct generation_base *base, const struct model_list *models);

/** Tokens of credentials that none of these generations has are wiped, unless the other program has
 * them. @param generations  ours, all of them */
void regions_keep_tokens(const struct generation_base *base, const struct generation *generations,
                         uint32_t side);

/** Name their descriptors. */
void regions_offer(const struct generation_base *base, struct handover_offer *offer);

/** Nobody of the program of that side is alive: undo what it left. Its master has done that for its
 * workers, unless it was killed.
 * @param generations  ours, whose state it may have shared */
void regions_clear_side(const struct generation_base *base, const struct generation *generations,
                        uint32_t side, uint64_t now_ms);
