/* The arithmetic of merged pages, pure: which objects of which account belong on a page. The total
 * order is (created_at, account, place in the account's own list): equal times are ordered by
 * account, so a cursor is exact without any memory. A list that comes whole and promises no order
 * gets one of our own, (created_at, id). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/* An object that may be on the page, as text: a merged list of ten accounts is some 100,000 of
 * them, and a tree of each would be four times the size. */
struct listing_item {
    int64_t created_at; /* Unix seconds */
    const char *text;   /* borrowed; the caller's */
    uint32_t len;
    uint32_t id; /* offset of its id in the source's `ids` */
};

/* What one account has given so far, in its own order. */
struct listing_source {
    struct listing_item *items; /* owned */
    size_t num, cap;
    size_t next;       /* first item not yet on the page */
    struct strbuf ids; /* owned; native ids, each with its NUL */
    bool broken;       /* what comes behind the last item is not known: the account failed there */
};

/* Where the page begins: behind this object. */
struct listing_cursor {
    bool set;
    int64_t created_at;
    size_t source; /* the account that holds it */
};

/** Append an item. @param text  stays where it is @return 0, ERR_NOMEM, ERR_LIMIT (4 GiB) */
MUST_USE int listing_source_add(struct listing_source *s, int64_t created_at, const char *id,
                                const char *text, size_t len);
void listing_source_deinit(struct listing_source *s);

/** Native id of item `i`. Valid until the next item is added. */
const char *listing_source_id(const struct listing_source *s, size_t i);

/** Whether an item of account `source` comes behind the cursor. Items of the cursor's own account
 * are always behind it: that account was asked for them only. */
bool listing_is_behind(const struct listing_cursor *cursor, size_t source, int64_t created_at,
                       bool ascending);

/** Whether an item of the cursor's own account that is as old as this can come behind the cursor:
 * for when the account cannot be asked for what is behind it. Equal times can. */
bool listing_may_be_behind(const struct listing_cursor *cursor, int64_t created_at, bool ascending);

/** Sort a list that came whole (providers without paging) into the order asked for; equal times go
 * by id, since nothing says that they come in the same order again. */
void listing_sort(struct listing_source *s, bool ascending);

/** Drop what is not behind this object from a sorted list; it need not be in it any more. */
void listing_trim(struct listing_source *s, int64_t created_at, const char *id, bool ascending);

/** The account whose next item is the next of the merged list. The list ends where an account broke
 * off that had given items: what would follow there is not known.
 *  @param out  set to the item @return index; `num` when there is none */
size_t listing_take(struct listing_source *sources, size_t num, bool ascending,
                    struct listing_item *out);

/** Whether something follows on what was taken. */
bool listing_has_more(const struct listing_source *sources, size_t num);
