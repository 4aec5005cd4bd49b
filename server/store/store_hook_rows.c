/* Rows of endpoints: read, change, list. See store_hooks.h. */
#include "store_hooks_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define COLUMNS                                                                                    \
    "h.id, h.owner, h.owner_name, h.url, h.secret, h.old_secret, h.old_until, h.events, h.source," \
    " h.batch_id, h.enabled, h.off_why, h.failing_since, h.last_ok, h.created, h.created_by,"      \
    " h.updated"
#define OF_WHOM "(cast($1 as bigint) = 1 or h.owner = $2)" /* hooks_whom() */

void store_hook_deinit(struct store_hook *hook)
{
    char *texts[] = {hook->id,         hook->owner_name, hook->url,     hook->secret,
                     hook->old_secret, hook->batch_id,   hook->off_why, hook->created_by};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    memset(hook, 0, sizeof(*hook));
}

void store_hook_list_deinit(struct store_hook_list *list)
{
    for (size_t i = 0; i < list->num; i++)
        store_hook_deinit(&list->hooks[i]);
    free(list->hooks);
    memset(list, 0, sizeof(*list));
}

void hooks_whom(const struct store_hook_owner *for_whom, struct value values[2])
{
    values[0] = value_int(for_whom->all ? 1 : 0);
    values[1] = value_int((int64_t)for_whom->owner);
}

static struct value owner_value(const struct store_hook_owner *of)
{
    return of->all ? value_text(NULL) : value_int((int64_t)of->owner);
}

/* ---- reading ---- */

static unsigned read_types(const char *json)
{
    unsigned types = 0;
    char name[32];

    for (unsigned i = 0; json != NULL && i < HOOK_TYPES; i++) {
        snprintf(name, sizeof(name), "\"%s\"", hook_type_name((enum hook_type)i));
        if (strstr(json, name) != NULL)
            types |= 1u << i;
    }
    return types;
}

static int hook_of_row(const struct row *row, struct store_hook *out)
{
    bool ok;

    memset(out, 0, sizeof(*out));
    ok = copy_column(&out->id, row, 0) && copy_column(&out->owner_name, row, 2) &&
         copy_column(&out->url, row, 3) && copy_column(&out->secret, row, 4) &&
         copy_column(&out->old_secret, row, 5) && copy_column(&out->batch_id, row, 9) &&
         copy_column(&out->off_why, row, 11) && copy_column(&out->created_by, row, 15);
    out->of.all = row->texts[1] == NULL;
    out->of.owner = (uint64_t)row_int(row, 1);
    out->old_until_ms = row_int(row, 6);
    out->types = read_types(row->texts[7]);
    out->from_config = row->texts[8] != NULL && strcmp(row->texts[8], "config") == 0;
    out->enabled = row_int(row, 10) != 0;
    out->failing_since_ms = row_int(row, 12);
    out->last_ok_ms = row_int(row, 13);
    out->created_ms = row_int(row, 14);
    out->updated_ms = row_int(row, 16);
    if (!ok)
        store_hook_deinit(out);
    return ok ? 0 : ERR_NOMEM;
}

static int on_hook(void *arg, const struct row *row)
{
    struct store_hook *hook = arg;

    return hook->id == NULL ? hook_of_row(row, hook) : 0; /* an id is unique; never two */
}

static int on_list_hook(void *arg, const struct row *row)
{
    struct store_hook_list *list = arg;
    struct store_hook *grown = grow(list->hooks, list->num, sizeof(*grown));
    int rc;

    if (grown == NULL)
        return ERR_NOMEM;
    list->hooks = grown;
    rc = hook_of_row(row, &list->hooks[list->num]);
    if (rc == 0)
        list->num++;
    return rc;
}

static int read_hook(struct store *store, const char *id, const struct store_hook_owner *for_whom,
                     struct store_hook *out)
{
    struct value values[3];
    int rc;

