/* Rows of keys: read, change, list. See store.h. */
#include "store_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define PAGE_MOST 100

/* ---- read one ---- */

static int on_key(void *arg, const struct row *row)
{
    struct store_key *key = arg;

    return key->id == NULL ? key_of_row(row, key) : 0; /* an id is unique; never two */
}

static int read_by(struct store *store, const char *where, const char *text, struct store_key *out)
{
    struct value values[] = {value_text(text), value_int(clock_unix_ms())};
    char sql[768];
    int rc;

    snprintf(sql, sizeof(sql), "select " KEY_COLUMNS " from @api_key k %s", where);
    rc = work_run(store, sql, values, strstr(where, "$2") != NULL ? 2 : 1, on_key, out);
    return rc == 0 && out->id == NULL ? ERR_NOT_FOUND : rc;
}

static int read_key(struct store *store, const struct store_key_name *name, struct store_key *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    if (name->hash == NULL)
        return name->alias != NULL ? read_by(store, "where k.alias = $1", name->alias, out)
                                   : read_by(store, "where k.id = $1", name->id, out);
    rc = read_by(store, "where k.hash = $1", name->hash, out);
    if (rc == ERR_NOT_FOUND)
        rc = read_by(store, "join @key_alt a on a.key_id = k.id where a.hash = $1 and a.until > $2",
                     name->hash, out);
    return rc;
}

int store_key_get(struct store *store, const struct store_key_name *name, struct store_key *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store, read_key(store, name, out));
    if (rc != 0)
        store_key_deinit(out);
    return rc;
}

/* ---- change ---- */

static int audit(const struct change *c, const char *what, const char *id,
                 const struct store_key *before, const struct store_key *after)
{
    struct strbuf old = STRBUF_INIT, new = STRBUF_INIT;

    if (before != NULL && before->id != NULL)
        key_to_json(before, &old);
    if (after != NULL)
        key_to_json(after, &new);
    return change_audit(c, what, id, &old, &new);
}

/* What of it is there twice. SQLite names the column, PostgreSQL the index. */
static int which_is_taken(struct store *store, int rc)
{
    if (rc != ERR_DUPLICATE)
        return rc;
    return strstr(store->engine->constraint, "alias") != NULL ? ERR_LIMIT : ERR_DUPLICATE;
}

/* A hash in its grace is somebody's too. */
static int check_hash_is_free(struct store *store, const char *hash)
{
    struct value values[] = {value_text(hash)};
    size_t num = 0;
    int rc = WORK_RUN(store, "select 1 from @key_alt where hash = $1", values, on_count, &num);

    return rc == 0 && num != 0 ? ERR_DUPLICATE : rc;
}

static void fill(struct value *out, const struct change *c, const struct store_key *key,
                 int64_t gen)
{
    int64_t created = key->created_unix_ms != 0 ? key->created_unix_ms : c->now_unix_ms;
    const char *created_by = key->created_by != NULL ? key->created_by : c->by->who;
    const struct value values[KEY_NUM_COLUMNS] = {
        value_text(key->hash),
        value_text(key->id != NULL ? key->id : key->hash),
        value_text(key->name),
        value_text(key->alias),
        value_text(key->team_id),
        value_text(key->user_id),
        value_text(key->organization_id),
        value_text(key->models),
        value_text(key->aliases),
        value_text(key->routes),
        value_text(key->metadata),
        value_text(key->fields),
        value_text(key->source != NULL ? key->source : "api"),
        value_int(key->admin),
        value_int(key->blocked),
        value_time(key->expires_unix_ms),
        value_int(created),
        value_text(created_by),
        value_int(c->now_unix_ms),
        value_text(c->by->who),
        value_int(gen)};

    memcpy(out, values, sizeof(values));
}

static_assert(STORE_KEYS_AT_ONCE * KEY_NUM_COLUMNS <= ENGINE_MAX_VALUES, "an insert's parameters");

