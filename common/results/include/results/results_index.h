/* Where in a batch's output and error files the answer to each line of its input is: for each a
 * 128-bit keyed hash of its custom_id, offset, length and what it says; at most 128 KiB and 40 bytes
 * a line, whatever ids and lines look like.
 *
 * An id that has two answers keeps the first one with status 200, else the first (results
 * README statement D34); such are counted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "results/result_lines.h"

#define RESULTS_MAX_LINES                                                                          \
    200000 /* of output and error files; twice what any provider's batch has */

struct results_index;

struct results_answer {
    uint64_t offset, len; /* of its line, which is a JSON object */
    uint16_t status;      /* as in struct result_line */
    uint8_t error;
};

struct results_counts {
    uint64_t lines;      /* that have an id, and stand in the index */
    uint64_t duplicates; /* left out: their id had an answer */
    uint64_t bad;        /* left out: no JSON object, or without a custom_id */
};

/** An empty one, with a random key. @return NULL: out of memory, or the system gives no random bits;
 * the caller frees it */
struct results_index *results_index_new(void);
void results_index_free(struct results_index *index);

/** For result_lines_init() and result_lines_hash(). */
const uint64_t *results_index_key(const struct results_index *index);

/** Look at bytes of output and error files, one file after the other. Their offsets are those in all
 * files put behind each other, as the reader of struct results_spec has them. Callers give at most
 * RESULT_LINES_SLICE a turn.
 *  @return 0, ERR_NOMEM, ERR_LIMIT: more than RESULTS_MAX_LINES lines, or one of 4 GiB. After an
 *  error it is of no use but for results_index_free() */
MUST_USE int results_index_feed(struct results_index *index, const char *bytes, size_t len);

/** One file is over; the next one may follow. @return as results_index_feed() */
MUST_USE int results_index_end_of_file(struct results_index *index);

/** The answer to an id. @return false: there is none */
bool results_index_find(const struct results_index *index, const uint64_t hash[2],
                        struct results_answer *out);

/** What was found so far. */
struct results_counts results_index_counts(const struct results_index *index);

/** Bytes that it holds. */
size_t results_index_bytes(const struct results_index *index);
