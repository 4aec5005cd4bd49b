/* See store_owned.h. */
#include "store/store_owned.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"
#include "store_impl.h"

#define PAGE      1000
#define PAGE_TEXT "1000"
#define SLICE     "500" /* rows that one tending drops */
#define MARGIN_MS 2000  /* files have the second of their provider's clock */
#define COLUMNS                                                                                    \
    "key, kind, account, native, owner, described, purpose, name, bytes, created, expires, gone,"  \
    " seq"
#define NUM_COLUMNS  13
#define ROWS_AT_ONCE 32 /* of one statement */
#define KEYS_AT_ONCE 128

static_assert(ROWS_AT_ONCE * NUM_COLUMNS <= ENGINE_MAX_VALUES, "a statement's parameters");
static_assert(KEYS_AT_ONCE + 2 <= ENGINE_MAX_VALUES, "a statement's parameters");

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

static int read_meta(struct store *store, const char *name, int64_t *out)
{
    struct value values[] = {value_text(name)};

    *out = 0;
    return WORK_RUN(store, "select value from @meta where name = $1", values, on_number, out);
}

/* Texts as the database takes them: a provider's file name may be no UTF-8. */
static struct value text_of(const char *text)
{
    return value_text(utf8_is_valid(text, strlen(text)) ? text : "");
}

/* ---- runs ---- */

static void print_run(uint64_t run, char out[17])
{
    snprintf(out, 17, "%016" PRIx64, run);
}

static int note_run(struct store *store, const struct store_run *run, bool clean)
{
    char name[17] = "";
    struct value values[] = {value_text(name), value_text(run->node), value_int(run->seen_ms),
                             value_int(clean)};

    print_run(run->run, name);
    return WORK_RUN(store,
                    "insert into @run as r(run, node, seen, clean) values($1, $2, $3, $4)"
                    " on conflict(run) do update set clean = excluded.clean,"
                    " seen = case when excluded.seen > r.seen then excluded.seen else r.seen end",
                    values, NULL, NULL);
}

/* Runs that ended without a word: those that were the node's, and those long unheard of.
 * @param node  NULL: none */
static int note_dead(struct store *store, uint64_t run, const char *node, int64_t until_ms,
                     int64_t silent_ms)
{
    char name[17] = "";
    struct value values[] = {value_text(name), value_text(node), value_int(silent_ms),
                             value_int(until_ms + MARGIN_MS)};
    int rc;

    print_run(run, name);
    rc = WORK_RUN(store,
                  "insert into @owned_gap(lost_from, lost_until)"
                  " select seen - 2000, cast($4 as bigint) from @run"
                  " where clean = 0 and run <> $1 and (node = $2 or seen < $3)",
                  values, NULL, NULL);
    if (rc == 0)
        rc = work_run(store, "delete from @run where run <> $1 and (node = $2 or seen < $3)",
                      values, 3, NULL, NULL);
    return rc;
}

/* Where a tenant may have made something already, what was before is not known. */
static int settle_since(struct store *store, const struct store_run *run)
{
    char born[24] = "", never[24] = "0";
    struct value values[] = {value_text(born), value_text(run->tenants_else ? born : never)};

    snprintf(born, sizeof(born), "%lld", (long long)run->born_s);
    return WORK_RUN(store,
                    "update @meta set value = case when exists(select 1 from @audit) then $1"
                    " else $2 end where name = 'owned_since' and value = 'new'",
                    values, NULL, NULL);
}

int store_owned_begin(struct store *store, const struct store_run *run)
{
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    rc = settle_since(store, run);
    if (rc == 0)
        rc = note_dead(store, run->run, run->node, run->born_s * 1000, 0);
    if (rc == 0)
        rc = note_run(store, run, false);
    return work_end(store, rc);
}

int store_owned_end(struct store *store, const struct store_run *run)
{
    int rc = work_begin(store, WORK_WRITE);

    return rc == 0 ? work_end(store, note_run(store, run, true)) : rc;
}

/* ---- rows out ---- */

/* Numbers of 64 bits are the database's signed ones. */
static void fill(struct value *out, const struct store_owned *o, int64_t seq)
{
    const struct registry_row *row = &o->row;
    const struct value values[NUM_COLUMNS] = {value_int((int64_t)o->key),
                                              value_int(row->kind),
                                              value_int(row->account),
                                              text_of(row->native),
                                              value_int((int64_t)row->owner),
                                              value_int(row->described),
                                              text_of(row->purpose),
                                              text_of(row->filename),
                                              value_int(row->bytes),
                                              value_int(row->created_s),
                                              value_time(row->expires_s),
                                              value_time(0),
                                              value_int(seq)};

    memcpy(out, values, sizeof(values));
}