    memset(out, 0, sizeof(*out));
    hooks_whom(for_whom, values);
    values[2] = value_text(id);
    rc = WORK_RUN(store,
                  "select " COLUMNS " from @hook h where " OF_WHOM
                  " and h.id = $3 and h.batch_id is null",
                  values, on_hook, out);
    return rc == 0 && out->id == NULL ? ERR_NOT_FOUND : rc;
}

int store_hook_get(struct store *store, const char *id, const struct store_hook_owner *for_whom,
                   struct store_hook *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store, read_hook(store, id, for_whom, out));
    if (rc != 0)
        store_hook_deinit(out);
    return rc;
}

static int run_list(struct store *store, const char *sql, const struct value *values, size_t num,
                    struct store_hook_list *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store, work_run(store, sql, values, num, on_list_hook, out));
    if (rc != 0)
        store_hook_list_deinit(out);
    return rc;
}

int store_hook_list(struct store *store, const struct store_hook_owner *for_whom,
                    const char *behind, size_t max, struct store_hook_list *out)
{
    struct value values[4];

    hooks_whom(for_whom, values);
    values[2] = value_text(behind != NULL ? behind : "");
    values[3] = value_int((int64_t)max);
    return run_list(store,
                    "select " COLUMNS " from @hook h where " OF_WHOM
                    " and h.batch_id is null and h.id > $3 order by h.id limit $4",
                    values, 4, out);
}

int store_hooks_sealed(struct store *store, const char *behind, size_t max,
                       struct store_hook_list *out)
{
    struct value values[] = {value_text(behind), value_int((int64_t)max)};

    return run_list(store, "select " COLUMNS " from @hook h where h.id > $1 order by h.id limit $2",
                    values, 2, out);
}

/* ---- changes ---- */

/* What the audit keeps of an endpoint: never a secret, and of its URL only where it leads. */
static void hook_to_json(const struct store_hook *hook, struct strbuf *out)
{
    strbuf_adds(out, "{\"id\":");
    json_write_string(out, hook->id, strlen(hook->id));
    strbuf_adds(out, ",\"url\":");
    json_write_string(out, hook->url, (size_t)hook_url_shown(hook->url));
    strbuf_adds(out, ",\"events\":");
    hook_types_write(hook->types, out);
    strbuf_addf(out, ",\"enabled\":%s}", hook->enabled ? "true" : "false");
}

static int audit(const struct change *c, const char *what, const struct store_hook *before,
                 const struct store_hook *after)
{
    const char *id = before != NULL ? before->id : after->id;
    struct strbuf old = STRBUF_INIT, new = STRBUF_INIT;

    if (before != NULL)
        hook_to_json(before, &old);
    if (after != NULL)
        hook_to_json(after, &new);
    return change_audit(c, what, id, &old, &new);
}

static int insert(struct store *store, const struct store_hook *hook, int64_t now_ms)
{
    struct strbuf types = STRBUF_INIT;
    int rc = ERR_NOMEM;

    hook_types_write(hook->types, &types);
    if (!strbuf_failed(&types)) {
        struct value values[] = {
            value_text(hook->id),
            owner_value(&hook->of),
            value_text(hook->owner_name),
            value_text(hook->url),
            value_text(hook->secret),
            value_text(hook->old_secret),
            value_time(hook->old_until_ms),
            value_text(strbuf_str(&types)),
            value_text(hook->from_config ? "config" : "api"),
            value_text(hook->batch_id),
            value_int(hook->enabled),
            value_int(now_ms),
            value_text(hook->created_by),
        };

        rc = WORK_RUN(store,
                      "insert into @hook(id, owner, owner_name, url, secret, old_secret, old_until,"
                      " events, source, batch_id, enabled, created, created_by, updated)"
                      " values($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $12)",
                      values, NULL, NULL);
    }
    strbuf_deinit(&types);
    return rc;
}

