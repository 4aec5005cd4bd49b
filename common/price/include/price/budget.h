/* Budgets of keys and teams, and what a batch is expected to cost before it is made (journal
 * statement B10). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "price/price.h"

#define BUDGET_MAX_PERIOD_S (10 * 366 * 86400) /* longest `budget_duration` */

/**
 * Read LiteLLM's `budget_duration`: a number and s, m, min, h, d, w or mo, which is thirty days.
 *
 * @param seconds  written when true is returned
 * @return false: it is none, 0, or longer than BUDGET_MAX_PERIOD_S
 */
bool budget_period_read(const char *text, uint32_t *seconds);

/* What is known of a batch before it is made. */
struct budget_job {
    uint64_t input;             /* tokens */
    uint64_t output;            /* at most, as its lines say; 0: they do not */
    uint64_t seen_in, seen_out; /* what such batches took before, and gave; 0: none is known */
};

/** What a batch may cost: its input and its most output, else as much output as such batches had
 *  for their input, else as much as it has input. Where output has no price there is none
 *  (embeddings). */
int64_t budget_estimate(const struct price *price, const struct budget_job *job);
