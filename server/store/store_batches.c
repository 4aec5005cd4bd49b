/* See store_batches.h: what is written. Reading is in store_batches_read.c. */
#include "store/store_batches.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store_batches_impl.h"
#include "store/store_hooks.h"
#include "store_fleet_impl.h"
#include "store_followed_impl.h"

#define NEWS_MS (72 * 3600000LL) /* how long after its end a batch that was found is told of */

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

/* ---- its story ---- */

int batches_note(struct store *store, const char *id, const char *what, const char *node,
                 const char *detail)
{
    int64_t now_ms;
    int rc = work_now(store, &now_ms);
    struct value values[] = {value_text(id), value_int(now_ms), value_text(what), value_text(node),
                             value_text(detail)};

    if (rc != 0)
        return rc;
    values[1] = value_int(now_ms);
    return WORK_RUN(
        store,
        "insert into @batch_story(batch_id, number, at, what, node, detail)"
        " select b.id, (select count(*) + 1 from @batch_story s where s.batch_id = b.id),"
        " cast($2 as bigint), cast($3 as text), cast($4 as text), cast($5 as text)"
        " from @batch b where b.id = $1",
        values, NULL, NULL);
}

int store_batches_note(struct store *store, const char *id, const char *what, const char *node,
                       const char *detail)
{
    int rc = work_begin(store, WORK_WRITE);

    return rc == 0 ? work_end(store, batches_note(store, id, what, node, detail)) : rc;
}

/* ---- what it holds ---- */

/* Of one that was found its provider's id is all that is known; and a batch that two nodes told of
 * may have two. */
static int free_reservation(struct store *store, const char *reservation, uint32_t account,
                            const char *native, int64_t spent_nano)
{
    bool named = reservation != NULL && *reservation != '\0';
    struct fleet_name name = {
        .id = named ? reservation : NULL, .native = native, .account = account};

    return work_free_reservation(store, &name, spent_nano, NULL);
}

/* What it has cost is known later than its end, when the reservation is free already. */
static int spend(struct store *store, const char *reservation, uint32_t account, const char *native,
                 int64_t spent_nano)
{
    bool named = reservation != NULL && *reservation != '\0';
    struct fleet_name name = {
        .id = named ? reservation : NULL, .native = native, .account = account};

    return work_spend_late(store, &name, spent_nano);
}

/* ---- a new one ---- */

/* Who pays was not known of one that was only found; its create knows. */
static int put_batch(struct store *store, const struct store_batch *b, int64_t now_ms, size_t *put)
{
    struct value values[] = {
        value_text(b->id),          value_int((int64_t)b->owner),
        value_text(b->key_id),      value_text(b->key_alias),
        value_text(b->team_id),     value_text(b->user_id),
        value_text(b->tags),        value_text(b->model_group),
        value_text(b->endpoint),    value_text(b->input_file),
        value_text(b->reservation), value_text(b->status),
        value_int(b->rebuilt),      value_int(b->created_ms != 0 ? b->created_ms : now_ms),
        value_time(b->expires_ms),  value_time(b->delete_after_s)};

    return WORK_RUN(
        store,
        "insert into @batch as b(id, owner, key_id, key_alias, team_id, user_id, tags,"
        " model_group, endpoint, input_file, reservation, status, rebuilt, created,"
        " expires, delete_after) values($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
        " $12, $13, $14, $15, $16) on conflict(id) do update set key_id = excluded.key_id,"
        " key_alias = excluded.key_alias, team_id = excluded.team_id,"
        " user_id = excluded.user_id, tags = excluded.tags,"
        " model_group = excluded.model_group, endpoint = excluded.endpoint,"
        " input_file = excluded.input_file, reservation = excluded.reservation,"
        " delete_after = excluded.delete_after,"
        " rebuilt = 0 where b.rebuilt = 1 and excluded.rebuilt = 0 returning id",
        values, on_count, put);
}

