/* Lines of a batch's files as bytes come: of its output and error files what the provider says
 * became of each, of its input file which line is whose. Nothing is stored: a line of any length is
 * read byte by byte by a machine of fixed size, which looks at five names at fixed depths, keeps a
 * keyed hash of `custom_id`, and remembers where in the file things stand.
 *
 *   {"custom_id": "...", "response": {"status_code": 200, ...}, "error": {"code": "..."}, ...}
 *
 * Lines are separated by LF; white space around them does not count, empty ones are passed over. What
 * is no JSON object is a bad line. The machine survives anything; it does not check numbers, escapes
 * or UTF-8, nor, below RESULT_LINES_DEPTH levels, whether braces fit and what stands between them: a
 * line may be nested as deep as an operator allows. The names may be written with escapes. Where one
 * stands twice in an object the last one counts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/siphash.h"

#define RESULT_LINES_DEPTH 512   /* of a line; deeper levels are only counted */
#define RESULT_LINES_SLICE 65536 /* bytes to look at in one turn of a loop: some 0.2 ms */

/* A line's `error`. */
enum result_error {
    RESULT_NO_ERROR,  /* absent or null */
    RESULT_EXPIRED,   /* its code is batch_expired */
    RESULT_CANCELLED, /* batch_cancelled */
    RESULT_FAULT      /* anything else */
};

/* What one line says. Offsets count from the first byte that the machine saw, plus its `base`. */
struct result_line {
    uint64_t begin, end;       /* [from its first byte to behind its last), without white space */
    uint64_t id_begin, id_end; /* of custom_id's text as it stands, with its quotes */
    uint64_t hash[2];          /* of custom_id, its escapes read; see result_lines_hash() */
    bool has_id;               /* custom_id is there, and a string */
    uint16_t status;           /* response.status_code; 0: none that is one */
    uint8_t error;             /* enum result_error */
};

enum result_end {
    RESULT_NOT_YET, /* all bytes were taken, and no line has ended */
    RESULT_LINE,    /* `line` is a JSON object */
    RESULT_BAD_LINE /* it is none; of `line` only `begin` and `end` say something */
};

/* All but `line` is the machine's own. */
struct result_lines {
    struct result_line line; /* the last one that has ended */
    struct result_line next; /* the one that is read */
    uint64_t key[2], at;
    bool has_text;
    uint8_t state, place, name; /* what comes next, where it is, whose value is read */
    uint64_t depth, path;       /* of all that is open; of the innermost object that matters */
    uint64_t objects[RESULT_LINES_DEPTH / 64]; /* a bit for each open level: set for objects */
    char word[16];                             /* a key, a number, or an error's code */
    bool word_fits;
    uint8_t word_len;
    struct {
        struct siphash hash;
        uint64_t rest, len;    /* bytes that wait for an eighth; bytes of all */
        uint32_t escape, high; /* digits of \uXXXX, of a key's too; half a pair that waits */
    } id;
};

/** Begin with a file. @param key   128 random bits; the same for files that are put together
 *  @param base  the offset of its first byte, as lines shall have it */
void result_lines_init(struct result_lines *lines, const uint64_t key[2], uint64_t base);

/** Look at bytes up to the end of the next line; callers give at most RESULT_LINES_SLICE a turn.
 *  @param end  set: RESULT_NOT_YET when all bytes were taken, else `lines->line` is filled
 *  @return bytes that were taken; the caller comes again with the others */
size_t result_lines_take(struct result_lines *lines, const char *bytes, size_t len,
                         enum result_end *end);

/** The file is over: its last line need not have an end. Another file may follow, at `lines->at`.
 *  @return RESULT_NOT_YET when it was empty */
enum result_end result_lines_finish(struct result_lines *lines);

/** The hash of a custom_id that is no JSON, as a line would have it. */
void result_lines_hash(const uint64_t key[2], const char *id, size_t len, uint64_t out[2]);
