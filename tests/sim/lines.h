/* Batch lines as the providers' validation reads them: a JSON scanner of its own, apart from the
 * gateway's, so that the two check each other. No tree, no allocation for lines without escapes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const char *p; /* a JSON literal as spelled, strings with their quotes; NULL: absent */
    size_t len;
};

struct line_scan {
    struct span custom_id;
    struct span method;
    struct span url;
    struct span body;
    struct span model; /* of body */
    struct span input; /* of body */
};

/** Scan one line. Returns whether it is a JSON object and nothing else. Duplicate members: the last
 * one. */
bool lines_scan(const char *p, size_t len, struct line_scan *out);

/** Inputs of an embeddings request: a string, or an array of token ids, is one; an array of these has
 * as many as members. */
int64_t lines_inputs(struct span input);

/** Whether a literal is a string that says `text`. */
bool span_is(struct span s, const char *text);

/** The decoded text of a string literal, cut to `size`; false when it is no string. */
bool span_text(struct span s, char *out, size_t size);
