/* Rows of keys and teams: read, checked, told as JSON. */
#include "store_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "json/json.h"

bool copy_column(char **out, const struct row *row, size_t column)
{
    if (row->texts[column] == NULL)
        return true;
    *out = strdup(row->texts[column]);
    return *out != NULL;
}

bool is_hash(const char *text)
{
    return text != NULL && strlen(text) == STORE_HASH_DIGITS &&
           strspn(text, "0123456789abcdef") == STORE_HASH_DIGITS;
}

void hash_to_hex(const unsigned char hash[RIGHTS_HASH_BYTES], char out[STORE_HASH_DIGITS + 1])
{
    static_assert(STORE_HASH_DIGITS == 2 * RIGHTS_HASH_BYTES, "two digits a byte");
    hex_write(hash, RIGHTS_HASH_BYTES, out);
}

static unsigned digit_of(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

bool hash_from_hex(const char *text, unsigned char out[RIGHTS_HASH_BYTES])
{
    if (!is_hash(text))
        return false;
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++)
        out[i] = (unsigned char)(digit_of(text[2 * i]) << 4 | digit_of(text[2 * i + 1]));
    return true;
}

void store_key_deinit(struct store_key *key)
{
    char *texts[] = {key->id,         key->name,      key->alias,
                     key->team_id,    key->user_id,   key->organization_id,
                     key->models,     key->aliases,   key->routes,
                     key->metadata,   key->fields,    key->source,
                     key->created_by, key->updated_by};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    memset(key, 0, sizeof(*key));
}

void store_team_deinit(struct store_team *team)
{
    char *texts[] = {team->id,     team->alias,      team->organization_id,
                     team->models, team->aliases,    team->metadata,
                     team->fields, team->created_by, team->updated_by};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    memset(team, 0, sizeof(*team));
}

int key_of_row(const struct row *row, struct store_key *out)
{
    char **texts[] = {&out->id,       &out->name,    &out->alias,
                      &out->team_id,  &out->user_id, &out->organization_id,
                      &out->models,   &out->aliases, &out->routes,
                      &out->metadata, &out->fields,  &out->source};
    bool ok = true;

    memset(out, 0, sizeof(*out));
    if (!is_hash(row->texts[0]))
        return ERR_INVALID;
    memcpy(out->hash, row->texts[0], sizeof(out->hash));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ok = ok && copy_column(texts[i], row, i + 1);
    out->admin = row_int(row, 13) != 0;
    out->blocked = row_int(row, 14) != 0;
    out->expires_unix_ms = row_int(row, 15);
    out->created_unix_ms = row_int(row, 16);
    ok = ok && copy_column(&out->created_by, row, 17);
    out->updated_unix_ms = row_int(row, 18);
    ok = ok && copy_column(&out->updated_by, row, 19);
    out->gen = row_int(row, 20);
    if (!ok)
        store_key_deinit(out);
    return ok ? 0 : ERR_NOMEM;
}

int team_of_row(const struct row *row, struct store_team *out)
{
    char **texts[] = {&out->id,      &out->alias,    &out->organization_id, &out->models,
                      &out->aliases, &out->metadata, &out->fields};
    bool ok = true;

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ok = ok && copy_column(texts[i], row, i);
    out->blocked = row_int(row, 7) != 0;
    out->created_unix_ms = row_int(row, 8);
    ok = ok && copy_column(&out->created_by, row, 9);
    out->updated_unix_ms = row_int(row, 10);
    ok = ok && copy_column(&out->updated_by, row, 11);
    out->gen = row_int(row, 12);
    if (!ok)
        store_team_deinit(out);
    return ok ? 0 : ERR_NOMEM;
}

/* ---- checks ---- */

static int refuse(struct store *store, const char *column, const char *why)
{
    return engine_fail(store->engine, ERR_INVALID, STORE_UP, "%s: %s", column, why);
}

static int check_text(struct store *store, const char *column, const char *text)
{
    return text == NULL || utf8_is_valid(text, strlen(text)) ? 0
                                                             : refuse(store, column, "not UTF-8");
}

static int check_json(struct store *store, const char *column, const char *text,
                      enum json_type type)
{
    struct json_doc *doc;
    struct json_error error;
    bool fits;

    if (text == NULL)
        return 0;
    doc = json_doc_new();
    if (doc == NULL)
        return ERR_NOMEM;
    fits = json_is(json_parse(doc, text, strlen(text), &error), type);
    json_doc_free(doc);
    return fits ? 0
                : refuse(store, column, type == JSON_ARRAY ? "no JSON array" : "no JSON object");
}

