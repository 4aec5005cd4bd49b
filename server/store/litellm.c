/* See litellm.h.
 *
 * Change detection: each row carries the number of the transaction that wrote it (xmin). A refresh
 * remembers the oldest transaction that could still be open when it read (xmin of its snapshot):
 * what was written since then was written by that one or a later one. So a look counts the rows of
 * each table, and those with such a number; LiteLLM's own `updated_at` would miss what a script
 * writes. Deleted rows show in the count. A row whose spend alone changed is read again and found
 * equal. */
#include "key_copy.h"
#include "store_impl.h"
#include "store/litellm.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/iso8601.h"
#include "json/json.h"

#define PAGE      1000
#define PAGE_TEXT "1000"

enum table { KEYS, TEAMS, GRACES, BUDGETS, ALIASES, NUM_TABLES };

/* A table and the column that says that it is there and may be read. */
static const struct {
    const char *name, *column;
} tables[NUM_TABLES] = {[KEYS] = {"LiteLLM_VerificationToken", "token"},
                        [TEAMS] = {"LiteLLM_TeamTable", "team_id"},
                        [GRACES] = {"LiteLLM_DeprecatedVerificationToken", "active_token_id"},
                        [BUDGETS] = {"LiteLLM_BudgetTable", "budget_id"},
                        [ALIASES] = {"LiteLLM_ModelTable", "aliases"}};

struct counts {
    int64_t rows, fresh; /* all, and those written since the last look */
};

struct litellm {
    struct store *store; /* owned */
    char schema[64];
    /* What this database has; looked at anew on each connection. */
    bool looked, has[NUM_TABLES], keys_have_budget, teams_have_aliases;
    bool loaded;
    char since[24]; /* transaction from which on what is written is new */
    struct counts counts[NUM_TABLES];
    struct rights_list list; /* keys sorted by hash */
    size_t num_graces;       /* of the keys in `list` */
    struct litellm_counts left_out;
};

/* ---- a place ---- */

