/* See store_fleet.h: what became of intents, and who settles what nobody told of. A reservation's
 * row is changed by who has locked the rows of its scopes before; that it is still open then is said
 * in the change itself. */
#include "store_fleet_book.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* When nobody told of a create for so long, although its node lives: its worker may have died. */
#define SILENT_MS (10 * 60 * 1000)

#define NAME_VALUES 4 /* of open_where() */

/* A reservation as it was read. */
struct open_row {
    char id[FLEET_ID], claim[FLEET_ID];
    struct holding holding;
    int64_t state;
    bool made; /* its batch was told of once */
};

struct open_rows {
    struct open_row rows[FLEET_AT_ONCE];
    size_t num;
};

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* --- by name --- */

/* @return the condition that finds a reservation by what is known of it; NULL: nothing is.
 * @param values  [NAME_VALUES], from $1 on; `num` of them are used */
static const char *name_where(const struct fleet_name *name, const char *node,
                              struct value values[NAME_VALUES], size_t *num)
{
    *num = 1;
    if (name->id != NULL) {
        values[0] = value_text(name->id);
        return "id = $1";
    }
    if (name->native != NULL) {
        values[0] = value_text(name->native);
        values[1] = value_int(name->account);
        *num = 2;
        return "native = $1 and account = $2";
    }
    if (name->nonce != NULL) {
        values[0] = value_text(name->nonce);
        return "nonce = $1";
    }
    if (name->token == 0 || node == NULL)
        return NULL;
    values[0] = value_int((int64_t)name->token);
    values[1] = value_text(node);
    *num = 2;
    return "token = $1 and node = $2";
}

static int on_open(void *arg, const struct row *row)
{
    struct open_rows *rows = arg;
    struct open_row *out = &rows->rows[rows->num];

    if (rows->num == FLEET_AT_ONCE)
        return 0;
    *out = (struct open_row){.state = row_int(row, 7), .made = row->texts[9] != NULL};
    set_text(out->id, sizeof(out->id), row->texts[0]);
    set_text(out->claim, sizeof(out->claim), row->texts[1]);
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        set_text(out->holding.scopes[i], SCOPE_NAME, row->texts[2 + i]);
    out->holding.tokens = row_int(row, 5);
    out->holding.nano = row_int(row, 6);
    out->holding.refunded = row_int(row, 8) != 0;
    rows->num++;
    return 0;
}

#define OPEN_COLUMNS                                                                               \
    "id, claim, deployment_scope, key_scope, team_scope, tokens, nano, state, refunded, native"

/* The newest reservation of a name, which several may have: a marker's nonce is that of all tries
 * of a create. One that is open comes before those that are not. */
static int find_named(struct store *store, const struct fleet_name *name, const char *node,
                      struct open_rows *out)
{
    struct value values[NAME_VALUES];
    size_t num;
    const char *where = name_where(name, node, values, &num);
    char sql[512];

    if (where == NULL)
        return 0;
    snprintf(sql, sizeof(sql),
             "select " OPEN_COLUMNS " from @reservation where %s"
             " order by case when state = 2 then 1 else 0 end, created desc limit 1",
             where);
    return work_run(store, sql, values, num, on_open, out);
}

/* All that are open of a batch. Two may be: of its create, and of another node that saw the batch
 * before it heard of that one (journal statement C29). */
static int find_open(struct store *store, const struct fleet_name *name, struct open_rows *out)
{
    struct value values[] = {value_text(name->id), value_text(name->native),
                             value_int(name->account)};

    if (name->id == NULL && name->native == NULL)
        return find_named(store, name, NULL, out);
    return WORK_RUN(store,
                    "select " OPEN_COLUMNS " from @reservation where (id = $1"
                    " or (native = $2 and account = $3)) and state <> 2 order by created limit 64",
                    values, on_open, out);
}

/* --- one that is freed --- */

static int on_changed(void *arg, const struct row *row)
{
    (void)row;
    *(bool *)arg = true;
    return 0;
}

/* @param free_live  also one whose batch was told of
 * @param done  whether it was open, and is FREED by this */
