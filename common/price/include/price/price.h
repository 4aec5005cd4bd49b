/* What tokens cost: decimal text to whole numbers, which price counts, and what a batch comes to.
 *
 * A price is a whole number of nano-dollars for a million tokens, 1e-15 dollars a token: LiteLLM's
 * names give dollars for one, "1.25e-06". A cost is a whole number of nano-dollars. Nothing here is
 * ever a float. A number is rounded in three places, each time half up: a text that is finer than
 * 1e-15 dollars, half of an ordinary price that is odd, and the cost of a sum of tokens, once.
 * Sums have 128 bits. Pure.
 *
 * A batch costs what the names in "_batches" say, and where there are none half of what the
 * ordinary ones say (journal statement B1). Tokens that the provider had in its cache cost their own
 * price and not the input's as well (B2); where none is given they cost what input does. Reasoning
 * tokens are a part of the output and are never added (B2). A request whose input is larger than
 * PRICE_LONG_TOKENS costs the prices that have "_above_272k_tokens" in their names, all of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define PRICE_LONG_TOKENS 272000
#define PRICE_NONE        (-1) /* no such price is given */

/* The names of LiteLLM's price map, of model_info and of litellm_params. */
enum price_name {
    PRICE_INPUT,
    PRICE_CACHED,
    PRICE_OUTPUT,
    PRICE_INPUT_BATCHES,
    PRICE_CACHED_BATCHES,
    PRICE_OUTPUT_BATCHES,
    PRICE_INPUT_LONG,
    PRICE_CACHED_LONG,
    PRICE_OUTPUT_LONG,
    PRICE_INPUT_LONG_BATCHES,
    PRICE_CACHED_LONG_BATCHES,
    PRICE_OUTPUT_LONG_BATCHES,
    PRICE_NAMES
};

/* What somebody wrote: nano-dollars for a million tokens, or PRICE_NONE. */
struct price_list {
    int64_t of[PRICE_NAMES];
};

/* What a batch pays: nano-dollars for a million tokens. */
struct price_rate {
    int64_t in, cached, out; /* out: PRICE_NONE where none is given, as for embeddings */
};

struct price {
    struct price_rate base;
    struct price_rate above; /* of requests with more than PRICE_LONG_TOKENS of input */
    bool tiered;             /* `above` is not the same as `base` */
};

/* Tokens of many requests. `in` has all of the input, `cached` the part of it that was in the
 * provider's cache; the `long_` ones are the part that long requests have of the same. */
struct price_tokens {
    uint64_t in, cached, out;
    uint64_t long_in, long_cached, long_out;
};

/** LiteLLM's name, "input_cost_per_token_batches". */
const char *price_name(enum price_name name);

/** @return PRICE_NAMES: none has it */
enum price_name price_name_find(const char *text, size_t len);

/**
 * Read dollars for one token: digits with an optional point and exponent, "0.0000025", "1e-06".
 *
 * @param nano  on 0 nano-dollars for a million tokens, rounded half up
 * @return 0; ERR_SYNTAX: it is no such number, or a negative one; ERR_LIMIT: more than a token can
 *         cost here, PRICE_MOST
 */
MUST_USE int price_parse(const char *text, size_t len, int64_t *nano);

#define PRICE_MOST INT64_C(1000000000000000000) /* a thousand dollars a token */

/** All PRICE_NONE. */
void price_list_init(struct price_list *list);

/** Whether anything is given. */
bool price_list_is_empty(const struct price_list *list);

/** What a batch pays by a list.
 *  @return false: it says nothing of input, so nothing can be told */
bool price_of_list(const struct price_list *list, struct price *out);

/**
 * What tokens cost.
 *
 * `cached` counts up to `in`, and the parts of long requests up to the whole: what a provider says
 * beyond that is no reason to bill less than nothing.
 *
 * @param nano  on true nano-dollars, rounded half up, at most INT64_MAX
 * @return false: there are output tokens and no price for them
 */
bool price_cost(const struct price *price, const struct price_tokens *tokens, int64_t *nano);

/** Add `more` to `sum`; a number that would overflow stays at UINT64_MAX. */
void price_tokens_add(struct price_tokens *sum, const struct price_tokens *more);

#define PRICE_DOLLARS_BYTES 24

/** Nano-dollars as dollars with nine digits behind the point, "0.000000340".
 *  @return `text` */
const char *price_dollars(int64_t nano, char text[PRICE_DOLLARS_BYTES]);

/**
 * Read dollars, as a budget is given: "10", "0.5", "1e3".
 *
 * @param nano  on 0 nano-dollars, rounded half up
 * @return as price_parse()
 */
MUST_USE int price_parse_dollars(const char *text, size_t len, int64_t *nano);
