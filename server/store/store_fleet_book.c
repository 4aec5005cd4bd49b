/* See store_fleet_book.h. */
#include "store_fleet_book.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "scope, used, batches, held_nano, spent_nano, max_tokens, max_batches, max_nano, period,"      \
    " reset, changed"
#define NUM_COLUMNS  11
#define ROWS_AT_ONCE 46 /* of one statement */

static_assert(ROWS_AT_ONCE * NUM_COLUMNS <= ENGINE_MAX_VALUES, "a statement's parameters");
static_assert(BOOK_ROWS <= ENGINE_MAX_VALUES, "a statement's parameters");

void scope_name(char out[SCOPE_NAME], unsigned kind, uint64_t name)
{
    assert(kind < FLEET_SCOPES);
    out[0] = '\0';
    if (name != 0)
        snprintf(out, SCOPE_NAME, "%c:%0*llx", "dkt"[kind], kind == FLEET_DEPLOYMENT ? 8 : 16,
                 (unsigned long long)name);
}

/* --- names --- */

void book_name(struct book *book, const char *scope)
{
    size_t at = 0;

    if (scope == NULL || *scope == '\0')
        return;
    while (at < book->num && strcmp(book->rows[at].scope, scope) < 0)
        at++;
    if (at < book->num && strcmp(book->rows[at].scope, scope) == 0)
        return;
    assert(book->num < BOOK_ROWS);
    memmove(&book->rows[at + 1], &book->rows[at], (book->num - at) * sizeof(book->rows[0]));
    book->rows[at] = (struct book_row){.there = false};
    snprintf(book->rows[at].scope, SCOPE_NAME, "%s", scope);
    book->num++;
}

void book_name_all(struct book *book, const struct holding *holding)
{
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        book_name(book, holding->scopes[i]);
}

static struct book_row *find_named(struct book *book, const char *scope)
{
    for (size_t i = 0; i < book->num; i++)
        if (strcmp(book->rows[i].scope, scope) == 0)
            return &book->rows[i];
    return NULL;
}

struct book_row *book_find(struct book *book, const char *scope)
{
    struct book_row *row = find_named(book, scope);

    return row != NULL && row->there ? row : NULL;
}

bool book_is_whole(const struct book *book)
{
    for (size_t i = 0; i < book->num; i++)
        if (!book->rows[i].there)
            return false;
    return true;
}

/* --- reading --- */

static int64_t limit_of(const struct row *row, size_t column)
{
    return row->texts[column] != NULL ? row_int(row, column) : INT64_MAX;
}

static int on_row(void *arg, const struct row *row)
{
    struct book_row *out = find_named(arg, row->texts[0]);

    if (out == NULL)
        return 0;
    out->there = true;
    out->used = row_int(row, 1);
    out->batches = row_int(row, 2);
    out->held_nano = row_int(row, 3);
    out->spent_nano = row_int(row, 4);
    out->max_tokens = limit_of(row, 5);
    out->max_batches = limit_of(row, 6);
    out->max_nano = limit_of(row, 7);
    out->period_ms = row_int(row, 8);
    out->reset_ms = row_int(row, 9);
    return 0;
}

static int read_rows(struct store *store, struct book *book, const char *lock)
{
    struct value values[BOOK_ROWS];
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    if (book->num == 0)
        return 0;
    strbuf_adds(&sql, "select " COLUMNS " from @allowance where scope in ");
    sql_tuples(&sql, 1, book->num);
    strbuf_addf(&sql, " order by scope%s", lock);
    for (size_t i = 0; i < book->num; i++)
        values[i] = value_text(book->rows[i].scope);
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, book->num, on_row, book);
    strbuf_deinit(&sql);
    return rc;
}

int book_lock(struct store *store, struct book *book)
{
    return read_rows(store, book, store->engine->ops->for_update);
}

int book_read(struct store *store, struct book *book)
{
    return read_rows(store, book, "");
}