static int free_row(struct store *store, const char *id, bool free_live, int64_t now_ms, bool *done)
{
    struct value values[] = {value_text(id), value_int(now_ms)};
    char sql[256];

    *done = false;
    snprintf(sql, sizeof(sql),
             "update @reservation set state = %d, changed = $2, claim_until = 0 where id = $1"
             " and state in (%s) returning id",
             FLEET_FREED, free_live ? "0, 1, 3" : "0, 3");
    return WORK_RUN(store, sql, values, on_changed, done);
}

static uint64_t number_of(const char *scope)
{
    return *scope != '\0' ? strtoull(scope + 2, NULL, 16) : 0;
}

static void tell_freed(struct freed *freed, const struct open_row *row)
{
    if (freed == NULL)
        return;
    *freed = (struct freed){.there = true,
                            .tokens = (uint64_t)row->holding.tokens,
                            .nano = row->holding.nano,
                            .key = number_of(row->holding.scopes[FLEET_KEY]),
                            .team = number_of(row->holding.scopes[FLEET_TEAM])};
}

static bool was_read(const struct open_rows *rows, const char *id)
{
    for (size_t i = 0; i < rows->num; i++)
        if (strcmp(rows->rows[i].id, id) == 0)
            return true;
    return false;
}

/* What one transaction works with; too large for a stack. */
struct desk {
    struct book book;
    struct open_rows rows, before;
};

/* Read, lock the scopes, read again: whether one was refunded is known under the lock alone. One that
 * came meanwhile, whose scopes are not locked, is left out. */
static int lock_open(struct store *store, const struct fleet_name *name, struct desk *desk)
{
    struct open_rows *rows = &desk->rows;
    size_t kept = 0;
    int rc = find_open(store, name, &desk->before);

    if (rc != 0 || desk->before.num == 0)
        return rc;
    for (size_t i = 0; i < desk->before.num; i++)
        book_name_all(&desk->book, &desk->before.rows[i].holding);
    rc = book_lock(store, &desk->book);
    if (rc == 0)
        rc = find_open(store, name, rows);
    for (size_t i = 0; i < rows->num; i++)
        if (was_read(&desk->before, rows->rows[i].id))
            rows->rows[kept++] = rows->rows[i];
    rows->num = kept;
    return rc;
}

/* What it cost is spent once. */
static int free_locked(struct store *store, struct desk *desk, int64_t spent_nano,
                       struct freed *freed)
{
    struct book *book = &desk->book;
    bool spent = false;
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    for (size_t i = 0; i < desk->rows.num && rc == 0; i++) {
        const struct open_row *row = &desk->rows.rows[i];
        bool done = false;

        rc = free_row(store, row->id, true, now_ms, &done);
        if (rc != 0 || !done)
            continue;
        book_subtract(book, &row->holding);
        if (!spent) {
            book_spend(book, row->holding.scopes[FLEET_KEY], spent_nano, now_ms);
            book_spend(book, row->holding.scopes[FLEET_TEAM], spent_nano, now_ms);
            tell_freed(freed, row);
        }
        spent = true;
    }
    return rc == 0 && spent ? book_write(store, book, now_ms) : rc;
}

int work_free_reservation(struct store *store, const struct fleet_name *name, int64_t spent_nano,
                          struct freed *freed)
{
    struct desk *desk = calloc(1, sizeof(*desk));
    int rc = desk != NULL ? 0 : ERR_NOMEM;

    assert(store->working);
    if (freed != NULL)
        *freed = (struct freed){.there = false};
    if (rc == 0)
        rc = lock_open(store, name, desk);
    if (rc == 0 && desk->rows.num > 0)
        rc = free_locked(store, desk, spent_nano, freed);
    free(desk);
    return rc;
}

/* --- what is spent later --- */

static int on_payers(void *arg, const struct row *row)
{
    book_name(arg, row->texts[0]);
    book_name(arg, row->texts[1]);
    return 0;
}

/* Of a name that several reservations have those who pay are the same: each is named once. */
static int find_payers(struct store *store, const struct fleet_name *name, struct book *book)
{
    struct value values[] = {value_text(name->id != NULL ? name->id : name->native),
                             value_int(name->account)};
    char sql[160];

    snprintf(sql, sizeof(sql),
             "select key_scope, team_scope from @reservation where %s = $1 and account = $2"
             " order by created limit 8",
             name->id != NULL ? "id" : "native");
    return WORK_RUN(store, sql, values, on_payers, book);
}

