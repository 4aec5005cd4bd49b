/* The arithmetic of merged pages, pure: which objects of which account belong on a page. The total
 * order is (created_at, account, place in the account's own list): equal times are ordered by
 * account, so a cursor is exact without any memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct listing_item {
    int64_t created_at; /* Unix seconds */
    void *object;       /* borrowed; the caller's */
};

/* What one account has given so far, in its own order. */
struct listing_source {
    struct listing_item *items; /* owned */
    size_t num, cap;
    size_t next;    /* first item not yet on the page */
    bool exhausted; /* the account has nothing more */
};

/* Where the page begins: behind this object. */
struct listing_cursor {
    bool set;
    int64_t created_at;
    size_t source; /* the account that holds it */
};

/** Append an item. @return 0, ERR_NOMEM */
MUST_USE int listing_source_add(struct listing_source *s, int64_t created_at, void *object);
void listing_source_deinit(struct listing_source *s);

/** Whether an item of account `source` comes behind the cursor. Items of the cursor's own account
 * are always behind it: that account was asked for them only. */
bool listing_is_behind(const struct listing_cursor *cursor, size_t source, int64_t created_at,
                       bool ascending);

/** Sort a list that came whole (providers without paging) into the order asked for; equal times
 * keep their order. */
void listing_sort(struct listing_item *items, size_t num, bool ascending);

/** The account whose next item is the next of the merged list. @return index; `num` when all are
 * empty */
size_t listing_take(struct listing_source *sources, size_t num, bool ascending,
                    struct listing_item *out);