static int insert_missing(struct store *store, const struct book *book)
{
    struct value values[BOOK_ROWS];
    struct strbuf sql = STRBUF_INIT;
    size_t num = 0;
    int rc = ERR_NOMEM;

    for (size_t i = 0; i < book->num; i++)
        if (!book->rows[i].there)
            values[num++] = value_text(book->rows[i].scope);
    assert(num > 0);
    strbuf_adds(&sql, "insert into @allowance(scope) values");
    sql_tuples(&sql, num, 1);
    strbuf_adds(&sql, " on conflict(scope) do nothing");
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

int book_make(struct store *store, const struct book *book)
{
    int rc = work_begin(store, WORK_WRITE);

    return rc == 0 ? work_end(store, insert_missing(store, book)) : rc;
}

/* --- counting --- */

static int64_t floored(int64_t number)
{
    return number > 0 ? number : 0;
}

/* @param sign  1 or -1 */
static void count(struct book *book, const struct holding *h, unsigned kind, int sign)
{
    struct book_row *row = book_find(book, h->scopes[kind]);
    bool pays = kind == FLEET_DEPLOYMENT || !h->refunded;

    if (row == NULL)
        return;
    row->changed = true;
    if (pays) {
        row->used = floored(row->used + sign * h->tokens);
        row->batches = floored(row->batches + sign);
    }
    if (kind != FLEET_DEPLOYMENT)
        row->held_nano = floored(row->held_nano + sign * h->nano);
}

void book_add(struct book *book, const struct holding *holding)
{
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        count(book, holding, i, 1);
}

void book_subtract(struct book *book, const struct holding *holding)
{
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        count(book, holding, i, -1);
}

void book_refund(struct book *book, const struct holding *holding)
{
    struct holding tokens = *holding;

    tokens.nano = 0; /* what it costs shows at its end */
    count(book, &tokens, FLEET_KEY, -1);
    count(book, &tokens, FLEET_TEAM, -1);
}

/* --- money --- */

void book_roll(struct book_row *row, int64_t period_ms, int64_t now_ms)
{
    int64_t reset_ms = row->reset_ms;

    if (period_ms <= 0)
        return;
    if (reset_ms == 0 || row->period_ms != period_ms) {
        reset_ms = now_ms + period_ms;
    } else if (reset_ms <= now_ms) {
        reset_ms += ((now_ms - reset_ms) / period_ms + 1) * period_ms;
        row->spent_nano = 0;
    }
    row->changed = row->changed || reset_ms != row->reset_ms;
    row->period_ms = period_ms;
    row->reset_ms = reset_ms;
}

void book_spend(struct book *book, const char *scope, int64_t nano, int64_t now_ms)
{
    struct book_row *row = book_find(book, scope);

    if (row == NULL || nano == 0)
        return;
    book_roll(row, row->period_ms, now_ms);
    row->spent_nano += nano;
    row->changed = true;
}

/* --- writing --- */

static struct value limit_value(int64_t limit)
{
    return limit != INT64_MAX ? value_int(limit) : value_text(NULL);
}

static void fill(struct value *out, const struct book_row *row, int64_t now_ms)
{
    const struct value values[NUM_COLUMNS] = {
        value_text(row->scope),        value_int(row->used),       value_int(row->batches),
        value_int(row->held_nano),     value_int(row->spent_nano), limit_value(row->max_tokens),
        limit_value(row->max_batches), limit_value(row->max_nano), value_time(row->period_ms),
        value_time(row->reset_ms),     value_int(now_ms)};

    memcpy(out, values, sizeof(values));
}

/* The rows are there, and locked: all of them are conflicts. */
static int write_rows(struct store *store, const struct value *values, size_t num)
{
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_adds(&sql, "insert into @allowance(" COLUMNS ") values");
    sql_tuples(&sql, num, NUM_COLUMNS);
    strbuf_adds(&sql,
                " on conflict(scope) do update set used = excluded.used,"
                " batches = excluded.batches, held_nano = excluded.held_nano,"
                " spent_nano = excluded.spent_nano, max_tokens = excluded.max_tokens,"
                " max_batches = excluded.max_batches, max_nano = excluded.max_nano,"
                " period = excluded.period, reset = excluded.reset, changed = excluded.changed");
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num * NUM_COLUMNS, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

int book_write(struct store *store, const struct book *book, int64_t now_ms)
{
    struct value values[ROWS_AT_ONCE * NUM_COLUMNS];
    size_t num = 0;
    int rc = 0;

    for (size_t i = 0; i < book->num && rc == 0; i++) {
        if (book->rows[i].changed)
            fill(&values[num++ * NUM_COLUMNS], &book->rows[i], now_ms);
        if (num == ROWS_AT_ONCE || (num > 0 && i + 1 == book->num)) {
            rc = write_rows(store, values, num);
            num = 0;
        }
    }
    return rc;
}