/* Prisma's parameter `schema`. @return false: a name that we would have to quote */
static bool take_schema(const char *url, char *schema, size_t size)
{
    const char *p = strchr(url, '?');
    size_t len = 0;

    snprintf(schema, size, "public");
    for (; p != NULL; p = strchr(p + 1, '&'))
        if (strncmp(p + 1, "schema=", strlen("schema=")) == 0) {
            p += 1 + strlen("schema=");
            len = strcspn(p, "&");
            snprintf(schema, size, "%.*s", (int)len, p);
            break;
        }
    for (const char *c = schema; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    return *schema != '\0' && len < size;
}

int litellm_new(const char *url, uint32_t deadline_ms, struct litellm **out,
                char why[STORE_WHY_BYTES])
{
    struct store_options options = {.deadline_ms = deadline_ms};
    struct litellm *l;
    int rc;

    why[0] = '\0';
    if (strncmp(url, "postgresql://", 13) != 0 && strncmp(url, "postgres://", 11) != 0) {
        snprintf(why, STORE_WHY_BYTES, "LiteLLM's database is a URL: postgresql://host/name");
        return ERR_INVALID;
    }
    l = calloc(1, sizeof(*l));
    if (l == NULL)
        return ERR_NOMEM;
    rc = store_new(url, &options, &l->store, why);
    if (rc == 0 && !take_schema(url, l->schema, sizeof(l->schema))) {
        snprintf(why, STORE_WHY_BYTES, "schema= has a name of letters, digits and _");
        rc = ERR_INVALID;
    }
    if (rc != 0) {
        litellm_free(l);
        return rc;
    }
    l->store->foreign = true;
    *out = l;
    return 0;
}

void litellm_free(struct litellm *l)
{
    if (l == NULL)
        return;
    rights_list_deinit(&l->list);
    store_free(l->store);
    free(l);
}

void litellm_expand(struct litellm *l, store_expand_cb expand, void *arg)
{
    store_expand(l->store, expand, arg);
}

enum store_state litellm_state(const struct litellm *l)
{
    return store_state(l->store);
}

const char *litellm_why(const struct litellm *l)
{
    return store_why(l->store);
}

const char *litellm_place(const struct litellm *l)
{
    return store_place(l->store);
}

uint64_t litellm_reached_ms(const struct litellm *l)
{
    return store_reached_ms(l->store);
}

const struct litellm_counts *litellm_counts(const struct litellm *l)
{
    return &l->left_out;
}

/* ---- what this database has ---- */

static int on_column(void *arg, const struct row *row)
{
    struct litellm *l = arg;
    const char *table = row->texts[0], *column = row->texts[1];

    for (size_t i = 0; i < NUM_TABLES; i++)
        if (strcmp(table, tables[i].name) == 0 && strcmp(column, tables[i].column) == 0)
            l->has[i] = true;
    if (strcmp(table, tables[KEYS].name) == 0 && strcmp(column, "budget_id") == 0)
        l->keys_have_budget = true;
    if (strcmp(table, tables[TEAMS].name) == 0 && strcmp(column, "model_id") == 0)
        l->teams_have_aliases = true;
    return 0;
}

static int look_at_columns(struct litellm *l)
{
    struct value values[] = {value_text(l->schema)};
    int rc;

    memset(l->has, 0, sizeof(l->has));
    l->keys_have_budget = l->teams_have_aliases = false;
    rc = WORK_RUN(l->store,
                  "select table_name, column_name from information_schema.columns"
                  " where table_schema = $1 and table_name like 'LiteLLM%'"
                  " and column_name in ('token', 'team_id', 'active_token_id', 'budget_id',"
                  " 'aliases', 'model_id')",
                  values, on_column, l);
    if (rc == 0 && !l->has[KEYS])
        rc = engine_fail(l->store->engine, ERR_BAD_STATE, STORE_FOREIGN,
                         "no LiteLLM_VerificationToken in schema %s that this role may read",
                         l->schema);
    l->looked = rc == 0;
    return rc;
}

static int begin(struct litellm *l)
{
    int rc;

    if (!l->store->open) /* perhaps another server in its place: nothing is known of it */
        l->looked = l->loaded = false;
    rc = work_begin(l->store, WORK_READ);
    if (rc != 0 || l->looked)
        return rc;
    rc = look_at_columns(l);
    return rc != 0 ? work_end(l->store, rc) : 0;
}

/* ---- rows ---- */

/* Where rows go: one of these is not NULL. */
struct sink {
    struct litellm *l;
    int (*on_json)(struct sink *sink, const struct json *row);
    struct litellm_rows *rows;
    struct rights_list *list;
    struct litellm_counts *left_out;
    size_t unknown;
    /* Of what changed: whether rights did, whether a key is none any more, how many are new. */
    bool real, stopped;
    size_t inserted;
    char last[256];
    size_t num;
};

static int on_row(void *arg, const struct row *row)
{
    struct sink *sink = arg;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *v;
    int rc = 0;

    if (doc == NULL)
        return ERR_NOMEM;
    sink->num++;
    snprintf(sink->last, sizeof(sink->last), "%s", row->texts[1] != NULL ? row->texts[1] : "");
    v = json_parse(doc, row->texts[0], strlen(row->texts[0]), &error);
    if (v != NULL)
        rc = sink->on_json(sink, v);
    else if (sink->left_out != NULL)
        sink->left_out->without_hash++; /* a row of thousands of values: nobody's key */
    json_doc_free(doc);
    return rc;
}

/* The rows of a table as JSON, in the order of its first column, page by page. `where` has $2. */
static int read_rows(struct litellm *l, enum table table, const char *more, const char *where,
                     const char *with, struct sink *sink)
{
    struct value values[] = {value_text(sink->last), value_text(with)};
    const char *key = table == GRACES ? "token" : tables[table].column;
    char sql[1600];
    int rc;

    snprintf(sql, sizeof(sql),
             "select (to_jsonb(t) - '{config,router_settings,model_spend}'::text[]%s)::text, t.%s"
             " from \"%s\".\"%s\" t where t.%s > $1%s order by t.%s limit " PAGE_TEXT,
             more, key, l->schema, tables[table].name, key, where, key);
    sink->last[0] = '\0';
    do {
        sink->num = 0;
        work_go_on(l->store);
        rc = work_run(l->store, sql, values, strstr(where, "$2") != NULL ? 2 : 1, on_row, sink);
    } while (rc == 0 && sink->num == PAGE);
    return rc;
}

static void budget_of_key(const struct litellm *l, char *sql, size_t size)
{
    sql[0] = '\0';
    if (l->keys_have_budget && l->has[BUDGETS])
        snprintf(sql, size,
                 " || jsonb_build_object('litellm_budgettable', (select to_jsonb(b) from"
                 " \"%s\".\"LiteLLM_BudgetTable\" b where b.budget_id = t.budget_id))",
                 l->schema);
}

static void aliases_of_team(const struct litellm *l, char *sql, size_t size)
{
    sql[0] = '\0';
    if (l->teams_have_aliases && l->has[ALIASES])
        snprintf(sql, size,
                 " || jsonb_build_object('litellm_modeltable', (select to_jsonb(m.aliases) from"
                 " \"%s\".\"LiteLLM_ModelTable\" m where m.id = t.model_id))",
                 l->schema);
}

#define FRESH " and pg_catalog.age(t.xmin) <= pg_catalog.age($2::xid)"

static int read_keys(struct litellm *l, const char *where, const char *with, struct sink *sink)
{
    char more[320];

    budget_of_key(l, more, sizeof(more));
    return read_rows(l, KEYS, more, where, with, sink);
}

static int read_teams(struct litellm *l, const char *where, const char *with, struct sink *sink)
{
    char more[320];

    if (!l->has[TEAMS])
        return 0;
    aliases_of_team(l, more, sizeof(more));
    return read_rows(l, TEAMS, more, where, with, sink);
}

/* ---- into a list of rights ---- */

static bool has_budget(const char *fields)
{
    return fields != NULL && strstr(fields, "\"max_budget\":") != NULL;
}

static int key_rights(struct sink *sink, const struct json *row, struct rights_key *out,
                      enum litellm_row *kind)
{
    struct store_key key;
    int rc = litellm_key_of_row(row, &key, kind, &sink->unknown);

    if (rc != 0 || *kind != LITELLM_KEY)
        return rc;
    if (sink->left_out != NULL && has_budget(key.fields))
        sink->left_out->with_budget++;
    rc = work_key_rights(sink->l->store, &key, RIGHTS_OF_LITELLM, out);
    store_key_deinit(&key);
    return rc;
}

static void count_left_out(struct sink *sink, enum litellm_row kind)
{
    sink->left_out->of_pages += kind == LITELLM_PAGE;
    sink->left_out->without_hash += kind == LITELLM_NO_HASH;
}

static int add_key(struct sink *sink, const struct json *row)
{
    struct rights_list *list = sink->list;
    struct rights_key *keys = grow(list->keys, list->num_keys, sizeof(keys[0]));
    enum litellm_row kind;
    int rc;

    if (keys == NULL)
        return ERR_NOMEM;
    list->keys = keys;
    rc = key_rights(sink, row, &keys[list->num_keys], &kind);
    if (rc == 0 && kind == LITELLM_KEY)
        list->num_keys++;
    else if (rc == 0)
        count_left_out(sink, kind);
    return rc;
}

static int add_team(struct sink *sink, const struct json *row)
{
    struct rights_list *list = sink->list;
    struct rights_team *teams = grow(list->teams, list->num_teams, sizeof(teams[0]));
    struct store_team team;
    int rc;

    if (teams == NULL)
        return ERR_NOMEM;
    list->teams = teams;
    rc = litellm_team_of_row(row, &team, &sink->unknown);
    if (rc != 0)
        return rc == ERR_INVALID ? 0 : rc;
    if (sink->left_out != NULL && has_budget(team.fields))
        sink->left_out->with_budget++;
    rc = work_team_rights(sink->l->store, &team, RIGHTS_OF_LITELLM, &teams[list->num_teams]);
    if (rc == 0)
        list->num_teams++;
    store_team_deinit(&team);
    return rc;
}

static int by_hash(const void *a, const void *b)
{
    return memcmp(((const struct rights_key *)a)->hash, ((const struct rights_key *)b)->hash,
                  RIGHTS_HASH_BYTES);
}

static struct rights_key *find(const struct rights_list *list,
                               const unsigned char hash[RIGHTS_HASH_BYTES])
{
    struct rights_key key;

    memcpy(key.hash, hash, RIGHTS_HASH_BYTES);
    return list->num_keys != 0 ? bsearch(&key, list->keys, list->num_keys, sizeof(key), by_hash)
                               : NULL;
}

/* ---- hashes in their grace ---- */

static bool grace_of_row(const struct json *row, struct litellm_grace *out)
{
    const char *old = json_get_str(row, "token"), *now = json_get_str(row, "active_token_id");
    const char *until = json_get_str(row, "revoke_at");
    char zoned[64];

    if (!is_hash(old) || !is_hash(now) || until == NULL)
        return false;
    memcpy(out->hash, old, sizeof(out->hash));
    memcpy(out->now_hash, now, sizeof(out->now_hash));
    snprintf(zoned, sizeof(zoned), "%sZ", until);
    if (!iso8601_read(until, &out->until_unix_ms) && !iso8601_read(zoned, &out->until_unix_ms))
        return false;
    return out->until_unix_ms > clock_unix_ms();
}

int litellm_add_grace(const struct json *row, struct litellm_rows *rows)
{
    struct litellm_grace *graces = grow(rows->graces, rows->num_graces, sizeof(graces[0]));

    if (graces == NULL)
        return ERR_NOMEM;
    rows->graces = graces;
    if (grace_of_row(row, &graces[rows->num_graces]))
        rows->num_graces++;
    return 0;
}

static int add_grace_row(struct sink *sink, const struct json *row)
{
    return litellm_add_grace(row, sink->rows);
}

static int read_graces(struct litellm *l, const char *where, const char *with,
                       struct litellm_rows *rows)
{
    struct sink sink = {.l = l, .on_json = add_grace_row, .rows = rows};

    return l->has[GRACES] ? read_rows(l, GRACES, "", where, with, &sink) : 0;
}

/* The same key under the hash that it had, until its grace ends. */
static int copy_key(struct rights_key *out, const struct rights_key *key,
                    const struct litellm_grace *grace)
{
    int rc = key_copy(out, key);

    out->tail[0] = '\0';
    hash_from_hex(grace->hash, out->hash);
    if (out->expires_unix_ms == 0 || out->expires_unix_ms > grace->until_unix_ms)
        out->expires_unix_ms = grace->until_unix_ms;
    return rc;
}

/* Keys are sorted; those that are added go behind them, and then all are sorted again. */
static int add_graces(struct rights_list *list, const struct litellm_rows *rows)
{
    size_t num_own = list->num_keys;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < rows->num_graces; i++) {
        struct rights_list own = {.keys = list->keys, .num_keys = num_own};
        unsigned char hash[RIGHTS_HASH_BYTES], now_hash[RIGHTS_HASH_BYTES];
        struct rights_key *keys, copy;
        const struct rights_key *key;

        if (!hash_from_hex(rows->graces[i].hash, hash) ||
            !hash_from_hex(rows->graces[i].now_hash, now_hash))
            continue;
        key = find(&own, now_hash);
        if (key == NULL || find(&own, hash) != NULL)
            continue;
        rc = copy_key(&copy, key, &rows->graces[i]);
        keys = rc == 0 ? grow(list->keys, list->num_keys, sizeof(keys[0])) : NULL;
        if (keys == NULL) {
            rights_key_deinit(&copy);
            return ERR_NOMEM;
        }
        list->keys = keys;
        keys[list->num_keys++] = copy;
    }
    if (list->num_keys != num_own)
        qsort(list->keys, list->num_keys, sizeof(list->keys[0]), by_hash);
    return rc;
}