static int check_room(struct store *store, const struct store_hook_owner *of)
{
    struct value values[2];
    int64_t num = 0;
    int rc;

    hooks_whom(of, values);
    rc = WORK_RUN(store,
                  "select count(*) from @hook h where h.source = 'api' and h.batch_id is null"
                  " and ((cast($1 as bigint) = 1 and h.owner is null) or h.owner = $2)",
                  values, hooks_on_number, &num);
    return rc == 0 && num >= STORE_HOOKS_EACH ? ERR_LIMIT : rc;
}

int store_hook_expect(struct store *store, const struct store_hook *hook)
{
    struct value which[] = {value_text(hook->id)};
    int64_t now_ms = 0, there = 0;
    int rc = work_begin(store, WORK_WRITE);

    assert(hook->batch_id != NULL && hook->secret != NULL);
    if (rc != 0)
        return rc;
    rc = work_now(store, &now_ms);
    if (rc == 0)
        rc = WORK_RUN(store, "select count(*) from @hook where id = $1", which, hooks_on_number,
                      &there);
    if (rc == 0 && there == 0)
        rc = insert(store, hook, now_ms);
    return work_end(store, rc);
}

int store_hook_add(struct store *store, const struct store_hook *hook, const struct store_actor *by)
{
    struct change c;
    int rc = change_begin(&c, store, by);

    assert(hook->id != NULL && hook->url != NULL && hook->secret != NULL);
    if (rc != 0)
        return rc;
    if (hook->batch_id == NULL)
        rc = check_room(store, &hook->of);
    if (rc == 0)
        rc = insert(store, hook, c.now_unix_ms);
    if (rc == 0)
        rc = audit(&c, "hook.add", NULL, hook);
    return change_end(&c, rc, NULL);
}

static int write_row(struct store *store, const struct store_hook *hook, const char *secret_before,
                     int64_t now_ms)
{
    struct strbuf types = STRBUF_INIT;
    size_t num = 0;
    int rc = ERR_NOMEM;

    hook_types_write(hook->types, &types);
    if (!strbuf_failed(&types)) {
        struct value values[] = {
            value_text(hook->id),
            value_text(hook->url),
            value_text(hook->secret),
            value_text(hook->old_secret),
            value_time(hook->old_until_ms),
            value_text(strbuf_str(&types)),
            value_int(hook->enabled),
            value_text(hook->off_why),
            value_time(hook->failing_since_ms),
            value_int(now_ms),
            value_text(secret_before),
        };

        rc = WORK_RUN(store,
                      "update @hook set url = $2, secret = $3, old_secret = $4, old_until = $5,"
                      " events = $6, enabled = $7, off_why = $8, failing_since = $9, updated = $10,"
                      " rest_until = 0 where id = $1 and secret = $11 returning id",
                      values, on_count, &num);
    }
    strbuf_deinit(&types);
    return rc == 0 && num == 0 ? ERR_NOT_FOUND : rc;
}

int store_hook_update(struct store *store, const struct store_hook *hook, const char *secret_before,
                      const char *what, const struct store_actor *by)
{
    static const struct store_hook_owner everybody = {.all = true};
    struct store_hook before = {0}, after = *hook; /* borrows all of it */
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = read_hook(store, hook->id, &everybody, &before);
    if (rc == 0 && after.enabled && !before.enabled) {
        after.off_why = NULL;
        after.failing_since_ms = 0;
    }
    if (rc == 0)
        rc = write_row(store, &after, secret_before, c.now_unix_ms);
    if (rc == 0)
        rc = audit(&c, what, &before, &after);
    store_hook_deinit(&before);
    return change_end(&c, rc, NULL);
}

