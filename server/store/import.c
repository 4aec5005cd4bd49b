/* See import.h: into the store, and as a keys file. Files are read in import_file.c. */
#include "store/import.h"

#include "store_impl.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/iso8601.h"
#include "json/json.h"

/* Of a transaction, for which others wait who change keys */
#define BATCH_ROWS 1000
#define BATCH_MS   500

/* ---- into the store ---- */

struct importer {
    struct store *store;
    const struct store_actor *by;
    struct import_counts *counts;
    import_refused_cb on_refused;
    void *arg;
};

static bool is_refusal(int rc)
{
    return rc == ERR_DUPLICATE || rc == ERR_LIMIT || rc == ERR_NOT_FOUND || rc == ERR_INVALID;
}

/* @return 0: the next one; an error that ends it all */
static int refuse(struct importer *i, const char *kind, const char *name, int rc, const char *why)
{
    char what[320];

    if (!is_refusal(rc))
        return rc;
    i->counts->refused++;
    snprintf(what, sizeof(what), "%s %s", kind, name);
    i->on_refused(i->arg, what, why);
    return 0;
}

static int import_team(struct importer *i, const struct store_team *team)
{
    struct store_team there;
    int rc = store_team_get(i->store, team->id, &there);

    if (rc == 0) {
        store_team_deinit(&there);
        i->counts->there++;
        return 0;
    }
    if (rc == ERR_NOT_FOUND)
        rc = store_team_add(i->store, team, i->by, NULL);
    if (rc == 0) {
        i->counts->added++;
        return 0;
    }
    return refuse(i, "team", team->id, rc, store_why(i->store));
}

/* How a key may be named to people: never by its hash. */
static const char *name_of(const struct store_key *key)
{
    return key->alias != NULL ? key->alias : key->name != NULL ? key->name : "without a name";
}

static int import_key(struct importer *i, const struct store_key *key)
{
    struct store_key_name name = {.hash = key->hash};
    struct store_key there;
    const char *why;
    int rc = store_key_get(i->store, &name, &there);

    if (rc == 0) {
        store_key_deinit(&there);
        i->counts->there++;
        return 0;
    }
    if (rc == ERR_NOT_FOUND)
        rc = store_key_add(i->store, key, i->by, NULL);
    if (rc == 0) {
        i->counts->added++;
        return 0;
    }
    why = rc == ERR_NOT_FOUND   ? "its team is not in the database: import the teams as well"
          : rc == ERR_LIMIT     ? "another key has its alias"
          : rc == ERR_DUPLICATE ? "another key has its hash or its id"
                                : store_why(i->store);
    return refuse(i, "key", name_of(key), rc, why);
}

static int import_grace(struct importer *i, const struct litellm_grace *grace)
{
    struct store_key_name old = {.hash = grace->hash}, now = {.hash = grace->now_hash};
    struct store_key key;
    int rc = store_key_get(i->store, &old, &key);

    if (rc == 0) {
        store_key_deinit(&key);
        i->counts->there++;
        return 0;
    }
    if (rc == ERR_NOT_FOUND)
        rc = store_key_get(i->store, &now, &key);
    if (rc == 0) {
        rc = store_key_add_grace(i->store, key.id, grace->hash, grace->until_unix_ms, i->by, NULL);
        store_key_deinit(&key);
    }
    if (rc == 0) {
        i->counts->added++;
        return 0;
    }
    return refuse(i, "old hash", "of a key", rc, "its key is not in the database");
}

/* Some keys at once; when one of them is there or is refused, one after the other. */
static int import_keys(struct importer *i, const struct store_key *keys, size_t num)
{
    int rc = store_key_add_all(i->store, keys, num, i->by);

    if (rc == 0)
        i->counts->added += num;
    if (!is_refusal(rc))
        return rc;
    rc = 0;
    for (size_t n = 0; rc == 0 && n < num; n++)
        rc = import_key(i, &keys[n]);
    return rc;
}

/* The next rows of all: teams first, which keys name, then the keys, which old hashes name.
 * @param at  moved on */
static int import_next(struct importer *i, const struct litellm_rows *rows, size_t *at)
{
    size_t n = *at, num = 1;
    int rc;

    if (n < rows->num_teams) {
        rc = import_team(i, &rows->teams[n]);
    } else if ((n -= rows->num_teams) < rows->num_keys) {
        num = rows->num_keys - n < STORE_KEYS_AT_ONCE ? rows->num_keys - n : STORE_KEYS_AT_ONCE;
        rc = import_keys(i, &rows->keys[n], num);
    } else {
        rc = import_grace(i, &rows->graces[n - rows->num_keys]);
    }
    *at += num;
    return rc;
}

/* Some rows in one transaction.
 * @param at  the first of them; moved on. On an error none was added */
