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

/* What tenants own: store_owned.h. Since when it is known is settled by whoever follows first. */
static const char *const step_2[] = {
    "create table @owned(key bigint primary key, kind smallint not null, account bigint not null,"
    " native text not null, owner bigint not null, described smallint not null, purpose text,"
    " name text, bytes bigint not null, created bigint not null, expires bigint, gone bigint,"
    " seq bigint not null)",
    "create index owned_seq on @owned(seq)",
    "create index owned_expires on @owned(expires)",
    "create index owned_gone on @owned(gone)",
    "create table @run(run text primary key, node text not null, seen bigint not null,"
    " clean smallint not null)",
    "create table @owned_gap(lost_from bigint not null, lost_until bigint not null)",
    "insert into @meta(name, value) values('owned', '0'), ('owned_since', 'new')",
    NULL};

/* The registry of batches and what they used: store_batches.h. `open` is
 * enum store_open; `number` counts a batch's own events. Fingerprints are the database's signed
 * numbers, money is in nano-dollars. */
static const char *const step_batches[] = {
    "create table @batch(id text primary key, owner bigint not null, key_id text, key_alias text,"
    " team_id text, user_id text, tags text, model_group text, endpoint text, input_file text,"
    " reservation text, status text not null, mode smallint not null default 0,"
    " parts bigint not null default 1, total bigint not null default 0,"
    " completed bigint not null default 0, failed bigint not null default 0, code text,"
    " rebuilt smallint not null default 0, created bigint not null, expires bigint,"
    " in_progress bigint, finalizing bigint, cancelling bigint, finished bigint, ended bigint)",
    "create index batch_created on @batch(created, id)",
    "create index batch_ended on @batch(ended)",
    "create index batch_owner on @batch(owner, created, id)",
    "create index batch_reservation on @batch(reservation)",
    "create table @batch_part(batch_id text not null references @batch(id) on delete cascade,"
    " part bigint not null default 0, account bigint not null, native text not null,"
    " deployment bigint not null, tokens bigint not null, status text not null,"
    " open smallint not null, output_file text, error_file text,"
    " missing bigint not null default 0, poll_ms bigint not null, next_at bigint not null,"
    " claim_node text, claim_until bigint not null default 0, epoch bigint not null default 0,"
    " watcher text, primary key(batch_id, part))",
    "create unique index batch_part_native on @batch_part(account, native)",
    "create index batch_part_due on @batch_part(next_at) where open <> 0",
    "create table @batch_story(batch_id text not null references @batch(id) on delete cascade,"
    " number bigint not null, at bigint not null, what text not null, node text, detail text)",
    "create index batch_story_of on @batch_story(batch_id, number)",
    "create table @usage(batch_id text not null, part bigint not null, model text not null,"
    " owner bigint not null, key_id text, key_alias text, team_id text, user_id text, tags text,"
    " deployment bigint not null, model_group text, ok bigint not null, bad bigint not null,"
    " tok_in bigint not null, tok_cached bigint not null, tok_out bigint not null,"
    " tok_reason bigint not null, nano bigint not null, price text,"
    " unpriced bigint not null default 0, source text not null, created bigint not null,"
    " finished bigint not null, seq bigint not null, primary key(batch_id, part, model))",
    "create unique index usage_seq on @usage(seq)",
    "insert into @meta(name, value) values('usage', '0')",
    NULL};

/* What the nodes of a fleet share: store_fleet.h. */
static const char *const step_fleet[] = {
    "create table @node(id text primary key, run text not null, address text, version text,"
    " epoch bigint not null, joined bigint not null, seen bigint not null)",
    "create table @allowance(scope text primary key, used bigint not null default 0,"
    " batches bigint not null default 0, max_tokens bigint, max_batches bigint, max_nano bigint,"
    " held_nano bigint not null default 0, spent_nano bigint not null default 0, period bigint,"
    " reset bigint,"
    " changed bigint not null default 0)",
    "create table @reservation(id text primary key, token bigint not null default 0, nonce text,"
    " claim text, account bigint not null, deployment bigint not null, deployment_scope text,"
    " key_scope text, team_scope text, tokens bigint not null, nano bigint not null default 0,"
    " batch_id text, native text, state smallint not null, refunded smallint not null default 0,"
    " node text not null, epoch bigint not null, created bigint not null, changed bigint not null,"
    " expires bigint not null, claim_node text, claim_epoch bigint,"
    " claim_until bigint not null default 0, tries bigint not null default 0)",
    "create index reservation_open on @reservation(deployment_scope) where state <> 2",
    "create index reservation_key on @reservation(key_scope) where state <> 2",
    "create index reservation_team on @reservation(team_scope) where state <> 2",
    "create index reservation_unsettled on @reservation(node) where state in (0, 3)",
    "create index reservation_nonce on @reservation(nonce)",
    "create index reservation_token on @reservation(token)",
    "create index reservation_native on @reservation(native)",
    "create index reservation_freed on @reservation(changed) where state = 2",
    "create table @idempotency(name text primary key, owner bigint not null, claim text not null,"
    " request bigint not null, state smallint not null, status bigint, object text, body text,"
    " deployment bigint not null, nonce text, node text not null, epoch bigint not null,"
    " created bigint not null, busy_until bigint not null, until bigint not null)",
    "create unique index idempotency_claim on @idempotency(claim)",
    "create index idempotency_until on @idempotency(until)",
    "create table @lease(node text not null, scope text not null, tokens bigint, batches bigint,"
    " nano bigint, until bigint not null, epoch bigint not null, primary key(node, scope))",
    "create table @file_held(account bigint not null, kind smallint not null,"
    " files bigint not null, changed bigint not null, primary key(account, kind))",
    "insert into @meta(name, value) values('epoch', '0')",
    NULL};