/* The last of them has the change's generation. */
static int insert(const struct change *c, const struct store_key *keys, size_t num)
{
    struct value values[STORE_KEYS_AT_ONCE * KEY_NUM_COLUMNS];
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    assert(num > 0 && num <= STORE_KEYS_AT_ONCE);
    for (size_t i = 0; i < num; i++)
        fill(&values[i * KEY_NUM_COLUMNS], c, &keys[i], c->gen - (int64_t)(num - 1 - i));
    strbuf_adds(&sql, "insert into @api_key(hash, id, name, alias, team_id, user_id,"
                      " organization_id, models, aliases, routes, metadata, fields, source, admin,"
                      " blocked, expires, created, created_by, updated, updated_by, gen) values");
    sql_tuples(&sql, num, KEY_NUM_COLUMNS);
    if (!strbuf_failed(&sql))
        rc = work_run(c->store, strbuf_str(&sql), values, num * KEY_NUM_COLUMNS, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

#define AUDIT_COLUMNS 7

/* As work_audit() for each. */
static int audit_added(const struct change *c, const struct store_key *keys, size_t num)
{
    struct value values[STORE_KEYS_AT_ONCE * AUDIT_COLUMNS];
    struct strbuf rows[STORE_KEYS_AT_ONCE], sql = STRBUF_INIT;
    bool failed = false;
    int rc = ERR_NOMEM;

    for (size_t i = 0; i < num; i++) {
        rows[i] = (struct strbuf)STRBUF_INIT;
        key_to_json(&keys[i], &rows[i]);
        failed = failed || strbuf_failed(&rows[i]);
        const struct value row[AUDIT_COLUMNS] = {
            value_int(c->gen - (int64_t)(num - 1 - i)),
            value_int(c->now_unix_ms),
            value_text(c->by->who),
            value_text("key.add"),
            value_text(keys[i].id != NULL ? keys[i].id : keys[i].hash),
            value_text(NULL),
            value_text(rows[i].data)};

        memcpy(&values[i * AUDIT_COLUMNS], row, sizeof(row));
    }
    strbuf_adds(&sql, "insert into @audit(seq, at, who, what, target, before_value, after_value)"
                      " values");
    sql_tuples(&sql, num, AUDIT_COLUMNS);
    if (!failed && !strbuf_failed(&sql))
        rc = work_run(c->store, strbuf_str(&sql), values, num * AUDIT_COLUMNS, NULL, NULL);
    for (size_t i = 0; i < num; i++)
        strbuf_deinit(&rows[i]);
    strbuf_deinit(&sql);
    return rc;
}

/* Whether somebody has one of their hashes, also in its grace. */
static int check_hashes_are_free(struct store *store, const struct store_key *keys, size_t num)
{
    struct value values[STORE_KEYS_AT_ONCE];
    struct strbuf list = STRBUF_INIT, sql = STRBUF_INIT;
    size_t there = 0;
    int rc = ERR_NOMEM;

    for (size_t i = 0; i < num; i++)
        values[i] = value_text(keys[i].hash);
    sql_tuples(&list, 1, num);
    strbuf_addf(&sql,
                "select 1 from @api_key where hash in %s union all"
                " select 1 from @key_alt where hash in %s",
                strbuf_str(&list), strbuf_str(&list));
    if (!strbuf_failed(&list) && !strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), values, num, on_count, &there);
    strbuf_deinit(&list);
    strbuf_deinit(&sql);
    return rc == 0 && there > 0 ? ERR_DUPLICATE : rc;
}

int store_key_add_all(struct store *store, const struct store_key *keys, size_t num,
                      const struct store_actor *by)
{
    struct change c;
    int rc = change_begin_all(&c, store, by, num);

    assert(num > 0 && num <= STORE_KEYS_AT_ONCE);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < num && rc == 0; i++)
        rc = key_check(store, &keys[i]);
    if (rc == 0)
        rc = check_hashes_are_free(store, keys, num);
    if (rc == 0)
        rc = insert(&c, keys, num);
    if (rc == 0)
        rc = audit_added(&c, keys, num);
    return change_end(&c, rc, NULL);
}

