/* Keys and teams as records of rights: all of them, or one. See store.h. */
#include "store_impl.h"

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
