/* What operators and orchestrators ask: LiteLLM's /health JSON, liveness, readiness. Answers come
 * from shared memory alone: never a probe storm. */
#pragma once

#include "request/relay.h"

void health_full(struct relay *relay);
void health_liveness(struct relay *relay);
void health_readiness(struct relay *relay);
