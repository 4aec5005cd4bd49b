/* See store.h: its connection, transactions and states. The rows are in store_keys.c and
 * store_teams.c, the whole of them for the table in shared memory in store_load.c. */
#include "store_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#define BACKOFF_FIRST_MS 250
#define BACKOFF_MOST_MS  4000
#define SILENCE_MS       3000 /* after a statement's end, in which a transaction goes on */

/* ---- a place ---- */

static bool starts_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* @return the path of an SQLite URL or plain path; NULL: none */
static const char *sqlite_path(const char *url)
{
    if (starts_with(url, "sqlite://"))
        return url[strlen("sqlite://")] == '/' ? url + strlen("sqlite://") : NULL;
    if (starts_with(url, "sqlite:"))
        return url[strlen("sqlite:")] != '\0' ? url + strlen("sqlite:") : NULL;
    return *url != '\0' && strstr(url, "://") == NULL ? url : NULL;
}

static int new_engine(struct store *store, const char *url, bool server, char why[STORE_WHY_BYTES])
{
    char place[256];
    const char *path;
    int rc;

    if (starts_with(url, "postgresql://") || starts_with(url, "postgres://")) {
        rc = postgres_engine_new(url, &store->engine, place, sizeof(place), why);
        if (rc != 0)
            return rc;
        store->place = strdup(place);
        return store->place != NULL ? 0 : ERR_NOMEM;
    }
    path = sqlite_path(url);
    if (path == NULL) {
        snprintf(why, STORE_WHY_BYTES,
                 "a database is sqlite:///absolute/path, a path, or postgresql://host/name");
        return ERR_INVALID;
    }
    store->place = strdup(path);
    return store->place != NULL ? sqlite_engine_new(path, server, &store->engine) : ERR_NOMEM;
}

int store_new(const char *url, const struct store_options *options, struct store **out,
              char why[STORE_WHY_BYTES])
{
    static const struct store_options defaults;
    struct store *store = calloc(1, sizeof(*store));
    int rc;

    why[0] = '\0';
    if (store == NULL)
        return ERR_NOMEM;
    if (options == NULL)
        options = &defaults;
    store->deadline_ms = options->deadline_ms != 0 ? options->deadline_ms : STORE_DEADLINE_MS;
    rc = new_engine(store, url, options->server, why);
    if (rc != 0) {
        store_free(store);
        return rc;
    }
    *out = store;
    return 0;
}

void store_free(struct store *store)
{
    if (store == NULL)
        return;
    if (store->engine != NULL)
        store->engine->ops->free(store->engine);
    free(store->place);
    free(store);
}

enum store_state store_state(const struct store *store)
{
    return store->state;
}

