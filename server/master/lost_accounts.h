/* Accounts that a reload took out of the configuration while ids of theirs are still about. */
#pragma once

#include "generation.h"

/** Warn, by name, of each account of the generation before whose ids nobody can answer in this one,
 * with the number of its batches that have not ended. Nothing is logged for accounts that balanced
 * no work: their ids carry no account. Running out of memory is no fault, it says nothing then. */
void lost_accounts_tell(const struct generation *previous, const struct generation *next);