int store_key_add(struct store *store, const struct store_key *key, const struct store_actor *by,
                  uint64_t *gen)
{
    struct store_key with_id = *key; /* borrows all of it */
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    if (with_id.id == NULL)
        with_id.id = with_id.hash;
    rc = key_check(store, &with_id);
    if (rc == 0)
        rc = check_hash_is_free(store, key->hash);
    if (rc == 0)
        rc = which_is_taken(store, insert(&c, &with_id, 1));
    if (rc == 0)
        rc = audit(&c, "key.add", with_id.id, NULL, &with_id);
    return change_end(&c, rc, gen);
}

static int write_row(const struct change *c, const struct store_key *key)
{
    struct value values[] = {value_text(key->id),
                             value_text(key->alias),
                             value_text(key->team_id),
                             value_text(key->user_id),
                             value_text(key->organization_id),
                             value_text(key->models),
                             value_text(key->aliases),
                             value_text(key->routes),
                             value_text(key->metadata),
                             value_text(key->fields),
                             value_int(key->admin),
                             value_int(key->blocked),
                             value_time(key->expires_unix_ms),
                             value_int(c->now_unix_ms),
                             value_text(c->by->who),
                             value_int(c->gen),
                             value_int(key->gen)};
    size_t num = 0;
    int rc = WORK_RUN(c->store,
                      "update @api_key set alias = $2, team_id = $3, user_id = $4,"
                      " organization_id = $5, models = $6, aliases = $7, routes = $8,"
                      " metadata = $9, fields = $10, admin = $11, blocked = $12, expires = $13,"
                      " updated = $14, updated_by = $15, gen = $16"
                      " where id = $1 and gen = $17 returning id",
                      values, on_count, &num);

    return rc == 0 && num == 0 ? ERR_NOT_FOUND : rc;
}

int store_key_update(struct store *store, const struct store_key *key, const struct store_actor *by,
                     uint64_t *gen)
{
    struct store_key_name name = {.id = key->id};
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = key_check(store, key);
    if (rc == 0)
        rc = read_key(store, &name, &c.key);
    if (rc == 0)
        rc = which_is_taken(store, write_row(&c, key));
    if (rc == 0)
        rc = audit(&c, "key.update", key->id, &c.key, key);
    return change_end(&c, rc, gen);
}

int store_key_block(struct store *store, const struct store_key_name *name, bool blocked,
                    const struct store_actor *by, uint64_t *gen)
{
    struct store_key after;
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = read_key(store, name, &c.key);
    after = c.key; /* borrows all of it */
    after.blocked = blocked;
    if (rc == 0)
        rc = write_row(&c, &after);
    if (rc == 0)
        rc = audit(&c, blocked ? "key.block" : "key.unblock", after.id, &c.key, &after);
    return change_end(&c, rc, gen);
}

/* ---- delete ---- */

int store_key_delete(struct store *store, const struct store_key_name *name,
                     const struct store_actor *by, uint64_t *gen)
{
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = read_key(store, name, &c.key);
    if (rc == 0)
        rc = change_drop_keys(&c, "id", c.key.id);
    if (rc == 0)
        rc = audit(&c, "key.delete", c.key.id, &c.key, NULL);
    return change_end(&c, rc, gen);
}

/* ---- another hash ---- */

static int keep_old_hash(const struct change *c, int64_t until_unix_ms)
{
    struct value values[] = {value_text(c->key.hash), value_text(c->key.id),
                             value_int(until_unix_ms)};

    if (until_unix_ms <= c->now_unix_ms)
        return 0;
    return WORK_RUN(c->store, "insert into @key_alt(hash, key_id, until) values($1, $2, $3)",
                    values, NULL, NULL);
}

static int set_hash(const struct change *c, const char *hash, const char *key_name)
{
    struct value values[] = {value_text(c->key.id),  value_text(hash),
                             value_text(key_name),   value_int(c->now_unix_ms),
                             value_text(c->by->who), value_int(c->gen)};

    return WORK_RUN(c->store,
                    "update @api_key set hash = $2, name = $3, updated = $4, updated_by = $5,"
                    " gen = $6 where id = $1",
                    values, NULL, NULL);
}

static int drop_old_grace(const struct change *c)
{
    struct value values[] = {value_int(c->now_unix_ms)};

    return WORK_RUN(c->store, "delete from @key_alt where until <= $1", values, NULL, NULL);
}