const char *store_state_name(enum store_state state)
{
    static const char *const names[] = {"closed", "up",      "down",   "locked",
                                        "full",   "damaged", "foreign"};

    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

const char *store_why(const struct store *store)
{
    return store->why;
}

const char *store_place(const struct store *store)
{
    return store->place;
}

bool store_is_shared(const struct store *store)
{
    return store->engine->ops->shared;
}

uint64_t store_sessions(const struct store *store)
{
    return store->sessions;
}

uint64_t store_reached_ms(const struct store *store)
{
    return store->reached_ms;
}

/* ---- states ---- */

static bool ends_connection(int rc)
{
    return rc == ERR_IO || rc == ERR_BAD_STATE;
}

static void go_down(struct store *store, uint64_t now_ms)
{
    store->engine->ops->disconnect(store->engine);
    store->open = false;
    store->backoff_ms = store->backoff_ms == 0 ? BACKOFF_FIRST_MS : store->backoff_ms * 2;
    if (store->backoff_ms > BACKOFF_MOST_MS)
        store->backoff_ms = BACKOFF_MOST_MS;
    store->retry_ms = now_ms + store->backoff_ms;
}

/* What a call found. A refusal of the database (a row that is there twice) is an answer too. */
static int note(struct store *store, int rc)
{
    const struct engine *engine = store->engine;
    uint64_t now_ms = clock_now_ms();

    snprintf(store->why, sizeof(store->why), "%s", rc != 0 ? engine->why : "");
    if (!ends_connection(rc) && rc != ERR_FULL) {
        store->state = STORE_UP;
        store->reached_ms = now_ms;
        store->backoff_ms = 0;
        return rc;
    }
    store->state = engine->state;
    if (ends_connection(rc))
        go_down(store, now_ms);
    return rc;
}

static int connect_when_due(struct store *store)
{
    struct engine *engine = store->engine;
    int rc;

    if (store->open)
        return 0;
    if (clock_now_ms() < store->retry_ms)
        return store->state == STORE_DAMAGED || store->state == STORE_FOREIGN ? ERR_BAD_STATE
               : store->state == STORE_FULL                                   ? ERR_FULL
                                                                              : ERR_IO;
    rc = engine->ops->connect(engine, store->until_ms);
    if (rc == 0 && !store->foreign)
        rc = schema_ensure(store);
    if (rc == 0) {
        store->open = true;
        store->sessions++;
        return 0;
    }
    snprintf(store->why, sizeof(store->why), "%s", engine->why);
    store->state = engine->state;
    go_down(store, clock_now_ms());
    return rc;
}

/* ---- transactions ---- */

int work_run(struct store *store, const char *sql, const struct value *values, size_t num,
             row_cb on_row, void *arg)
{
    return engine_run(store->engine, sql, values, num, store->until_ms, on_row, arg);
}

void work_go_on(struct store *store)
{
    store->until_ms = clock_now_ms() + store->deadline_ms;
}

static int begin_in_batch(struct store *store)
{
    int rc = store->batch_broke ? ERR_IO : work_run(store, "savepoint one", NULL, 0, NULL, NULL);

    store->batch_broke = rc != 0;
    return rc != 0 ? note(store, rc) : 0;
}

int work_open(struct store *store, enum work work)
{
    const struct engine_ops *ops = store->engine->ops;
    const char *begin = work == WORK_WRITE ? ops->begin_write : ops->begin_read;
    uint32_t limit_ms =
        store->deadline_ms > STORE_DEADLINE_MS ? store->deadline_ms : STORE_DEADLINE_MS;
    char limits[256] = "";

    if (ops->limit_statement != NULL) {
        snprintf(limits, sizeof(limits), "%s%s%u%s%u", begin, ops->limit_statement, limit_ms,
                 ops->limit_silence, limit_ms + SILENCE_MS);
        begin = limits;
    }
    return work_run(store, begin, NULL, 0, NULL, NULL);
}

int work_begin(struct store *store, enum work work)
{
    int rc;

    assert(store->in_batch || !store->working); /* calls are not nested */
    work_go_on(store);
    store->engine->why[0] = '\0';
    if (store->in_batch)
        return begin_in_batch(store);
    rc = connect_when_due(store);
    if (rc != 0)
        return rc;
    rc = work_open(store, work);
    store->working = rc == 0;
    return rc != 0 ? note(store, rc) : 0;
}

int work_finish(struct store *store, int rc)
{
    struct engine *engine = store->engine;
    char why[STORE_WHY_BYTES];
    enum store_state state;

    if (rc == 0)
        rc = work_run(store, "commit", NULL, 0, NULL, NULL);
    if (rc == 0 || ends_connection(rc))
        return rc;
    /* The first failure is the one to tell of; a connection that cannot roll back is closed. */
    memcpy(why, engine->why, sizeof(why));
    state = engine->state;
    if (work_run(store, "rollback", NULL, 0, NULL, NULL) != 0) {
        engine->ops->disconnect(engine);
        store->open = false;
    }
    memcpy(engine->why, why, sizeof(why));
    engine->state = state;
    return rc;
}

/* A call of a batch: what it did stays in the transaction, or is taken back alone. */
static int end_in_batch(struct store *store, int rc)
{
    struct engine *engine = store->engine;
    char why[STORE_WHY_BYTES];
    int back = 0;

    if (rc == 0)
        rc = work_run(store, "release savepoint one", NULL, 0, NULL, NULL);
    memcpy(why, engine->why, sizeof(why));
    if (rc != 0 && !ends_connection(rc))
        back = work_run(store, "rollback to savepoint one", NULL, 0, NULL, NULL);
    if (rc != 0 && !ends_connection(rc) && back == 0)
        back = work_run(store, "release savepoint one", NULL, 0, NULL, NULL);
    memcpy(engine->why, why, sizeof(why));
    store->batch_broke = back != 0 || ends_connection(rc) || rc == ERR_FULL || rc == ERR_NOMEM;
    return note(store, rc);
}

int work_end(struct store *store, int rc)
{
    assert(store->working);
    if (store->in_batch)
        return end_in_batch(store, rc);
    store->working = false;
    return note(store, work_finish(store, rc));
}

int store_batch_begin(struct store *store)
{
    int rc;

    assert(!store->in_batch);
    rc = work_begin(store, WORK_WRITE);
    store->in_batch = rc == 0;
    store->batch_broke = false;
    return rc;
}

int store_batch_end(struct store *store)
{
    assert(store->in_batch);
    store->in_batch = false;
    work_go_on(store);
    if (store->open)
        return work_end(store, store->batch_broke ? ERR_FULL : 0);
    store->working = false;
    return ERR_IO;
}

void sql_tuples(struct strbuf *sql, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows * columns; i++)
        strbuf_addf(sql, "%s$%zu%s",
                    i % columns != 0 ? ", "
                    : i == 0         ? "("
                                     : ", (",
                    i + 1, i % columns == columns - 1 ? ")" : "");
}

