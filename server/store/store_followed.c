/* See store_followed.h. */
#include "store/store_followed.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "store_followed_impl.h"

#define KEPT_MS INT64_C(2678400000) /* 31 days: longer than any file of a provider is kept */

#define COLUMNS                                                                                    \
    "b.followed, b.id_account, b.id_native, b.owner, b.status, b.created, b.expires, b.position,"  \
    " b.moves, b.total, b.completed, b.failed, b.in_progress, b.finalizing, b.cancelling,"         \
    " b.finished, b.shown, p.account, p.deployment, p.native, p.output_file, p.error_file,"        \
    " p.moving"
#define NUM_COLUMNS 23

static_assert(NUM_COLUMNS <= ENGINE_MAX_COLUMNS, "a row that is followed");

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

int work_follow(struct store *store, const char *batch_id)
{
    struct value values[] = {value_text(batch_id), value_int(0)};
    int64_t seq = 0;
    int rc = work_run(store,
                      "update @meta set value = cast(cast(value as bigint) + 1 as text)"
                      " where name = 'followed' returning value",
                      NULL, 0, on_number, &seq);

    values[1] = value_int(seq);
    return rc == 0 ? WORK_RUN(store, "update @batch set followed = $2 where id = $1", values, NULL,
                              NULL)
                   : rc;
}

/* --- rows --- */

struct reading {
    store_followed_cb cb;
    void *arg;
    int64_t *seq;
    size_t num;
};

static int64_t seconds(const struct row *row, size_t column)
{
    return row_int(row, column) / 1000;
}

/* What is too long for a row has been refused before it came here. */
static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static enum followed_state state_of(const struct row *row)
{
    bool placed = row->texts[19] != NULL;

    if (!placed)
        return seconds(row, 15) == 0 ? FOLLOWED_WAITS : FOLLOWED_OVER;
    switch ((enum store_moving)row_int(row, 22)) {
    case STORE_MOVE_WANTED:
        return FOLLOWED_MOVES;
    case STORE_MOVE_OVER:
        return FOLLOWED_OVER;
    case STORE_MOVE_NONE:
        break;
    }
    return FOLLOWED_RUNS;
}

static void set_place(const struct row *row, struct followed_row *out)
{
    out->at.account = (uint32_t)row_int(row, 17);
    out->at.deployment = (uint32_t)row_int(row, 18);
    set_text(out->at.native, sizeof(out->at.native), row->texts[19]);
    set_text(out->output_file, sizeof(out->output_file), row->texts[20]);
    set_text(out->error_file, sizeof(out->error_file), row->texts[21]);
}

static int on_row(void *arg, const struct row *row)
{
    struct reading *r = arg;
    struct followed_row out = {.account = (uint32_t)row_int(row, 1),
                               .owner = (uint64_t)row_int(row, 3),
                               .state = state_of(row),
                               .created_s = seconds(row, 5),
                               .expires_s = seconds(row, 6),
                               .position = (uint32_t)row_int(row, 7),
                               .moves = (uint32_t)row_int(row, 8),
                               .total = (uint64_t)row_int(row, 9),
                               .completed = (uint64_t)row_int(row, 10),
                               .failed = (uint64_t)row_int(row, 11),
                               .in_progress_s = seconds(row, 12),
                               .finalizing_s = seconds(row, 13),
                               .cancelling_s = seconds(row, 14),
                               .finished_s = seconds(row, 15)};

    r->num++;
    *r->seq = row_int(row, 0);
    set_text(out.native, sizeof(out.native), row->texts[2]);
    set_text(out.status, sizeof(out.status), row->texts[4]);
    set_place(row, &out);
    return r->cb(r->arg, &out, row->texts[16]);
}

static int read_page(struct store *store, struct reading *r)
{
    struct value values[] = {value_int(*r->seq), value_int(0), value_int(STORE_FOLLOWED_PAGE)};
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    values[1] = value_int(now_ms - KEPT_MS);
    return rc == 0 ? WORK_RUN(store,
                              "select " COLUMNS " from @batch b left join @batch_part p"
                              " on p.batch_id = b.id and p.part = 0"
                              " where b.followed > $1 and b.id_native is not null"
                              " and (b.ended is null or b.ended > $2)"
                              " order by b.followed limit $3",
                              values, on_row, r)
                   : rc;
}

int store_followed_read(struct store *store, int64_t *seq, bool *more, store_followed_cb on_row_cb,
                        void *arg)
{
    int64_t newest = 0, from = *seq;
    struct reading r = {.cb = on_row_cb, .arg = arg, .seq = seq};
    int rc = work_begin(store, WORK_READ);

    *more = false;
    if (rc != 0)
        return rc;
    rc = work_run(store, "select value from @meta where name = 'followed'", NULL, 0, on_number,
                  &newest);
    if (rc == 0 && newest < from)
        rc = ERR_NOT_FOUND;
    if (rc == 0 && newest > from)
        rc = read_page(store, &r);
    rc = work_end(store, rc);
    if (rc != 0) {
        *seq = from;
        return rc;
    }
    *more = r.num == STORE_FOLLOWED_PAGE;
    if (!*more)
        *seq = newest;
    return 0;
}
