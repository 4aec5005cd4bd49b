/* What the ledger knows about a deployment besides its own reservations: how much fits there, how
 * fast it works its tokens off, what others have enqueued, what it just refused; and the tokens per
 * unit of what a model's files consist of. Every fact is an estimate. Columns, rows of one
 * deployment and who may call what are those of quota.h, which counts the reservations. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/pick.h"
#include "jsonl/features.h"

/* Of a job and of a limit; more is taken for this */
#define QUOTA_MAX_TOKENS  ((UINT64_C(1) << 43) - 1)
#define QUOTA_FULL_MS     60000u        /* first backoff of a size that was refused; doubles ... */
#define QUOTA_FULL_MAX_MS (16u * 60000) /* ... up to this */
#define QUOTA_OFF_BY      4u /* our sum of estimates is rarely too low by more than this */
#define QUOTA_REFUSED_MS  (3600u * 1000) /* how long a refusal's limit is used */

struct quota; /* the region: quota_new() */

/** The answer of a create told the deployment's `deployment-maximum-enqueued-tokens`. 0 is ignored.
 */
void quota_learn_limit(struct quota *quota, uint32_t column, uint64_t limit);

/** The text of a refusal named the limit. It is used for QUOTA_REFUSED_MS, or until a header or
 * another refusal names another one; without an end we would never retry that deployment. 0 is
 * ignored. */
void quota_learn_refused(struct quota *quota, uint32_t column, uint64_t limit, uint64_t now_ms);

/** ... and its `deployment-enqueued-tokens`, this create included: what exceeds our sum is foreign.
 *  @return the tokens of this one job as the provider counts them, for quota_learn_rate(); 0:
 *         cannot be told (something else began or ended since the last time that header was
 *         seen) */
uint64_t quota_learn_enqueued(struct quota *quota, uint32_t column, uint64_t enqueued,
                              uint64_t now_ms);

/** A job of `tokens` was refused as too much (token_limit_exceeded, at once or later), and no other
 * deployment has refused it before. That speaks about the job first: an estimate may be wrong, and
 * what one job counted for must not keep others away. Only when our own unfinished jobs there, at
 * four times what they are taken for, leave no room for it, the deployment is believed to be full:
 * E becomes at least L - tokens + 1, so that the same job does not fit now, and jobs of its size
 * stay away for a minute, then for two ... sixteen, until one is accepted. Jobs smaller than 1/256
 * of the limit never do: they are the probe, and a refused create costs nothing. Call it after
 * quota_cancel(). @return whether it is believed */
bool quota_full(struct quota *quota, uint32_t column, uint64_t tokens, uint64_t now_ms);

/** A job failed in the end as too much. While it ran, headers counted it for what it is, and what
 * exceeded our sum was taken for foreign: that is gone with it, and the next header tells what is
 * really foreign. Before quota_full(). */
void quota_forget_foreign(struct quota *quota, uint32_t column);

/** What a job really counted, its output left out: when it consists of one feature nearly alone
 * (features_dominant()), and that feature is not exact, the model's tokens per unit of that feature
 * move by a quarter of the difference. What would be outside the feature's fixed bounds is ignored:
 * nobody's odd file moves what others are counted by further than that. `model` is any hash of its
 * name. */
void quota_learn_rate(struct quota *quota, uint64_t model, const struct features *features,
                      uint64_t tokens);

/** Tokens of a job: each feature at what was learned of this model, or at its prior. 1 to
 * QUOTA_MAX_TOKENS. */
uint64_t quota_tokens(const struct quota *quota, uint64_t model, const struct features *features);

/* --- what is about to come --- */

#define QUOTA_EXPECTED_MS     120000u /* after so long half of what was expected counts ... */
/* ... and after so long nothing, when nothing was expected since */
#define QUOTA_EXPECTED_END_MS (10 * QUOTA_EXPECTED_MS)

/** A file of that many tokens was stored here, and its batch will probably follow: so that a
 * hundred files uploaded in a row do not all go to the one deployment that is empty now. It counts
 * for the choice of further uploads only, and fades. */
void quota_add_expected(struct quota *quota, uint32_t column, uint64_t tokens, uint64_t now_ms);

/** Its batch is being created, here or elsewhere. */
void quota_take_expected(struct quota *quota, uint32_t column, uint64_t tokens, uint64_t now_ms);

/* --- readers --- */

struct quota_sum {
    uint64_t reserved;    /* E of our reservations, tokens */
    uint64_t elsewhere;   /* of other gateways over the same database, as of a second ago */
    uint64_t foreign;     /* of others, as far as we know */
    uint64_t expected;    /* of files whose batches will probably come; not enqueued */
    uint64_t limit;       /* the lower of configured and learned; 0: unknown */
    double drain_rate;    /* tokens/s; the prior before the first job has finished */
    uint64_t placed;      /* reservations begun in this hour */
    uint64_t full_tokens; /* jobs of at least this many are refused ... */
    uint64_t full_for_ms; /* ... for so long; 0: not */
};

/** What is known of a deployment now, all at once; the parts may be a moment apart. */
void quota_read(const struct quota *quota, uint32_t column, uint64_t now_ms, struct quota_sum *sum);

/** The lower of configured and learned limit; 0: unknown. */
uint64_t quota_limit(const struct quota *quota, uint32_t column, uint64_t now_ms);

/* Where the limit that counts is known from. */
enum quota_limit_from {
    QUOTA_LIMIT_UNKNOWN,
    QUOTA_LIMIT_CONFIGURED,
    QUOTA_LIMIT_HEADER, /* the provider told it with an answer */
    QUOTA_LIMIT_REFUSAL /* a refusal's text did, within the hour */
};

/** Of the limit that quota_limit() returns at that moment. */
enum quota_limit_from quota_limit_from(const struct quota *quota, uint32_t column, uint64_t now_ms);

/** Fill in what quota-aware looks at: enqueued, limit, drain_rate, placed, full_tokens,
 * full_for_ms. */
void quota_describe(const struct quota *quota, uint32_t column, uint64_t now_ms,
                    struct pick_candidate *candidate);
