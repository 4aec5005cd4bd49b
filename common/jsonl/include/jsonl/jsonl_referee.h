/* The referee of batch lines in slices; jsonl_referee() of jsonl_facts.h is all of it at once. */
#pragma once

#include "jsonl/jsonl_facts.h"

#define JSONL_REFEREE_MORE 1

struct jsonl_referee;

/** Begin with a line. All pointers are borrowed until jsonl_referee_free(). NULL: out of memory. */
struct jsonl_referee *jsonl_referee_new(const char *line, size_t len, unsigned max_depth,
                                        struct jsonl_facts *facts, struct jsonl_refusal *refusal);
void jsonl_referee_free(struct jsonl_referee *r); /* NULL is fine */

/** Go on for a quarter of a millisecond or so: 16 KiB of JSON, 8,192 escapes.
 *  @return JSONL_REFEREE_MORE, and it wants to be called again; 0; ERR_SYNTAX with `refusal`
 *         filled; ERR_NOMEM */
MUST_USE int jsonl_referee_some(struct jsonl_referee *r);