/* ---- all of it ---- */

static int load_into(struct litellm *l, struct rights_list *list, struct litellm_counts *left_out,
                     size_t *num_graces)
{
    struct sink sink = {.l = l, .on_json = add_team, .list = list, .left_out = left_out};
    struct litellm_rows graces = {0};
    int rc = read_teams(l, "", NULL, &sink);

    sink.on_json = add_key;
    if (rc == 0)
        rc = read_keys(l, "", NULL, &sink);
    if (rc == 0 && list->num_keys != 0)
        qsort(list->keys, list->num_keys, sizeof(list->keys[0]), by_hash);
    if (rc == 0)
        rc = read_graces(l, "", NULL, &graces);
    *num_graces = list->num_keys;
    if (rc == 0)
        rc = add_graces(list, &graces);
    *num_graces = list->num_keys - *num_graces;
    litellm_rows_deinit(&graces);
    return rc;
}

static int load_all(struct litellm *l)
{
    struct rights_list list = {0};
    struct litellm_counts left_out = {0};
    size_t num_graces;
    int rc = load_into(l, &list, &left_out, &num_graces);

    if (rc != 0) {
        rights_list_deinit(&list);
        return rc;
    }
    rights_list_deinit(&l->list);
    l->list = list;
    l->left_out = left_out;
    l->num_graces = num_graces;
    return 0;
}

