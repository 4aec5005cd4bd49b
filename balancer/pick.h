/* Which deployment of a group: a pure choice over candidates. Only `simple-shuffle` here (LiteLLM's exact rule: by `weight` if the
 * first candidate has one, else by rpm, else by tpm, else uniform); other policies plug in as struct pick_policy. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct pick_candidate {
    uint32_t deployment;      /* index in the table */
    double weight;            /* 0: not given */
    int64_t rpm, tpm;         /* limits; 0: not given */
    int32_t order;            /* 0: not given; lower first */
    bool admitted;            /* its breaker lets this operation through */
    bool tried;               /* this request was there already */
    uint64_t requests_minute; /* begun in this minute */
    uint64_t tokens_minute;
    uint64_t in_flight;
    uint64_t latency_us;
};

struct pick_policy {
    const char *name; /* LiteLLM's routing_strategy */
    /* Index into candidates[0..n), n >= 1; all are eligible. `random` is uniform in [0,1). Pure. */
    uint32_t (*choose)(const struct pick_candidate *candidates, uint32_t n, uint64_t tokens, double random);
};

/** The policy of that name; NULL: unknown. */
const struct pick_policy *pick_policy_find(const char *name);

/** Drop what was tried, is not admitted (unless that leaves nothing untried: the last ones are never ejected), or is over rpm/tpm (same
 *  exception does not apply: over-limit is final for this minute), keep the lowest `order`, let the policy choose.
 *  @param candidates  reordered by the call
 *  @param tokens      of this job; 0: unknown
 *  @return index of the chosen *deployment* (candidate.deployment), or MODEL_NO_INDEX: nowhere to go */
uint32_t pick_next(const struct pick_policy *policy, struct pick_candidate *candidates, uint32_t n, uint64_t tokens,
                   double random);