int store_key_regenerate(struct store *store, const struct store_key_name *name,
                         const char *new_hash, const char *key_name, int64_t grace_until_unix_ms,
                         const struct store_actor *by, uint64_t *gen)
{
    struct store_key after;
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = is_hash(new_hash) ? read_key(store, name, &c.key) : ERR_INVALID;
    if (rc == 0)
        rc = drop_old_grace(&c);
    if (rc == 0)
        rc = check_hash_is_free(store, new_hash);
    if (rc == 0)
        rc = set_hash(&c, new_hash, key_name);
    if (rc == 0)
        rc = keep_old_hash(&c, grace_until_unix_ms);
    if (rc == 0) {
        after = c.key; /* borrows all of it */
        after.name = (char *)key_name;
        rc = audit(&c, "key.regenerate", after.id, &c.key, &after);
    }
    return change_end(&c, rc, gen);
}

static int check_is_no_key(struct store *store, const char *hash)
{
    struct value values[] = {value_text(hash)};
    size_t num = 0;
    int rc = WORK_RUN(store, "select 1 from @api_key where hash = $1", values, on_count, &num);

    return rc == 0 && num != 0 ? ERR_DUPLICATE : rc;
}

int store_key_add_grace(struct store *store, const char *id, const char *old_hash,
                        int64_t until_unix_ms, const struct store_actor *by, uint64_t *gen)
{
    struct value values[] = {value_text(old_hash), value_text(id), value_int(until_unix_ms)};
    struct store_key_name name = {.id = id};
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = is_hash(old_hash) ? read_key(store, &name, &c.key) : ERR_INVALID;
    if (rc == 0)
        rc = check_is_no_key(store, old_hash);
    if (rc == 0)
        rc = WORK_RUN(store,
                      "insert into @key_alt(hash, key_id, until) values($1, $2, $3)"
                      " on conflict(hash) do nothing",
                      values, NULL, NULL);
    if (rc == 0)
        rc = audit(&c, "key.grace", id, NULL, &c.key);
    return change_end(&c, rc, gen);
}

/* ---- lists ---- */

/* A where clause with its values, as it grows. */
struct clause {
    struct strbuf sql;
    struct value values[12];
    size_t num;
};

static void also(struct clause *c, const char *condition, struct value value)
{
    assert(c->num + 3 <= sizeof(c->values) / sizeof(c->values[0])); /* it, limit and offset */
    c->values[c->num++] = value;
    strbuf_adds(&c->sql, c->num == 1 ? " where " : " and ");
    for (const char *p = condition; *p != '\0'; p++) {
        if (*p == '?')
            strbuf_addf(&c->sql, "$%zu", c->num);
        else
            strbuf_addc(&c->sql, *p);
    }
}

/* A part of a text, in any case of letters; strpos() and instr() would be one more difference of
 * the engines, and a pattern needs escapes. */
static void also_part(struct clause *c, const char *column, const char *text, bool part,
                      char **pattern)
{
    struct strbuf sb = STRBUF_INIT;
    char condition[96];

    *pattern = NULL;
    if (text == NULL)
        return;
    if (!part) {
        snprintf(condition, sizeof(condition), "k.%s = ?", column);
        also(c, condition, value_text(text));
        return;
    }
    strbuf_addc(&sb, '%');
    for (; *text != '\0'; text++) {
        if (*text == '%' || *text == '_' || *text == '!')
            strbuf_addc(&sb, '!');
        strbuf_addc(&sb, *text);
    }
    strbuf_addc(&sb, '%');
    *pattern = strbuf_take(&sb);
    snprintf(condition, sizeof(condition), "lower(k.%s) like lower(?) escape '!'", column);
    also(c, condition, value_text(*pattern != NULL ? *pattern : ""));
}

