/* What operators and orchestrators ask: LiteLLM's /health JSON, liveness, readiness. Answers come
 * from shared memory alone: never a probe storm. */
#pragma once

#include "request/relay.h"

/** GET /health: LiteLLM's JSON of all rows, healthy and unhealthy. It is written in slices: the
 * answer may come after the return. */
void health_full(struct relay *relay);

/** Whether the last probe of a deployment went well, or there was none yet. */
bool health_is_good(const struct runtime *rt, uint32_t deployment);

/** What is wrong with one that is not good, for people.
 *  @return false: nothing is; `text` is not written */
bool health_problem(const struct runtime *rt, uint32_t deployment, char *text, size_t size);

/** GET /health/liveliness and /health/liveness: 200 while the loop turns; at once. */
void health_liveness(struct relay *relay);

/** GET /health/readiness: 200 while a deployment is healthy and admitted, 503 else and once the
 * worker drains; at once. Only who shows a key reads the version. */
void health_readiness(struct relay *relay);
