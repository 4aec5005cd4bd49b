/* See store_deletions.h. */
#include "store/store_deletions.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/seeded_fault.h"
#include "store_batches_impl.h"

#define FIRST_REST_MS 60000u
#define LAST_REST_MS  3600000u

uint32_t store_deletions_rest_ms(uint64_t tries)
{
    uint32_t ms = FIRST_REST_MS;

    while (tries > 1 && ms < LAST_REST_MS) {
        ms *= 2;
        tries--;
    }
    return ms < LAST_REST_MS ? ms : LAST_REST_MS;
}

/* ---- when ---- */

/* Of one whose create was told of after its end the rule may be another one than it was planned by. */
int deletions_plan(struct store *store, const char *batch)
{
    struct value values[] = {value_text(batch), value_int(STORE_FILES_OF)};

    return WORK_RUN(store,
                    "insert into @deletion as d(account, object, kind, batch_id, due, next_at)"
                    " select p.account, p.native, cast($2 as smallint), b.id,"
                    " b.ended + 1000 * b.delete_after, b.ended + 1000 * b.delete_after"
                    " from @batch b join @batch_part p on p.batch_id = b.id where b.id = $1"
                    " and p.open = 0 and b.ended is not null and b.delete_after is not null"
                    " on conflict(account, object) do update set due = excluded.due,"
                    " next_at = excluded.next_at where d.done is null",
                    values, NULL, NULL);
}

int deletions_leave(struct store *store, const char *batch, int64_t now_ms)
{
    struct value values[] = {value_text(batch), value_int(STORE_COPY), value_int(now_ms)};

    return WORK_RUN(store,
                    "insert into @deletion(account, object, kind, batch_id, due, next_at)"
                    " select p.account, p.input_file, cast($2 as smallint), b.id,"
                    " cast($3 as bigint), cast($3 as bigint)"
                    " from @batch b join @batch_part p on p.batch_id = b.id where b.id = $1"
                    " and b.delete_after is not null and p.input_file <> p.original"
                    " on conflict(account, object) do nothing",
                    values, NULL, NULL);
}

int deletions_let_go(struct store *store, const struct store_claimer *by)
{
    struct value values[] = {value_text(by->node), value_int(by->epoch)};

    return WORK_RUN(store,
                    "update @deletion set claim_node = null, claim_until = 0"
                    " where claim_node = $1 and epoch = $2 and done is null",
                    values, NULL, NULL);
}

/* ---- claims ---- */

struct found {
    uint32_t account;
    char native[STORE_BATCH_ID];
    enum store_deletion_kind kind;
    uint64_t owner, tries;
};

struct claims {
    size_t num;
    struct found all[STORE_CLAIMS];
};

static int on_due(void *arg, const struct row *row)
{
    struct claims *c = arg;
    struct found *found = &c->all[c->num];

    if (c->num == STORE_CLAIMS || strlen(row->texts[1]) >= sizeof(found->native))
        return 0;
    found->account = (uint32_t)row_int(row, 0);
    snprintf(found->native, sizeof(found->native), "%s", row->texts[1]);
    found->kind = (enum store_deletion_kind)row_int(row, 2);
    found->owner = (uint64_t)row_int(row, 3);
    found->tries = (uint64_t)row_int(row, 4);
    c->num++;
    return 0;
}

static int find_due(struct store *store, const struct store_claimer *by, size_t most,
                    int64_t now_ms, struct claims *c)
{
    struct value values[] = {value_int(now_ms), value_int((int64_t)most), value_text(by->node),
                             value_int(by->epoch)};
    char sql[512];

    snprintf(sql, sizeof(sql),
             "select account, object, kind,"
             " (select b.owner from @batch b where b.id = d.batch_id), tries from @deletion d"
             " where done is null and next_at <= $1 and (claim_until <= $1"
             " or (claim_node = $3 and epoch <> $4)) order by next_at, kind limit $2%s",
             store->engine->ops->skip_locked);
    return WORK_RUN(store, sql, values, on_due, c);
}