/* ---- what changed ---- */

static int insert_key(struct rights_list *list, struct rights_key *key)
{
    struct rights_key *keys = grow(list->keys, list->num_keys, sizeof(keys[0]));
    size_t at = list->num_keys;

    if (keys == NULL) {
        rights_key_deinit(key);
        return ERR_NOMEM;
    }
    list->keys = keys;
    while (at > 0 && by_hash(&keys[at - 1], key) > 0)
        at--;
    memmove(&keys[at + 1], &keys[at], (list->num_keys - at) * sizeof(keys[0]));
    keys[at] = *key;
    list->num_keys++;
    return 0;
}

static bool is_known(const struct rights_list *list, const char *token)
{
    unsigned char hash[RIGHTS_HASH_BYTES];

    return hash_from_hex(token, hash) && find(list, hash) != NULL;
}

/* A row that was written since the last look: new, changed, or the same but for its spend. */
static int apply_key(struct sink *sink, const struct json *row)
{
    struct rights_key key, *old;
    enum litellm_row kind;
    int rc = key_rights(sink, row, &key, &kind);

    if (rc != 0)
        return rc;
    if (kind != LITELLM_KEY) { /* a page's session is written at each click */
        sink->stopped = sink->stopped || is_known(sink->list, json_get_str(row, "token"));
        return 0;
    }
    old = find(sink->list, key.hash);
    if (old == NULL) {
        sink->inserted++;
        sink->real = true;
        return insert_key(sink->list, &key);
    }
    if (key_is_same(old, &key)) {
        rights_key_deinit(&key);
        return 0;
    }
    rights_key_deinit(old);
    *old = key;
    sink->real = true;
    return 0;
}

