/* See store_fleet.h: nodes, sums, what is kept no longer, and files of accounts. */
#include "store_fleet_book.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "common/seeded_fault.h"

#define SUMS_MARGIN_MS 15000                  /* a change is seen at its commit, not at its time */
#define NODE_GONE_MS   (24 * 3600 * 1000)     /* after that a dead node is forgotten */
#define IDLE_MS        (7 * 24 * 3600 * 1000) /* the same of a scope in which nothing is counted */
#define SLICE          "500"
#define EXPIRED_SLICE  "32"
#define REPAIR_SLICE   "100"

static_assert(FLEET_SLICE == 500, "it stands in the statements");
static_assert(BOOK_ROWS >= 32 * FLEET_SCOPES && BOOK_ROWS >= 100, "slices fit into a book");

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

/* --- this node --- */

struct epoch_row {
    bool there;
    int64_t epoch, now_ms;
    char run[24];
};

static int on_epoch(void *arg, const struct row *row)
{
    struct epoch_row *out = arg;

    out->there = true;
    out->epoch = row_int(row, 0);
    out->now_ms = row_int(row, 1);
    set_text(out->run, sizeof(out->run), row->texts[2]);
    return 0;
}

static int read_epoch(struct store *store, const char *node, const char *lock,
                      struct epoch_row *out)
{
    struct value values[] = {value_text(node)};
    char sql[256];

    *out = (struct epoch_row){.there = false};
    snprintf(sql, sizeof(sql), "select epoch, (%s), run from @node where id = $1%s",
             store->engine->ops->now_ms, lock);
    return WORK_RUN(store, sql, values, on_epoch, out);
}

int fleet_begin(struct store *store, const struct fleet_me *me, int64_t *now_ms)
{
    struct epoch_row row;
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    rc = read_epoch(store, me->node, "", &row);
    if (rc == 0 && (!row.there || row.epoch != me->epoch))
        rc = ERR_NOT_FOUND;
    *now_ms = row.now_ms;
    return rc == 0 ? 0 : work_end(store, rc);
}

/* Of creates that an earlier life of this node has left nobody will tell any more. */
static int lose_earlier(struct store *store, const char *node, int64_t epoch, int64_t now_ms)
{
    struct value values[] = {value_text(node), value_int(epoch), value_int(now_ms)};

    return WORK_RUN(store,
                    "update @reservation set state = 3, changed = $3, claim_until = 0"
                    " where node = $1 and epoch <> $2 and state = 0",
                    values, NULL, NULL);
}

static int next_epoch(struct store *store, int64_t *epoch)
{
    return work_run(store,
                    "update @meta set value = cast(cast(value as bigint) + 1 as text)"
                    " where name = 'epoch' returning value",
                    NULL, 0, on_number, epoch);
}

static int put_node(struct store *store, const char *run, const char *address, const char *version,
                    const struct fleet_me *me, int64_t now_ms)
{
    struct value values[] = {value_text(me->node), value_text(run),      value_text(address),
                             value_text(version),  value_int(me->epoch), value_int(now_ms)};

    return WORK_RUN(store,
                    "insert into @node as n(id, run, address, version, epoch, joined, seen)"
                    " values($1, $2, $3, $4, $5, $6, $6) on conflict(id) do update set"
                    " run = excluded.run, address = excluded.address, version = excluded.version,"
                    " epoch = excluded.epoch, seen = excluded.seen, joined = case"
                    " when n.run = excluded.run then n.joined else excluded.joined end",
                    values, NULL, NULL);
}

static int join(struct store *store, const char *run, const char *address, const char *version,
                struct fleet_me *me)
{
    struct epoch_row row;
    int64_t now_ms;
    int rc = read_epoch(store, me->node, store->engine->ops->for_update, &row);
    bool same = row.there && strcmp(row.run, run) == 0;

    if (rc == 0)
        rc = work_now(store, &now_ms);
    me->epoch = row.epoch;
    if (rc == 0 && !same && !(row.there && seeded_fault(SEEDED_DROPPED_FENCE)))
        rc = next_epoch(store, &me->epoch);
    if (rc == 0)
        rc = put_node(store, run, address, version, me, now_ms);
    return rc == 0 && !same ? lose_earlier(store, me->node, me->epoch, now_ms) : rc;
}

int store_fleet_join(struct store *store, uint64_t run, const char *address, const char *version,
                     struct fleet_me *me)
{
    char text[24];
    int rc = work_begin(store, WORK_WRITE);

    snprintf(text, sizeof(text), "%016llx", (unsigned long long)run);
    return rc == 0 ? work_end(store, join(store, text, address, version, me)) : rc;
}

