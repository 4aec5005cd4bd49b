/* One pass over a batch's output file as it comes: what its lines say that they used, model by
 * model. Nothing is stored: a line of any length is read byte by byte by a machine of fixed size,
 * which looks at six names at fixed depths and steps over the rest, so a pass costs what
 * sizeof(struct usage_pass) is and some 3 ns a byte.
 *
 *   {"response": {"status_code": 200, "body": {"model": "...", "usage": {...}}}, ...}
 *
 * `usage` is that of chat completions and embeddings (prompt_tokens, completion_tokens and their
 * _details) or of responses (input_tokens, output_tokens and theirs). Only lines with status_code
 * 200 use anything (journal statement B4). A line that is no JSON object counts as a bad one; a good
 * one without numbers counts as unmeasured. Cached tokens are a part of the input, reasoning tokens
 * of the output (B2). Where a name stands twice in an object the last one counts.
 *
 * What the providers write is trusted to mean what it says, not to be well formed: the machine
 * survives anything. It does not check numbers outside of `usage`, escapes, or UTF-8. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "price/usage_count.h"

#define USAGE_PASS_DEPTH 512 /* of a line; a deeper one counts as a bad one */

/* Of a piece of a file that one turn of a loop looks at: a fifth of a millisecond. */
#define USAGE_PASS_SLICE 65536

/* What is known of the line so far; only pass.c needs to know. */
struct usage_line {
    char model[USAGE_MODEL_BYTES];
    uint64_t status, in, cached, out, reasoning;
    bool has_in;   /* a number of input tokens, without which nothing is measured */
    bool has_text; /* something else than white space */
};

struct usage_pass {
    struct usage_counts counts;
    uint64_t bad; /* lines */
    struct usage_line line;
    /* The machine: what comes next, and where it is */
    uint8_t state;
    uint8_t place;  /* the innermost object that matters ... */
    uint8_t name;   /* ... and of its members the one whose value is read */
    unsigned depth; /* of all that is open */
    unsigned path;  /* of the innermost object that matters */
    uint64_t objects[USAGE_PASS_DEPTH / 64]; /* a bit for each open level: set for objects */
    /* The key, number or model's name that is read; longer ones, and those with an escape, are
     * none that matter */
    bool word_fits;
    size_t word_len;
    char word[USAGE_MODEL_BYTES];
};

/** Begin. */
void usage_pass_init(struct usage_pass *pass);

/** Look at the next bytes; callers give at most USAGE_PASS_SLICE a turn. Cannot fail. */
void usage_pass_feed(struct usage_pass *pass, const char *bytes, size_t len);

/** The file is over: its last line need not have an end.
 *  @param out  filled; its source is USAGE_OF_OUTPUT, and `num` 0 when there was no line at all */
void usage_pass_finish(struct usage_pass *pass, struct usage_counts *out);
