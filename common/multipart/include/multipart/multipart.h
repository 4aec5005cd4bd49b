/* multipart/form-data, pushed in pieces of any size, nothing buffered but a part's head and a
 * boundary's length.
 *
 * Source: RFC 7578, RFC 2046 section 5.1, RFC 6266/5987 (`filename*`), WHATWG "multipart form data"
 * (%22 %0D %0A in names).
 *
 * One answer for each thing that clients do, or that somebody tries:
 *
 *   text before the first or after the closing delimiter   ignored
 *   blanks and tabs between boundary and line end           accepted, up to 64 (ERR_LIMIT)
 *   boundary followed by anything else in the line          data, delivered as it is; `--`
 *                                                           always closes
 *   a delimiter after a bare LF                             data
 *   boundary, or a line of a part's head, ended by bare LF  ERR_SYNTAX
 *   bare CR, NUL or another control byte in a head          ERR_SYNTAX
 *   folded head line (RFC 822)                              joined with a blank
 *   head line without colon, or a blank in front of it      ERR_SYNTAX
 *   Content-Disposition missing, twice, not `form-data`     ERR_SYNTAX
 *   `name` missing, or a parameter twice                    ERR_SYNTAX
 *   Content-Type missing                                    accepted; twice: ERR_SYNTAX
 *   Content-Transfer-Encoding but 7bit, 8bit, binary        ERR_SYNTAX (RFC 7578, section 4.7:
 *                                                           deprecated)
 *   a part that is multipart itself                         one part; its text is data
 *   `\"` and `\\` in a quoted name                          `"` and `\`; any other backslash
 *                                                           stands for itself
 *   %22, %0D, %0A in a quoted name                          decoded; any other % stands for itself
 *   `filename*` beside `filename`                           wins; undecodable, or not
 *                                                           UTF-8 or ISO-8859-1: ERR_SYNTAX
 *   directories in a file name (/ or \), `.` and `..`       removed; the name may end up empty
 *   control characters in names                             removed
 *   invalid UTF-8 in names                                  each byte becomes U+FFFD
 *   too many parts, too long a head or name                 ERR_LIMIT
 *   no part at all, only the closing delimiter              accepted
 *   no closing delimiter                                    ERR_SYNTAX from multipart_finish()
 *   the same field name again                               delivered again; the caller's business
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct multipart;

struct multipart_part {
    const char *name; /* decoded field name; never NULL */
    /* Decoded, base name only, control bytes removed; NULL when the part has none */
    const char *filename;
    const char *content_type; /* as sent; NULL when absent */
};

/* Each returns 0 to go on or a negative code, which multipart_feed() then returns. */
struct multipart_ops {
    int (*on_part)(void *arg,
                   const struct multipart_part *part); /* `part` is valid during the call */
    int (*on_data)(void *arg, const char *bytes, size_t len);
    int (*on_part_end)(void *arg);
};

struct multipart_limits {
    size_t max_parts;      /* 0: 128 */
    size_t max_head_bytes; /* of one part's headers; 0: 8 KiB */
    size_t max_name_bytes; /* of name and file name each; 0: 1024 */
};

/** A parser for the body announced by the header value `content_type` (e.g. `multipart/form-data;
 * boundary=x`).
 *  @param out     the parser (free with multipart_free()); NULL on error
 *  @param why     a constant text on error
 *  @return 0; ERR_INVALID when this is not multipart/form-data or the boundary is missing or breaks
 *         RFC 2046 (1..70 of bchars, no trailing space); ERR_NOMEM */
MUST_USE int multipart_new(const char *content_type, size_t content_type_len,
                           const struct multipart_limits *limits, const struct multipart_ops *ops,
                           void *arg, struct multipart **out, const char **why);
void multipart_free(struct multipart *mp);

/** Parse the next bytes; calls the ops back before it returns. Bytes after the closing delimiter
 * are ignored (epilogue).
 *  @return 0; ERR_SYNTAX or ERR_LIMIT (see multipart_error()); or what an op returned. Final once
 *         not 0. */
MUST_USE int multipart_feed(struct multipart *mp, const char *bytes, size_t len);

/** The body is over. @return 0; ERR_SYNTAX when the closing delimiter is missing */
MUST_USE int multipart_finish(struct multipart *mp);

/** What was wrong (a constant, printable text) and at which byte of the body, counted from 0; for
 * the head of a part, where that head begins. "" when nothing was wrong, or when an op stopped the
 * parser. */
const char *multipart_error(const struct multipart *mp, uint64_t *offset);