int work_spend_late(struct store *store, const struct fleet_name *name, int64_t spent_nano)
{
    struct book *book = calloc(1, sizeof(*book));
    int64_t now_ms;
    int rc = book != NULL ? work_now(store, &now_ms) : ERR_NOMEM;

    assert(store->working && (name->id != NULL || name->native != NULL));
    if (rc == 0)
        rc = find_payers(store, name, book);
    if (rc == 0)
        rc = book_lock(store, book);
    for (size_t i = 0; rc == 0 && i < book->num; i++)
        book_spend(book, book->rows[i].scope, spent_nano, now_ms);
    if (rc == 0)
        rc = book_write(store, book, now_ms);
    free(book);
    return rc;
}

/* --- refunds --- */

static int refund_locked(struct store *store, struct desk *desk)
{
    int64_t now_ms;
    int rc = work_now(store, &now_ms);

    for (size_t i = 0; i < desk->rows.num && rc == 0; i++) {
        struct value values[] = {value_text(desk->rows.rows[i].id)};
        bool done = false;

        rc = WORK_RUN(store,
                      "update @reservation set refunded = 1 where id = $1 and refunded = 0"
                      " and state <> 2 returning id",
                      values, on_changed, &done);
        if (rc == 0 && done)
            book_refund(&desk->book, &desk->rows.rows[i].holding);
    }
    return rc == 0 ? book_write(store, &desk->book, now_ms) : rc;
}

int work_refund_reservation(struct store *store, const struct fleet_name *name)
{
    struct desk *desk = calloc(1, sizeof(*desk));
    int rc = desk != NULL ? 0 : ERR_NOMEM;

    assert(store->working);
    if (rc == 0)
        rc = lock_open(store, name, desk);
    if (rc == 0 && desk->rows.num > 0)
        rc = refund_locked(store, desk);
    free(desk);
    return rc;
}

int store_fleet_refund(struct store *store, const struct fleet_me *me,
                       const struct fleet_name *name)
{
    int64_t now_ms;
    int rc = fleet_begin(store, me, &now_ms);

    return rc == 0 ? work_end(store, work_refund_reservation(store, name)) : rc;
}

/* --- drops --- */

/* What is dropped before it came: it is remembered, so that it is not granted afterwards. */
static int bury(struct store *store, const struct fleet_me *me, const char *id, int64_t now_ms)
{
    struct value values[] = {value_text(id), value_text(me->node), value_int(me->epoch),
                             value_int(now_ms)};

    return WORK_RUN(store,
                    "insert into @reservation(id, account, deployment, tokens, state, node, epoch,"
                    " created, changed, expires) values($1, 0, 0, 0, 2, $2, $3, $4, $4, $4)"
                    " on conflict do nothing",
                    values, NULL, NULL);
}

static int free_key(struct store *store, const char *claim)
{
    struct value values[] = {value_text(claim)};

    return claim != NULL && *claim != '\0'
               ? WORK_RUN(store, "delete from @idempotency where claim = $1 and state <> 1", values,
                          NULL, NULL)
               : 0;
}

static int lose_key(struct store *store, const char *claim, const struct fleet_drop *drop)
{
    struct value values[] = {value_text(claim), value_int(drop->deployment),
                             value_text(drop->of.nonce)};

    if (claim == NULL || *claim == '\0')
        return 0;
    return WORK_RUN(store,
                    "update @idempotency set state = 2, nonce = coalesce($3, nonce),"
                    " deployment = case when cast($2 as bigint) <> 0 then cast($2 as bigint)"
                    " else deployment end where claim = $1 and state = 0",
                    values, NULL, NULL);
}

