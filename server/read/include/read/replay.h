/* The answer to a repeat of what was answered before. */
#pragma once

#include "balancer/idem.h"
#include "request/relay.h"

/** Answer with what was answered before; an answer too long to be kept is asked for again.
 *  @param kind  ROUTE_FILE or ROUTE_BATCH: what it is */
void replay_answer(struct relay *relay, enum route_kind kind, const struct idem_answer *answer);
