/* Batch input files: check each line as the bytes arrive, remember where body.model stands, and
 * print the file again with another model name, every other byte untouched. Memory is bounded: one
 * line, 12 bytes an id, a few bytes a line.
 *
 * Each line is one request: a JSON object in strict UTF-8 with `custom_id` (string, not empty,
 * unique in the file), `method` ("POST"), `url` (an endpoint, the same in all lines) and `body`
 * (object). `body.model` is a string, the same in all lines; unless it is required it may be
 * missing, but then in all lines. Strings and keys mean what they decode to. None of these keys may
 * stand twice in its object; other keys may. Lines end with LF or CR LF; the last one need not, and
 * blank lines may follow it; a blank line before a request is refused, because providers count or
 * refuse it and line numbers of answers would not fit.
 *
 * Codes of problems, in the words of the providers where they have one:
 *   invalid_json_line           no JSON, no object, no UTF-8, half a surrogate pair, blank
 *   nesting_too_deep, line_too_long, too_many_tasks, file_too_large, empty_file, byte_order_mark
 *   missing_required_parameter  `field` is missing
 *   invalid_type, invalid_value `field` is of another type; is empty, too long or not printable
 *   duplicate_key               `field` stands twice in its object
 *   duplicate_custom_id, invalid_method, invalid_url, url_mismatch, model_mismatch
 *
 * Source of the rules: OpenAI "Batch API" guide and CreateBatchRequest (custom_id unique, method
 * POST, url equal to the endpoint), Azure "batch" how-to (one deployment a file, no BOM), RFC 8259,
 * RFC 3629. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "jsonl/features.h"
#include "common/strbuf.h"

struct jsonl;

struct jsonl_rules {
    size_t max_line_bytes; /* 0: the default, 64 MiB */
    size_t max_lines;      /* 0: the default, 100,000 */
    uint64_t max_bytes;    /* 0: no limit here */
    unsigned max_depth;    /* nesting of JSON; 0: the default, 1,000 */
    unsigned max_errors;   /* 0 or 1: stop at the first; else collect up to so many (at most 50) */
    /* Allowed `url` values, NULL-terminated, borrowed; NULL: any that starts with '/' */
    const char *const *endpoints;
    bool model_required; /* body.model must be there, told at the first line without it */
    bool in_slices;      /* the caller asks jsonl_pending(): a long line is read in slices */
};

enum { JSONL_MAX_VALUE = 65536 }; /* bytes of custom_id, method, url and body.model as they stand */

struct jsonl_problem {
    uint64_t line;     /* 1-based */
    uint64_t column;   /* 1-based, in bytes, within the line */
    char field[48];    /* "body.model", "custom_id", "" when the line as a whole is meant */
    char code[40];     /* one of those above */
    char message[256]; /* what is wrong and what was expected; printable, short excerpts only */
};

struct jsonl_report {
    uint64_t lines;    /* requests, blank trailing lines not counted */
    uint64_t bytes;    /* all bytes fed */
    uint64_t inputs;   /* of all lines, where they are for embeddings: jsonl_inputs.h */
    const char *model; /* decoded; NULL when no line had one */
    const char *url;   /* of the first line; NULL before it */
    /* The base of the token estimate, each kind apart: all strings (not keys) in the body's
     * messages, input, prompt, instructions and prediction, decoded; tools, functions,
     * response_format and text as the JSON that they are; images, sound and other base64 wherever
     * it stands; token ids of input and prompt. */
    struct features prompt;
    /* Sum over the lines of the largest of max_tokens, max_completion_tokens, max_output_tokens,
     * each at most 100 million, times its `n`, at most 128. */
    uint64_t output_tokens;
    size_t num_problems;
    const struct jsonl_problem *problems; /* borrowed from the checker */
};

/** A checker for one file; NULL when out of memory or of random bytes. `rules` is copied (but for
 * `endpoints`). */
struct jsonl *jsonl_new(const struct jsonl_rules *rules);
void jsonl_free(struct jsonl *j);

/** Look at the next bytes, in pieces of any size; callers feed at most 128 KiB a turn. A line is
 * read when its end has come, which takes up to 50 ms for one of 4 MiB. With `in_slices` one of at
 * least 64 KiB that began in an earlier piece is left to jsonl_continue(): what is fed before that
 * has come to its end is kept.
 *  @return 0; ERR_SYNTAX once enough problems were found (the rest of the input is then only
 * counted); ERR_NOMEM; ERR_BAD_STATE after jsonl_finish() */
MUST_USE int jsonl_feed(struct jsonl *j, const char *bytes, size_t len);

/** Whether a long line is being read: let some turns of the loop pass, each with one call of
 * jsonl_continue(), before the next bytes. Nothing is known of the line and what is behind it until
 * then. */
bool jsonl_pending(const struct jsonl *j);

/** Go on with it for half a millisecond or so; at its end, read what was kept.
 *  @return as jsonl_feed() */
MUST_USE int jsonl_continue(struct jsonl *j);

/** No more bytes come: the last line begins to be read, and may be pending then. For who wants
 * slices; jsonl_finish() is called in any case. */
void jsonl_end_of_file(struct jsonl *j);

/** The file is over; what is pending is read at once. Checks the last line and that there was one
 * at all (code empty_file).
 *  @return 0 or ERR_SYNTAX */
MUST_USE int jsonl_finish(struct jsonl *j);

/** Bytes that the checker holds: the beginning of the line whose end is still to come, or one that
 * is being read and what is behind it, ids, places of models. What the line is decoded to while it
 * is looked at is not counted: one at a time is. */
size_t jsonl_memory(const struct jsonl *j);

/** What is known so far; the pointers live as long as the checker. */
void jsonl_report(const struct jsonl *j, struct jsonl_report *report);

/** Size in bytes of the file once each body.model reads `name` (plain text; it is JSON-escaped
 * here). */
uint64_t jsonl_spliced_size(const struct jsonl *j, const char *name);

/* Reads the original: like pread(2) without EINTR; 0 means end. */
typedef ssize_t (*jsonl_read_cb)(void *arg, char *buf, size_t len, uint64_t offset);

struct jsonl_splice; /* one pass over a checked file; several may run over one checker */

/** Start a pass. `j` (finished without problems) and `arg` are borrowed until jsonl_splice_free().
 * A NULL `name`, or a file without models, copies. NULL when out of memory. */
struct jsonl_splice *jsonl_splice_new(const struct jsonl *j, const char *name, jsonl_read_cb read,
                                      void *arg);
void jsonl_splice_free(struct jsonl_splice *s);

/** Begin the pass anew: the next bytes are the first ones. */
void jsonl_splice_rewind(struct jsonl_splice *s);

/** The next up to `len` bytes of the changed file.
 *  @return bytes written to `buf`, 0 at the end, or a negative code (ERR_IO: the original could not
 * be read) */
ssize_t jsonl_splice_read(struct jsonl_splice *s, char *buf, size_t len);