/* By a batch that has not ended, by a create of which nobody knows yet what comes of it, by a batch
 * whose own files are not to go yet. */
static int find_use(struct store *store, const struct found *found, size_t *uses)
{
    struct value values[] = {value_text(found->native), value_int(STORE_FILES_OF)};

    *uses = 0;
    if ((found->kind != STORE_INPUT && found->kind != STORE_COPY) ||
        seeded_fault(SEEDED_EARLY_DELETION))
        return 0;
    return WORK_RUN(store,
                    "select 1 from @batch_part p where (p.input_file = $1 or p.original = $1)"
                    " and (p.open <> 0 or exists(select 1 from @deletion d"
                    " where d.batch_id = p.batch_id and d.kind = $2 and d.done is null))"
                    " union all select 1 from @reservation r where r.file = $1"
                    " and r.state in (0, 3) limit 1",
                    values, on_count, uses);
}

static int postpone(struct store *store, const struct found *found, int64_t now_ms)
{
    struct value values[] = {value_int(found->account), value_text(found->native),
                             value_int(now_ms + STORE_IN_USE_MS)};

    return WORK_RUN(store,
                    "update @deletion set due = $3, next_at = $3 where account = $1"
                    " and object = $2",
                    values, NULL, NULL);
}

static int take(struct store *store, const struct store_claimer *by, const struct found *found,
                int64_t now_ms)
{
    struct value values[] = {value_int(found->account), value_text(found->native),
                             value_text(by->node), value_int(by->epoch),
                             value_int(now_ms + STORE_CLAIM_MS)};

    return WORK_RUN(store,
                    "update @deletion set claim_node = $3, epoch = $4, claim_until = $5"
                    " where account = $1 and object = $2",
                    values, NULL, NULL);
}

static int give_out(struct store *store, const struct store_claimer *by, const struct found *found,
                    int64_t now_ms, store_deletion_cb cb, void *arg)
{
    struct store_deletion deletion = {.account = found->account,
                                      .native = found->native,
                                      .kind = found->kind,
                                      .owner = found->owner,
                                      .tries = (uint32_t)found->tries};
    size_t uses;
    int rc = find_use(store, found, &uses);

    if (rc == 0 && uses > 0)
        return postpone(store, found, now_ms);
    if (rc == 0)
        rc = take(store, by, found, now_ms);
    return rc == 0 ? cb(arg, &deletion) : rc;
}

static int claim(struct store *store, const struct store_claimer *by, size_t most,
                 store_deletion_cb cb, void *arg)
{
    struct claims c = {0};
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    if (rc == 0)
        rc = find_due(store, by, most, now_ms, &c);
    for (size_t i = 0; rc == 0 && i < c.num; i++)
        rc = give_out(store, by, &c.all[i], now_ms, cb, arg);
    return rc;
}

int store_deletions_claim(struct store *store, const struct store_claimer *by, size_t most,
                          store_deletion_cb cb, void *arg)
{
    int rc = work_begin(store, WORK_WRITE);

    assert(most <= STORE_CLAIMS);
    return rc == 0 ? work_end(store, claim(store, by, most, cb, arg)) : rc;
}

/* ---- what came of them ---- */

/* A row as it was, and locked until the transaction ends. */
struct known {
    bool there;
    enum store_deletion_kind kind;
    uint64_t tries;
    int64_t due_ms;
    uint32_t account, home;
    bool mine; /* claimed by who tells of it */
    char batch[STORE_BATCH_ID];
    char input[STORE_BATCH_ID], original[STORE_BATCH_ID];
    char output[STORE_BATCH_ID], error[STORE_BATCH_ID];
};

static void set_text(char out[STORE_BATCH_ID], const char *text)
{
    snprintf(out, STORE_BATCH_ID, "%s", text != NULL ? text : "");
}

