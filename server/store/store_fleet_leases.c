/* See store_fleet.h: leases, those that nobody counts and those that everybody does. */
#include "store_fleet_book.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/rights.h"
#include "common/strbuf.h"

#define LEASE_COLUMNS     "node, scope, tokens, batches, nano, until, epoch"
#define LEASE_NUM_COLUMNS 7
#define ROWS_AT_ONCE      64 /* of one statement */

static_assert(ROWS_AT_ONCE * LEASE_NUM_COLUMNS <= ENGINE_MAX_VALUES, "a statement's values");
static_assert(FLEET_AT_ONCE <= ROWS_AT_ONCE, "all that are renewed are one statement");

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

static int live_nodes(struct store *store, int64_t now_ms, int64_t *num)
{
    struct value values[] = {value_int(now_ms - FLEET_DEAD_MS)};
    int rc = WORK_RUN(store, "select count(*) from @node where seen > $1", values, on_number, num);

    if (*num < 1)
        *num = 1;
    return rc;
}

static uint64_t as_limit(int64_t share)
{
    return share != INT64_MAX ? (uint64_t)share : RIGHTS_UNLIMITED;
}

static int64_t as_share(uint64_t limit)
{
    return limit < INT64_MAX ? (int64_t)limit : INT64_MAX;
}

/* --- rows --- */

static struct value worth_value(int64_t worth)
{
    return worth != INT64_MAX ? value_int(worth) : value_text(NULL);
}

static void fill(struct value *out, const char *holder, int64_t epoch, const char *scope,
                 const struct lease_worth *worth, int64_t until_ms)
{
    const struct value values[LEASE_NUM_COLUMNS] = {value_text(holder),
                                                    value_text(scope),
                                                    worth_value(worth->tokens),
                                                    worth_value(worth->batches),
                                                    worth_value(worth->nano),
                                                    value_int(until_ms),
                                                    value_int(epoch)};

    memcpy(out, values, sizeof(values));
}

static int put_rows(struct store *store, const struct value *values, size_t num)
{
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    if (num == 0)
        return 0;
    strbuf_adds(&sql, "insert into @lease(" LEASE_COLUMNS ") values");
    sql_tuples(&sql, num, LEASE_NUM_COLUMNS);
    strbuf_adds(&sql, " on conflict(node, scope) do update set tokens = excluded.tokens,"
                      " batches = excluded.batches, nano = excluded.nano,"
                      " until = excluded.until, epoch = excluded.epoch");
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num * LEASE_NUM_COLUMNS, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

/* --- what is leased of a book --- */

struct lease_reader {
    struct book *book;
    const char *holder;
};

static int64_t worth_of(const struct row *row, size_t column)
{
    return row->texts[column] != NULL ? row_int(row, column) : INT64_MAX;
}

static int on_lease(void *arg, const struct row *row)
{
    const struct lease_reader *r = arg;
    struct book_row *out = book_find(r->book, row->texts[1]);
    const struct lease_worth worth = {worth_of(row, 2), worth_of(row, 3), worth_of(row, 4)};

    if (out == NULL)
        return 0;
    if (strcmp(row->texts[0], r->holder) != 0) {
        lease_add(&out->others, &worth);
        return 0;
    }
    out->own = worth;
    out->own_until_ms = row_int(row, 5);
    out->leased = true;
    return 0;
}

/* @return how many; of deployments nothing is leased */
static size_t name_leased(const struct book *book, struct value values[BOOK_ROWS])
{
    size_t num = 0;

    for (size_t i = 0; i < book->num; i++)
        if (book->rows[i].scope[0] != 'd')
            values[num++] = value_text(book->rows[i].scope);
    return num;
}

int leases_read(struct store *store, const struct fleet_me *me, int64_t now_ms, struct book *book)
{
    struct lease_reader reader = {book, me->holder};
    struct value values[BOOK_ROWS + 1];
    struct strbuf sql = STRBUF_INIT;
    size_t num = name_leased(book, values);
    int rc = ERR_NOMEM;

    static_assert(BOOK_ROWS < ENGINE_MAX_VALUES, "a statement's values");
    assert(store->working && me->holder != NULL);
    if (num == 0)
        return 0;
    values[num] = value_int(now_ms - FLEET_LEASE_SKEW_MS);
    strbuf_adds(&sql, "select node, scope, tokens, batches, nano, until from @lease"
                      " where node like '%/%' and scope in "); /* that is counted: a holder's */
    sql_tuples(&sql, 1, num);
    strbuf_addf(&sql, " and until > $%zu", num + 1);
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num + 1, on_lease, &reader);
    strbuf_deinit(&sql);
    return rc;
}

