/* How commands show what a gateway says of batches and files: texts and numbers of a JSON row, spans,
 * times, states, progress. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "columns.h"
#include "common/iso8601.h"
#include "json/json.h"

#define SHOWN_SPAN  32
#define SHOWN_BYTES 24

/** A member of a row; "" when it is absent or no string. */
const char *shown_text(const struct json *row, const char *name);
/** The same of a number; 0. */
int64_t shown_number(const struct json *row, const char *name);

/** Whether a batch of this status changes no more. */
bool shown_has_ended(const char *status);
enum colour shown_colour(const char *status);

/** "3d 4h", "2h 5min", "40s"; below 0 as 0. */
void shown_span(int64_t s, char *out, size_t size);

/** Unix seconds as ISO 8601; "-" for 0 and what no calendar has. */
void shown_time(int64_t unix_s, char out[ISO8601_SIZE]);

/** "17.3 MB", of 10^6 bytes, as providers count. @return `out` */
const char *shown_bytes(uint64_t bytes, char out[SHOWN_BYTES]);

/* How many of a batch's lines have ended, of how many. */
struct shown_counts {
    int64_t done, failed, total; /* failed ones are done, too; no more than total; total <= 2^53 */
};

/** Of a batch's `request_counts`.
 *  @return whether there are any; numbers that cannot be are none. Then all are 0 */
bool shown_counts(const struct json *batch, struct shown_counts *out);

/** "3/4 75%, 1 failed" of a batch's `request_counts`; "-" while there are none. */
void shown_progress(const struct json *batch, char *out, size_t size);
