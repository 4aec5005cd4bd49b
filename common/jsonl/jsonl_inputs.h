/* How many inputs an embeddings request has: providers bound their number for a whole file. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Inputs of `body.input`: a string is one, and so is an array of token ids; an array of either has
 * as many as it has members. 0 where there is none. Pure.
 *  @param line     a request that was read without an error: valid JSON
 *  @param len      its bytes
 *  @param body_at  where its body begins, an object
 * Source: OpenAI CreateEmbeddingRequest (`input`) and CreateBatchRequest (`endpoint`). */
uint64_t jsonl_inputs(const char *line, size_t len, size_t body_at);
