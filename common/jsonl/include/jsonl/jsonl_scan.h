/* The fast reader of batch lines, in slices: a line of 4 MiB of nothing but empty strings takes
 * some 30 ms, which is too long for one turn of a loop. Only jsonl_reader.c and jsonl_scan.c need
 * to know what is in here. */
#pragma once

#include "jsonl/jsonl_facts.h"

enum { JSONL_SCAN_DEPTH = 256 };

enum jsonl_scan_state { JSONL_SCAN_MORE, JSONL_SCAN_GOOD, JSONL_SCAN_DOUBT };

/* How far a string was read when the work was used up; or all of it, where that happened behind
 * it. */
struct jsonl_scan_string {
    const char *start; /* behind its opening quote; NULL: none was begun */
    const char *p;
    size_t saved; /* bytes that decoding takes away of those before `p` */
};

struct jsonl_scan {
    const char *line, *p, *end; /* borrowed; one line, all of it */
    struct jsonl_facts *facts;  /* borrowed */
    size_t work;                /* members, and escapes beyond the first of a row, that are left */
    bool paused;                /* in the midst of a string, for want of work */
    unsigned depth, max_depth;
    uint64_t objects[JSONL_SCAN_DEPTH / 64]; /* a bit for each open level: set for objects */
    bool is_object;                          /* the innermost one */
    bool fresh;                              /* it has no member yet */
    bool in_body;                            /* level 2 is the body */
    bool utf8;                               /* the rest of the line is known to be valid UTF-8 */
    struct jsonl_scan_string key, value;
    struct jsonl_place place;
};

/** Begin with a line. Both pointers are borrowed until the state is another than
 * JSONL_SCAN_MORE. */
void jsonl_scan_begin(struct jsonl_scan *s, const char *line, size_t len, unsigned max_depth,
                      struct jsonl_facts *facts);

/** Go on: at most so many members, and pieces of strings between escapes; two at least, or it never
 * gets beyond a member. */
enum jsonl_scan_state jsonl_scan_some(struct jsonl_scan *s, size_t work);