static int on_known(void *arg, const struct row *row)
{
    struct known *k = arg;

    k->there = true;
    k->kind = (enum store_deletion_kind)row_int(row, 0);
    k->tries = (uint64_t)row_int(row, 1);
    k->mine = row_int(row, 2) != 0;
    set_text(k->batch, row->texts[3]);
    k->due_ms = row_int(row, 4);
    return 0;
}

static int on_files(void *arg, const struct row *row)
{
    struct known *k = arg;

    set_text(k->input, row->texts[0]);
    set_text(k->original, row->texts[1]);
    set_text(k->output, row->texts[2]);
    set_text(k->error, row->texts[3]);
    k->account = (uint32_t)row_int(row, 4);
    k->home = (uint32_t)row_int(row, 5);
    return 0;
}

static int read_known(struct store *store, const struct store_claimer *by,
                      const struct store_deletion_done *done, struct known *k)
{
    struct value values[] = {value_int(done->account), value_text(done->native),
                             value_text(by->node), value_int(by->epoch)};
    struct value batch[] = {value_text(k->batch)};
    char sql[256];
    int rc;

    memset(k, 0, sizeof(*k));
    snprintf(sql, sizeof(sql),
             "select kind, tries, case when claim_node = $3 and epoch = $4 then 1 else 0 end,"
             " batch_id, due from @deletion where account = $1 and object = $2 and done is null%s",
             store->engine->ops->for_update);
    rc = WORK_RUN(store, sql, values, on_known, k);
    return rc == 0 && k->there && k->kind == STORE_FILES_OF
               ? WORK_RUN(store,
                          "select input_file, original, output_file, error_file, account, home"
                          " from @batch_part where batch_id = $1",
                          batch, on_files, k)
               : rc;
}

static int end_row(struct store *store, const struct store_deletion_done *done, int64_t now_ms)
{
    static const char *const names[] = {[STORE_LISTED] = "listed",
                                        [STORE_DELETED] = "deleted",
                                        [STORE_GONE] = "gone",
                                        [STORE_NOT_OURS] = "foreign"};
    struct value values[] = {value_int(done->account), value_text(done->native), value_int(now_ms),
                             value_text(names[done->end])};

    return WORK_RUN(store,
                    "update @deletion set done = $3, came_of = $4, claim_node = null,"
                    " claim_until = 0 where account = $1 and object = $2",
                    values, NULL, NULL);
}

/* One of several batches that used it has it in its story. */
static int add_file(struct store *store, const struct known *k, enum store_deletion_kind kind,
                    uint32_t account, const char *native, int64_t now_ms)
{
    struct value values[] = {value_int(account),   value_text(native),   value_int(kind),
                             value_text(k->batch), value_int(k->due_ms), value_int(now_ms)};

    if (native == NULL || *native == '\0' || account == 0 || strlen(native) >= STORE_BATCH_ID)
        return 0;
    return WORK_RUN(store,
                    "insert into @deletion(account, object, kind, batch_id, due, next_at)"
                    " values($1, $2, $3, $4, $5, $6) on conflict(account, object) do nothing",
                    values, NULL, NULL);
}

static const char *either(const char *told, const char *known)
{
    return told != NULL && *told != '\0' ? told : known;
}

/* Its own input is the client's file, or a copy of it, which is ours. */
static int add_files(struct store *store, const struct store_deletion_done *done,
                     const struct known *k, int64_t now_ms)
{
    const char *input = either(done->input, k->input);
    bool is_copy = k->original[0] != '\0' && strcmp(k->original, input) != 0;
    int rc = add_file(store, k, STORE_OUTPUT, k->account, either(done->output, k->output), now_ms);

    if (rc == 0)
        rc = add_file(store, k, STORE_ERRORS, k->account, either(done->error, k->error), now_ms);
    if (rc == 0)
        rc = add_file(store, k, is_copy ? STORE_COPY : STORE_INPUT, k->account, input, now_ms);
    return rc == 0 && is_copy ? add_file(store, k, STORE_INPUT, k->home, k->original, now_ms) : rc;
}

