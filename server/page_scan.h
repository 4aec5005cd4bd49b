/* One page of a provider's list, read in slices: a page of a hundred batches costs 1.5 ms, and
 * several accounts may answer in one turn of the loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"
#include "common/loop.h"
#include "common/strbuf.h"
#include "server/listing_scan.h"

enum page_scan_end {
    PAGE_SCAN_WHOLE,
    PAGE_SCAN_STOPPED, /* `on_object` said so */
    PAGE_SCAN_NO_LIST,
    PAGE_SCAN_NO_MEMORY
};

struct page_scan;

struct page_scan_ops {
    /* The next object. `doc` owns it and goes after the call, unless page_scan_take() was called.
     * Return false to stop. */
    bool (*on_object)(void *arg, struct json_doc *doc, struct json *object);
    /* Once; the scan is as before page_scan_start() then and may be started again. */
    void (*on_end)(void *arg, enum page_scan_end end, const struct page_scan *scan);
};

/* Embedded by its user; all zero but what page_scan_start() sets. */
struct page_scan {
    const struct page_scan_ops *ops;
    void *arg;         /* borrowed */
    struct loop *loop; /* borrowed */
    struct strbuf text;
    struct listing_scan scan;
    struct loop_timer slice;
    struct json_doc *doc; /* of the slice that is being read */
    size_t num;           /* objects that were given */
    /* Set for on_end() when the page was read to its end. */
    bool more; /* there is another page; if the provider does not say, unless this one is empty */
    bool told; /* it does */
};

/** Read `text` (copied). The callbacks come from later turns, never from inside.
 *  @return 0, ERR_NOMEM: no callback */
MUST_USE int page_scan_start(struct page_scan *scan, struct loop *loop, const char *text,
                             size_t len, const struct page_scan_ops *ops, void *arg);

/** From inside on_object() only: `doc` is the caller's now. */
void page_scan_take(struct page_scan *scan);

/** Stop it, no callback; what it holds is freed. Also after the end, and of one that never
 * started. */
void page_scan_cancel(struct page_scan *scan);