/* As shares.c's: what one limit of a scope bounds is taken out of its whole share. */
static bool is_limited(const struct fleet_scope *scope)
{
    return scope->tokens != RIGHTS_UNLIMITED || scope->batches != RIGHTS_UNLIMITED ||
           scope->nano != INT64_MAX;
}

void leases_spend(struct book *book, const struct fleet_intent *intent,
                  const struct holding *holding)
{
    for (unsigned kind = FLEET_KEY; kind <= FLEET_TEAM; kind++) {
        struct book_row *row = book_find(book, holding->scopes[kind]);

        if (row == NULL || !row->leased || !is_limited(&intent->scopes[kind]))
            continue;
        lease_spend(&row->own, holding->tokens, holding->nano);
        row->own_changed = true;
    }
}

int leases_write(struct store *store, const struct fleet_me *me, const struct book *book)
{
    struct value values[ROWS_AT_ONCE * LEASE_NUM_COLUMNS];
    size_t num = 0;
    int rc = 0;

    for (size_t i = 0; i < book->num && rc == 0; i++) {
        const struct book_row *row = &book->rows[i];

        if (!row->own_changed)
            continue;
        fill(&values[num++ * LEASE_NUM_COLUMNS], me->holder, me->epoch, row->scope, &row->own,
             row->own_until_ms);
        if (num == ROWS_AT_ONCE) {
            rc = put_rows(store, values, num);
            num = 0;
        }
    }
    return rc == 0 ? put_rows(store, values, num) : rc;
}

int leases_drop_ended(struct store *store, const char *behind, const char *last, int64_t now_ms)
{
    struct value values[] = {value_text(behind), value_text(last),
                             value_int(now_ms - FLEET_LEASE_SKEW_MS)};

    return WORK_RUN(store, "delete from @lease where scope > $1 and scope <= $2 and until <= $3",
                    values, NULL, NULL);
}

/* --- renewals --- */

static void take_share(const struct book_row *row, int64_t nodes, struct fleet_lease *lease)
{
    lease->tokens = as_limit(lease_share(row->max_tokens, row->used, nodes));
    lease->batches = as_limit(lease_share(row->max_batches, row->batches, nodes));
    lease->nano = lease_share(row->max_nano, row->held_nano + row->spent_nano, nodes);
}

static void take_counted(const struct book_row *row, int64_t nodes, struct fleet_lease *lease)
{
    const struct lease_worth *others = &row->others;

    lease->tokens =
        as_limit(lease_counted_share(row->max_tokens, row->used, others->tokens, nodes));
    lease->batches =
        as_limit(lease_counted_share(row->max_batches, row->batches, others->batches, nodes));
    lease->nano =
        lease_counted_share(row->max_nano, row->held_nano + row->spent_nano, others->nano, nodes);
}

/* What its row has: of one that is counted, what its holder has by now at least. */
static struct lease_worth row_worth(const struct fleet_lease *lease, bool counted)
{
    struct lease_worth worth = {as_share(lease->tokens), as_share(lease->batches), lease->nano};