int on_count(void *arg, const struct row *row)
{
    (void)row;
    ++*(size_t *)arg;
    return 0;
}

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

int work_raise_gen(struct store *store, size_t by, int64_t *gen)
{
    struct value values[] = {value_int((int64_t)by)};

    assert(store->working); /* or others would see it before what it counts */
    *gen = 0;
    return WORK_RUN(store,
                    "update @meta set value = cast(cast(value as bigint) + cast($1 as bigint)"
                    " as text) where name = 'gen' returning value",
                    values, on_number, gen);
}

int work_read_gen(struct store *store, uint64_t *gen)
{
    int64_t number = 0;
    int rc =
        work_run(store, "select value from @meta where name = 'gen'", NULL, 0, on_number, &number);

    if (rc == 0)
        *gen = (uint64_t)number;
    return rc;
}

int work_now(struct store *store, int64_t *now_ms)
{
    assert(store->working);
    *now_ms = 0;
    return work_run(store, store->engine->ops->now_ms, NULL, 0, on_number, now_ms);
}

int store_generation(struct store *store, uint64_t *gen)
{
    int rc = work_begin(store, WORK_READ);

    return rc != 0 ? rc : work_end(store, work_read_gen(store, gen));
}

/* ---- audit ---- */

int work_audit(struct store *store, int64_t gen, const struct store_actor *by, const char *what,
               const char *target, const char *before, const char *after)
{
    struct value values[] = {value_int(gen),   value_int(clock_unix_ms()), value_text(by->who),
                             value_text(what), value_text(target),         value_text(before),
                             value_text(after)};

    assert(store->working); /* with the change, or not at all */
    return WORK_RUN(store,
                    "insert into @audit(seq, at, who, what, target, before_value, after_value)"
                    " values($1, $2, $3, $4, $5, $6, $7)",
                    values, NULL, NULL);
}

/* ---- changes ---- */

int change_begin_all(struct change *c, struct store *store, const struct store_actor *by,
                     size_t num)
{
    int rc;

    *c = (struct change){.store = store, .by = by, .now_unix_ms = clock_unix_ms()};
    rc = work_begin(store, WORK_WRITE);
    if (rc != 0)
        return rc;
    rc = work_raise_gen(store, num, &c->gen);
    return rc != 0 ? work_end(store, rc) : 0;
}

