/* See store_batches.h: what is read, and what is dropped. */
#include "store/store_batches.h"

#include <assert.h>
#include <stdio.h>

#include "store/store_followed.h"
#include "store_batches_impl.h"

#define SLICE  "500" /* rows of each kind that one tending drops */
#define DAY_MS INT64_C(86400000)

#define COLUMNS                                                                                    \
    "b.id, b.owner, b.key_id, b.key_alias, b.team_id, b.user_id, b.tags, b.model_group,"           \
    " b.endpoint, b.input_file, b.reservation, p.account, p.native, p.deployment, p.tokens,"       \
    " b.status, b.created, b.expires, b.rebuilt, p.open, b.total, b.completed, b.failed, b.code,"  \
    " p.output_file, p.error_file, b.in_progress, b.finalizing, b.cancelling, b.finished,"         \
    " p.next_at, p.watcher, p.poll_ms, b.moves, p.moving,"                                         \
    " (select a.deployment from @batch_attempt a where a.batch_id = b.id and a.number = b.moves)"
#define NUM_COLUMNS 36
#define FROM        " from @batch b join @batch_part p on p.batch_id = b.id and p.part = 0 "

static_assert(NUM_COLUMNS <= ENGINE_MAX_COLUMNS, "a row of the registry");

/* ---- rows ---- */

struct reader {
    store_batch_cb cb;
    void *arg;
    size_t num, most; /* rows so far; beyond `most` none is given */
};

static struct store_batch batch_of(const struct row *row)
{
    return (struct store_batch){.id = row->texts[0],
                                .owner = (uint64_t)row_int(row, 1),
                                .key_id = row->texts[2],
                                .key_alias = row->texts[3],
                                .team_id = row->texts[4],
                                .user_id = row->texts[5],
                                .tags = row->texts[6],
                                .model_group = row->texts[7],
                                .endpoint = row->texts[8],
                                .input_file = row->texts[9],
                                .reservation = row->texts[10],
                                .account = (uint32_t)row_int(row, 11),
                                .native = row->texts[12],
                                .deployment = (uint32_t)row_int(row, 13),
                                .tokens = (uint64_t)row_int(row, 14),
                                .status = row->texts[15],
                                .created_ms = row_int(row, 16),
                                .expires_ms = row_int(row, 17),
                                .rebuilt = row_int(row, 18) != 0};
}

static int on_batch(void *arg, const struct row *row)
{
    struct reader *r = arg;
    struct store_batch_row out = {.batch = batch_of(row),
                                  .open = (enum store_open)row_int(row, 19),
                                  .total = (uint64_t)row_int(row, 20),
                                  .completed = (uint64_t)row_int(row, 21),
                                  .failed = (uint64_t)row_int(row, 22),
                                  .code = row->texts[23],
                                  .output_file = row->texts[24],
                                  .error_file = row->texts[25],
                                  .in_progress_ms = row_int(row, 26),
                                  .finalizing_ms = row_int(row, 27),
                                  .cancelling_ms = row_int(row, 28),
                                  .finished_ms = row_int(row, 29),
                                  .watcher = row->texts[31],
                                  .poll_ms = (uint32_t)row_int(row, 32),
                                  .moves = (uint32_t)row_int(row, 33),
                                  .moving = row_int(row, 34) == STORE_MOVE_WANTED,
                                  .moved_from = (uint32_t)row_int(row, 35)};

    if (r->num++ == r->most)
        return 0;
    if (out.open != STORE_DONE)
        out.next_ms = row_int(row, 30);
    return r->cb(r->arg, &out);
}

int store_batches_get(struct store *store, const char *id, const struct store_native *of,
                      store_batch_cb cb, void *arg)
{
    struct reader reader = {.cb = cb, .arg = arg, .most = 1};
    struct value values[2] = {value_text(id)};
    int rc = work_begin(store, WORK_READ);

    if (rc != 0)
        return rc;
    if (id != NULL) {
        rc =
            work_run(store, "select " COLUMNS FROM "where b.id = $1", values, 1, on_batch, &reader);
    } else {
        values[0] = value_int(of->account);
        values[1] = value_text(of->native);
        rc = work_run(store, "select " COLUMNS FROM "where p.account = $1 and p.native = $2",
                      values, 2, on_batch, &reader);
    }
    rc = work_end(store, rc);
    return rc == 0 && reader.num == 0 ? ERR_NOT_FOUND : rc;
}