static int reload_teams(struct litellm *l)
{
    struct rights_list list = {0};
    struct sink sink = {.l = l, .on_json = add_team, .list = &list};
    int rc = read_teams(l, "", NULL, &sink);

    if (rc != 0) {
        rights_list_deinit(&list);
        return rc;
    }
    for (size_t i = 0; i < l->list.num_teams; i++)
        rights_team_deinit(&l->list.teams[i]);
    free(l->list.teams);
    l->list.teams = list.teams;
    l->list.num_teams = list.num_teams;
    return 0;
}

/* A look: the counts of each table, and the transaction that the next one counts from. */
struct look {
    struct counts counts[NUM_TABLES];
    char since[24];
};

static int on_look(void *arg, const struct row *row)
{
    struct look *look = arg;
    uint64_t xmin = strtoull(row->texts[0] != NULL ? row->texts[0] : "0", NULL, 10);

    snprintf(look->since, sizeof(look->since), "%" PRIu64, xmin & UINT32_MAX);
    for (size_t i = 0; i < NUM_TABLES; i++) {
        look->counts[i].rows = row_int(row, 1 + 2 * i);
        look->counts[i].fresh = row_int(row, 2 + 2 * i);
    }
    return 0;
}

static int take_look(struct litellm *l, struct look *look)
{
    struct value values[] = {value_text(l->loaded ? l->since : NULL)};
    struct strbuf sql = STRBUF_INIT;
    int rc;

    memset(look, 0, sizeof(*look));
    /* The parameter is named where a table may be missing, too: it has to have a type. */
    strbuf_adds(&sql, "select txid_snapshot_xmin(txid_current_snapshot())");
    for (size_t i = 0; i < NUM_TABLES; i++) {
        if (l->has[i])
            strbuf_addf(&sql,
                        ", (select count(*) from \"%s\".\"%s\"), (select count(*) from"
                        " \"%s\".\"%s\" t where pg_catalog.age(t.xmin) <="
                        " pg_catalog.age($1::xid))",
                        l->schema, tables[i].name, l->schema, tables[i].name);
        else
            strbuf_adds(&sql, ", 0, 0");
    }
    rc = strbuf_failed(&sql) ? ERR_NOMEM
                             : WORK_RUN(l->store, strbuf_str(&sql), values, on_look, look);
    strbuf_deinit(&sql);
    return rc;
}