static int lose_row(struct store *store, const char *id, const struct fleet_drop *drop,
                    int64_t now_ms)
{
    struct value values[] = {value_text(id), value_int(now_ms), value_int(now_ms + FLEET_DEAD_MS),
                             value_int(drop->deployment)};

    return WORK_RUN(store,
                    "update @reservation set state = 3, changed = $2, claim_until = $3,"
                    " deployment = case when cast($4 as bigint) <> 0 then cast($4 as bigint)"
                    " else deployment end where id = $1 and state = 0",
                    values, NULL, NULL);
}

static int end_key(struct store *store, const struct fleet_drop *drop, const char *claim)
{
    if (drop->of.claim != NULL)
        claim = drop->of.claim;
    if (drop->end == FLEET_NOT_MADE)
        return free_key(store, claim);
    return drop->end == FLEET_NOT_KNOWN ? lose_key(store, claim, drop) : 0;
}

/* The open rows of drops, each at the place of its drop; those that have none are empty. */
static int find_all(struct store *store, const struct fleet_me *me, const struct fleet_drop *drops,
                    size_t num, struct open_rows *rows)
{
    int rc = 0;

    for (size_t i = 0; i < num && rc == 0; i++) {
        rows->num = i;
        rows->rows[i] = (struct open_row){.id = ""};
        rc = find_named(store, &drops[i].of, me->node, rows);
    }
    rows->num = num;
    return rc;
}

static int end_row(struct store *store, const struct fleet_me *me, const struct fleet_drop *drop,
                   const struct open_row *row, struct book *book, int64_t now_ms)
{
    bool done = false;
    int rc;

    if (row->id[0] == '\0')
        return drop->of.id != NULL && drop->end != FLEET_NOT_KNOWN
                   ? bury(store, me, drop->of.id, now_ms)
                   : 0;
    if (drop->end == FLEET_NOT_KNOWN)
        return lose_row(store, row->id, drop, now_ms);
    rc = free_row(store, row->id, false, now_ms, &done);
    if (rc == 0 && done)
        book_subtract(book, &row->holding);
    return rc;
}

/* Nothing of a reservation changes while it is RESERVED or UNKNOWN but its state: what was read
 * before its scopes were locked holds, if it is still open. */
static int drop_all(struct store *store, const struct fleet_me *me, const struct fleet_drop *drops,
                    size_t num, int64_t now_ms, struct desk *desk)
{
    int rc = find_all(store, me, drops, num, &desk->rows);

    for (size_t i = 0; i < num; i++)
        book_name_all(&desk->book, &desk->rows.rows[i].holding);
    if (rc == 0)
        rc = book_lock(store, &desk->book);
    for (size_t i = 0; i < num && rc == 0; i++)
        rc = end_row(store, me, &drops[i], &desk->rows.rows[i], &desk->book, now_ms);
    if (rc == 0)
        rc = book_write(store, &desk->book, now_ms);
    for (size_t i = 0; i < num && rc == 0; i++)
        rc = end_key(store, &drops[i], desk->rows.rows[i].claim);
    return rc;
}

int store_fleet_drop(struct store *store, const struct fleet_me *me, const struct fleet_drop *drops,
                     size_t num)
{
    struct desk *desk = calloc(1, sizeof(*desk));
    int64_t now_ms;
    int rc = desk != NULL ? 0 : ERR_NOMEM;

    assert(num <= FLEET_AT_ONCE);
    if (rc == 0)
        rc = fleet_begin(store, me, &now_ms);
    if (rc == 0)
        rc = work_end(store, drop_all(store, me, drops, num, now_ms, desk));
    free(desk);
    return rc;
}

/* --- lives --- */

static int note_live(struct store *store, const char *id, const struct fleet_live *live,
                     int64_t now_ms, bool *done)
{
    struct value values[] = {value_text(id), value_int(now_ms), value_text(live->batch),
                             value_text(live->native), value_int(live->deployment)};

    *done = false;
    return WORK_RUN(store,
                    "update @reservation set state = 1, changed = $2, claim_until = 0,"
                    " batch_id = coalesce($3, batch_id), native = coalesce($4, native),"
                    " deployment = case when cast($5 as bigint) <> 0 then cast($5 as bigint)"
                    " else deployment end where id = $1 and state <> 2 returning id",
                    values, on_changed, done);
}