    if (!counted)
        return worth;
    return (struct lease_worth){lease_row(worth.tokens, as_share(lease->held.tokens)),
                                lease_row(worth.batches, as_share(lease->held.batches)),
                                lease_row(worth.nano, lease->held.nano)};
}

static int lease_each(struct store *store, const struct fleet_me *me, int64_t until_ms,
                      int64_t nodes, struct fleet_lease *leases, size_t num, struct book *book)
{
    struct value values[ROWS_AT_ONCE * LEASE_NUM_COLUMNS];
    char scopes[FLEET_AT_ONCE][SCOPE_NAME];
    bool counted = me->holder != NULL;
    size_t rows = 0;

    for (size_t i = 0; i < num; i++) {
        struct fleet_lease *lease = &leases[i];
        const struct book_row *row;
        struct lease_worth worth;

        scope_name(scopes[i], lease->kind, lease->name);
        row = book_find(book, scopes[i]);
        lease->tokens = lease->batches = RIGHTS_UNLIMITED;
        lease->nano = INT64_MAX;
        lease->until_ms = until_ms;
        if (row == NULL)
            continue;
        if (counted)
            take_counted(row, nodes, lease);
        else
            take_share(row, nodes, lease);
        worth = row_worth(lease, counted);
        fill(&values[rows++ * LEASE_NUM_COLUMNS], counted ? me->holder : me->node, me->epoch,
             scopes[i], &worth, until_ms);
    }
    return put_rows(store, values, rows);
}

/* Where leases are counted whoever grants or renews waits for the scope: what is free does not
 * change before it is taken. */
static int lease_all(struct store *store, const struct fleet_me *me, int64_t now_ms,
                     uint32_t for_ms, struct fleet_lease *leases, size_t num, struct book *book)
{
    char scope[SCOPE_NAME];
    int64_t nodes = 1;
    int rc = live_nodes(store, now_ms, &nodes);

    for (size_t i = 0; i < num; i++) {
        scope_name(scope, leases[i].kind, leases[i].name);
        book_name(book, scope);
    }
    if (rc == 0)
        rc = me->holder != NULL ? book_lock(store, book) : book_read(store, book);
    if (rc == 0 && me->holder != NULL)
        rc = leases_read(store, me, now_ms, book);
    return rc == 0 ? lease_each(store, me, now_ms + for_ms, nodes, leases, num, book) : rc;
}

int store_fleet_lease(struct store *store, const struct fleet_me *me, uint32_t for_ms,
                      struct fleet_lease *leases, size_t num)
{
    struct book *book = calloc(1, sizeof(*book));
    int64_t now_ms;
    int rc = book != NULL ? 0 : ERR_NOMEM;

    assert(num <= FLEET_AT_ONCE);
    if (rc == 0)
        rc = fleet_begin(store, me, &now_ms);
    if (rc == 0)
        rc = work_end(store, lease_all(store, me, now_ms, for_ms, leases, num, book));
    free(book);
    return rc;
}

static int give_back(struct store *store, const struct fleet_me *me, int64_t before_ms)
{
    struct value own[] = {value_text(me->holder), value_int(before_ms)};
    struct value earlier[] = {value_text(me->node), value_int(me->epoch)};
    int rc = WORK_RUN(store, "delete from @lease where node = $1 and until < $2", own, NULL, NULL);

    return rc == 0 ? WORK_RUN(store,
                              "delete from @lease where epoch <> $2 and"
                              " substr(node, 1, length(cast($1 as text)) + 1)"
                              " = cast($1 as text) || '/'",
                              earlier, NULL, NULL)
                   : rc;
}

int store_fleet_give_back(struct store *store, const struct fleet_me *me, int64_t before_ms)
{
    int64_t now_ms;
    int rc = fleet_begin(store, me, &now_ms);

    assert(me->holder != NULL);
    return rc == 0 ? work_end(store, give_back(store, me, before_ms)) : rc;
}