/* ---- a list ---- */

#define MAX_CONDITIONS 12

struct conditions {
    struct strbuf sql;
    struct value values[MAX_CONDITIONS];
    size_t num;
};

/* @param text  with "%zu" for the parameter's number */
static void add_condition(struct conditions *c, const char *before, const char *behind,
                          struct value value)
{
    assert(c->num < MAX_CONDITIONS);
    c->values[c->num++] = value;
    strbuf_addf(&c->sql, "%s %s $%zu%s", c->num == 1 ? "where" : " and", before, c->num, behind);
}

static void add_text(struct conditions *c, const char *before, const char *text)
{
    if (text != NULL)
        add_condition(c, before, "", value_text(text));
}

static void add_filter(struct conditions *c, const struct store_batch_filter *f)
{
    if (f->of_owner)
        add_condition(c, "b.owner =", "", value_int((int64_t)f->owner));
    add_text(c, "b.key_id =", f->key_id);
    add_text(c, "b.team_id =", f->team_id);
    add_text(c, "b.model_group =", f->model_group);
    add_text(c, "b.status =", f->status);
    if (f->open)
        add_condition(c, "p.open =", "", value_int(STORE_RUNS));
    if (f->from_ms != 0)
        add_condition(c, "b.created >=", "", value_int(f->from_ms));
    if (f->to_ms != 0)
        add_condition(c, "b.created <=", "", value_int(f->to_ms));
    if (f->behind_id == NULL)
        return;
    add_condition(c, "b.created <=", "", value_int(f->behind_created_ms));
    add_condition(c, "(b.created <", "", value_int(f->behind_created_ms));
    c->values[c->num++] = value_text(f->behind_id);
    strbuf_addf(&c->sql, " or b.id < $%zu)", c->num);
}

int store_batches_list(struct store *store, const struct store_batch_filter *filter,
                       store_batch_cb cb, void *arg, bool *more)
{
    struct reader reader = {.cb = cb, .arg = arg, .most = filter->limit};
    struct conditions c = {.sql = STRBUF_INIT};
    int rc = work_begin(store, WORK_READ);

    assert(filter->limit > 0 && filter->limit <= STORE_BATCHES_MAX);
    *more = false;
    if (rc != 0)
        return rc;
    strbuf_adds(&c.sql, "select " COLUMNS FROM);
    add_filter(&c, filter);
    c.values[c.num++] = value_int((int64_t)filter->limit + 1);
    strbuf_addf(&c.sql, " order by b.created desc, b.id desc limit $%zu", c.num);
    rc = strbuf_failed(&c.sql)
             ? ERR_NOMEM
             : work_run(store, strbuf_str(&c.sql), c.values, c.num, on_batch, &reader);
    strbuf_deinit(&c.sql);
    *more = rc == 0 && reader.num > filter->limit;
    return work_end(store, rc);
}

/* ---- a story ---- */

struct teller {
    store_story_cb cb;
    void *arg;
};

static int on_line(void *arg, const struct row *row)
{
    struct teller *t = arg;
    struct store_story line = {.number = (uint64_t)row_int(row, 0),
                               .at_ms = row_int(row, 1),
                               .what = row->texts[2],
                               .node = row->texts[3],
                               .detail = row->texts[4]};

    return t->cb(t->arg, &line);
}

int store_batches_story(struct store *store, const char *id, uint64_t behind, size_t limit,
                        store_story_cb cb, void *arg)
{
    struct teller teller = {.cb = cb, .arg = arg};
    struct value values[] = {value_text(id), value_int((int64_t)behind), value_int((int64_t)limit)};
    int rc = work_begin(store, WORK_READ);

    assert(limit > 0 && limit <= STORE_BATCHES_MAX);
    return rc == 0 ? work_end(store, WORK_RUN(store,
                                              "select number, at, what, node, detail"
                                              " from @batch_story where batch_id = $1"
                                              " and number > $2 order by number, at limit $3",
                                              values, on_line, &teller))
                   : rc;
}

