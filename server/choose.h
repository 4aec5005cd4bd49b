/* The bridge to the balancer: candidates with what shared memory knows about them now, and the
 * policy's choice. */
#pragma once

#include "balancer/state.h"
#include "common/upstream/failure.h"
#include "server/worker.h"

/** Choose among candidates and take the right to try there (a cooling deployment past its time lets
 * one prober in).
 *  @param tried   per candidate: this request was there already
 *  @param tokens  of the job; 0: unknown
 *  @return deployment; MODEL_NO_INDEX: nowhere to go now */
uint32_t choose_deployment(struct worker *w, enum op_class op, const uint32_t *candidates,
                           uint32_t num, const bool *tried, uint64_t tokens);

/** What choose_deployment() gave was not tried after all: the right to probe goes to somebody else.
 */
void choose_give_back(struct worker *w, enum op_class op, uint32_t deployment);

/** The answer for that: 429 when limits of this minute are the reason, else 503, with Retry-After
 * of the earliest change. */
void choose_nowhere(struct worker *w, enum op_class op, const uint32_t *candidates, uint32_t num,
                    struct failure *out);
