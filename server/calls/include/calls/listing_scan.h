/* A provider's list taken apart into its objects, one call each, so that a list of 10,000 files is
 * read in slices and never holds the loop up. Everybody who reads one reads it with this. Only the
 * bounds of the objects are found here; whether they are valid JSON the parser says, for each of
 * them and for what is left without them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "json/json.h"
#include "common/strbuf.h"

/* Bytes; the largest batch, with all its errors, has some 30,000 */
#define LISTING_MAX_OBJECT  (1u << 20)
#define LISTING_MAX_REST    (64u << 10)
/* Of a provider's answer read in one turn of the loop: about 0.4 ms */
#define LISTING_SLICE_BYTES 32768

struct listing_scan {
    const char *text; /* borrowed */
    size_t len;
    size_t at;   /* bytes looked at */
    bool inside; /* between the brackets of `data` */
    bool ended;  /* behind them, or there are none */
    size_t num;  /* objects given so far */
    /* Owned; the text with an empty list in place of the full one: complete once the scan ended */
    struct strbuf rest;
};

/** Begin with a text that lives until listing_scan_deinit(). `scan` was zeroed, or used before. */
void listing_scan_init(struct listing_scan *scan, const char *text, size_t len);
void listing_scan_deinit(struct listing_scan *scan);

/** The next element of the first array under the root's `data` or `value`.
 *  @return 1: it is set; 0: there is none, `rest` is complete; ERR_SYNTAX: this is no list, or one
 *         without measure; ERR_NOMEM */
MUST_USE int listing_scan_next(struct listing_scan *scan, const char **element, size_t *len);

/** One element, parsed; `text` lives as long as the scan's, `doc` and `object` as the document.
 *  @return 0: go on; anything else ends the slice, which returns it */
typedef int (*listing_scan_cb)(void *arg, struct json_doc *doc, struct json *object,
                               const char *text, size_t len);

#define LISTING_SCAN_MORE 1

/** Read on for one turn of the loop: LISTING_SLICE_BYTES, and what the last element has beyond.
 *  @param doc  where the elements go; NULL counts as out of memory
 *  @return LISTING_SCAN_MORE: the slice is over; 0: the list is; ERR_SYNTAX, ERR_NOMEM; or what
 *         `on_object` returned */
MUST_USE int listing_scan_slice(struct listing_scan *scan, struct json_doc *doc,
                                listing_scan_cb on_object, void *arg);

/** Once the scan ended: what the provider says of what follows.
 *  @param more  whether something does; where it does not say, whether this list has elements
 *  @param told  whether it says
 *  @return 0, ERR_SYNTAX: it is no list, or two of them; ERR_NOMEM */
MUST_USE int listing_scan_rest(const struct listing_scan *scan, bool *more, bool *told);
