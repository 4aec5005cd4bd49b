/* What one batch used, model by model: what a provider's `usage` says, or what its output file
 * adds up to. Plain records that the prober fills, the journal's messages carry and the keeper
 * prices (journal statements B4, B7, B8). */
#pragma once

#include <stdint.h>

#include "price/price.h"

#define USAGE_MODELS      8   /* of a batch; the lines of further ones count as the last one's */
#define USAGE_MODEL_BYTES 128 /* of a name, with its NUL */

enum usage_source {
    USAGE_NONE,      /* nothing could be found out: the output never came */
    USAGE_OF_BATCH,  /* the batch's own `usage` */
    USAGE_OF_OUTPUT, /* the sum over its output file */
    USAGE_SOURCES
};

struct usage_count {
    /* As the provider names it in its answers, printable ASCII; "": it does not say, or the name
     * is too long: then the deployment's counts */
    char model[USAGE_MODEL_BYTES];
    uint64_t ok;  /* requests that were answered with status 200 */
    uint64_t bad; /* other ones */
    /* Of `ok`: without a `usage` that can be read, so that their tokens are not counted */
    uint64_t unmeasured;
    struct price_tokens tokens;
    uint64_t reasoning; /* a part of tokens.out */
};

struct usage_counts {
    enum usage_source source;
    uint32_t num;
    struct usage_count of[USAGE_MODELS];
};

/** "none", "batch", "output". */
const char *usage_source_name(enum usage_source source);