static bool moved(const struct litellm *l, const struct look *look, enum table table)
{
    return look->counts[table].fresh != 0 || look->counts[table].rows != l->counts[table].rows;
}

/* Only rows that are fresh, where that is enough; else all of it.
 * @param whole  set when it was not enough */
static int apply_changes(struct litellm *l, const struct look *look, bool *whole, bool *changed)
{
    struct sink sink = {.l = l, .on_json = apply_key, .list = &l->list};
    int rc = 0;

    *whole = moved(l, look, BUDGETS) || moved(l, look, GRACES);
    if (*whole)
        return 0;
    if (moved(l, look, TEAMS) || moved(l, look, ALIASES)) {
        rc = reload_teams(l);
        *changed = true;
    }
    if (rc == 0 && look->counts[KEYS].fresh != 0)
        rc = read_keys(l, FRESH, l->since, &sink);
    *changed = *changed || sink.real;
    /* A row that is missing was deleted, or has another hash now. Old hashes follow their key. */
    *whole = sink.stopped || (sink.real && l->num_graces != 0) ||
             look->counts[KEYS].rows != l->counts[KEYS].rows + (int64_t)sink.inserted;
    return rc;
}

static int refresh(struct litellm *l, bool *changed)
{
    struct look look;
    bool whole = !l->loaded;
    int rc = take_look(l, &look);

    if (rc == 0 && !whole)
        rc = apply_changes(l, &look, &whole, changed);
    if (rc == 0 && whole) {
        rc = load_all(l);
        *changed = true;
    }
    if (rc != 0) {
        l->loaded = false; /* what was changed in part is read anew */
        return rc;
    }
    memcpy(l->counts, look.counts, sizeof(l->counts));
    memcpy(l->since, look.since, sizeof(l->since));
    l->loaded = true;
    return 0;
}

int litellm_refresh(struct litellm *l, const struct rights_list **list, bool *changed)
{
    int rc = begin(l);

    *changed = false;
    if (rc == 0)
        rc = work_end(l->store, refresh(l, changed));
    if (rc != 0)
        l->loaded = false;
    *list = &l->list;
    return rc;
}

/* ---- one ---- */

static int find_team(struct litellm *l, struct rights_list *out)
{
    struct sink sink = {.l = l, .on_json = add_team, .list = out};

    return out->keys[0].team_id != NULL
               ? read_teams(l, " and t.team_id = $2", out->keys[0].team_id, &sink)
               : 0;
}

static int find_grace(struct litellm *l, const char *hex, struct sink *sink)
{
    struct litellm_rows graces = {0};
    const struct litellm_grace *grace;
    struct rights_key *key;
    int rc = read_graces(l, " and t.token = $2", hex, &graces);

    grace = graces.num_graces != 0 ? &graces.graces[0] : NULL;
    if (rc == 0 && grace != NULL)
        rc = read_keys(l, " and t.token = $2", grace->now_hash, sink);
    if (rc == 0 && grace != NULL && sink->list->num_keys != 0) {
        key = &sink->list->keys[0];
        hash_from_hex(hex, key->hash);
        key->tail[0] = '\0';
        if (key->expires_unix_ms == 0 || key->expires_unix_ms > grace->until_unix_ms)
            key->expires_unix_ms = grace->until_unix_ms;
    }
    litellm_rows_deinit(&graces);
    return rc;
}

