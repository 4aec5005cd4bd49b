/* The strict check of an HTTP/1 request head, made before libh2o parses it (its parser is lenient,
 * and handlers cannot see framing fields any more: front README 1.1 and 2). Pure: bytes in,
 * verdict out. Rules: RFC 9112, and where it leaves a choice the one that cannot be smuggled
 * through. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUARD_H1_MAX_HEAD   32768 /* bytes, request line and fields: more is 431 */
#define GUARD_H1_MAX_TARGET 8192  /* bytes: more is 414 */
#define GUARD_H1_MAX_FIELDS 100   /* more is 431 */

enum guard_framing {
    FRAMING_NONE,   /* neither Content-Length nor Transfer-Encoding: no body (RFC 9112, 6.3) */
    FRAMING_LENGTH, /* Content-Length */
    FRAMING_CHUNKED
};

struct guard_head {
    enum guard_framing framing;
    uint64_t length; /* FRAMING_LENGTH */
    bool http10;
    bool continue_expected; /* Expect: 100-continue, of HTTP/1.1 */
    bool padded; /* a value has white space behind it, which libh2o would take for a part of it */
    /* places for guard_h1_hide(); offsets from the head's first byte, 0: absent */
    size_t len;
    size_t expect_at;
    size_t framing_at, framing_value_at, framing_value_len;
};

/**
 * Look for the end of a head in what arrived so far.
 *
 * @param scanned  0 before the first call for a head; afterwards kept by this function, so that a
 *                 head which comes byte by byte is looked at once
 * @return the head's length; 0: more bytes are needed; below 0: minus the status to answer
 */
int guard_h1_find_end(const char *bytes, size_t len, size_t *scanned);

/** Whether what arrived so far ends as a head does and is not too large for one. guard_h1_check()
 * may take it then; it tells if the head ends before. */
bool guard_h1_may_be_whole(const char *bytes, size_t len);

#define GUARD_H1_MORE    (-1)
#define GUARD_H1_FOREIGN (-2)

/** Check a complete head: as found by guard_h1_find_end(), or what arrived if it ends in an empty
 * line.
 *  @return 0, or the status to answer: 400, 414, 417, 431, 505; GUARD_H1_MORE: the head ends
 *         before, so guard_h1_find_end() has to say where; GUARD_H1_FOREIGN: three words, but
 *         neither a path nor a version of HTTP among them: a peer that would not understand an
 *         answer, as one whose HTTP/2 preface is wrong (RFC 9113, 3.4) */
int guard_h1_check(const char *head, size_t len, struct guard_head *out);

/** Make the framing invisible in place, at the same length, so that libh2o sees an empty body and
 * does not answer `100 Continue` by itself: the length becomes zeros, chunked a Content-Length of
 * 0. White space behind values moves in front of them. */
void guard_h1_hide(char *head, const struct guard_head *info);

/** Whether these bytes are a fit request target: origin form, visible ASCII. Also used for HTTP/2's
 * :path. */
bool guard_h1_is_target(const char *target, size_t len);

/** Whether these bytes are a fit method: capital letters and hyphens. */
bool guard_h1_is_method(const char *method, size_t len);

/** Whether these bytes are a fit host[:port], empty included (RFC 3986, 3.2.2 and 3.2.3). */
bool guard_h1_is_authority(const char *authority, size_t len);