int store_fleet_beat(struct store *store, const struct fleet_me *me, int64_t *now_ms)
{
    int64_t now = 0;
    int rc = fleet_begin(store, me, &now);
    struct value values[] = {value_text(me->node), value_int(now), value_int(me->epoch)};

    if (now_ms != NULL)
        *now_ms = now;
    if (rc != 0)
        return rc;
    return work_end(store,
                    WORK_RUN(store, "update @node set seen = $2 where id = $1 and epoch = $3",
                             values, NULL, NULL));
}

/* --- nodes --- */

struct node_reader {
    struct fleet_node *out;
    size_t max, num;
    int64_t now_ms;
};

static int on_node(void *arg, const struct row *row)
{
    struct node_reader *r = arg;
    struct fleet_node *out = &r->out[r->num];

    if (r->num == r->max)
        return 0;
    set_text(out->node, sizeof(out->node), row->texts[0]);
    set_text(out->address, sizeof(out->address), row->texts[1]);
    set_text(out->version, sizeof(out->version), row->texts[2]);
    out->epoch = row_int(row, 3);
    out->seen_ms = row_int(row, 4);
    out->age_ms = r->now_ms > out->seen_ms ? r->now_ms - out->seen_ms : 0;
    out->live = out->age_ms < FLEET_DEAD_MS;
    r->num++;
    return 0;
}

int store_fleet_nodes(struct store *store, struct fleet_node *out, size_t max, size_t *num)
{
    struct node_reader reader = {.out = out, .max = max};
    int rc = work_begin(store, WORK_READ);

    *num = 0;
    if (rc != 0)
        return rc;
    rc = work_now(store, &reader.now_ms);
    if (rc == 0)
        rc = work_run(store, "select id, address, version, epoch, seen from @node order by id",
                      NULL, 0, on_node, &reader);
    rc = work_end(store, rc);
    *num = rc == 0 ? reader.num : 0;
    return rc;
}

/* --- sums --- */

struct sum_reader {
    fleet_sum_cb cb;
    void *arg;
};

static int kind_of(const char *scope)
{
    static const char kinds[] = "dkt";
    const char *at = scope[0] != '\0' && scope[1] == ':' ? strchr(kinds, scope[0]) : NULL;

    return at != NULL ? (int)(at - kinds) : -1;
}

static int on_sum(void *arg, const struct row *row)
{
    const struct sum_reader *r = arg;
    int kind = kind_of(row->texts[0]);
    struct fleet_sum sum = {.tokens = (uint64_t)row_int(row, 1),
                            .batches = (uint64_t)row_int(row, 2),
                            .held_nano = row_int(row, 3),
                            .spent_nano = row_int(row, 4)};

    if (kind < 0)
        return 0; /* a newer program's */
    sum.kind = (unsigned)kind;
    sum.name = strtoull(row->texts[0] + 2, NULL, 16);
    r->cb(r->arg, &sum);
    return 0;
}

static int read_sums(struct store *store, int64_t *since, struct sum_reader *reader)
{
    struct value values[] = {value_int(*since)};
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    if (rc == 0)
        rc = WORK_RUN(store,
                      "select scope, used, batches, held_nano, spent_nano from @allowance"
                      " where changed >= $1 and (cast($1 as bigint) > 0 or used <> 0"
                      " or batches <> 0 or held_nano <> 0 or spent_nano <> 0)",
                      values, on_sum, reader);
    if (rc == 0)
        *since = now_ms > SUMS_MARGIN_MS ? now_ms - SUMS_MARGIN_MS : 0;
    return rc;
}

int store_fleet_sums(struct store *store, int64_t *since, fleet_sum_cb cb, void *arg)
{
    struct sum_reader reader = {cb, arg};
    int rc = work_begin(store, WORK_READ);

    return rc == 0 ? work_end(store, read_sums(store, since, &reader)) : rc;
}

/* --- repair --- */

struct slice {
    struct book book, truth; /* as the rows are, and as the reservations add up */
    char last[FLEET_ID];     /* of the slice, in the database's order */
};

static int on_name(void *arg, const struct row *row)
{
    struct slice *slice = arg;

    book_name(&slice->book, row->texts[0]);
    set_text(slice->last, sizeof(slice->last), row->texts[0]);
    return 0;
}

static int on_truth(void *arg, const struct row *row)
{
    struct book_row *out = book_find(arg, row->texts[0]);

    if (out == NULL)
        return 0;
    out->used = row_int(row, 1);
    out->batches = row_int(row, 2);
    out->held_nano = row_int(row, 3);
    return 0;
}