int change_begin(struct change *c, struct store *store, const struct store_actor *by)
{
    return change_begin_all(c, store, by, 1);
}

int change_end(struct change *c, int rc, uint64_t *gen)
{
    rc = work_end(c->store, rc);
    store_key_deinit(&c->key);
    store_team_deinit(&c->team);
    if (rc == 0 && gen != NULL)
        *gen = (uint64_t)c->gen;
    return rc;
}

int change_audit(const struct change *c, const char *what, const char *target,
                 struct strbuf *before, struct strbuf *after)
{
    int rc = strbuf_failed(before) || strbuf_failed(after)
                 ? ERR_NOMEM
                 : work_audit(c->store, c->gen, c->by, what, target, before->data, after->data);

    strbuf_deinit(before);
    strbuf_deinit(after);
    return rc;
}

static int drop_keys(const struct change *c, const char *before, const char *column,
                     const char *behind, const char *text)
{
    struct value values[] = {value_text(text), value_int(c->now_unix_ms), value_text(c->by->who),
                             value_int(c->gen)};
    char whole[640];

    snprintf(whole, sizeof(whole), "%s%s = $1%s", before, column, behind);
    return work_run(c->store, whole, values, strstr(before, "$2") != NULL ? 4 : 1, NULL, NULL);
}

#define KEPT_COLUMNS                                                                               \
    "hash, id, name, alias, team_id, user_id, organization_id, models, aliases, routes, metadata," \
    " fields, source, admin, blocked, expires, created, created_by"

int change_drop_keys(const struct change *c, const char *column, const char *text)
{
    int rc = drop_keys(c, "delete from @key_gone where id in (select id from @api_key where ",
                       column, ")", text);

    if (rc == 0)
        rc = drop_keys(c,
                       "insert into @key_gone(" KEPT_COLUMNS ", updated, updated_by, gen)"
                       " select " KEPT_COLUMNS ", cast($2 as bigint), cast($3 as text),"
                       " cast($4 as bigint) from @api_key where ",
                       column, "", text);
    return rc == 0 ? drop_keys(c, "delete from @api_key where ", column, "", text) : rc;
}

struct audit_reader {
    struct store_audit *rows;
    size_t max, num;
};

static int on_audit(void *arg, const struct row *row)
{
    struct audit_reader *r = arg;
    struct store_audit *out = &r->rows[r->num];

    if (r->num == r->max)
        return 0;
    memset(out, 0, sizeof(*out));
    r->num++;
    out->seq = row_int(row, 0);
    out->at_unix_ms = row_int(row, 1);
    return copy_column(&out->who, row, 2) && copy_column(&out->what, row, 3) &&
                   copy_column(&out->target, row, 4) && copy_column(&out->before, row, 5) &&
                   copy_column(&out->after, row, 6)
               ? 0
               : ERR_NOMEM;
}

int store_audit_read(struct store *store, struct store_audit *out, size_t max, size_t *num)
{
    struct audit_reader reader = {.rows = out, .max = max};
    struct value values[] = {value_int((int64_t)max)};
    int rc = work_begin(store, WORK_READ);

    *num = 0;
    if (rc != 0)
        return rc;
    rc = work_end(store, WORK_RUN(store,
                                  "select seq, at, who, what, target, before_value, after_value"
                                  " from @audit order by seq desc limit $1",
                                  values, on_audit, &reader));
    for (size_t i = 0; rc != 0 && i < reader.num; i++)
        store_audit_deinit(&out[i]);
    *num = rc == 0 ? reader.num : 0;
    return rc;
}

void store_audit_deinit(struct store_audit *row)
{
    free(row->who);
    free(row->what);
    free(row->target);
    free(row->before);
    free(row->after);
    memset(row, 0, sizeof(*row));
}
