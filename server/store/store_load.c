/* Keys and teams as records of rights: all of them, those that changed, or one. See store.h. */
#include "store_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define PAGE      1000 /* rows of a statement: what one of a deadline can bring */
#define PAGE_TEXT "1000"

/* ---- a list that grows ---- */

void *grow(void *items, size_t num, size_t item_bytes)
{
    /* Full at each power of two, from 16 on. */
    if (num != 0 && (num < 16 || (num & (num - 1)) != 0))
        return items;
    return reallocarray(items, num < 16 ? 16 : num * 2, item_bytes);
}

static struct rights_key *new_key(struct rights_list *list)
{
    struct rights_key *keys = grow(list->keys, list->num_keys, sizeof(keys[0]));

    if (keys == NULL)
        return NULL;
    list->keys = keys;
    return &keys[list->num_keys];
}

static struct rights_team *new_team(struct rights_list *list)
{
    struct rights_team *teams = grow(list->teams, list->num_teams, sizeof(teams[0]));

    if (teams == NULL)
        return NULL;
    list->teams = teams;
    return &teams[list->num_teams];
}

/* ---- rows ---- */

struct loader {
    struct store *store;
    struct rights_list *list;
    char last[256]; /* the id of the last row: where the next page begins */
    size_t num;     /* rows of this page */
};

static int add_key(const struct loader *l, const struct store_key *key)
{
    struct rights_list *list = l->list;
    struct rights_key *slot = new_key(list);
    int rc = slot != NULL ? work_key_rights(l->store, key, RIGHTS_OF_DATABASE, slot) : ERR_NOMEM;

    if (rc == 0)
        list->num_keys++;
    return rc == ERR_INVALID ? 0 : rc; /* a row that somebody else wrote, without a hash */
}

static int on_key(void *arg, const struct row *row)
{
    struct loader *l = arg;
    struct store_key key;
    int rc = key_of_row(row, &key);

    l->num++;
    snprintf(l->last, sizeof(l->last), "%s", row->texts[1]);
    if (rc != 0)
        return rc == ERR_INVALID ? 0 : rc;
    rc = add_key(l, &key);
    store_key_deinit(&key);
    return rc;
}

/* A row of a key, and behind it the hash that it had, and until when. */
static int on_grace(void *arg, const struct row *row)
{
    struct loader *l = arg;
    const char *hash = row->texts[KEY_NUM_COLUMNS];
    int64_t until = row_int(row, KEY_NUM_COLUMNS + 1);
    struct store_key key;
    int rc;

    l->num++;
    snprintf(l->last, sizeof(l->last), "%s", hash);
    if (!is_hash(hash))
        return 0;
    rc = key_of_row(row, &key);
    if (rc != 0)
        return rc == ERR_INVALID ? 0 : rc;
    memcpy(key.hash, hash, sizeof(key.hash));
    if (key.expires_unix_ms == 0 || key.expires_unix_ms > until)
        key.expires_unix_ms = until;
    free(key.name); /* the new one's; what the old one ended in is not known any more */
    key.name = NULL;
    rc = add_key(l, &key);
    store_key_deinit(&key);
    return rc;
}

static int on_team(void *arg, const struct row *row)
{
    struct loader *l = arg;
    struct rights_team *slot = new_team(l->list);
    struct store_team team;
    int rc = slot != NULL ? team_of_row(row, &team) : ERR_NOMEM;

    l->num++;
    snprintf(l->last, sizeof(l->last), "%s", row->texts[0]);
    if (rc != 0)
        return rc;
    rc = work_team_rights(l->store, &team, RIGHTS_OF_DATABASE, slot);
    if (rc == 0)
        l->list->num_teams++;
    store_team_deinit(&team);
    return rc;
}

static int read_pages(struct store *store, const char *sql, row_cb on_row, struct rights_list *list)
{
    struct loader loader = {.store = store, .list = list};
    struct value values[] = {value_text(loader.last), value_int(clock_unix_ms())};
    size_t num_values = strstr(sql, "$2") != NULL ? 2 : 1;
    int rc;

    do {
        loader.num = 0;
        work_go_on(store);
        rc = work_run(store, sql, values, num_values, on_row, &loader);
    } while (rc == 0 && loader.num == PAGE);
    return rc;
}

static int load_all(struct store *store, struct rights_list *out, uint64_t *gen)
{
    int rc = work_read_gen(store, gen);

    if (rc == 0)
        rc = read_pages(store,
                        "select " TEAM_COLUMNS " from @team t where t.id > $1 order by t.id"
                        " limit " PAGE_TEXT,
                        on_team, out);
    if (rc == 0)
        rc = read_pages(store,
                        "select " KEY_COLUMNS " from @api_key k where k.id > $1 order by k.id"
                        " limit " PAGE_TEXT,
                        on_key, out);
    if (rc == 0)
        rc = read_pages(store,
                        "select " KEY_COLUMNS ", a.hash, a.until from @key_alt a"
                        " join @api_key k on k.id = a.key_id where a.hash > $1 and a.until > $2"
                        " order by a.hash limit " PAGE_TEXT,
                        on_grace, out);
    return rc;
}