static void also_filter(struct clause *c, const struct store_key_filter *f, char *patterns[2])
{
    if (f->hash != NULL)
        also(c, "k.hash = ?", value_text(f->hash));
    if (f->team_id != NULL)
        also(c, "k.team_id = ?", value_text(f->team_id));
    if (f->organization_id != NULL)
        also(c, "k.organization_id = ?", value_text(f->organization_id));
    also_part(c, "alias", f->alias, f->substring, &patterns[0]);
    also_part(c, "user_id", f->user_id, f->substring, &patterns[1]);
    if (f->expiry == STORE_EXPIRED)
        also(c, "k.expires <= ?", value_int(f->now_unix_ms));
    if (f->expiry == STORE_NOT_EXPIRED)
        also(c, "coalesce(k.expires, 9223372036854775807) > ?", value_int(f->now_unix_ms));
}

/* What has no value comes last, whichever way; the id decides between equals. */
static const char *order_of(const struct store_key_filter *f)
{
    static const char *const columns[][2] = {
        [STORE_BY_CREATED] = {"k.created", "k.created desc"},
        [STORE_BY_UPDATED] = {"k.updated", "k.updated desc"},
        [STORE_BY_EXPIRY] = {"k.expires is null, k.expires", "k.expires is null, k.expires desc"},
        [STORE_BY_ALIAS] = {"k.alias is null, k.alias", "k.alias is null, k.alias desc"},
        [STORE_BY_TEAM] = {"k.team_id is null, k.team_id", "k.team_id is null, k.team_id desc"},
        [STORE_BY_USER] = {"k.user_id is null, k.user_id", "k.user_id is null, k.user_id desc"},
        [STORE_BY_HASH] = {"k.hash", "k.hash desc"}};

    return columns[f->order][f->descending];
}

static int on_list_key(void *arg, const struct row *row)
{
    struct store_key_page *page = arg;
    int rc = key_of_row(row, &page->keys[page->num_keys]);

    if (rc == 0)
        page->num_keys++;
    return rc;
}

static int on_total(void *arg, const struct row *row)
{
    *(uint64_t *)arg = (uint64_t)row_int(row, 0);
    return 0;
}

static int read_page(struct store *store, const struct store_key_filter *f, struct clause *c,
                     struct store_key_page *out)
{
    const char *table = f->deleted ? "@key_gone" : "@api_key";
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_addf(&sql, "select count(*) from %s k%s", table, strbuf_str(&c->sql));
    if (!strbuf_failed(&sql))
        rc = work_run(store, strbuf_str(&sql), c->values, c->num, on_total, &out->total);
    strbuf_reset(&sql);
    c->values[c->num] = value_int(f->size);
    c->values[c->num + 1] = value_int((int64_t)(f->page - 1) * f->size);
    strbuf_addf(&sql, "select " KEY_COLUMNS " from %s k%s order by %s, k.id limit $%zu offset $%zu",
                table, strbuf_str(&c->sql), order_of(f), c->num + 1, c->num + 2);
    if (rc == 0)
        rc = strbuf_failed(&sql)
                 ? ERR_NOMEM
                 : work_run(store, strbuf_str(&sql), c->values, c->num + 2, on_list_key, out);
    strbuf_deinit(&sql);
    return rc;
}

int store_key_list(struct store *store, const struct store_key_filter *filter,
                   struct store_key_page *out)
{
    struct clause clause = {0};
    char *patterns[2];
    int rc;

    memset(out, 0, sizeof(*out));
    if (filter->page == 0 || filter->size == 0 || filter->size > PAGE_MOST)
        return ERR_INVALID;
    out->keys = calloc(filter->size, sizeof(out->keys[0]));
    if (out->keys == NULL)
        return ERR_NOMEM;
    rc = work_begin(store, WORK_READ);
    if (rc == 0) {
        also_filter(&clause, filter, patterns);
        rc = work_end(store, strbuf_failed(&clause.sql) ? ERR_NOMEM
                                                        : read_page(store, filter, &clause, out));
        free(patterns[0]);
        free(patterns[1]);
        strbuf_deinit(&clause.sql);
    }
    if (rc != 0)
        store_key_page_deinit(out);
    return rc;
}

void store_key_page_deinit(struct store_key_page *page)
{
    for (size_t i = 0; i < page->num_keys; i++)
        store_key_deinit(&page->keys[i]);
    free(page->keys);
    memset(page, 0, sizeof(*page));
}
