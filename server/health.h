/* What operators and orchestrators ask: LiteLLM's /health JSON, liveness, readiness. Answers come
 * from shared memory alone: never a probe storm. */
#pragma once

#include "server/relay.h"

void health_full(struct relay *relay);
void health_liveness(struct relay *relay);
void health_readiness(struct relay *relay);

/** Whether a route answers without a key: liveness and readiness. Who asks them without one learns
 * no version. */
static inline bool health_is_for_all(enum route_kind kind)
{
    return kind == ROUTE_LIVENESS || kind == ROUTE_READINESS;
}