static int put_part(struct store *store, const struct store_batch *b, uint32_t first_ms,
                    int64_t now_ms, size_t *put)
{
    struct value values[] = {
        value_text(b->id),           value_int(b->account),         value_text(b->native),
        value_int(b->deployment),    value_int((int64_t)b->tokens), value_text(b->status),
        value_int(STORE_RUNS),       value_int(first_ms),           value_int(now_ms + first_ms),
        value_text(b->input_native), value_text(b->original),       value_time(b->home)};

    return WORK_RUN(store,
                    "insert into @batch_part(batch_id, account, native, deployment, tokens, status,"
                    " open, poll_ms, next_at, input_file, original, home)"
                    " values($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
                    " on conflict(batch_id, part) do nothing returning batch_id",
                    values, on_count, put);
}

/* Of one that was only found its create knows the files, and when they go. */
static int know_files(struct store *store, const struct store_batch *b)
{
    struct value values[] = {value_text(b->id), value_text(b->input_native),
                             value_text(b->original), value_time(b->home)};
    int rc = WORK_RUN(store,
                      "update @batch_part set input_file = coalesce($2, input_file),"
                      " original = coalesce($3, original), home = coalesce($4, home)"
                      " where batch_id = $1",
                      values, NULL, NULL);

    return rc == 0 ? deletions_plan(store, b->id) : rc;
}

/* What the registry knows of a batch: whether anything, and whether it runs where it is told to be. */
struct late {
    bool known, runs;
};

static int on_late(void *arg, const struct row *row)
{
    struct late *late = arg;

    late->known = true;
    late->runs = late->runs || row_int(row, 0) != 0;
    return 0;
}

/* Its end was seen before its create was told of, or found: nothing else would give its tokens back.
 * @param late  as of add() */
static int free_late(struct store *store, const struct store_batch *b, bool *late)
{
    struct value values[] = {value_text(b->id), value_int(b->account), value_text(b->native),
                             value_int(STORE_RUNS)};
    struct late is = {.known = false};
    int64_t nano = 0;
    int rc =
        WORK_RUN(store,
                 "select case when account = $2 and native = $3 and open = $4 then 1 else 0 end"
                 " from @batch_part where batch_id = $1 or (account = $2 and native = $3)",
                 values, on_late, &is);

    if (rc != 0 || !is.known || is.runs)
        return rc;
    if (late != NULL) {
        *late = true;
        return ERR_DUPLICATE;
    }
    rc = work_run(store,
                  "select sum(nano) from @usage where batch_id = coalesce((select batch_id from"
                  " @batch_part where account = $2 and native = $3), $1)",
                  values, 3, on_number, &nano);
    return rc == 0 ? free_reservation(store, b->reservation, b->account, b->native, nano) : rc;
}

/* @param late  NULL: scopes may be locked. Else written: they would have to be, and the error has all
 *              of it taken back */
static int add(struct store *store, const struct store_batch *b, const char *node,
               uint32_t first_ms, bool *added, bool *late)
{
    size_t put = 0, parts = 0;
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    if (rc == 0)
        rc = put_batch(store, b, now_ms, &put);
    if (rc == 0 && put > 0)
        rc = put_part(store, b, first_ms, now_ms, &parts);
    if (rc == 0 && parts == 0) /* whoever has told of it may have known of another reservation */
        rc = free_late(store, b, late);
    if (rc == 0 && put > 0 && parts == 0)
        rc = know_files(store, b);
    *added = rc == 0 && put > 0;
    return *added ? batches_note(store, b->id, b->rebuilt ? "rebuilt" : "created", node,
                                 b->key_alias != NULL ? b->key_alias : b->key_id)
                  : rc;
}

static int run_add(struct store *store, const struct store_batch *batch, const char *node,
                   uint32_t first_ms, bool *added, bool *late)
{
    int rc = work_begin(store, WORK_WRITE);

    assert(batch->id != NULL && batch->native != NULL && batch->status != NULL);
    *added = false;
    if (rc != 0)
        return rc;
    rc = work_end(store, add(store, batch, node, first_ms, added, late));
    if (rc != 0)
        *added = false;
    return rc == ERR_DUPLICATE ? 0 : rc; /* the provider's id is known by another one of ours */
}

int store_batches_add(struct store *store, const struct store_batch *batch, const char *node,
                      uint32_t first_ms, bool *added)
{
    return run_add(store, batch, node, first_ms, added, NULL);
}

int store_batches_add_among(struct store *store, const struct store_batch *batch, const char *node,
                            uint32_t first_ms, bool *added, bool *late)
{
    *late = false;
    return run_add(store, batch, node, first_ms, added, late);
}