/* @param pays  whether one that was refunded does not count, and money does */
static int count_column(struct store *store, const char *column, bool pays, struct book *out)
{
    struct value values[BOOK_ROWS];
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    for (size_t i = 0; i < out->num; i++)
        values[i] = value_text(out->rows[i].scope);
    strbuf_addf(&sql,
                "select %s, cast(sum(%s) as bigint), cast(sum(%s) as bigint),"
                " cast(sum(%s) as bigint) from @reservation where state <> 2 and %s in ",
                column, pays ? "case when refunded = 0 then tokens else 0 end" : "tokens",
                pays ? "case when refunded = 0 then 1 else 0 end" : "1", pays ? "nano" : "0",
                column);
    sql_tuples(&sql, 1, out->num);
    strbuf_addf(&sql, " group by %s", column);
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, out->num, on_truth, out);
    strbuf_deinit(&sql);
    return rc;
}

/* Under the locks of the rows: nobody adds to them or takes from them meanwhile. */
static int count_truth(struct store *store, struct slice *slice)
{
    struct book *truth = &slice->truth;
    int rc;

    *truth = slice->book;
    for (size_t i = 0; i < truth->num; i++)
        truth->rows[i].used = truth->rows[i].batches = truth->rows[i].held_nano = 0;
    rc = count_column(store, "deployment_scope", false, truth);
    if (rc == 0)
        rc = count_column(store, "key_scope", true, truth);
    return rc == 0 ? count_column(store, "team_scope", true, truth) : rc;
}

static void correct(struct book *book, const struct book *truth, uint64_t *drift)
{
    for (size_t i = 0; i < book->num; i++) {
        struct book_row *row = &book->rows[i];
        const struct book_row *right = &truth->rows[i];

        if (!row->there || (row->used == right->used && row->batches == right->batches &&
                            row->held_nano == right->held_nano))
            continue;
        *drift += (uint64_t)llabs(row->used - right->used);
        row->used = right->used;
        row->batches = right->batches;
        row->held_nano = right->held_nano;
        row->changed = true;
    }
}

static int repair(struct store *store, const char *behind, struct slice *slice, uint64_t *drift)
{
    struct value values[] = {value_text(behind)};
    int64_t now_ms;
    int rc = WORK_RUN(store,
                      "select scope from @allowance where scope > $1 order by scope"
                      " limit " REPAIR_SLICE,
                      values, on_name, slice);

    if (rc != 0 || slice->book.num == 0)
        return rc;
    rc = book_lock(store, &slice->book);
    if (rc == 0)
        rc = count_truth(store, slice);
    if (rc == 0)
        rc = work_now(store, &now_ms);
    if (rc != 0)
        return rc;
    correct(&slice->book, &slice->truth, drift);
    rc = leases_drop_ended(store, behind, slice->last, now_ms);
    return rc == 0 ? book_write(store, &slice->book, now_ms) : rc;
}

int store_fleet_repair(struct store *store, char *behind, uint64_t *drift)
{
    struct slice *slice = calloc(1, sizeof(*slice));
    uint64_t found = 0;
    int rc = slice != NULL ? work_begin(store, WORK_WRITE) : ERR_NOMEM;

    if (rc == 0)
        rc = work_end(store, repair(store, behind, slice, &found));
    if (rc == 0) {
        set_text(behind, FLEET_ID, slice->last);
        *drift += found;
    }
    free(slice);
    return rc;
}

/* --- what is kept no longer --- */

static int on_dropped(void *arg, const struct row *row)
{
    (void)row;
    ++*(size_t *)arg;
    return 0;
}

static int drop_rows(struct store *store, const char *sql, int64_t until_ms, bool *more)
{
    struct value values[] = {value_int(until_ms)};
    size_t num = 0;
    int rc = WORK_RUN(store, sql, values, on_dropped, &num);

    *more = *more || num >= FLEET_SLICE;
    return rc;
}

