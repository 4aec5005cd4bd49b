/* Going on with a file whose transfer was left: which part to ask for, and whether what comes is
 * that part of the same bytes. Pure. Sources: RFC 9110, sections 13.1.5, 14.2 and 14.4. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "upstream/client.h"

#define RESUME_VALIDATOR 128 /* bytes; a longer one is as good as none */

/* What a first answer said of the file: by this a later one is told to be of the same. */
struct resume_mark {
    int64_t total;                   /* bytes of the whole file; -1: not told */
    char etag[RESUME_VALIDATOR];     /* "": none */
    char modified[RESUME_VALIDATOR]; /* Last-Modified; "": none */
    bool encoded;                    /* Content-Encoding: other bytes than the file's */
};

enum resume_verdict {
    RESUME_REST,  /* what was asked for, from its first byte on */
    RESUME_WHOLE, /* the same file from the beginning: the provider knows no ranges */
    RESUME_OTHER  /* not known to be the same bytes */
};

/** Note the size and the validators of the first answer, by which later ones are judged.
 *  @param head  of a 200 or 206 */
void resume_note(struct resume_mark *mark, const struct upstream_head *head);

/** Whether a later answer can be told to be of the same file: its size or a strong validator is
 * known. */
bool resume_is_possible(const struct resume_mark *mark);

/** The value for If-Range; NULL: none (a weak validator must not be sent there). */
const char *resume_validator(const struct resume_mark *mark);

/** The Range for what lies from `next` on and before `end` (UINT64_MAX: to the end of the file). */
void resume_range(uint64_t next, uint64_t end, char *out, size_t size);

/** @param head  of a 200 or 206 */
enum resume_verdict resume_judge(const struct resume_mark *mark, const struct upstream_head *head,
                                 uint64_t next);