static const char *kind_name(enum store_deletion_kind kind)
{
    static const char *const names[] = {[STORE_FILES_OF] = "its files",
                                        [STORE_OUTPUT] = "output file",
                                        [STORE_ERRORS] = "error file",
                                        [STORE_INPUT] = "input file",
                                        [STORE_COPY] = "copy of the input file"};

    return names[kind];
}

static int note_end(struct store *store, const struct store_claimer *by,
                    const struct store_deletion_done *done, const struct known *k)
{
    const char *what = done->end == STORE_NOT_OURS ? "kept" : "deleted";
    char detail[96];

    if (k->kind == STORE_FILES_OF) /* its files tell of themselves */
        return 0;
    snprintf(detail, sizeof(detail), "%s%s", kind_name(k->kind),
             done->end == STORE_GONE       ? ": it was gone already"
             : done->end == STORE_NOT_OURS ? ": it is another owner's"
                                           : "");
    return batches_note(store, k->batch, what, by->node, detail);
}

/* Told once: it may fail for days. */
static int try_later(struct store *store, const struct store_claimer *by,
                     const struct store_deletion_done *done, const struct known *k, int64_t now_ms)
{
    struct value values[] = {value_int(done->account), value_text(done->native),
                             value_int(now_ms + store_deletions_rest_ms(k->tries + 1))};
    char detail[256];
    int rc = WORK_RUN(store,
                      "update @deletion set tries = tries + 1, next_at = $3, claim_node = null,"
                      " claim_until = 0 where account = $1 and object = $2",
                      values, NULL, NULL);

    if (rc != 0 || k->tries > 0)
        return rc;
    snprintf(detail, sizeof(detail), "%s: %s", kind_name(k->kind),
             done->why != NULL ? done->why : "not now");
    return batches_note(store, k->batch, "not_deleted", by->node, detail);
}

static int finish(struct store *store, const struct store_claimer *by,
                  const struct store_deletion_done *done, bool *news)
{
    struct known k;
    int64_t now_ms;
    int rc = read_known(store, by, done, &k);

    *news = rc == 0 && k.there && (done->end != STORE_NOT_NOW || k.mine);
    if (!*news)
        return rc;
    rc = work_now(store, &now_ms);
    if (rc == 0 && done->end == STORE_NOT_NOW)
        return try_later(store, by, done, &k, now_ms);
    if (rc == 0 && k.kind == STORE_FILES_OF)
        rc = add_files(store, done, &k, now_ms);
    if (rc == 0)
        rc = end_row(store, done, now_ms);
    return rc == 0 ? note_end(store, by, done, &k) : rc;
}

int store_deletions_done(struct store *store, const struct store_claimer *by,
                         const struct store_deletion_done *done, bool *news)
{
    int rc = work_begin(store, WORK_WRITE);

    *news = false;
    if (rc != 0)
        return rc;
    rc = work_end(store, finish(store, by, done, news));
    if (rc != 0)
        *news = false;
    return rc;
}

/* ---- how many ---- */

static int on_counts(void *arg, const struct row *row)
{
    struct store_deletion_counts *out = arg;

    out->waiting = (uint64_t)row_int(row, 0);
    out->late_ms = row_int(row, 1);
    return 0;
}

int store_deletions_count(struct store *store, struct store_deletion_counts *out)
{
    struct value values[] = {value_int(0)};
    int64_t now_ms;
    int rc = work_begin(store, WORK_READ);

    *out = (struct store_deletion_counts){0};
    if (rc != 0)
        return rc;
    rc = work_now(store, &now_ms);
    values[0] = value_int(now_ms);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "select count(*), min(case when due <= $1 then due end) from @deletion"
                      " where done is null",
                      values, on_counts, out);
    return work_end(store, rc);
}
