/* What a batch used as the batch itself says: `usage` and `model` of the provider's answer
 * (journal statement B7). OpenAI has them in batches since September 2025; Azure's may not. */
#pragma once

#include <stdbool.h>

#include "json/json.h"
#include "price/usage_count.h"

/**
 * Read a batch's `usage`.
 *
 * It suffices when it has input_tokens, its cached_tokens, and output_tokens, and is not all zero
 * although requests were answered. Where long requests cost something else
 * (price_book_is_tiered()), a sum above PRICE_LONG_TOKENS does not tell how many of them there
 * were: then the output has to be read.
 *
 * @param batch   a batch object of the provider
 * @param tiered  long requests cost something else
 * @param out     written when true is returned: one model; `ok` and `bad` from request_counts
 * @return false: pass.h has to find out
 */
bool batch_usage_read(const struct json *batch, bool tiered, struct usage_counts *out);
