/* The Range header, for answers that the provider sent whole, and Content-Range: pure. Source:
 * RFC 9110, sections 14.1.2, 14.2 and 14.4. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum range_kind {
    /* Absent, another unit, several ranges, or malformed: the whole is sent (RFC 9110 section 14.2
     * allows to ignore it) */
    RANGE_NONE,
    RANGE_PART,         /* bytes first..last */
    RANGE_UNSATISFIABLE /* 416 */
};

struct range {
    enum range_kind kind;
    uint64_t first, last; /* inclusive; only for RANGE_PART */
};

/** Understand a Range header value for a representation of `total` bytes. `text` NULL: none. */
struct range range_parse(const char *text, uint64_t total);

/* What a 206 holds. */
struct content_range {
    uint64_t first, last; /* inclusive */
    int64_t total;        /* bytes of the whole; -1: not told */
};

/** Understand a Content-Range header value. `text` NULL: none.
 *  @return false: it names no bytes (an unsatisfied one), or none that can be */
bool content_range_parse(const char *text, struct content_range *out);
