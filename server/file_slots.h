/* The files of an account, as balancer/slots.h counts them: all rows of one account show the same
 * number. */
#pragma once

#include "balancer/slots.h"
#include "server/worker.h"

/** That many more, or less, at the account of this deployment. */
void file_slots_add(const struct worker *w, uint32_t deployment, enum slots_kind kind, int change);

/** It refused one for their number. */
void file_slots_refused(const struct worker *w, uint32_t deployment, enum slots_kind kind);
