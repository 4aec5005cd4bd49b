/* See followed_rows.h. */
#include "followed_rows.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "store/store_followed.h"

#define PAGES 8 /* of one step */

struct followed_rows {
    struct followed *followed; /* borrowed */
    struct store *store;       /* borrowed */
    uint32_t turn;             /* 0: it does not write yet */
    int64_t seq;               /* of the database: what is before is in the table */
    bool loaded;
    bool full_told;
    uint64_t left_out; /* rows for which there was no room, since the last loading */
};

int followed_rows_new(struct followed *followed, struct store *store, struct followed_rows **out)
{
    struct followed_rows *r = calloc(1, sizeof(*r));

    assert(followed != NULL && store != NULL);
    if (r == NULL)
        return ERR_NOMEM;
    r->followed = followed;
    r->store = store;
    *out = r;
    return 0;
}

void followed_rows_free(struct followed_rows *r)
{
    free(r);
}

/* A batch for which there is no room is what its first provider says. */
static int on_row(void *arg, const struct followed_row *row, const char *text)
{
    struct followed_rows *r = arg;
    size_t len = text != NULL ? strlen(text) : 0;
    int rc = followed_put(r->followed, r->turn, row, len > 0 ? text : NULL, len);

    if (rc == ERR_BAD_STATE)
        return rc; /* another keeper follows by now */
    if (rc == 0)
        return 0;
    r->left_out++;
    log_debug("batch %s: it is not followed: %s", row->native, err_str(rc));
    return 0;
}

static void tell_left_out(struct followed_rows *r)
{
    if (r->left_out > 0 && !r->full_told)
        log_warn("journal: %" PRIu64 " batches that wait or were moved have no room in this node's "
                 "table of %u: they are shown as their first provider has them",
                 r->left_out, (unsigned)FOLLOWED_MAX);
    r->full_told = r->left_out > 0;
}

/* All of it is read anew, beside what is there. */
static void start_over(struct followed_rows *r)
{
    r->seq = 0;
    r->loaded = false;
    r->left_out = 0;
}

static bool take_turn(struct followed_rows *r, bool stopping)
{
    if (r->turn != 0 && followed_is_mine(r->followed, r->turn))
        return true;
    if (r->turn != 0 || stopping)
        return false; /* who came later goes on */
    r->turn = followed_claim(r->followed);
    start_over(r);
    return r->turn != 0;
}

static void on_all_read(struct followed_rows *r, uint64_t now_ms)
{
    if (!r->loaded) {
        followed_sweep(r->followed, r->turn);
        log_debug("journal: %u batches are followed", followed_counts(r->followed).rows);
    }
    r->loaded = true;
    tell_left_out(r);
    followed_heard(r->followed, r->turn, now_ms);
}

void followed_rows_step(struct followed_rows *r, bool stopping, uint64_t now_ms)
{
    bool more = true;
    int rc = 0;

    if (!take_turn(r, stopping))
        return;
    for (int page = 0; page < PAGES && rc == 0 && more; page++)
        rc = store_followed_read(r->store, &r->seq, &more, on_row, r);
    if (rc == ERR_NOT_FOUND) { /* a copy was put back: what this node knows may never have been */
        log_warn("journal: the database is an older one than before: which batches wait or were "
                 "moved is read anew");
        r->turn = 0;
        return;
    }
    if (rc != 0)
        log_debug("journal: followed batches are not up to date: %s", err_str(rc));
    else if (!more)
        on_all_read(r, now_ms);
}