/* Each statement drops a slice of one table: what is older than $1. */
static int drop_old(struct store *store, int64_t now_ms, bool *more)
{
    static const struct {
        const char *sql;
        int64_t kept_ms;
    } tables[] = {
        {"delete from @reservation where id in (select id from @reservation where state = 2"
         " and changed < $1 limit " SLICE ") and state = 2 returning id",
         FLEET_FREED_MS},
        {"delete from @idempotency where name in (select name from @idempotency where until < $1"
         " limit " SLICE ") and until < $1 returning name",
         0},
        {"delete from @allowance where scope in (select scope from @allowance where used = 0"
         " and batches = 0 and held_nano = 0 and spent_nano = 0 and changed < $1 limit " SLICE ")"
         " and used = 0 and batches = 0 and held_nano = 0 and spent_nano = 0 and changed < $1"
         " returning scope",
         IDLE_MS},
        {"delete from @lease where until < $1 returning node", NODE_GONE_MS},
        {"delete from @file_held where changed < $1 returning account", IDLE_MS},
        {"delete from @node where seen < $1 and not exists(select 1 from @reservation r"
         " where r.node = @node.id and r.state in (0, 3)) returning id",
         NODE_GONE_MS}};
    int rc = 0;

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && rc == 0; i++)
        rc = drop_rows(store, tables[i].sql, now_ms - tables[i].kept_ms, more);
    return rc;
}

struct expired {
    char ids[32][FLEET_ID];
    size_t num;
};

static int on_expired(void *arg, const struct row *row)
{
    struct expired *e = arg;

    if (e->num < sizeof(e->ids) / sizeof(e->ids[0]))
        set_text(e->ids[e->num++], FLEET_ID, row->texts[0]);
    return 0;
}

/* A create that nobody has found for longer than a batch can live. A batch that was told of is the
 * watch's, however old. */
static int free_expired(struct store *store, const struct expired *expired)
{
    int rc = 0;

    for (size_t i = 0; i < expired->num && rc == 0; i++) {
        struct fleet_name name = {.id = expired->ids[i]};

        rc = work_begin(store, WORK_WRITE);
        if (rc == 0)
            rc = work_end(store, work_free_reservation(store, &name, 0, NULL));
    }
    return rc;
}

static int tend(struct store *store, struct expired *expired, bool *more)
{
    struct value values[1];
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    if (rc != 0)
        return rc;
    values[0] = value_int(now_ms);
    rc = WORK_RUN(store,
                  "select id from @reservation where state in (0, 3) and expires < $1"
                  " limit " EXPIRED_SLICE,
                  values, on_expired, expired);
    return rc == 0 ? drop_old(store, now_ms, more) : rc;
}

int store_fleet_tend(struct store *store, bool *more)
{
    struct expired expired = {.num = 0};
    int rc = work_begin(store, WORK_WRITE);

    *more = false;
    if (rc == 0)
        rc = work_end(store, tend(store, &expired, more));
    return rc == 0 ? free_expired(store, &expired) : rc;
}

/* --- files of accounts --- */

static int tell_files(struct store *store, const struct fleet_held *held, int64_t now_ms)
{
    struct value values[] = {value_int(held->account), value_int(held->kind),
                             value_int(held->files), value_int(now_ms)};

    if (held->counted)
        return WORK_RUN(store,
                        "insert into @file_held(account, kind, files, changed)"
                        " values($1, $2, $3, $4) on conflict(account, kind) do update set"
                        " files = excluded.files, changed = excluded.changed",
                        values, NULL, NULL);
    return held->files != 0
               ? WORK_RUN(store,
                          "update @file_held set files = case when files + $3 > 0 then files + $3"
                          " else 0 end, changed = $4 where account = $1 and kind = $2",
                          values, NULL, NULL)
               : 0;
}

struct held_reader {
    struct fleet_held *held;
    size_t num;
};

static int on_files(void *arg, const struct row *row)
{
    const struct held_reader *r = arg;

    for (size_t i = 0; i < r->num; i++)
        if (r->held[i].account == (uint32_t)row_int(row, 0) &&
            r->held[i].kind == (unsigned)row_int(row, 1))
            r->held[i].files = row_int(row, 2);
    return 0;
}

static int by_account(const void *a, const void *b)
{
    const struct fleet_held *x = a, *y = b;

    if (x->account != y->account)
        return x->account < y->account ? -1 : 1;
    return x->kind < y->kind ? -1 : x->kind > y->kind;
}

int store_fleet_files(struct store *store, struct fleet_held *held, size_t num)
{
    struct held_reader reader = {held, num};
    int64_t now_ms;
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    if (num > 1) /* all nodes lock the rows in one order */
        qsort(held, num, sizeof(held[0]), by_account);
    rc = work_now(store, &now_ms);
    for (size_t i = 0; i < num && rc == 0; i++)
        rc = tell_files(store, &held[i], now_ms);
    for (size_t i = 0; i < num; i++)
        held[i].files = -1;
    if (rc == 0)
        rc = work_run(store, "select account, kind, files from @file_held", NULL, 0, on_files,
                      &reader);
    return work_end(store, rc);
}
