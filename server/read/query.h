/* Parameters of a query: what cannot be read is an error, never taken for absent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request/relay.h"

/** A parameter with two values; absent or empty is `no`. */
MUST_USE enum answered query_choice(struct relay *relay, const char *name, const char *no,
                                    const char *yes, bool *out);

/** A text that is "" when it is absent. @param set  characters it may have; NULL: any */
MUST_USE enum answered query_text(struct relay *relay, const char *name, const char *set, char *out,
                                  size_t size);

/** A whole number of at most 18 digits; `*out` stays as it is when it is absent. */
MUST_USE enum answered query_count(struct relay *relay, const char *name, uint64_t *out);