int store_batches_free_ended(struct store *store, const struct store_batch *batch)
{
    int rc = work_begin(store, WORK_WRITE);

    assert(batch->id != NULL && batch->native != NULL);
    return rc == 0 ? work_end(store, free_late(store, batch, NULL)) : rc;
}

/* ---- claims ---- */

struct claims {
    const struct store_claimer *by;
    store_due_cb on_due;
    void *arg;
    int64_t now_ms;
    size_t num;
    char ids[STORE_CLAIMS][STORE_BATCH_ID];
    bool other[STORE_CLAIMS]; /* another node watched it before */
};

/* What is known of the create with the nonce: its reservation is free when certainly nothing came of
 * it, or was never there, and then it was not sent, for that is written before. */
static bool doubt_of(const struct row *row)
{
    return row->texts[14] != NULL && row->texts[18] != NULL && row_int(row, 18) != FLEET_FREED;
}

static int on_due(void *arg, const struct row *row)
{
    struct claims *c = arg;
    struct store_due due = {.id = row->texts[0],
                            .native = row->texts[1],
                            .status = row->texts[2],
                            .account = (uint32_t)row_int(row, 3),
                            .deployment = (uint32_t)row_int(row, 4),
                            .open = (enum store_open)row_int(row, 5),
                            .tokens = (uint64_t)row_int(row, 6),
                            .poll_ms = (uint32_t)row_int(row, 7),
                            .missing = (uint32_t)row_int(row, 8),
                            .created_ms = row_int(row, 9),
                            .expires_ms = row_int(row, 10),
                            .finished_ms = row_int(row, 11),
                            .now_ms = c->now_ms,
                            .moves = row_int(row, 13) == STORE_MOVE_WANTED,
                            .nonce = row->texts[14],
                            .move_to = (uint32_t)row_int(row, 15),
                            .move_tries = (uint32_t)row_int(row, 16),
                            .cancels = row_int(row, 17) != 0,
                            .doubt = doubt_of(row)};

    if (c->num == STORE_CLAIMS || strlen(due.id) >= STORE_BATCH_ID)
        return 0;
    c->other[c->num] = row->texts[12] == NULL || strcmp(row->texts[12], c->by->node) != 0;
    snprintf(c->ids[c->num++], STORE_BATCH_ID, "%s", due.id);
    return c->on_due(c->arg, &due);
}

static int find_due(struct store *store, size_t most, struct claims *c)
{
    struct value values[] = {value_int(c->now_ms), value_int((int64_t)most),
                             value_text(c->by->node), value_int(c->by->epoch)};
    char sql[1280];

    snprintf(sql, sizeof(sql),
             "select p.batch_id, p.native, p.status, p.account, p.deployment, p.open, p.tokens,"
             " p.poll_ms, p.missing, b.created, b.expires, b.finished, p.watcher, p.moving,"
             " p.move_nonce, p.move_to, p.move_tries, case when p.moving = 0 and p.move_to <> 0"
             " then 1 else 0 end, case when p.move_nonce is null then null else"
             " (select r.state from @reservation r where r.nonce = p.move_nonce"
             " order by r.created desc limit 1) end"
             " from @batch_part p join @batch b on b.id = p.batch_id"
             " where p.open <> 0 and p.next_at <= $1 and (p.claim_until <= $1"
             " or (p.claim_node = $3 and p.epoch <> $4)) order by p.next_at limit $2%s",
             store->engine->ops->skip_locked);
    return WORK_RUN(store, sql, values, on_due, c);
}

static int take_due(struct store *store, const struct claims *c)
{
    struct value values[STORE_CLAIMS + 3] = {value_text(c->by->node), value_int(c->by->epoch),
                                             value_int(c->now_ms + STORE_CLAIM_MS)};
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_adds(&sql, "update @batch_part set claim_node = $1, watcher = $1, epoch = $2,"
                      " claim_until = $3 where batch_id in (");
    for (size_t i = 0; i < c->num; i++) {
        values[i + 3] = value_text(c->ids[i]);
        strbuf_addf(&sql, "%s$%zu", i > 0 ? ", " : "", i + 4);
    }
    strbuf_addc(&sql, ')');
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, c->num + 3, NULL, NULL);
    strbuf_deinit(&sql);
    for (size_t i = 0; rc == 0 && i < c->num; i++)
        if (c->other[i])
            rc = batches_note(store, c->ids[i], "claimed", c->by->node, NULL);
    return rc;
}

