/* multipart/form-data, pushed in pieces of any size, nothing buffered but a part's head and a boundary's length.
 *
 * Source: RFC 7578, RFC 2046 section 5.1, RFC 6266/5987 (`filename*`), WHATWG "multipart form data" (%22 %0D %0A in names). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct multipart;

struct multipart_part {
    const char *name;         /* decoded field name; never NULL */
    const char *filename;     /* decoded, base name only, control bytes removed; NULL when the part has none */
    const char *content_type; /* as sent; NULL when absent */
};

/* Each returns 0 to go on or a negative code, which multipart_feed() then returns. */
struct multipart_ops {
    int (*on_part)(void *arg, const struct multipart_part *part); /* `part` is valid during the call */
    int (*on_data)(void *arg, const char *bytes, size_t len);
    int (*on_part_end)(void *arg);
};

struct multipart_limits {
    size_t max_parts;      /* 0: 128 */
    size_t max_head_bytes; /* of one part's headers; 0: 8 KiB */
    size_t max_name_bytes; /* of name and file name each; 0: 1024 */
};

/** A parser for the body announced by the header value `content_type` (e.g. `multipart/form-data; boundary=x`).
 *  @param out     the parser (free with multipart_free()); NULL on error
 *  @param why     a constant text on error
 *  @return 0; ERR_INVALID when this is not multipart/form-data or the boundary is missing or breaks RFC 2046 (1..70 of
 *          bchars, no trailing space); ERR_NOMEM */
MUST_USE int multipart_new(const char *content_type, size_t content_type_len, const struct multipart_limits *limits,
                           const struct multipart_ops *ops, void *arg, struct multipart **out, const char **why);
void multipart_free(struct multipart *mp);

/** Parse the next bytes; calls the ops back before it returns. Bytes after the closing delimiter are ignored (epilogue).
 *  @return 0; ERR_SYNTAX or ERR_LIMIT (see multipart_error()); or what an op returned. Final once not 0. */
MUST_USE int multipart_feed(struct multipart *mp, const char *bytes, size_t len);

/** The body is over. @return 0; ERR_SYNTAX when the closing delimiter is missing */
MUST_USE int multipart_finish(struct multipart *mp);

/** What was wrong (constant or owned by `mp`, printable) and at which byte of the body. "" when nothing was. */
const char *multipart_error(const struct multipart *mp, uint64_t *offset);
