/* What the keeper counts of batches for /metrics (balancer/series.h; journal statement B11): looks at
 * them, their ends, and what they cost. Each node counts what it has written itself. Nothing happens
 * where `series` is NULL. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "balancer/series.h"
#include "store/store_batches.h"

/* Whose and where: the labels. "" or NULL: not known. */
struct counts_labels {
    const char *group, *provider, *alias, *team;
};

/** One was made. */
void counts_made(struct series *series, const struct counts_labels *of);

/** So many batches are asked about now. */
void counts_polled(struct series *series, size_t num, int64_t now_unix_s);

/** One has ended. @param seconds  from its beginning to its end; negative counts as 0 */
void counts_ended(struct series *series, const struct counts_labels *of, const char *status,
                  int64_t seconds);

/** One failed late, and shall run elsewhere. @param reason  the error's code */
void counts_moves(struct series *series, const struct counts_labels *of, const char *reason);

/** What one used is written. */
void counts_used(struct series *series, const struct counts_labels *of,
                 const struct store_usage *rows, size_t num);

/** What a team may still spend. */
void counts_budget(struct series *series, const char *team, int64_t left_nano);
