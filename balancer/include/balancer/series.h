/* Counters with labels, in shared memory: any process adds, the metrics page reads. There is room
 * for so many series; what comes when it is used up counts as "other", so that no key, team or model
 * makes the page longer than its operator allows (journal statement B11).
 *
 * A row is found by a hash of its family and labels, and is never given back: a name stays until the
 * program ends. A writer that is killed leaves whole numbers, and at worst a row whose labels the
 * next writer of the same series writes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define SERIES_LABELS 4
#define SERIES_TEXT   64 /* bytes of a label's value, with its NUL; longer ones are cut */
#define SERIES_SLOTS  14 /* numbers of a row */
#define SERIES_BOUNDS (SERIES_SLOTS - 2)

/* Which metric a row is of; what its labels and numbers are is said in admin/metrics_usage.c. */
enum series_family {
    SERIES_BATCHES,
    SERIES_FILES,
    SERIES_FILES_DELETED,
    SERIES_FILE_BYTES,
    SERIES_DURATION,
    SERIES_SPEND,
    SERIES_BUDGET,
    SERIES_POLLS,
    SERIES_MOVES,
    SERIES_FAMILIES
};

/* Of the histograms: bytes of a file, seconds of a batch. */
#define SERIES_FILE_BOUNDS                                                                         \
    {                                                                                              \
        10000, 100000, 1000000, 5000000, 10000000, 50000000, 100000000, 200000000, 500000000,      \
            1000000000                                                                             \
    }
#define SERIES_DURATION_BOUNDS                                                                     \
    {                                                                                              \
        60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 57600, 86400, 100800                  \
    }

struct series; /* the region */

/* A series by its labels, in the family's order. Borrowed; NULL: "". */
struct series_name {
    enum series_family family;
    const char *labels[SERIES_LABELS];
};

/** Room for that many series, and one more of each family for all others. Before the fork.
 *  @return 0; ERR_INVALID (0, or more than a million); ERR_NOMEM */
MUST_USE int series_new(uint32_t max_series, struct series **out);
void series_free(struct series *series); /* NULL is fine */

/** Add to a number of a series. NULL is fine: nobody counts. */
void series_add(struct series *series, const struct series_name *name, unsigned slot,
                uint64_t more);

/** Make it another one: for what goes up and down. */
void series_set(struct series *series, const struct series_name *name, unsigned slot,
                uint64_t value);

/** Count a value in a histogram: number 0 is how many there were, 1 their sum, 2 and further how
 * many were at most each bound and above the one before.
 *  @param bounds  rising; at most SERIES_BOUNDS */
void series_observe(struct series *series, const struct series_name *name, uint64_t value,
                    const uint64_t *bounds, unsigned num_bounds);

/* A row as it is now. */
struct series_sample {
    enum series_family family;
    char labels[SERIES_LABELS][SERIES_TEXT];
    uint64_t numbers[SERIES_SLOTS];
};

/** How many rows there can be; most of them are free. */
uint32_t series_room(const struct series *series);

/** @param i  below series_room() @return false: it is free */
bool series_read(const struct series *series, uint32_t i, struct series_sample *out);
