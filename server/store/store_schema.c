/* The tables, and how a database of an older program becomes this one's.
 *
 * `meta` has `schema`, the number of steps that were taken, and `min_reader`, the least schema that
 * a program must know to read it: steps only add, so that an older program goes on beside a newer
 * one during a rolling upgrade, unless a step says otherwise. A step is never changed once it was
 * released: what comes later is a new step.
 *
 * Types are those that both engines have: text, bigint, smallint. Times are Unix milliseconds,
 * lists and maps JSON texts. */
#include "store_impl.h"

#include <stdio.h>
#include <string.h>

#define MIN_READER 1 /* of the newest step */

static const char *const step_1[] = {
    "create table @meta(name text primary key, value text not null)",
    "insert into @meta(name, value) values('gen', '0'), ('schema', '0'), ('min_reader', '1')",
    "create table @team(id text primary key, alias text, organization_id text, models text,"
    " aliases text, metadata text, fields text, blocked smallint not null default 0,"
    " created bigint not null, created_by text, updated bigint not null, updated_by text,"
    " gen bigint not null)",
    "create index team_gen on @team(gen)",
    "create table @api_key(id text primary key, hash text not null, name text, alias text,"
    " team_id text references @team(id), user_id text, organization_id text, models text,"
    " aliases text, routes text, metadata text, fields text, source text not null default 'api',"
    " admin smallint not null default 0, blocked smallint not null default 0, expires bigint,"
    " created bigint not null, created_by text, updated bigint not null, updated_by text,"
    " gen bigint not null)",
    "create unique index api_key_hash on @api_key(hash)",
    "create unique index api_key_alias on @api_key(alias)",
    "create index api_key_team on @api_key(team_id)",
    "create index api_key_gen on @api_key(gen)",
    "create table @key_alt(hash text primary key,"
    " key_id text not null references @api_key(id) on delete cascade, until bigint not null)",
    "create index key_alt_key on @key_alt(key_id)",
    "create table @key_gone(id text primary key, hash text not null, name text, alias text,"
    " team_id text, user_id text, organization_id text, models text, aliases text, routes text,"
    " metadata text, fields text, source text not null, admin smallint not null,"
    " blocked smallint not null, expires bigint, created bigint not null, created_by text,"
    " updated bigint not null, updated_by text, gen bigint not null)",
    "create index key_gone_gen on @key_gone(gen)",
    "create table @audit(seq bigint primary key, at bigint not null, who text not null,"
    " what text not null, target text, before_value text, after_value text)",
    NULL};

static const char *const *const steps[] = {step_1};
#define SCHEMA ((int64_t)(sizeof(steps) / sizeof(steps[0])))

struct versions {
    int64_t schema, min_reader;
};

static int on_version(void *arg, const struct row *row)
{
    struct versions *versions = arg;

    if (row->texts[0] != NULL && strcmp(row->texts[0], "schema") == 0)
        versions->schema = row_int(row, 1);
    if (row->texts[0] != NULL && strcmp(row->texts[0], "min_reader") == 0)
        versions->min_reader = row_int(row, 1);
    return 0;
}

static int read_versions(struct store *store, struct versions *versions)
{
    struct value name[] = {value_text("meta")};
    size_t num = 0;
    int rc = WORK_RUN(store, store->engine->ops->has_table, name, on_count, &num);

    *versions = (struct versions){0};
    if (rc != 0 || num == 0)
        return rc;
    return work_run(store, "select name, value from @meta where name in ('schema', 'min_reader')",
                    NULL, 0, on_version, versions);
}

static int check_versions(struct store *store, const struct versions *versions)
{
    if (versions->min_reader <= SCHEMA)
        return 0;
    return engine_fail(store->engine, ERR_BAD_STATE, STORE_FOREIGN,
                       "a newer tranche made this database (schema %lld): this one reads up to "
                       "schema %lld",
                       (long long)versions->schema, (long long)SCHEMA);
}

static int set_version(struct store *store, const char *name, int64_t number)
{
    char text[24];
    struct value values[] = {value_text(name), value_text(text)};

    snprintf(text, sizeof(text), "%lld", (long long)number);
    return WORK_RUN(store, "update @meta set value = $2 where name = $1", values, NULL, NULL);
}

static int take_steps(struct store *store, int64_t from)
{
    int rc = 0;

    for (int64_t step = from; rc == 0 && step < SCHEMA; step++)
        for (const char *const *sql = steps[step]; rc == 0 && *sql != NULL; sql++)
            rc = work_run(store, *sql, NULL, 0, NULL, NULL);
    if (rc == 0)
        rc = set_version(store, "schema", SCHEMA);
    return rc == 0 ? set_version(store, "min_reader", MIN_READER) : rc;
}

/* Under the lock: another program may have done it meanwhile. */
static int bring_up(struct store *store)
{
    const struct engine_ops *ops = store->engine->ops;
    struct versions versions;
    int rc = 0;

    if (ops->lock_schema != NULL)
        rc = work_run(store, ops->lock_schema, NULL, 0, NULL, NULL);
    if (rc == 0 && ops->make_room != NULL)
        rc = work_run(store, ops->make_room, NULL, 0, NULL, NULL);
    if (rc == 0)
        rc = read_versions(store, &versions);
    if (rc == 0)
        rc = check_versions(store, &versions);
    return rc == 0 && versions.schema < SCHEMA ? take_steps(store, versions.schema) : rc;
}

int schema_ensure(struct store *store)
{
    struct versions versions;
    int rc = read_versions(store, &versions);

    if (rc == 0)
        rc = check_versions(store, &versions);
    if (rc != 0 || versions.schema >= SCHEMA)
        return rc;
    rc = work_run(store, store->engine->ops->begin_write, NULL, 0, NULL, NULL);
    return rc == 0 ? work_finish(store, bring_up(store)) : rc;
}