int store_load(struct store *store, struct rights_list *out, uint64_t *gen)
{
    int rc;

    memset(out, 0, sizeof(*out));
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store, load_all(store, out, gen));
    if (rc != 0)
        rights_list_deinit(out);
    return rc;
}

/* ---- those that changed ---- */

#define MOST_CHANGES  1000 /* beyond that all are read */
#define NAMES_AT_ONCE 100  /* of one statement */

static_assert(NAMES_AT_ONCE + 1 <= ENGINE_MAX_VALUES, "a statement's parameters");

struct names {
    char **texts; /* owned, each */
    size_t num;
};

/* What the audit tells of the changes behind a generation. */
struct changes {
    struct names keys, teams; /* ids */
    size_t num;               /* rows of the audit */
};

static int add_name(struct names *names, const char *text)
{
    char **texts = grow(names->texts, names->num, sizeof(texts[0]));

    if (texts == NULL)
        return ERR_NOMEM;
    names->texts = texts;
    texts[names->num] = strdup(text);
    return texts[names->num] != NULL ? (names->num++, 0) : ERR_NOMEM;
}

static void names_deinit(struct names *names)
{
    for (size_t i = 0; i < names->num; i++)
        free(names->texts[i]);
    free(names->texts);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_names(struct names *names)
{
    if (names->num > 1)
        qsort(names->texts, names->num, sizeof(names->texts[0]), compare);
}

static bool has_name(const struct names *names, const char *text)
{
    return names->num > 0 &&
           bsearch(&text, names->texts, names->num, sizeof(names->texts[0]), compare) != NULL;
}

/* A change of a kind that is not known here is another program's. Endpoints of webhooks have no
 * rights. */
static int on_change(void *arg, const struct row *row)
{
    struct changes *c = arg;

    c->num++;
    if (row->texts[0] == NULL || row->texts[1] == NULL)
        return ERR_LIMIT;
    if (strncmp(row->texts[0], "hook.", strlen("hook.")) == 0)
        return 0;
    if (strncmp(row->texts[0], "team.", strlen("team.")) == 0)
        return add_name(&c->teams, row->texts[1]);
    return strncmp(row->texts[0], "key.", strlen("key.")) == 0 ? add_name(&c->keys, row->texts[1])
                                                               : ERR_LIMIT;
}

static int on_gone(void *arg, const struct row *row)
{
    return add_name(&((struct changes *)arg)->keys, row->texts[0]);
}

/* Each generation is one row of the audit: where one is missing somebody changed the tables by hand,
 * and nobody knows what. */
static int read_changes(struct store *store, uint64_t since, uint64_t gen, struct changes *c)
{
    struct value values[] = {value_int((int64_t)since)};
    int rc;

    if (gen < since || gen - since > MOST_CHANGES)
        return ERR_LIMIT;
    rc = WORK_RUN(store, "select what, target from @audit where seq > $1", values, on_change, c);
    if (rc == 0 && c->num != gen - since)
        return ERR_LIMIT;
    if (rc == 0) /* those of a team that was deleted */
        rc = WORK_RUN(store, "select id from @key_gone where gen > $1", values, on_gone, c);
    sort_names(&c->keys);
    sort_names(&c->teams);
    return rc;
}

/* @param sql  ends where the names belong; $1 is the time */
static int read_named(struct store *store, const char *sql, const struct names *names,
                      row_cb on_row, struct rights_list *list)
{
    struct loader loader = {.store = store, .list = list};
    struct value values[NAMES_AT_ONCE + 1] = {value_int(clock_unix_ms())};
    struct strbuf text = STRBUF_INIT;
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < names->num; at += NAMES_AT_ONCE) {
        size_t num = names->num - at < NAMES_AT_ONCE ? names->num - at : NAMES_AT_ONCE;

        strbuf_reset(&text);
        strbuf_adds(&text, sql);
        for (size_t i = 0; i < num; i++) {
            values[i + 1] = value_text(names->texts[at + i]);
            strbuf_addf(&text, "%s$%zu", i == 0 ? "(" : ", ", i + 2);
        }
        strbuf_addc(&text, ')');
        work_go_on(store);
        rc = strbuf_failed(&text)
                 ? ERR_NOMEM
                 : work_run(store, strbuf_str(&text), values, num + 1, on_row, &loader);
    }
    strbuf_deinit(&text);
    return rc;
}

static int read_changed(struct store *store, uint64_t since, uint64_t *gen, struct changes *c,
                        struct rights_list *now)
{
    int rc = work_read_gen(store, gen);

