/* Metrics of what batches were made, used and cost (journal statement B11): from series to lines.
 * LiteLLM's names. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/series.h"
#include "common/strbuf.h"

/** Metrics there are. */
size_t metrics_usage_count(void);

/** Write a piece of the n-th metric, with its head before the first one.
 *  @param row  0 at first; moved on
 *  @return whether there is more of it */
bool metrics_usage_write(size_t n, const struct series *series, uint32_t *row, struct strbuf *out);