/* What is there stays its owner's, and what is known of it only grows. */
static int put_rows(struct store *store, const struct store_owned *const *rows, size_t num,
                    bool again, int64_t seq)
{
    struct value values[ROWS_AT_ONCE * NUM_COLUMNS];
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    assert(num > 0 && num <= ROWS_AT_ONCE);
    for (size_t i = 0; i < num; i++)
        fill(&values[i * NUM_COLUMNS], rows[i], seq);
    strbuf_adds(&sql, "insert into @owned as o(" COLUMNS ") values");
    sql_tuples(&sql, num, NUM_COLUMNS);
    strbuf_adds(&sql,
                " on conflict(key) do update set described = excluded.described,"
                " purpose = excluded.purpose, name = excluded.name, bytes = excluded.bytes,"
                " created = excluded.created, expires = excluded.expires, gone = null,"
                " seq = excluded.seq where o.owner = excluded.owner and o.native = excluded.native"
                " and o.described <= excluded.described");
    if (again)
        strbuf_adds(&sql, " and o.gone is null and o.described < excluded.described");
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num * NUM_COLUMNS, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

static int drop_rows(struct store *store, const struct store_owned *const *rows, size_t num,
                     int64_t now_ms, int64_t seq)
{
    struct value values[KEYS_AT_ONCE + 2] = {value_int(now_ms), value_int(seq)};
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    assert(num > 0 && num <= KEYS_AT_ONCE);
    strbuf_adds(&sql, "update @owned set gone = $1, seq = $2 where gone is null and key in (");
    for (size_t i = 0; i < num; i++) {
        values[i + 2] = value_int((int64_t)rows[i]->key);
        strbuf_addf(&sql, "%s$%zu", i > 0 ? ", " : "", i + 3);
    }
    strbuf_addc(&sql, ')');
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num + 2, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

/* Those that went, or the others, in statements of a size that both engines take. */
static int write_some(struct store *store, const struct store_owned *rows, size_t num, bool gone,
                      bool again, const struct store_run *run, int64_t seq)
{
    const struct store_owned *some[KEYS_AT_ONCE];
    size_t most = gone ? KEYS_AT_ONCE : ROWS_AT_ONCE, n = 0;
    int rc = 0;

    for (size_t i = 0; i < num && rc == 0; i++) {
        if (rows[i].gone == gone)
            some[n++] = &rows[i];
        if (n == 0 || (n < most && i + 1 < num))
            continue;
        rc = gone ? drop_rows(store, some, n, run->seen_ms, seq)
                  : put_rows(store, some, n, again, seq);
        n = 0;
    }
    return rc;
}

static int raise_seq(struct store *store, int64_t *seq)
{
    return work_run(store,
                    "update @meta set value = cast(cast(value as bigint) + 1 as text)"
                    " where name = 'owned' returning value",
                    NULL, 0, on_number, seq);
}

int store_owned_write(struct store *store, const struct store_run *run,
                      const struct store_owned *rows, size_t num, bool again, uint64_t *seq)
{
    int64_t number = (int64_t)*seq;
    int rc = work_begin(store, WORK_WRITE);

    assert(num <= STORE_OWNED_BATCH);
    if (rc != 0)
        return rc;
    if (num > 0)
        rc = raise_seq(store, &number);
    if (rc == 0)
        rc = write_some(store, rows, num, false, again, run, number);
    if (rc == 0)
        rc = write_some(store, rows, num, true, again, run, number);
    if (rc == 0)
        rc = note_run(store, run, false);
    rc = work_end(store, rc);
    if (rc == 0)
        *seq = (uint64_t)number;
    return rc;
}

/* ---- rows in ---- */

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

struct reader {
    store_owned_cb cb;
    void *arg;
    size_t num;
    int64_t key, seq; /* of the last row */
};

static int on_row(void *arg, const struct row *row)
{
    struct reader *r = arg;
    struct store_owned out = {.key = (uint64_t)row_int(row, 0), .gone = row->texts[11] != NULL};

    r->num++;
    r->key = row_int(row, 0);
    r->seq = row_int(row, 12);
    out.row = (struct registry_row){.kind = (enum id_kind)row_int(row, 1),
                                    .account = (uint32_t)row_int(row, 2),
                                    .owner = (uint64_t)row_int(row, 4),
                                    .described = row_int(row, 5) != 0,
                                    .bytes = row_int(row, 8),
                                    .created_s = row_int(row, 9),
                                    .expires_s = row_int(row, 10)};
    set_text(out.row.native, sizeof(out.row.native), row->texts[3]);
    set_text(out.row.purpose, sizeof(out.row.purpose), row->texts[6]);
    set_text(out.row.filename, sizeof(out.row.filename), row->texts[7]);
    return r->cb(r->arg, &out);
}

int store_owned_load(struct store *store, int64_t *behind, int64_t now_ms, uint64_t *seq,
                     bool *more, store_owned_cb cb, void *arg)
{
    struct reader reader = {.cb = cb, .arg = arg, .key = *behind};
    struct value values[] = {value_int(*behind), value_int(now_ms / 1000)};
    int64_t number = 0;
    int rc = work_begin(store, WORK_READ);

    if (rc != 0)
        return rc;
    rc = read_meta(store, "owned", &number);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "select " COLUMNS " from @owned where key > $1 and gone is null"
                      " and coalesce(expires, 9223372036854775807) > $2"
                      " order by key limit " PAGE_TEXT,
                      values, on_row, &reader);
    rc = work_end(store, rc);
    if (rc != 0)
        return rc;
    *seq = (uint64_t)number;
    *behind = reader.key;
    *more = reader.num == PAGE;
    return 0;
}

/* The rows of a number come together, so that one that was cut off is read again. */
static_assert(STORE_OWNED_BATCH < PAGE, "a writing fits into a page");

static int read_behind(struct store *store, uint64_t *seq, bool *more, struct reader *reader)
{
    struct value values[] = {value_int((int64_t)*seq)};
    int64_t number = 0;
    int rc = read_meta(store, "owned", &number);

    *more = false;
    if (rc == 0 && number < (int64_t)*seq)
        return ERR_NOT_FOUND;
    if (rc != 0 || number == (int64_t)*seq)
        return rc;
    rc = WORK_RUN(store,
                  "select " COLUMNS " from @owned where seq > $1 order by seq, key"
                  " limit " PAGE_TEXT,
                  values, on_row, reader);
    *more = rc == 0 && reader->num == PAGE;
    if (rc == 0)
        *seq = *more ? (uint64_t)reader->seq - 1 : (uint64_t)number;
    return rc;
}

int store_owned_follow(struct store *store, uint64_t *seq, bool *more, store_owned_cb cb, void *arg)
{
    struct reader reader = {.cb = cb, .arg = arg};
    int rc = work_begin(store, WORK_READ);

    return rc == 0 ? work_end(store, read_behind(store, seq, more, &reader)) : rc;
}

/* ---- upkeep ---- */

static int drop_old(struct store *store, int64_t now_ms)
{
    struct value values[] = {value_int(now_ms / 1000), value_int(now_ms - STORE_OWNED_GONE_MS)};

    return WORK_RUN(store,
                    "delete from @owned where key in (select key from @owned"
                    " where expires <= $1 or gone <= $2 limit " SLICE ")",
                    values, NULL, NULL);
}

int store_owned_tend(struct store *store, const struct store_run *run, int64_t now_ms)
{
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    rc = drop_old(store, now_ms);
    if (rc == 0)
        rc = note_dead(store, run->run, NULL, now_ms, now_ms - STORE_OWNED_DEAD_MS);
    if (rc == 0)
        rc = note_run(store, run, false);
    return work_end(store, rc);
}

static int on_gap(void *arg, const struct row *row)
{
    struct registry_gaps *gaps = arg;

    gaps->lost_from_unix_s = row_int(row, 0) / 1000;
    gaps->lost_until_unix_s = (row_int(row, 1) + 999) / 1000;
    return 0;
}

int store_owned_gaps(struct store *store, struct registry_gaps *out)
{
    int rc = work_begin(store, WORK_READ);

    *out = (struct registry_gaps){0};
    if (rc != 0)
        return rc;
    rc = read_meta(store, "owned_since", &out->since_unix_s);
    if (rc == 0)
        rc = work_run(store, "select min(lost_from), max(lost_until) from @owned_gap", NULL, 0,
                      on_gap, out);
    return work_end(store, rc);
}

static int close_gaps(struct store *store, const struct registry_gaps *gaps)
{
    char since[24] = "";
    struct value name[] = {value_text(since)};
    struct value bounds[] = {value_int(gaps->lost_from_unix_s * 1000),
                             value_int(gaps->lost_until_unix_s * 1000)};
    int rc;

    snprintf(since, sizeof(since), "%lld", (long long)gaps->since_unix_s);
    rc = WORK_RUN(store, "update @meta set value = '0' where name = 'owned_since' and value = $1",
                  name, NULL, NULL);
    return rc == 0 ? WORK_RUN(store,
                              "delete from @owned_gap where lost_from >= $1 and lost_until <= $2",
                              bounds, NULL, NULL)
                   : rc;
}

int store_owned_close(struct store *store, const struct registry_gaps *gaps)
{
    int rc = work_begin(store, WORK_WRITE);

    return rc == 0 ? work_end(store, close_gaps(store, gaps)) : rc;
}