static int import_batch(struct importer *i, const struct litellm_rows *rows, size_t *at, size_t num)
{
    uint64_t until_ms = clock_now_ms() + BATCH_MS;
    size_t n = *at, end = num - n < BATCH_ROWS ? num : n + BATCH_ROWS, added = i->counts->added;
    int kept, rc = store_batch_begin(i->store);

    if (rc != 0)
        return rc;
    while (rc == 0 && n < end && (n == *at || clock_now_ms() < until_ms))
        rc = import_next(i, rows, &n);
    kept = store_batch_end(i->store);
    rc = rc == 0 ? kept : rc;
    if (rc == 0)
        *at = n;
    else
        i->counts->added = added;
    return rc;
}

int import_into(struct store *store, const struct litellm_rows *rows, const struct store_actor *by,
                struct import_counts *counts, import_refused_cb on_refused, void *arg)
{
    struct importer i = {
        .store = store, .by = by, .counts = counts, .on_refused = on_refused, .arg = arg};
    size_t at = 0, num = rows->num_teams + rows->num_keys + rows->num_graces;
    int rc = 0;

    *counts = (struct import_counts){0};
    while (rc == 0 && at < num)
        rc = import_batch(&i, rows, &at, num);
    return rc;
}

/* ---- a keys file: YAML, whose texts, lists and maps are written as JSON has them ---- */

static void add_text(struct strbuf *out, const char *name, const char *text)
{
    if (text == NULL)
        return;
    strbuf_addf(out, "    %s: ", name);
    json_write_string(out, text, strlen(text));
    strbuf_addc(out, '\n');
}

static void add_json(struct strbuf *out, const char *name, const char *json)
{
    if (json != NULL && strcmp(json, "{}") != 0 && strcmp(json, "[]") != 0)
        strbuf_addf(out, "    %s: %s\n", name, json);
}

/* Empty is all at LiteLLM, and has to be said in a keys file (A17). */
static void add_models(struct strbuf *out, const char *models)
{
    bool all = models == NULL || strcmp(models, "[]") == 0;

    strbuf_addf(out, "    models: %s\n", all ? "[\"*\"]" : models);
}

/* Of the other fields those that a keys file has. */
static void add_limits(struct strbuf *out, const char *fields)
{
    static const char *const names[] = {"rpm_limit", "max_parallel_requests"};
    struct json_doc *doc = fields != NULL ? json_doc_new() : NULL;
    struct json_error error;
    const struct json *all;

    if (doc == NULL) {
        out->failed = out->failed || fields != NULL;
        return;
    }
    all = json_parse(doc, fields, strlen(fields), &error);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct json *v = json_get(all, names[i]);
        const char *text = json_str(v, NULL) != NULL ? json_str(v, NULL) : json_number_text(v);

        if (text != NULL && *text != '\0' && strspn(text, "0123456789") == strlen(text))
            strbuf_addf(out, "    %s: %s\n", names[i], text);
    }
    json_doc_free(doc);
}

static void print_team(const struct store_team *team, struct strbuf *out)
{
    strbuf_adds(out, "  - team_id: ");
    json_write_string(out, team->id, strlen(team->id));
    strbuf_addc(out, '\n');
    add_text(out, "team_alias", team->alias);
    add_models(out, team->models);
    add_json(out, "model_aliases", team->aliases);
    add_json(out, "metadata", team->metadata);
    add_limits(out, team->fields);
    strbuf_adds(out, team->blocked ? "    blocked: true\n" : "");
}

static void print_key(const struct store_key *key, struct strbuf *out)
{
    char time[ISO8601_SIZE];

    strbuf_addf(out, "  - hash: sha256:%s\n", key->hash);
    add_text(out, "key_name", key->name);
    add_text(out, "key_alias", key->alias);
    add_models(out, key->models);
    add_json(out, "aliases", key->aliases);
    add_text(out, "team_id", key->team_id);
    add_text(out, "user_id", key->user_id);
    add_json(out, "allowed_routes", key->routes);
    add_json(out, "metadata", key->metadata);
    add_limits(out, key->fields);
    if (key->expires_unix_ms != 0) {
        iso8601_print(key->expires_unix_ms, time);
        strbuf_addf(out, "    expires: \"%s\"\n", time);
    }
    strbuf_adds(out, key->blocked ? "    blocked: true\n" : "");
}

int import_print(const struct litellm_rows *rows, struct strbuf *out)
{
    if (rows->num_teams != 0)
        strbuf_adds(out, "teams:\n");
    for (size_t i = 0; i < rows->num_teams; i++)
        print_team(&rows->teams[i], out);
    if (rows->num_keys != 0)
        strbuf_adds(out, "keys:\n");
    for (size_t i = 0; i < rows->num_keys; i++)
        print_key(&rows->keys[i], out);
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}