/* It was taken for not made, and shows itself now: it counts again, whatever the limits. Its end
 * frees it. One that has ended does not come back. */
static int revive(struct store *store, const struct open_row *row, const struct fleet_live *live,
                  int64_t now_ms)
{
    struct value values[] = {value_text(row->id)};
    struct book *book = calloc(1, sizeof(*book));
    bool done = false;
    int rc = book != NULL ? 0 : ERR_NOMEM;

    if (rc == 0) {
        book_name_all(book, &row->holding);
        rc = book_lock(store, book);
    }
    if (rc == 0)
        rc = WORK_RUN(store,
                      "update @reservation set state = 3 where id = $1 and state = 2"
                      " and native is null returning id",
                      values, on_changed, &done);
    if (rc == 0 && done) {
        book_add(book, &row->holding);
        rc = book_write(store, book, now_ms);
    }
    if (rc == 0 && done)
        rc = note_live(store, row->id, live, now_ms, &done);
    free(book);
    return rc;
}

/* @param freed  NULL: a reservation that is FREED is revived; else written: it has to be */
static int live_row(struct store *store, const struct fleet_me *me, const struct fleet_live *live,
                    int64_t now_ms, struct open_rows *rows, bool *missing, bool *freed)
{
    bool done = false;
    int rc;

    rows->num = 0;
    rc = find_named(store, &live->of, me->node, rows);
    *missing = rows->num == 0;
    if (rc != 0 || rows->num == 0)
        return rc;
    rc = note_live(store, rows->rows[0].id, live, now_ms, &done);
    if (rc != 0 || done || rows->rows[0].made)
        return rc;
    if (freed == NULL)
        return revive(store, &rows->rows[0], live, now_ms);
    *freed = true;
    return 0;
}

static const char *kept_body(const struct fleet_done *done)
{
    return done->body != NULL && strlen(done->body) <= FLEET_ANSWER ? done->body : NULL;
}

/* A key that another claim has by now stays as it is; one that is not there, since the create was
 * granted while the database was away, is added. */
static int live_key(struct store *store, const struct fleet_me *me, const struct fleet_live *live,
                    int64_t now_ms)
{
    const struct fleet_done *done = &live->done;
    struct value values[] = {value_text(done->key),
                             value_int((int64_t)done->owner),
                             value_text(live->of.claim),
                             value_int((int64_t)done->request),
                             value_int(done->status),
                             value_text(done->object),
                             value_text(kept_body(done)),
                             value_int(live->deployment),
                             value_text(live->of.nonce),
                             value_text(me->node),
                             value_int(me->epoch),
                             value_int(now_ms),
                             value_int(now_ms + FLEET_IDEM_MS)};

    if (done->key == NULL || done->status == 0 || live->of.claim == NULL)
        return 0;
    return WORK_RUN(store,
                    "insert into @idempotency as k(name, owner, claim, request, state, status,"
                    " object, body, deployment, nonce, node, epoch, created, busy_until, until)"
                    " values($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)"
                    " on conflict(name) do update set state = 1, status = excluded.status,"
                    " object = excluded.object, body = excluded.body,"
                    " deployment = excluded.deployment, nonce = excluded.nonce,"
                    " until = excluded.until where k.claim = excluded.claim",
                    values, NULL, NULL);
}

/* As store_fleet_live(). @param freed  as of live_row() */
static int live_all(struct store *store, const struct fleet_me *me, const struct fleet_live *lives,
                    size_t num, int64_t now_ms, struct open_rows *rows, bool *missing, bool *freed)
{
    bool none;
    int rc = 0;

    for (size_t i = 0; i < num && rc == 0; i++) {
        rc = live_row(store, me, &lives[i], now_ms, rows, &none, freed);
        if (rc == 0 && (freed == NULL || !*freed))
            rc = live_key(store, me, &lives[i], now_ms);
        if (missing != NULL)
            missing[i] = none;
    }
    return rc;
}

