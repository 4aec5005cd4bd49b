/* One account's list, read page by page, newest first, each page in slices so that the prober's
 * heart beats on. What is done with the objects, and how far back is read, the caller decides. */
#pragma once

#include "json/json.h"
#include "upkeep.h"

/** One object of the list, parsed; `doc` and `object` live as long as the call. */
typedef void (*pages_object_cb)(void *arg, struct json_doc *doc, struct json *object);

/** A page was read and the provider has another one. @return whether to read that too */
typedef bool (*pages_more_cb)(void *arg);

enum pages_end {
    PAGES_WHOLE,   /* the list was read to its end */
    PAGES_STOPPED, /* `on_more` said so, or `max_pages` were read */
    PAGES_FAILED   /* a page could not be had, or was no list */
};

/** @param why  of a failure; "" otherwise */
typedef void (*pages_done_cb)(void *arg, enum pages_end end, const char *why);

struct pages_spec {
    struct upkeep_account *account;
    enum provider_call call; /* CALL_BATCH_LIST or CALL_FILE_LIST */
    const char *query;       /* constant text, without `after` */
    bool paged;              /* false: the provider gives the whole list at once */
    unsigned max_pages;
    pages_object_cb on_object;
    pages_more_cb on_more;
    pages_done_cb on_done; /* once; never from inside pages_start() */
    void *arg;             /* borrowed */
};

/** @return 0, or an error: on_done will not run */
MUST_USE int pages_start(const struct pages_spec *spec);