/* ---- ends ---- */

#define LATE_MS  10000  /* a commit becomes visible so long after its clock at most */
#define FIRST_MS 600000 /* how far back the first reading goes */

struct ends {
    store_ended_cb cb;
    void *arg;
};

static int on_end(void *arg, const struct row *row)
{
    const struct ends *ends = arg;
    struct store_ended ended = {.native = row->texts[0],
                                .status = row->texts[1],
                                .account = (uint32_t)row_int(row, 2),
                                .deployment = (uint32_t)row_int(row, 3)};

    return ends->cb(ends->arg, &ended);
}

int store_batches_ended(struct store *store, int64_t *since, store_ended_cb cb, void *arg)
{
    struct ends ends = {.cb = cb, .arg = arg};
    struct value values[] = {value_int(0)};
    int64_t now_ms = 0;
    int rc = work_begin(store, WORK_READ);

    if (rc != 0)
        return rc;
    rc = work_now(store, &now_ms);
    values[0] = value_int(*since != 0 ? *since - LATE_MS : now_ms - FIRST_MS);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "select p.native, b.status, p.account, p.deployment from @batch b"
                      " join @batch_part p on p.batch_id = b.id where b.ended >= $1",
                      values, on_end, &ends);
    rc = work_end(store, rc);
    if (rc == 0)
        *since = now_ms;
    return rc;
}

/* ---- how many ---- */

static int on_counts(void *arg, const struct row *row)
{
    struct store_batch_counts *out = arg;

    out->open = (uint64_t)row_int(row, 0);
    out->unmeasured = (uint64_t)row_int(row, 1);
    out->due = (uint64_t)row_int(row, 2);
    out->claimed = (uint64_t)row_int(row, 3);
    out->late_ms = row_int(row, 4);
    return 0;
}

int store_batches_count(struct store *store, const char *node, struct store_batch_counts *out)
{
    struct value values[] = {value_int(0), value_text(node)};
    int64_t now_ms;
    int rc = work_begin(store, WORK_READ);

    *out = (struct store_batch_counts){0};
    if (rc != 0)
        return rc;
    rc = work_now(store, &now_ms);
    values[0] = value_int(now_ms);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "select sum(case when open = 1 then 1 else 0 end),"
                      " sum(case when open = 2 then 1 else 0 end),"
                      " sum(case when next_at <= $1 and claim_until <= $1 then 1 else 0 end),"
                      " sum(case when claim_until > $1 and claim_node = $2 then 1 else 0 end),"
                      " min(case when next_at <= $1 and claim_until <= $1 and next_at > 1"
                      " then next_at end) from @batch_part where open <> 0",
                      values, on_counts, out);
    return work_end(store, rc);
}

/* ---- what is too old ---- */

/* A batch that still has something to be done stays, however old it is. */
static int drop_old(struct store *store, int64_t now_ms, size_t *dropped)
{
    struct value values[] = {value_int(now_ms - STORE_USAGE_DAYS * DAY_MS)};
    int rc = WORK_RUN(store,
                      "delete from @batch where id in (select b.id from @batch b where"
                      " b.created < $1 and not exists(select 1 from @batch_part p"
                      " where p.batch_id = b.id and p.open <> 0) limit " SLICE ") returning id",
                      values, on_count, dropped);

    return rc == 0 ? WORK_RUN(store,
                              "delete from @usage where seq in (select seq from @usage"
                              " where finished < $1 order by seq limit " SLICE ") returning seq",
                              values, on_count, dropped)
                   : rc;
}

int store_batches_tend(struct store *store, size_t *dropped)
{
    int64_t now_ms;
    int rc = work_begin(store, WORK_WRITE);

    *dropped = 0;
    if (rc != 0)
        return rc;
    rc = work_now(store, &now_ms);
    if (rc == 0)
        rc = drop_old(store, now_ms, dropped);
    rc = work_end(store, rc);
    if (rc != 0)
        *dropped = 0;
    return rc;
}
