/* Reads a provider's list page by page, newest first, each page in slices of a turn of the loop.
 * Everybody who walks a list with a cursor walks it with this: the reader knows where the next page
 * begins and when there is none, the caller makes the calls and says whether to go on.
 *
 *   list_reader_begin() ──► list_reader_query(): the caller asks for the page
 *                                   ▲                   │
 *                                   │                   ▼
 *            the caller reads on ── on_page() ◄── list_reader_page(): on_object(), on_object(), ...
 *
 * Providers are of many kinds, and these rules hold for all of them:
 * - a page that begins like the one before is that page again: the provider ignores `after`;
 * - a page that begins with the object behind which it was to begin is read on behind it;
 * - what does not tell `has_more` goes on until a page is empty or comes again;
 * - a provider that walks in circles is left after `max_pages`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "calls/listing_scan.h"
#include "common/loop.h"
#include "crypto/ids.h"
#include "core/slices.h"

/* What a page says of the list. */
enum list_page {
    LIST_PAGE_MORE,      /* another page follows; list_reader_query() asks for it */
    LIST_PAGE_LAST,      /* the list ends here */
    LIST_PAGE_AGAIN,     /* the provider gave the page before once more */
    LIST_PAGE_NOWHERE,   /* more follows, but no object here has an id to go on behind */
    LIST_PAGE_BOUND,     /* more follows, and `max_pages` were read */
    LIST_PAGE_UNREADABLE /* this is no list, or there is no memory for it */
};

/* One object; everything is valid during the call. */
struct list_object {
    struct json_doc *doc;
    struct json *json;
    const char *id;   /* "": none that a page could begin behind */
    const char *text; /* as the provider sent it */
    size_t len;
};

struct list_reader {
    /* The caller's. */
    struct loop *loop;     /* borrowed */
    struct slices *slices; /* borrowed */
    unsigned max_pages;
    void (*on_object)(void *arg, const struct list_object *object);
    /* A slice is over and the page is not. May end the reader. NULL: nobody asks */
    void (*on_slice)(void *arg);
    /* The page is over, and the reader is at rest: the caller may ask for the next page, begin
     * anew, or free what the reader is part of */
    void (*on_page)(void *arg, enum list_page page);
    void *arg; /* borrowed */
    /* The reader's; the caller may read them in the callbacks. */
    bool again;     /* the page being read is the one before; its objects are shown all the same */
    bool told;      /* in on_page(): the provider says whether more follows */
    size_t objects; /* in on_page(): on the page, whatever they are */
    unsigned pages; /* read */
    char after[IDS_MAX + 1];  /* id of the last object so far that has one; "": none */
    char first[IDS_MAX + 1];  /* of the first one of the page before */
    char begins[IDS_MAX + 1]; /* of this page; "": none so far */
    bool at_cursor;           /* this page began with the object that it was to begin behind */
    size_t shown;             /* objects of this page with an id, but for that one */
    struct strbuf text;       /* owned; the page being read */
    struct listing_scan scan;
    struct slice slice;
};

/** Set the reader to the top of the list. Its caller's part is set; the rest is zero, or was used
 * before and is let go. */
void list_reader_begin(struct list_reader *reader);

/** Append the query of the next page. @param fixed  what every page is asked for, as "limit=100" */
void list_reader_query(const struct list_reader *reader, const char *fixed, struct strbuf *query);

/** A page came: read it in slices, on coming turns. No other page is being read.
 *  @param body  copied; NULL: an empty answer
 *  @return 0; ERR_NOMEM: nothing is read, and on_page() will not run */
MUST_USE int list_reader_page(struct list_reader *reader, const char *body, size_t len);

/** Whether a page is being read. */
bool list_reader_is_reading(const struct list_reader *reader);

/** Let go of the page being read; no callback. Safe at any time, also on a reader that is zero. */
void list_reader_end(struct list_reader *reader);