struct column {
    const char *name, *text;
};

static int check_all(struct store *store, const struct column *texts, size_t num_texts,
                     const struct column *maps, size_t num_maps)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < num_texts; i++)
        rc = check_text(store, texts[i].name, texts[i].text);
    for (size_t i = 0; rc == 0 && i < num_maps; i++)
        rc = check_json(store, maps[i].name, maps[i].text, JSON_OBJECT);
    return rc;
}

#define CHECK_ALL(store, texts, maps)                                                              \
    check_all(store, texts, sizeof(texts) / sizeof((texts)[0]), maps,                              \
              sizeof(maps) / sizeof((maps)[0]))

int key_check(struct store *store, const struct store_key *key)
{
    const struct column texts[] = {
        {"id", key->id},           {"key_name", key->name},
        {"key_alias", key->alias}, {"team_id", key->team_id},
        {"user_id", key->user_id}, {"organization_id", key->organization_id},
        {"source", key->source}};
    const struct column maps[] = {
        {"aliases", key->aliases}, {"metadata", key->metadata}, {"fields", key->fields}};
    int rc = is_hash(key->hash) ? 0 : refuse(store, "token", "no SHA-256 in lower-case hex");

    if (rc == 0)
        rc = CHECK_ALL(store, texts, maps);
    if (rc == 0)
        rc = check_json(store, "models", key->models, JSON_ARRAY);
    return rc == 0 ? check_json(store, "allowed_routes", key->routes, JSON_ARRAY) : rc;
}

int team_check(struct store *store, const struct store_team *team)
{
    const struct column texts[] = {{"team_id", team->id},
                                   {"team_alias", team->alias},
                                   {"organization_id", team->organization_id}};
    const struct column maps[] = {
        {"model_aliases", team->aliases}, {"metadata", team->metadata}, {"fields", team->fields}};
    int rc = team->id != NULL && *team->id != '\0' ? 0 : refuse(store, "team_id", "empty");

    if (rc == 0)
        rc = CHECK_ALL(store, texts, maps);
    return rc == 0 ? check_json(store, "models", team->models, JSON_ARRAY) : rc;
}

/* ---- for the audit ---- */

static void add_texts(struct strbuf *out, const struct column *texts, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (texts[i].text != NULL)
            json_write_member_string(out, texts[i].name, texts[i].text);
}

static void add_maps(struct strbuf *out, const struct column *maps, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (maps[i].text != NULL)
            strbuf_addf(out, ",\"%s\":%s", maps[i].name, maps[i].text);
}

void key_to_json(const struct store_key *key, struct strbuf *out)
{
    const struct column texts[] = {
        {"id", key->id},           {"key_name", key->name},
        {"key_alias", key->alias}, {"team_id", key->team_id},
        {"user_id", key->user_id}, {"organization_id", key->organization_id}};
    const struct column maps[] = {{"models", key->models},
                                  {"aliases", key->aliases},
                                  {"allowed_routes", key->routes},
                                  {"metadata", key->metadata},
                                  {"fields", key->fields}};

    strbuf_addc(out, '{');
    add_texts(out, texts, sizeof(texts) / sizeof(texts[0]));
    json_write_member_int(out, "expires", key->expires_unix_ms);
    strbuf_addf(out, ",\"admin\":%s,\"blocked\":%s", key->admin ? "true" : "false",
                key->blocked ? "true" : "false");
    add_maps(out, maps, sizeof(maps) / sizeof(maps[0]));
    strbuf_addc(out, '}');
}

void team_to_json(const struct store_team *team, struct strbuf *out)
{
    const struct column texts[] = {{"team_id", team->id},
                                   {"team_alias", team->alias},
                                   {"organization_id", team->organization_id}};
    const struct column maps[] = {{"models", team->models},
                                  {"model_aliases", team->aliases},
                                  {"metadata", team->metadata},
                                  {"fields", team->fields}};

    strbuf_addc(out, '{');
    add_texts(out, texts, sizeof(texts) / sizeof(texts[0]));
    json_write_member_int(out, "updated", team->updated_unix_ms);
    strbuf_addf(out, ",\"blocked\":%s", team->blocked ? "true" : "false");
    add_maps(out, maps, sizeof(maps) / sizeof(maps[0]));
    strbuf_addc(out, '}');
}
