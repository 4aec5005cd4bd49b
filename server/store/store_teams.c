/* Rows of teams: read, change, list. See store.h. */
#include "store_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define PAGE_MOST 100

static int on_team(void *arg, const struct row *row)
{
    struct store_team *team = arg;

    return team->id == NULL ? team_of_row(row, team) : 0; /* an id is unique; never two */
}

static int read_team(struct store *store, const char *id, struct store_team *out)
{
    struct value values[] = {value_text(id)};
    int rc;

    memset(out, 0, sizeof(*out));
    rc = WORK_RUN(store, "select " TEAM_COLUMNS " from @team t where t.id = $1", values, on_team,
                  out);
    return rc == 0 && out->id == NULL ? ERR_NOT_FOUND : rc;
}

int store_team_get(struct store *store, const char *id, struct store_team *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store, read_team(store, id, out));
    if (rc != 0)
        store_team_deinit(out);
    return rc;
}

/* ---- change ---- */

static int audit(const struct change *c, const char *what, const char *id,
                 const struct store_team *before, const struct store_team *after)
{
    struct strbuf old = STRBUF_INIT, new = STRBUF_INIT;

    if (before != NULL && before->id != NULL)
        team_to_json(before, &old);
    if (after != NULL)
        team_to_json(after, &new);
    return change_audit(c, what, id, &old, &new);
}

static int insert(const struct change *c, const struct store_team *team)
{
    int64_t created = team->created_unix_ms != 0 ? team->created_unix_ms : c->now_unix_ms;
    const char *created_by = team->created_by != NULL ? team->created_by : c->by->who;
    struct value values[TEAM_NUM_COLUMNS] = {
        value_text(team->id),     value_text(team->alias),   value_text(team->organization_id),
        value_text(team->models), value_text(team->aliases), value_text(team->metadata),
        value_text(team->fields), value_int(team->blocked),  value_int(created),
        value_text(created_by),   value_int(c->now_unix_ms), value_text(c->by->who),
        value_int(c->gen)};

    return WORK_RUN(c->store,
                    "insert into @team(id, alias, organization_id, models, aliases, metadata,"
                    " fields, blocked, created, created_by, updated, updated_by, gen)"
                    " values($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                    values, NULL, NULL);
}

int store_team_add(struct store *store, const struct store_team *team, const struct store_actor *by,
                   uint64_t *gen)
{
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = team_check(store, team);
    if (rc == 0)
        rc = insert(&c, team);
    if (rc == 0)
        rc = audit(&c, "team.add", team->id, NULL, team);
    return change_end(&c, rc, gen);
}

static int write_row(const struct change *c, const struct store_team *team)
{
    struct value values[] = {
        value_text(team->id),     value_text(team->alias),   value_text(team->organization_id),
        value_text(team->models), value_text(team->aliases), value_text(team->metadata),
        value_text(team->fields), value_int(team->blocked),  value_int(c->now_unix_ms),
        value_text(c->by->who),   value_int(c->gen),         value_int(team->gen)};
    size_t num = 0;
    int rc = WORK_RUN(c->store,
                      "update @team set alias = $2, organization_id = $3, models = $4,"
                      " aliases = $5, metadata = $6, fields = $7, blocked = $8, updated = $9,"
                      " updated_by = $10, gen = $11 where id = $1 and gen = $12 returning id",
                      values, on_count, &num);

    return rc == 0 && num == 0 ? ERR_NOT_FOUND : rc;
}

int store_team_update(struct store *store, const struct store_team *team,
                      const struct store_actor *by, uint64_t *gen)
{
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = team_check(store, team);
    if (rc == 0)
        rc = read_team(store, team->id, &c.team);
    if (rc == 0)
        rc = write_row(&c, team);
    if (rc == 0)
        rc = audit(&c, "team.update", team->id, &c.team, team);
    return change_end(&c, rc, gen);
}

int store_team_block(struct store *store, const char *id, bool blocked,
                     const struct store_actor *by, uint64_t *gen)
{
    struct store_team after;
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = read_team(store, id, &c.team);
    after = c.team; /* borrows all of it */
    after.blocked = blocked;
    if (rc == 0)
        rc = write_row(&c, &after);
    if (rc == 0)
        rc = audit(&c, blocked ? "team.block" : "team.unblock", id, &c.team, &after);
    return change_end(&c, rc, gen);
}

int store_team_delete(struct store *store, const char *id, const struct store_actor *by,
                      uint64_t *gen)
{
    struct value which[] = {value_text(id)};
    struct change c;
    int rc = change_begin(&c, store, by);

    if (rc != 0)
        return rc;
    rc = read_team(store, id, &c.team);
    if (rc == 0)
        rc = change_drop_keys(&c, "team_id", id);
    if (rc == 0)
        rc = WORK_RUN(store, "delete from @team where id = $1", which, NULL, NULL);
    if (rc == 0)
        rc = audit(&c, "team.delete", id, &c.team, NULL);
    return change_end(&c, rc, gen);
}

/* ---- lists ---- */

static int on_list_team(void *arg, const struct row *row)
{
    struct store_team_page *page = arg;
    int rc = team_of_row(row, &page->teams[page->num_teams]);

    if (rc == 0)
        page->num_teams++;
    return rc;
}

static int on_total(void *arg, const struct row *row)
{
    *(uint64_t *)arg = (uint64_t)row_int(row, 0);
    return 0;
}

static int read_page(struct store *store, const struct store_team_filter *f,
                     struct store_team_page *out)
{
    struct value values[4];
    char where[96], sql[512];
    size_t num = 0;
    int rc, len = 0;

    where[0] = '\0';
    if (f->alias != NULL) {
        values[num++] = value_text(f->alias);
        len = snprintf(where, sizeof(where), " where t.alias = $%zu", num);
    }
    if (f->organization_id != NULL) {
        values[num++] = value_text(f->organization_id);
        snprintf(where + len, sizeof(where) - (size_t)len, " %s t.organization_id = $%zu",
                 num == 1 ? "where" : "and", num);
    }
    snprintf(sql, sizeof(sql), "select count(*) from @team t%s", where);
    rc = work_run(store, sql, values, num, on_total, &out->total);
    values[num++] = value_int(f->size);
    values[num++] = value_int((int64_t)(f->page - 1) * f->size);
    snprintf(sql, sizeof(sql),
             "select " TEAM_COLUMNS " from @team t%s order by t.created, t.id limit $%zu"
             " offset $%zu",
             where, num - 1, num);
    return rc == 0 ? work_run(store, sql, values, num, on_list_team, out) : rc;
}

int store_team_list(struct store *store, const struct store_team_filter *filter,
                    struct store_team_page *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    if (filter->page == 0 || filter->size == 0 || filter->size > PAGE_MOST)
        return ERR_INVALID;
    out->teams = calloc(filter->size, sizeof(out->teams[0]));
    if (out->teams == NULL)
        return ERR_NOMEM;
    rc = work_begin(store, WORK_READ);
    if (rc == 0)
        rc = work_end(store, read_page(store, filter, out));
    if (rc != 0)
        store_team_page_deinit(out);
    return rc;
}

void store_team_page_deinit(struct store_team_page *page)
{
    for (size_t i = 0; i < page->num_teams; i++)
        store_team_deinit(&page->teams[i]);
    free(page->teams);
    memset(page, 0, sizeof(*page));
}