static int find_one(struct litellm *l, const char *hex, struct rights_list *out)
{
    struct litellm_counts left_out = {0};
    struct sink sink = {.l = l, .on_json = add_key, .list = out, .left_out = &left_out};
    int rc = read_keys(l, " and t.token = $2", hex, &sink);

    if (rc == 0 && out->num_keys == 0)
        rc = find_grace(l, hex, &sink);
    if (rc == 0 && out->num_keys == 0)
        return ERR_NOT_FOUND;
    return rc == 0 ? find_team(l, out) : rc;
}

int litellm_find(struct litellm *l, const unsigned char hash[RIGHTS_HASH_BYTES],
                 struct rights_list *out)
{
    char hex[STORE_HASH_DIGITS + 1];
    int rc = begin(l);

    memset(out, 0, sizeof(*out));
    hash_to_hex(hash, hex);
    if (rc == 0)
        rc = work_end(l->store, find_one(l, hex, out));
    if (rc != 0)
        rights_list_deinit(out);
    return rc;
}

/* ---- rows for an import ---- */

static int add_key_row(struct sink *sink, const struct json *row)
{
    struct litellm_rows *rows = sink->rows;
    struct store_key *keys = grow(rows->keys, rows->num_keys, sizeof(keys[0]));
    enum litellm_row kind;
    int rc;

    if (keys == NULL)
        return ERR_NOMEM;
    rows->keys = keys;
    rc = litellm_key_of_row(row, &keys[rows->num_keys], &kind, &rows->num_unknown);
    if (rc != 0)
        return rc;
    if (kind != LITELLM_KEY) {
        count_left_out(sink, kind);
        return 0;
    }
    rows->left_out.with_budget += has_budget(keys[rows->num_keys].fields);
    rows->num_keys++;
    return 0;
}

static int add_team_row(struct sink *sink, const struct json *row)
{
    struct litellm_rows *rows = sink->rows;
    struct store_team *teams = grow(rows->teams, rows->num_teams, sizeof(teams[0]));
    int rc;

    if (teams == NULL)
        return ERR_NOMEM;
    rows->teams = teams;
    rc = litellm_team_of_row(row, &teams[rows->num_teams], &rows->num_unknown);
    if (rc != 0)
        return rc == ERR_INVALID ? 0 : rc;
    rows->left_out.with_budget += has_budget(teams[rows->num_teams].fields);
    rows->num_teams++;
    return 0;
}

int litellm_get(struct litellm *l, const char *hex, struct store_key *out)
{
    struct litellm_rows rows = {0};
    struct sink sink = {.l = l, .on_json = add_key_row, .rows = &rows, .left_out = &rows.left_out};
    int rc = begin(l);

    memset(out, 0, sizeof(*out));
    if (rc == 0)
        rc = work_end(l->store, read_keys(l, " and t.token = $2", hex, &sink));
    if (rc == 0 && rows.num_keys == 0)
        rc = ERR_NOT_FOUND;
    if (rc == 0) {
        *out = rows.keys[0];
        rows.keys[0] = (struct store_key){0};
    }
    litellm_rows_deinit(&rows);
    return rc;
}

int litellm_read(struct litellm *l, struct litellm_rows *out)
{
    struct sink sink = {.l = l, .on_json = add_team_row, .rows = out, .left_out = &out->left_out};
    int rc = begin(l);

    memset(out, 0, sizeof(*out));
    if (rc != 0)
        return rc;
    rc = read_teams(l, "", NULL, &sink);
    sink.on_json = add_key_row;
    if (rc == 0)
        rc = read_keys(l, "", NULL, &sink);
    if (rc == 0)
        rc = read_graces(l, "", NULL, out);
    rc = work_end(l->store, rc);
    if (rc != 0)
        litellm_rows_deinit(out);
    return rc;
}
