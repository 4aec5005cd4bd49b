/* The bridge to the balancer: candidates with what shared memory knows about them now, and the
 * policy's choice. */
#pragma once

#include "balancer/pick.h"
#include "balancer/state.h"
#include "upstream/failure.h"
#include "routing/candidates.h"
#include "core/runtime.h"

struct choose_question {
    enum op_class op;
    const uint32_t *candidates; /* deployments */
    uint32_t num;
    const bool *tried;    /* per candidate: this request was there already, or it cannot take it */
    uint64_t tokens;      /* of the job, as estimated; 0: unknown, or none */
    uint64_t unsure_from; /* choose_unsure_from(): limits from which on they may be enough */
    /* A tenant asks: which deployments there are, and how much others have there, is not told */
    bool discreet;
};

/** Choose among candidates and take the right to try there (a cooling deployment past its time lets
 * one prober in). A create goes only where its tokens fit now. An upload goes there too, but when
 * they fit nowhere now it goes where there will be room first: its create will ask again. Of more
 * than SAMPLE_EXACT candidates a sample is looked at (balancer/sample.h), and all when none of it
 * is up and has room.
 *  @return deployment; MODEL_NO_INDEX: nowhere to go now */
uint32_t choose_deployment(struct runtime *rt, const struct choose_question *q);

/** The same among candidates whose fallbacks wait for what comes before them.
 *  @param tried    [candidates->num]: this request was there already, or it cannot take it
 *  @param tier    in and out: of the candidates in use; 0 at first
 *  @param tokens   and `unsure_from`: as of a question
 *  @return MODEL_NO_INDEX: no tier has any left */
uint32_t choose_in_tiers(struct runtime *rt, enum op_class op, const struct candidates *candidates,
                         const bool *tried, uint32_t *tier, uint64_t tokens, uint64_t unsure_from);

/** What the operator allows was tried in the tier of this deployment: all that is left of it, and
 * of those before it, is marked as tried. @return how many wait behind it */
uint32_t choose_leave_tier(const struct candidates *candidates, bool *tried, uint32_t deployment);

/** What choose_deployment() gave was not tried after all: the right to probe goes to somebody else.
 */
void choose_give_back(struct runtime *rt, enum op_class op, uint32_t deployment);

/** Of a job whose estimate is more than every limit, but which may be smaller: the largest limit. A
 * deployment of that limit takes it once nothing is enqueued there, since only the provider can say
 * for certain; no smaller one does.
 *  @param tokens  as estimated
 *  @param least   for certain
 *  @return 0: there is no such need (a limit is enough, or unknown), or no hope */
uint64_t choose_unsure_from(struct runtime *rt, const uint32_t *candidates, uint32_t num,
                            uint64_t tokens, uint64_t least);

/** Why there is nowhere to go: 400 when the tokens are for certain more than every limit, 429 with
 * the expected wait when there is no room now or the limits of this minute are reached, else 503.
 * `q->tried` is not looked at. */
void choose_nowhere(struct runtime *rt, const struct choose_question *q, struct failure *out);

/** Fill in what is known about a deployment now. */
void choose_describe(struct runtime *rt, enum op_class op, uint32_t deployment, uint64_t now_ms,
                     struct pick_candidate *c);

/** All of more than SAMPLE_EXACT candidates, as they were a moment ago. q->tokens are not looked
 * at.
 *  @return [q->num], the worker's own until its next choice, of which `eligible` may be written;
 *          NULL: out of memory */
struct pick_candidate *choose_look_at_all(struct runtime *rt, const struct choose_question *q);

/** The policy for these candidates (of one group, or one account). */
const struct pick_policy *choose_policy(const struct runtime *rt, const uint32_t *candidates,
                                        uint32_t num);