int store_hook_delete(struct store *store, const char *id, const struct store_actor *by)
{
    static const struct store_hook_owner everybody = {.all = true};
    struct value which[] = {value_text(id)};
    struct store_hook before = {0};
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = read_hook(store, id, &everybody, &before);
    if (rc == 0)
        rc = WORK_RUN(store, "delete from @hook where id = $1", which, NULL, NULL);
    if (rc == 0)
        rc = audit(&c, "hook.delete", &before, NULL);
    store_hook_deinit(&before);
    return change_end(&c, rc, NULL);
}

int store_hook_reseal(struct store *store, const struct store_hook *before, const char *secret,
                      const char *old)
{
    struct value values[] = {value_text(before->id), value_text(secret), value_text(old),
                             value_text(before->secret)};
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    return work_end(store, WORK_RUN(store,
                                    "update @hook set secret = $2, old_secret = $3"
                                    " where id = $1 and secret = $4",
                                    values, NULL, NULL));
}

/* ---- endpoints of the configuration ---- */

struct configured {
    struct store *store;
    const struct store_hook *hooks;
    size_t num;
    bool (*is_same)(void *arg, const char *id, const char *a, const char *b);
    void *arg;
    int64_t now_ms, old_until_ms;
};

static const struct store_hook *find(const struct store_hook *hooks, size_t num, const char *id)
{
    for (size_t i = 0; i < num; i++)
        if (strcmp(hooks[i].id, id) == 0)
            return &hooks[i];
    return NULL;
}

/* It is there and stays. One that was switched off stays off, unless its secret is another one: then
 * somebody mended something. */
static int keep(const struct configured *c, const struct store_hook *have,
                const struct store_hook *want)
{
    struct store_hook next = *want; /* borrows all of it */
    bool same = c->is_same(c->arg, have->id, have->secret, want->secret);

    if (same && have->types == want->types)
        return 0;
    next.enabled = have->enabled || !same;
    next.off_why = next.enabled ? NULL : have->off_why;
    next.failing_since_ms = same ? have->failing_since_ms : 0;
    next.secret = same ? have->secret : want->secret;
    next.old_secret = same ? have->old_secret : have->secret;
    next.old_until_ms = same ? have->old_until_ms : c->old_until_ms;
    return write_row(c->store, &next, have->secret, c->now_ms);
}

static int drop(const struct configured *c, const char *id)
{
    struct value which[] = {value_text(id)};

    return WORK_RUN(c->store, "delete from @hook where id = $1", which, NULL, NULL);
}

static int configure(const struct configured *c, const struct store_hook_list *have)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < have->num; i++) {
        const struct store_hook *want = find(c->hooks, c->num, have->hooks[i].id);

        rc = want != NULL ? keep(c, &have->hooks[i], want) : drop(c, have->hooks[i].id);
    }
    for (size_t i = 0; rc == 0 && i < c->num; i++)
        if (find(have->hooks, have->num, c->hooks[i].id) == NULL)
            rc = insert(c->store, &c->hooks[i], c->now_ms);
    return rc;
}

int store_hooks_configure(struct store *store, const struct store_hook *hooks, size_t num,
                          bool (*is_same)(void *arg, const char *id, const char *a, const char *b),
                          void *arg, int64_t old_until_ms)
{
    struct configured c = {.store = store,
                           .hooks = hooks,
                           .num = num,
                           .is_same = is_same,
                           .arg = arg,
                           .now_ms = clock_unix_ms(),
                           .old_until_ms = old_until_ms};
    struct store_hook_list have = {0};
    int rc = work_begin(store, WORK_WRITE);

    if (rc != 0)
        return rc;
    /* One node after the other: they all start with the same file. */
    rc = work_run(store, "update @meta set value = value where name = 'schema'", NULL, 0, NULL,
                  NULL);
    if (rc == 0)
        rc = work_run(store, "select " COLUMNS " from @hook h where h.source = 'config'", NULL, 0,
                      on_list_hook, &have);
    if (rc == 0)
        rc = configure(&c, &have);
    store_hook_list_deinit(&have);
    return work_end(store, rc);
}