int store_batches_claim(struct store *store, const struct store_claimer *by, size_t most,
                        store_due_cb cb, void *arg)
{
    struct claims c = {.by = by, .on_due = cb, .arg = arg};
    int rc = work_begin(store, WORK_WRITE);

    assert(most <= STORE_CLAIMS);
    if (rc != 0)
        return rc;
    rc = work_now(store, &c.now_ms);
    if (rc == 0)
        rc = find_due(store, most, &c);
    if (rc == 0 && c.num > 0)
        rc = take_due(store, &c);
    return work_end(store, rc);
}

int store_batches_let_go(struct store *store, const struct store_claimer *by)
{
    struct value values[] = {value_text(by->node), value_int(by->epoch)};
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    rc = WORK_RUN(store,
                  "update @batch_part set claim_node = null, claim_until = 0"
                  " where claim_node = $1 and epoch = $2 and open <> 0",
                  values, NULL, NULL);
    return work_end(store, rc == 0 ? deletions_let_go(store, by) : rc);
}

static int renew(struct store *store, const struct store_claimer *by, const struct store_native *of,
                 size_t num, size_t *kept)
{
    struct value values[2 * STORE_CLAIMS + 3] = {value_text(by->node), value_int(by->epoch)};
    struct strbuf sql = STRBUF_INIT;
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    if (rc != 0)
        return rc;
    values[2] = value_int(now_ms + STORE_CLAIM_MS);
    strbuf_adds(&sql, "update @batch_part set claim_until = $3 where claim_node = $1 and epoch = $2"
                      " and open <> 0 and (account, native) in (values ");
    for (size_t i = 0; i < num; i++) {
        values[2 * i + 3] = value_int(of[i].account);
        values[2 * i + 4] = value_text(of[i].native);
        strbuf_addf(&sql, "%s(cast($%zu as bigint), cast($%zu as text))", i > 0 ? ", " : "",
                    2 * i + 4, 2 * i + 5);
    }
    strbuf_adds(&sql, ") returning batch_id");
    rc = strbuf_failed(&sql)
             ? ERR_NOMEM
             : work_run(store, strbuf_str(&sql), values, 2 * num + 3, on_count, kept);
    strbuf_deinit(&sql);
    return rc;
}

int store_batches_renew(struct store *store, const struct store_claimer *by,
                        const struct store_native *of, size_t num, size_t *kept)
{
    int rc;

    assert(num <= STORE_CLAIMS);
    *kept = 0;
    if (num == 0)
        return 0;
    rc = work_begin(store, WORK_WRITE);
    return rc == 0 ? work_end(store, renew(store, by, of, num, kept)) : rc;
}

/* ---- what is known of it ---- */

/* As it was before this, and locked until the transaction ends. */
struct known {
    bool there;
    char id[STORE_BATCH_ID];
    char status[16];
    enum store_open open;
    char claim_node[STORE_NODE_ID];
    int64_t epoch, claim_until, next_at;
    uint64_t total, completed, failed;
    bool rebuilt;
    int64_t finished_ms;
    uint64_t owner, missing;
    enum store_moving moving;
    bool followed;
    char reservation[STORE_RESERVATION_ID];
};

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static int on_known(void *arg, const struct row *row)
{
    struct known *k = arg;

    k->there = true;
    set_text(k->id, sizeof(k->id), row->texts[0]);
    set_text(k->status, sizeof(k->status), row->texts[1]);
    k->open = (enum store_open)row_int(row, 2);
    set_text(k->claim_node, sizeof(k->claim_node), row->texts[3]);
    k->epoch = row_int(row, 4);
    k->claim_until = row_int(row, 5);
    k->next_at = row_int(row, 6);
    k->total = (uint64_t)row_int(row, 7);
    k->completed = (uint64_t)row_int(row, 8);
    k->failed = (uint64_t)row_int(row, 9);
    k->rebuilt = row_int(row, 10) != 0;
    k->finished_ms = row_int(row, 11);
    set_text(k->reservation, sizeof(k->reservation), row->texts[12]);
    k->owner = (uint64_t)row_int(row, 13);
    k->missing = (uint64_t)row_int(row, 14);
    k->moving = (enum store_moving)row_int(row, 15);
    k->followed = row_int(row, 16) > 0;
    return 0;
}