static int run_lives(struct store *store, const struct fleet_me *me, const struct fleet_live *lives,
                     size_t num, bool *missing, bool *freed)
{
    struct open_rows *rows = calloc(1, sizeof(*rows));
    int64_t now_ms;
    int rc = rows != NULL ? 0 : ERR_NOMEM;

    assert(num <= FLEET_AT_ONCE);
    if (rc == 0)
        rc = fleet_begin(store, me, &now_ms);
    if (rc == 0)
        rc = work_end(store, live_all(store, me, lives, num, now_ms, rows, missing, freed));
    free(rows);
    return rc;
}

int store_fleet_live(struct store *store, const struct fleet_me *me, const struct fleet_live *lives,
                     size_t num, bool *missing)
{
    return run_lives(store, me, lives, num, missing, NULL);
}

int store_fleet_live_among(struct store *store, const struct fleet_me *me,
                           const struct fleet_live *live, bool *missing, bool *freed)
{
    *freed = false;
    return run_lives(store, me, live, 1, missing, freed);
}

int store_fleet_has(struct store *store, const char *id, bool *there)
{
    struct value values[] = {value_text(id)};
    int rc = work_begin(store, WORK_READ);

    *there = false;
    return rc == 0 ? work_end(store, WORK_RUN(store, "select id from @reservation where id = $1",
                                              values, on_changed, there))
                   : rc;
}

/* --- what nobody settles --- */

struct lost_reader {
    struct fleet_lost *out;
    size_t max, num;
};

static int on_lost(void *arg, const struct row *row)
{
    struct lost_reader *r = arg;
    struct fleet_lost *out = &r->out[r->num];

    if (r->num == r->max)
        return 0;
    *out = (struct fleet_lost){.account = (uint32_t)row_int(row, 3),
                               .deployment = (uint32_t)row_int(row, 4),
                               .tokens = (uint64_t)row_int(row, 7),
                               .tries = (uint32_t)row_int(row, 8),
                               .created_ms = row_int(row, 9)};
    set_text(out->id, sizeof(out->id), row->texts[0]);
    set_text(out->claim, sizeof(out->claim), row->texts[1]);
    set_text(out->nonce, sizeof(out->nonce), row->texts[2]);
    out->key = row->texts[5] != NULL ? number_of(row->texts[5]) : 0;
    out->team = row->texts[6] != NULL ? number_of(row->texts[6]) : 0;
    r->num++;
    return 0;
}

static int pick_lost(struct store *store, int64_t now_ms, struct lost_reader *reader)
{
    struct value values[] = {value_int(now_ms), value_int(now_ms - SILENT_MS),
                             value_int((int64_t)reader->max)};
    char sql[640];

    snprintf(sql, sizeof(sql),
             "select id, claim, nonce, account, deployment, key_scope, team_scope, tokens, tries,"
             " created from @reservation r where state in (0, 3) and claim_until <= $1"
             " and (state = 3 or created <= $2 or not exists(select 1 from @node n"
             " where n.id = r.node and n.epoch = r.epoch)) order by created limit $3%s",
             store->engine->ops->skip_locked);
    return WORK_RUN(store, sql, values, on_lost, reader);
}

static int mark_claimed(struct store *store, const struct fleet_me *me, int64_t now_ms,
                        const struct fleet_lost *lost)
{
    struct value values[] = {value_text(lost->id), value_text(me->node), value_int(me->epoch),
                             value_int(now_ms + FLEET_DEAD_MS)};

    return WORK_RUN(store,
                    "update @reservation set state = 3, claim_node = $2, claim_epoch = $3,"
                    " claim_until = $4, tries = tries + 1 where id = $1 and state in (0, 3)",
                    values, NULL, NULL);
}

int store_fleet_claim_lost(struct store *store, const struct fleet_me *me, struct fleet_lost *out,
                           size_t max, size_t *num)
{
    struct lost_reader reader = {.out = out, .max = max};
    int64_t now_ms;
    int rc = fleet_begin(store, me, &now_ms);

    *num = 0;
    if (rc != 0)
        return rc;
    rc = pick_lost(store, now_ms, &reader);
    for (size_t i = 0; i < reader.num && rc == 0; i++) {
        out[i].now_ms = now_ms;
        rc = mark_claimed(store, me, now_ms, &out[i]);
    }
    rc = work_end(store, rc);
    *num = rc == 0 ? reader.num : 0;
    return rc;
}
