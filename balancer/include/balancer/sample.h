/* Which rows of a very large group a choice looks at. To describe a row costs 0.2 us and more, its
 * counters being spread over a row of memory for each worker: among 10,000 that is several
 * milliseconds, for which an event loop must not stand still. A sample costs what the table's own
 * numbers cost, which lie together.
 *
 * Deliberately left out: what a row does now (busy, full, in cooldown). The caller describes the
 * sample and looks at all rows when none of it will do. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/table.h"

#define SAMPLE_EXACT 256 /* groups of up to so many rows are looked at whole */
#define SAMPLE_SIZE  64  /* the best of so many is, on average, among the best 2 % of all */

struct sample_question {
    const struct table *table;
    const uint32_t *candidates; /* deployments */
    uint32_t num;
    const bool *tried; /* [num]: not to be drawn; NULL: none */
    /* Rows come as often as their weight (rpm, tpm: what the first of them has) says, so that each
     * of the sample may be chosen with the same right, which is simple-shuffle; false: no row comes
     * twice, each with the same chance */
    bool by_share;
    double (*random)(void *arg); /* uniform in [0,1) */
    void *arg;
};

/** Draw up to `max` of those that are not tried and have the lowest order (of those without any
 * only when none has one).
 *  @param out  room for `max`; places in q->candidates, ascending
 *  @return how many; 0: all were tried. All there are when they are not more than `max` and not by
 *          share */
uint32_t sample_draw(const struct sample_question *q, uint32_t *out, uint32_t max);