static int read_known(struct store *store, const struct store_seen *seen, struct known *k)
{
    struct value values[] = {value_int(seen->account), value_text(seen->native)};
    char sql[640];

    memset(k, 0, sizeof(*k));
    snprintf(
        sql, sizeof(sql),
        "select b.id, p.status, p.open, p.claim_node, p.epoch, p.claim_until, p.next_at,"
        " b.total, b.completed, b.failed, b.rebuilt, b.finished, b.reservation, b.owner, p.missing,"
        " p.moving, b.followed"
        " from @batch_part p join @batch b on b.id = p.batch_id"
        " where p.account = $1 and p.native = $2%s",
        store->engine->ops->shared ? " for update" : "");
    return WORK_RUN(store, sql, values, on_known, k);
}

/* How far a batch is; what nobody knows runs. */
static int rank_of(const char *status)
{
    static const char *const ranks[] = {"validating", "in_progress", "finalizing", "cancelling"};
    static const char *const ends[] = {"completed", "failed", "expired", "cancelled"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (strcmp(status, ends[i]) == 0)
            return STORE_RANK_ENDED;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
        if (strcmp(status, ranks[i]) == 0)
            return (int)i;
    return 1;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* One write of what was seen. */
struct writing {
    struct store *store;
    const struct store_claimer *by;
    const struct store_seen *seen;
    struct store_seen failed; /* `seen` of one that is not there */
    struct known was;
    int64_t now_ms;
    const char *status; /* what it has from now on */
    bool ended;         /* from now on */
    bool measures;      /* its usage is written by this */
    enum store_open open;
};

static bool is_claimers(const struct writing *w)
{
    return strcmp(w->was.claim_node, w->by->node) == 0 && w->was.epoch == w->by->epoch;
}

/* ---- its end ---- */

static int raise_seq(struct store *store, size_t by, int64_t *seq)
{
    struct value values[] = {value_int((int64_t)by)};

    *seq = 0;
    return WORK_RUN(store,
                    "update @meta set value = cast(cast(value as bigint) + cast($1 as bigint)"
                    " as text) where name = 'usage' returning value",
                    values, on_number, seq);
}

/* Attribution is the batch's own, so that it is as it was at its create. */
static int put_usage(const struct writing *w, const struct store_usage *u, int64_t seq)
{
    struct value values[] = {value_text(w->was.id),
                             value_text(u->model),
                             value_int((int64_t)u->ok),
                             value_int((int64_t)u->bad),
                             value_int((int64_t)u->tok_in),
                             value_int((int64_t)u->tok_cached),
                             value_int((int64_t)u->tok_out),
                             value_int((int64_t)u->tok_reason),
                             value_int(u->nano),
                             value_text(u->price),
                             value_int((int64_t)u->unpriced),
                             value_text(u->source),
                             value_int(w->now_ms),
                             value_int(seq)};

    return WORK_RUN(
        w->store,
        "insert into @usage(batch_id, part, model, owner, key_id, key_alias, team_id, user_id,"
        " tags, deployment, model_group, ok, bad, tok_in, tok_cached, tok_out, tok_reason, nano,"
        " price, unpriced, source, created, finished, seq)"
        " select b.id, p.part, cast($2 as text), b.owner, b.key_id, b.key_alias, b.team_id,"
        " b.user_id, b.tags, p.deployment, b.model_group, cast($3 as bigint), cast($4 as bigint),"
        " cast($5 as bigint), cast($6 as bigint), cast($7 as bigint), cast($8 as bigint),"
        " cast($9 as bigint), cast($10 as text), cast($11 as bigint), cast($12 as text), b.created,"
        " coalesce(b.finished, cast($13 as bigint)), cast($14 as bigint)"
        " from @batch b join @batch_part p on p.batch_id = b.id where b.id = $1 and p.part = 0"
        " on conflict(batch_id, part, model) do nothing",
        values, NULL, NULL);
}

static int note_usage(const struct writing *w)
{
    uint64_t in = 0, out = 0;
    char detail[96];

    for (size_t i = 0; i < w->seen->num_usage; i++) {
        in += w->seen->usage[i].tok_in;
        out += w->seen->usage[i].tok_out;
    }
    snprintf(detail, sizeof(detail), "%" PRIu64 " input tokens, %" PRIu64 " output tokens, from %s",
             in, out, w->seen->usage[0].source);
    return batches_note(w->store, w->was.id, "usage", w->by->node, detail);
}

static int put_all_usage(const struct writing *w)
{
    size_t num = w->seen->num_usage;
    int64_t seq;
    int rc = raise_seq(w->store, num, &seq);

    for (size_t i = 0; rc == 0 && i < num; i++)
        rc = put_usage(w, &w->seen->usage[i], seq - (int64_t)(num - 1 - i));
    return rc == 0 ? note_usage(w) : rc;
}

static int64_t cost_of(const struct store_seen *seen)
{
    int64_t nano = 0;

    for (size_t i = 0; i < seen->num_usage; i++)
        if (__builtin_add_overflow(nano, seen->usage[i].nano, &nano))
            return INT64_MAX;
    return nano;
}

static int put_event(const struct writing *w)
{
    struct store_hook_event event = {
        .batch_id = w->was.id, .owner = w->was.owner, .now_ms = w->now_ms};

    if (!hook_type_of_status(w->status, &event.type))
        return 0;
    return work_hook_event(w->store, &event);
}

/* What is written of an end before: usage and event may come after it. */
struct written {
    size_t usage, events;
};

static int read_written(const struct writing *w, struct written *out)
{
    struct value values[] = {value_text(w->was.id)};
    int rc;

    *out = (struct written){0};
    if (w->was.open != STORE_UNMEASURED)
        return 0;
    rc = WORK_RUN(w->store, "select 1 from @usage where batch_id = $1", values, on_count,
                  &out->usage);
    return rc == 0 ? WORK_RUN(w->store, "select 1 from @hook_event where batch_id = $1", values,
                              on_count, &out->events)
                   : rc;
}

/* One that was found long after its end is no news to anybody. */
static bool is_old_news(const struct writing *w)
{
    int64_t finished_ms = w->was.finished_ms != 0 ? w->was.finished_ms : w->seen->finished_ms;

    return w->was.rebuilt && finished_ms != 0 && finished_ms < w->now_ms - NEWS_MS;
}

/* @param writes  on 0 whether anything new was written */
static int end_it(struct writing *w, bool *writes)
{
    struct written before;
    int rc = read_written(w, &before);
    bool measures = w->seen->measured && before.usage == 0, tells;

    w->measures = measures;
    tells = w->seen->tell && before.events == 0 && !is_old_news(w);
    if (rc == 0 && measures)
        rc = put_all_usage(w);
    if (rc == 0 && w->was.open == STORE_RUNS)
        rc = free_reservation(w->store, w->was.reservation, w->seen->account, w->seen->native,
                              measures ? cost_of(w->seen) : 0);
    else if (rc == 0 && measures)
        rc = spend(w->store, w->was.reservation, w->seen->account, w->seen->native,
                   cost_of(w->seen));
    if (rc == 0 && tells)
        rc = put_event(w);
    if (rc == 0 && tells)
        rc = batches_note(w->store, w->was.id, "event", w->by->node, w->status);
    w->open = (measures || before.usage > 0) && (tells || before.events > 0 || is_old_news(w))
                  ? STORE_DONE
                  : STORE_UNMEASURED;
    *writes = measures || tells || w->was.open == STORE_RUNS;
    return rc;
}

/* ---- what was seen ---- */

static int write_batch(const struct writing *w)
{
    const struct store_seen *s = w->seen;
    int64_t finished_ms = s->finished_ms != 0 ? s->finished_ms : w->now_ms;
    struct value values[] = {value_text(w->was.id),
                             value_text(w->status),
                             value_int((int64_t)greater(s->total, w->was.total)),
                             value_int((int64_t)greater(s->completed, w->was.completed)),
                             value_int((int64_t)greater(s->failed, w->was.failed)),
                             value_text(s->code),
                             value_time(s->expires_ms),
                             value_time(s->in_progress_ms),
                             value_time(s->finalizing_ms),
                             value_time(s->cancelling_ms),
                             value_time(w->ended ? finished_ms : 0),
                             value_time(w->ended ? w->now_ms : 0)};

    return WORK_RUN(w->store,
                    "update @batch set status = $2, total = $3, completed = $4, failed = $5,"
                    " code = coalesce(code, $6), expires = coalesce(expires, $7),"
                    " in_progress = coalesce(in_progress, $8),"
                    " finalizing = coalesce(finalizing, $9),"
                    " cancelling = coalesce(cancelling, $10), finished = coalesce(finished, $11), "
                    "ended = coalesce(ended, $12)"
                    " where id = $1",
                    values, NULL, NULL);
}

/* When it is asked about again. A client saw news while this look was under way: at once. */
static int64_t next_at(const struct writing *w, bool poked)
{
    if (w->open == STORE_DONE)
        return w->now_ms;
    if (w->seen->watched)
        return w->was.next_at == STORE_POKED ? w->now_ms : w->now_ms + w->seen->next_ms;
    if (!poked)
        return w->was.next_at;
    return w->was.claim_until > w->now_ms ? STORE_POKED : w->now_ms;
}

static int write_part(const struct writing *w, bool poked)
{
    const struct store_seen *s = w->seen;
    bool over = s->watched || w->open == STORE_DONE;
    struct value values[] = {value_text(w->was.id),
                             value_text(w->status),
                             value_int(w->open),
                             value_text(s->output_file),
                             value_text(s->error_file),
                             value_int(s->missing),
                             value_int(next_at(w, poked)),
                             value_int(over),
                             value_int(s->watched && s->next_ms != 0 ? s->next_ms : 0),
                             value_int(s->watched && s->status != NULL)};

    return WORK_RUN(w->store,
                    "update @batch_part set status = $2, open = $3,"
                    " output_file = coalesce($4, output_file),"
                    " error_file = coalesce($5, error_file),"
                    " missing = case when $6 = 1 then missing + 1 else 0 end, next_at = $7,"
                    " claim_node = case when $8 = 1 then null else claim_node end,"
                    " claim_until = case when $8 = 1 then 0 else claim_until end,"
                    " move_to = case when $10 = 1 and moving = 0 then 0 else move_to end,"
                    " poll_ms = case when $9 > 0 then $9 else poll_ms end where batch_id = $1",
                    values, NULL, NULL);
}

static int note_status(const struct writing *w)
{
    char detail[96];

    snprintf(detail, sizeof(detail), "%s, %" PRIu64 " of %" PRIu64 " requests done", w->status,
             greater(w->seen->completed, w->was.completed) +
                 greater(w->seen->failed, w->was.failed),
             greater(w->seen->total, w->was.total));
    return batches_note(w->store, w->was.id, w->ended ? "ended" : "status", w->by->node, detail);
}

/* Its provider has no such batch, and said so more than once: nothing will ever be heard of it. Work
 * that was done nobody can measure any more. */
static struct store_seen failed_of(const struct store_seen *seen)
{
    static const struct store_usage none = {.model = "", .source = "none"};

    return (struct store_seen){.account = seen->account,
                               .native = seen->native,
                               .watched = seen->watched,
                               .status = "failed",
                               .code = "not_found",
                               .measured = true,
                               .usage = &none,
                               .num_usage = 1,
                               .tell = true};
}

/* Nothing was heard of it: it stays as it was, and is asked about again. */
static int write_silence(struct writing *w, enum store_seen_end *end)
{
    w->status = w->was.status;
    w->open = w->was.open;
    *end = STORE_SEEN_SAME;
    return w->seen->watched ? write_part(w, false) : 0;
}

/* An end that a client's call has shown, and whose usage is not known yet, is the watch's to write,
 * all of it at once. */
static int write_poke(struct writing *w, enum store_seen_end *end)
{
    w->status = w->was.status;
    w->open = w->was.open;
    *end = STORE_SEEN_CHANGED;
    return write_part(w, true);
}

static bool is_news(const struct writing *w)
{
    return rank_of(w->status) > rank_of(w->was.status) || w->seen->completed > w->was.completed ||
           w->seen->failed > w->was.failed || w->seen->total > w->was.total;
}

static int write_seen(struct writing *w, enum store_seen_end *end)
{
    bool further = rank_of(w->seen->status) > rank_of(w->was.status), writes = false, news;
    int rc = 0;

    w->status = further ? w->seen->status : w->was.status;
    w->ended = rank_of(w->status) == STORE_RANK_ENDED;
    w->open = STORE_RUNS;
    news = is_news(w);
    if (news || w->ended)
        rc = write_batch(w);
    if (rc == 0 && further)
        rc = note_status(w);
    if (rc == 0 && w->ended)
        rc = end_it(w, &writes);
    if (rc == 0)
        rc = write_part(w, further);
    if (rc == 0 && w->was.followed && (news || w->ended))
        rc = work_follow(w->store, w->was.id);
    if (rc == 0 && w->open == STORE_DONE)
        rc = deletions_plan(w->store, w->was.id);
    *end = !w->ended                   ? (news ? STORE_SEEN_CHANGED : STORE_SEEN_SAME)
           : w->was.open == STORE_RUNS ? STORE_SEEN_ENDED
           : w->measures               ? STORE_SEEN_MEASURED
           : writes                    ? STORE_SEEN_TOLD
                                       : STORE_SEEN_SAME;
    return rc;
}

/* Nothing of it ran, and it shall run elsewhere: it has not ended. */
static int write_want(struct writing *w, enum store_seen_end *end)
{
    struct work_want want = {.id = w->was.id,
                             .code = w->seen->code,
                             .node = w->by->node,
                             .input = w->seen->input_file,
                             .now_ms = w->now_ms};
    int rc = free_reservation(w->store, w->was.reservation, w->seen->account, w->seen->native, 0);

    *end = STORE_SEEN_MOVES;
    return rc == 0 ? work_want_move(w->store, &want) : rc;
}

/* Whether the node goes on under another number by now. */
static int read_epoch(struct store *store, const struct store_claimer *by, bool *over)
{
    struct value values[] = {value_text(by->node)};
    int64_t epoch = by->epoch;
    int rc = WORK_RUN(store, "select epoch from @node where id = $1", values, on_number, &epoch);

    *over = epoch != by->epoch;
    return rc;
}

static int see(struct writing *w, enum store_seen_end *end)
{
    const struct store_seen *s = w->seen;
    int rc = read_known(w->store, s, &w->was);

    *end = STORE_SEEN_UNKNOWN;
    if (rc != 0 || !w->was.there)
        return rc;
    *end = STORE_SEEN_STALE;
    if (s->watched && !is_claimers(w))
        return 0;
    if (!s->watched) {
        bool over = false;

        rc = read_epoch(w->store, w->by, &over);
        if (rc != 0 || over)
            return rc;
    }
    *end = STORE_SEEN_SAME;
    if (w->was.open == STORE_DONE || w->was.moving == STORE_MOVE_WANTED)
        return 0; /* that it failed is known, and its claim is for the move */
    rc = work_now(w->store, &w->now_ms);
    if (rc != 0)
        return rc;
    if (s->missing && w->was.missing + 1 >= STORE_MISSING) {
        w->failed = failed_of(s);
        s = w->seen = &w->failed;
    }
    if (s->status == NULL)
        return write_silence(w, end);
    if (s->move && w->was.open == STORE_RUNS && w->was.moving == STORE_MOVE_NONE)
        return write_want(w, end);
    if (!s->watched && rank_of(s->status) == STORE_RANK_ENDED && !(s->measured && s->tell))
        return w->was.open == STORE_RUNS ? write_poke(w, end) : 0;
    return write_seen(w, end);
}

int batches_see(struct store *store, const struct store_claimer *by, const struct store_seen *seen,
                enum store_seen_end *end)
{
    struct writing w = {.store = store, .by = by, .seen = seen};

    return see(&w, end);
}

int store_batches_seen(struct store *store, const struct store_claimer *by,
                       const struct store_seen *seen, enum store_seen_end *end)
{
    struct writing w = {.store = store, .by = by, .seen = seen};
    int rc = work_begin(store, WORK_WRITE);

    assert(seen->num_usage <= STORE_USAGE_ROWS && (!seen->measured || seen->num_usage > 0));
    *end = STORE_SEEN_UNKNOWN;
    return rc == 0 ? work_end(store, see(&w, end)) : rc;
}