    if (rc == 0)
        rc = read_changes(store, since, *gen, c);
    if (rc == 0)
        rc = read_named(
            store, "select " TEAM_COLUMNS " from @team t where cast($1 as bigint) > 0 and t.id in ",
            &c->teams, on_team, now);
    if (rc == 0)
        rc = read_named(store,
                        "select " KEY_COLUMNS
                        " from @api_key k where cast($1 as bigint) > 0 and k.id in ",
                        &c->keys, on_key, now);
    if (rc == 0)
        rc = read_named(store,
                        "select " KEY_COLUMNS ", a.hash, a.until from @key_alt a"
                        " join @api_key k on k.id = a.key_id where a.until > $1 and a.key_id in ",
                        &c->keys, on_grace, now);
    return rc;
}

static void drop_changed(struct rights_list *list, const struct changes *c)
{
    size_t keys = 0, teams = 0;

    for (size_t i = 0; i < list->num_keys; i++) {
        if (has_name(&c->keys, list->keys[i].id))
            rights_key_deinit(&list->keys[i]);
        else if (keys++ != i)
            list->keys[keys - 1] = list->keys[i];
    }
    for (size_t i = 0; i < list->num_teams; i++) {
        if (has_name(&c->teams, list->teams[i].id))
            rights_team_deinit(&list->teams[i]);
        else if (teams++ != i)
            list->teams[teams - 1] = list->teams[i];
    }
    list->num_keys = keys;
    list->num_teams = teams;
}

static int make_room(struct rights_list *list, const struct rights_list *more)
{
    struct rights_key *keys =
        reallocarray(list->keys, list->num_keys + more->num_keys + 1, sizeof(*keys));
    struct rights_team *teams;

    if (keys == NULL)
        return ERR_NOMEM;
    list->keys = keys;
    teams = reallocarray(list->teams, list->num_teams + more->num_teams + 1, sizeof(*teams));
    if (teams == NULL)
        return ERR_NOMEM;
    list->teams = teams;
    return 0;
}

/* `now` is empty afterwards. */
static void take_over(struct rights_list *list, struct rights_list *now)
{
    for (size_t i = 0; i < now->num_keys; i++)
        list->keys[list->num_keys++] = now->keys[i];
    for (size_t i = 0; i < now->num_teams; i++)
        list->teams[list->num_teams++] = now->teams[i];
    now->num_keys = now->num_teams = 0;
}

int store_refresh(struct store *store, struct rights_list *list, uint64_t *gen)
{
    struct changes changes = {0};
    struct rights_list now = {0};
    uint64_t next;
    int rc = work_begin(store, WORK_READ);

    if (rc != 0)
        return rc;
    rc = work_end(store, read_changed(store, *gen, &next, &changes, &now));
    if (rc == 0)
        rc = make_room(list, &now);
    if (rc == 0) {
        drop_changed(list, &changes);
        take_over(list, &now);
        *gen = next;
    }
    rights_list_deinit(&now);
    names_deinit(&changes.keys);
    names_deinit(&changes.teams);
    return rc;
}

/* ---- one ---- */

static int read_team_of(struct store *store, struct rights_list *out)
{
    struct loader loader = {.store = store, .list = out};
    struct value values[] = {value_text(out->keys[0].team_id)};

    if (out->keys[0].team_id == NULL)
        return 0;
    return WORK_RUN(store, "select " TEAM_COLUMNS " from @team t where t.id = $1", values, on_team,
                    &loader);
}

static int find_one(struct store *store, const char *hash, struct rights_list *out, uint64_t *gen)
{
    struct loader loader = {.store = store, .list = out};
    struct value values[] = {value_text(hash), value_int(clock_unix_ms())};
    int rc = work_read_gen(store, gen);

    if (rc == 0)
        rc = work_run(store, "select " KEY_COLUMNS " from @api_key k where k.hash = $1", values, 1,
                      on_key, &loader);
    if (rc == 0 && out->num_keys == 0)
        rc = WORK_RUN(store,
                      "select " KEY_COLUMNS ", a.hash, a.until from @key_alt a"
                      " join @api_key k on k.id = a.key_id where a.hash = $1 and a.until > $2",
                      values, on_grace, &loader);
    if (rc == 0 && out->num_keys == 0)
        return ERR_NOT_FOUND;
    return rc == 0 ? read_team_of(store, out) : rc;
}

int store_find(struct store *store, const unsigned char hash[RIGHTS_HASH_BYTES],
               struct rights_list *out, uint64_t *gen)
{
    char hex[STORE_HASH_DIGITS + 1];
    int rc;

    memset(out, 0, sizeof(*out));
    hash_to_hex(hash, hex);
    rc = work_begin(store, WORK_READ);
    if (rc != 0)
        return rc;
    rc = work_end(store, find_one(store, hex, out, gen));
    if (rc != 0)
        rights_list_deinit(out);
    return rc;
}
