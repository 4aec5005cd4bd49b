/* What a page leaves behind for the one that follows it: when the last object was made, where it
 * is, and how far each account has been read. With it a page deep down asks each account once, for
 * what comes next; without it (another node, a restart, an entry that had to go) the cursor's
 * object is asked for and the accounts are read from the top. Kept in a lossy table of their own
 * (balancer/memo.h), so that somebody who walks through long lists drives out nothing else.
 *
 * A place never goes stale: lists grow at their newer end only, so what was behind an object stays
 * behind it, and an object that was deleted meanwhile is unknown to its account, which says so. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/memo.h"
#include "crypto/ids.h"
#include "common/strbuf.h"

/* Longer native ids are not remembered (the longest known, Azure's batches, have 42 characters). */
#define LISTING_PLACE_MAX 128

struct listing_page_end { /* the last object of a page */
    int64_t created_at;   /* Unix seconds */
    uint32_t account;     /* fingerprint of where it is; never 0 */
};

struct listing_place {    /* how far one account has been read */
    char id[IDS_MAX + 1]; /* native id; all that follows on the page's last object is behind it */
    bool more;            /* something was there behind it */
};

/** Name a page by what was asked and the last id shown.
 *  @param owner    who asked, as in relay.h: each sees another list
 *  @param purpose  "" for none */
void listing_places_key(struct strbuf *key, uint64_t owner, enum id_kind kind, bool ascending,
                        const char *purpose, const char *last_id);

void listing_places_put_end(struct memo *memo, const struct strbuf *key,
                            const struct listing_page_end *end, uint64_t now_ms);
bool listing_places_get_end(const struct memo *memo, const struct strbuf *key, uint64_t now_ms,
                            struct listing_page_end *end);

/** @param account  fingerprint; never 0 */
void listing_places_put(struct memo *memo, const struct strbuf *key, uint32_t account,
                        const struct listing_place *place, uint64_t now_ms);
bool listing_places_get(const struct memo *memo, const struct strbuf *key, uint32_t account,
                        uint64_t now_ms, struct listing_place *place);
