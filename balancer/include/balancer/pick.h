/* Which deployment of a group: a pure choice over candidates. Policies plug in as struct
 * pick_policy, under LiteLLM's names:
 *
 *   simple-shuffle          by `weight` if the first eligible candidate has one, else by its rpm,
 *                           else by tpm, else uniform; a candidate without the number that decides
 *                           gets nothing (all zero: uniform)
 *   least-busy              fewest in flight
 *   latency-based-routing   lowest latency; not measured comes first
 *   usage-based-routing     fewest tokens in this minute; ties: the first in file order
 *   usage-based-routing-v2  the same; ties by lot
 *   quota-aware (ours)      least expected completion ((enqueued + tokens) / drain rate) / health;
 *                           of equals the one with the fewest recent jobs for its limit, then by
 *                           lot
 *
 * What the job's tokens do not fit into now is no candidate of any policy.
 *
 * Of groups of more than SAMPLE_EXACT rows (sample.h) a policy sees a sample, and all only when
 * none of the sample will do: the least busy one is then the least busy of the sample, and so on.
 *
 * Where LiteLLM leaves ties of least-busy to the order of a dictionary we draw lots, and a limit of
 * N per minute lets N requests through (LiteLLM's usage-based ones stop at N - 1). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

/* Taken for an unknown limit where a size is needed: Azure's most common one */
#define PICK_PRIOR_LIMIT   UINT64_C(200000000)
/* A deployment that never finished a job drains a full limit in 8 h */
#define PICK_PRIOR_DRAIN_S 28800.0

struct pick_candidate {
    uint32_t deployment; /* index in the table */
    double weight; /* 0: not given; negative: given as 0 (no traffic while others have a weight) */
    int64_t rpm, tpm; /* limits; 0: not given */
    int32_t order;    /* 0: not given; lower first */
    bool admitted;    /* its breaker lets this operation through */
    bool tried;       /* this request was there already */
    bool room_later;  /* that it has no room now does not matter */
    bool unsure;      /* its limit may be enough for this job, whatever its tokens are taken for */
    bool eligible;    /* written by pick_next(): a policy looks at no others */
    uint64_t requests_minute; /* begun in this minute */
    uint64_t tokens_minute;
    uint64_t in_flight; /* of what is placed: uploads and creates */
    uint64_t latency_us;
    uint64_t enqueued; /* tokens of unfinished batches */
    uint64_t limit;    /* of those; 0: unknown, everything fits */
    double drain_rate; /* tokens/s; 0: unknown, see pick_drain_rate() */
    /* 0 < h <= 1: how likely a job placed there ends well; 0: unknown, taken for 1 */
    double health;
    uint64_t placed; /* jobs lately, in the same time for all */
    /* A job of at least this size was refused just now; not to be tried ... */
    uint64_t full_tokens;
    uint64_t full_for_ms; /* ... for so long; 0: no such thing */
};

/* What is to be placed, and how. */
struct pick_job {
    uint64_t tokens;       /* 0: unknown */
    double random;         /* uniform in [0,1) */
    double latency_buffer; /* the policy's */
};

struct pick_policy {
    const char *name;      /* LiteLLM's routing_strategy */
    bool by_share;         /* each one's chance is its share of weights, rpm or tpm */
    double latency_buffer; /* latency-based-routing: LiteLLM's lowest_latency_buffer */
    /* Index into candidates[0..n) of an eligible one; there is at least one. Pure. */
    uint32_t (*choose)(const struct pick_candidate *candidates, uint32_t n,
                       const struct pick_job *job);
};

/** Tokens/s at which it works off what is enqueued; the prior is its limit (PICK_PRIOR_LIMIT) in
 * PICK_PRIOR_DRAIN_S. Never 0. */
double pick_drain_rate(const struct pick_candidate *candidate);

/** What a job of so many tokens takes of it. One that is taken for larger than the limit, but may
 * be smaller (`unsure`), takes all: it is let in once nothing is enqueued. */
uint64_t pick_tokens(const struct pick_candidate *candidate, uint64_t tokens);

/** Whether the enqueued tokens and those of this job stay within its limit, and it did not just
 * refuse such a job. */
bool pick_fits(const struct pick_candidate *candidate, uint64_t tokens);

/** Whether this request may go there at all: it was not there yet, no limit of the minute is
 * reached and the tokens fit. What its breaker says is another question. */
bool pick_is_open(const struct pick_candidate *candidate, uint64_t tokens);

/** Each eligible one has the same chance: for samples that were drawn by share. No name of it is in
 * pick_policy_find(). */
extern const struct pick_policy pick_even;

/** The policy of that name; NULL: unknown. */
const struct pick_policy *pick_policy_find(const char *name);

/** Drop what was tried, does not fit the tokens or is over rpm/tpm (final for this minute; a job
 * larger than tpm may open a minute), then what its breaker does not admit, unless that leaves
 * nothing: the last ones are never ejected. Keep the lowest `order` (what has none only when
 * nothing has one), let the policy choose.
 *  @param candidates  in file order; only `eligible` is written, so that the array serves the next
 *         try with one more `tried`
 *  @param tokens      of this job; 0: unknown
 *  @return index of the chosen *deployment* (candidate.deployment), or MODEL_NO_INDEX: nowhere to
 *         go */
uint32_t pick_next(const struct pick_policy *policy, struct pick_candidate *candidates, uint32_t n,
                   uint64_t tokens, double random);
