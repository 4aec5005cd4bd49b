/* Both readers of a line, one behind the other, in slices: the fast one, and where that is in doubt
 * the referee. */
#pragma once

#include "jsonl/jsonl_facts.h"
#include "jsonl/jsonl_referee.h"
#include "jsonl/jsonl_scan.h"

struct jsonl_reader {
    const char *text; /* borrowed; NULL: nothing is being read */
    size_t len;
    struct jsonl_facts facts;
    struct jsonl_refusal refusal; /* where the result is ERR_SYNTAX */
    struct jsonl_scan scan;
    struct jsonl_referee *referee; /* owned; NULL unless it is asked */
};

#define JSONL_READER_MORE JSONL_REFEREE_MORE

/** Begin with a line, whose text is borrowed until jsonl_reader_end(). */
void jsonl_reader_begin(struct jsonl_reader *r, const char *text, size_t len, unsigned max_depth);

/** Go on for half a millisecond at most: 16,384 members or pieces of strings.
 *  @return JSONL_READER_MORE; or, once and for all, 0 with `facts`; ERR_SYNTAX with `refusal`;
 *         ERR_NOMEM */
MUST_USE int jsonl_reader_some(struct jsonl_reader *r);

/** Let go of the line. Safe when there is none. */
void jsonl_reader_end(struct jsonl_reader *r);