/* What asks for usage: store_usage.h. */
static const char *const step_usage[] = {"create index usage_owner on @usage(owner, seq)",
                                         "create index usage_group on @usage(model_group, seq)",
                                         NULL};

/* Endpoints of webhooks, what they are told, and the tries: store_hooks.h. */
static const char *const step_hooks[] = {
    "create table @hook(id text primary key, owner bigint, owner_name text, url text not null,"
    " secret text not null, old_secret text, old_until bigint, events text not null,"
    " source text not null default 'api', batch_id text, enabled smallint not null default 1,"
    " off_why text, failing_since bigint, last_ok bigint, rest_until bigint not null default 0,"
    " created bigint not null, created_by text, updated bigint not null)",
    "create index hook_owner on @hook(owner)",
    "create index hook_batch on @hook(batch_id)",
    "create table @hook_event(id text primary key, owner bigint not null, type text not null,"
    " batch_id text not null, body text not null, created bigint not null,"
    " spread smallint not null default 0)",
    "create unique index hook_event_once on @hook_event(batch_id, type)",
    "create index hook_event_created on @hook_event(created)",
    "create index hook_event_new on @hook_event(created) where spread = 0",
    "create table @hook_try(event_id text not null references @hook_event(id) on delete cascade,"
    " hook_id text not null references @hook(id) on delete cascade, since bigint not null,"
    " tries bigint not null default 0, next_at bigint not null, claim_node text,"
    " claim_epoch bigint not null default 0, claim_until bigint not null default 0,"
    " state smallint not null default 0, last_at bigint, last_status bigint, last_error text,"
    " primary key(event_id, hook_id))",
    "create index hook_try_due on @hook_try(next_at) where state = 0",
    "create index hook_try_hook on @hook_try(hook_id)",
    NULL};

/* Batches that are not where their id says: store_followed.h, store_moves.h. `mode` of a batch is enum
 * store_mode. `id_account` and `id_native` are what its id says, where that is not where its part is;
 * `followed` is the number of its last change that nodes follow, 0: none do. */
static const char *const step_followed[] = {
    "alter table @batch add column id_account bigint",
    "alter table @batch add column id_native text",
    "alter table @batch add column shown text",
    "alter table @batch add column position bigint not null default 0",
    "alter table @batch add column moves bigint not null default 0",
    "alter table @batch add column followed bigint not null default 0",
    "create index batch_followed on @batch(followed) where followed > 0",
    "alter table @batch_part add column moving smallint not null default 0",
    "alter table @batch_part add column move_nonce text",
    "alter table @batch_part add column move_to bigint not null default 0",
    "alter table @batch_part add column move_tries bigint not null default 0",
    ("create table @batch_attempt(batch_id text not null references @batch(id) on delete cascade,"
     " number bigint not null, account bigint not null, native text not null,"
     " deployment bigint not null, code text, ended bigint not null,"
     " primary key(batch_id, number))"),
    "create index batch_attempt_native on @batch_attempt(account, native)",
    "insert into @meta(name, value) values('followed', '0')",
    NULL};

/* Files of batches that go so long after their end: store_deletions.h. `kind` is enum
 * store_deletion_kind; `done` is NULL as long as it is to be done; `due` is since when. */
static const char *const step_deletions[] = {
    "alter table @batch add column delete_after bigint",
    "alter table @batch_part add column input_file text",
    "alter table @batch_part add column original text",
    "alter table @batch_part add column home bigint",
    "alter table @reservation add column file text",
    "create index batch_part_input on @batch_part(input_file)",
    "create index batch_part_original on @batch_part(original)",
    "create index reservation_file on @reservation(file) where state in (0, 3)",
    "create table @deletion(account bigint not null, object text not null, kind smallint not null,"
    " batch_id text not null references @batch(id) on delete cascade, due bigint not null,"
    " next_at bigint not null, tries bigint not null default 0, claim_node text,"
    " claim_until bigint not null default 0, epoch bigint not null default 0, done bigint,"
    " came_of text, primary key(account, object))",
    "create index deletion_due on @deletion(next_at) where done is null",
    "create index deletion_batch on @deletion(batch_id)",
    NULL};

/* tests/next builds a program of one step more: nodes of two programs share a database. */
#ifndef NEXT_STEPS
#define NEXT_STEPS
#endif

static const char *const *const steps[] = {
    step_1,     step_2,     step_batches,  step_fleet,
    step_usage, step_hooks, step_followed, step_deletions NEXT_STEPS};
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
    rc = work_open(store, WORK_WRITE);
    return rc == 0 ? work_finish(store, bring_up(store)) : rc;
}
