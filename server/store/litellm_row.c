/* One row of LiteLLM's tables as ours: see litellm_key_of_row().
 *
 * A value that cannot be read narrows: an expiry that is no time is past, a list that is none allows
 * nothing, and a truth value that is none means blocked. */
#include "store_impl.h"
#include "store/litellm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/iso8601.h"
#include "json/json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The team of the sessions of LiteLLM's admin page. */
#define PAGES_TEAM "litellm-dashboard"

/* Columns that go into `fields` as they are: what counts of them is read by store_rights.c, the
 * rest is kept for whoever asks about the key. */
static const char *const kept[] = {
    "rpm_limit",        "tpm_limit",       "max_parallel_requests", "max_budget",
    "soft_budget",      "spend",           "budget_duration",       "budget_reset_at",
    "budget_limits",    "budget_id",       "model_max_budget",      "permissions",
    "project_id",       "auto_rotate",     "rotation_interval",     "rotation_count",
    "last_rotation_at", "key_rotation_at", "members_with_roles"};

/* Columns that have a place of their own. */
static const char *const taken[] = {"token",
                                    "key_name",
                                    "key_alias",
                                    "team_id",
                                    "team_alias",
                                    "user_id",
                                    "organization_id",
                                    "models",
                                    "aliases",
                                    "allowed_routes",
                                    "metadata",
                                    "blocked",
                                    "expires",
                                    "created_by",
                                    "created_at",
                                    "litellm_budgettable",
                                    "litellm_modeltable"};

static bool is_in(const char *name, const char *const *list, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

/* ---- values ---- */

/* A value that is there: not NULL, and in CSV not empty. */
static const struct json *get(const struct json *row, const char *name)
{
    const struct json *v = json_get(row, name);
    size_t len = 1;

    if (v == NULL || json_is(v, JSON_NULL))
        return NULL;
    if (json_is(v, JSON_STRING))
        json_str(v, &len);
    return len != 0 ? v : NULL;
}

static int take_text(char **out, const struct json *row, const char *name)
{
    const char *text = json_str(get(row, name), NULL);

    *out = text != NULL ? strdup(text) : NULL;
    return text == NULL || *out != NULL ? 0 : ERR_NOMEM;
}

static bool take_truth(const struct json *row, const char *name)
{
    const struct json *v = get(row, name);
    const char *text = json_str(v, NULL);
    bool truth = true;

    if (v == NULL || json_bool(v, &truth))
        return v != NULL && truth;
    return text == NULL || !is_in(text, (const char *const[]){"f", "false", "False", "0"}, 4);
}

/* Prisma's times are UTC and do not say so. */
static int64_t take_time(const struct json *row, const char *name, int64_t otherwise)
{
    const struct json *v = get(row, name);
    const char *text = json_str(v, NULL);
    char zoned[64];
    int64_t unix_ms;

    if (v == NULL)
        return 0;
    if (text == NULL)
        return otherwise;
    if (iso8601_read(text, &unix_ms))
        return unix_ms;
    snprintf(zoned, sizeof(zoned), "%sZ", text);
    return strlen(text) < sizeof(zoned) - 1 && iso8601_read(zoned, &unix_ms) ? unix_ms : otherwise;
}

/* "{a,"b c",NULL}", PostgreSQL's way of writing an array, as JSON. */
static void array_of_text(const char *text, struct strbuf *out)
{
    struct strbuf item = STRBUF_INIT;
    const char *p = text + 1;
    bool quoted = false, first = true;

    strbuf_addc(out, '[');
    for (; *p != '\0' && (quoted || *p != '}' || item.len != 0); p++) {
        if (*p == '"') {
            quoted = !quoted;
        } else if (*p == '\\' && p[1] != '\0') {
            strbuf_addc(&item, *++p);
        } else if (!quoted && (*p == ',' || *p == '}')) {
            strbuf_adds(out, first ? "" : ",");
            json_write_string(out, strbuf_str(&item), item.len);
            strbuf_reset(&item);
            first = false;
            if (*p == '}')
                break;
        } else {
            strbuf_addc(&item, *p);
        }
    }
    strbuf_addc(out, ']');
    strbuf_deinit(&item);
}

/* A list or a map as JSON text. @param otherwise  the text that stands for one of the wrong type */
static int take_json(char **out, const struct json *row, const char *name, enum json_type type,
                     const char *otherwise)
{
    const struct json *v = get(row, name);
    const char *text = json_str(v, NULL);
    struct strbuf sb = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    int rc = 0;

    if (doc == NULL)
        return ERR_NOMEM;
    if (text != NULL && type == JSON_ARRAY && *text == '{')
        array_of_text(text, &sb);
    else if (text != NULL && json_is(json_parse(doc, text, strlen(text), &error), type))
        strbuf_adds(&sb, text);
    else if (v != NULL && json_is(v, type))
        json_write(v, &sb);
    else if (v != NULL)
        strbuf_adds(&sb, otherwise);
    json_doc_free(doc);
    if (strbuf_failed(&sb))
        rc = ERR_NOMEM;
    if (rc == 0 && sb.len != 0) {
        *out = strbuf_take(&sb);
        rc = *out != NULL ? 0 : ERR_NOMEM;
    }
    strbuf_deinit(&sb);
    return rc;
}

#define NOTHING   "[\"no-default-models\"]"
#define NO_TOKENS "{\"batch_enqueued_token_limit\":0,\"max_open_batches\":0}"

/* A column's own value, else that of the shared budget (A14). A number that CSV writes as text is
 * one. */
static const struct json *kept_value(const struct json *row, const char *name)
{
    const struct json *v = get(row, name);

    return v != NULL ? v : get(get(row, "litellm_budgettable"), name);
}

static int take_kept(char **out, const struct json *row)
{
    struct strbuf sb = STRBUF_INIT;
    int rc = 0;

    strbuf_addc(&sb, '{');
    for (size_t i = 0; i < COUNT(kept); i++) {
        const struct json *v = kept_value(row, kept[i]);
        bool many = json_is(v, JSON_ARRAY) || json_is(v, JSON_OBJECT);

        if (v == NULL || (many && json_size(v) == 0))
            continue;
        strbuf_addf(&sb, "%s\"%s\":", sb.len > 1 ? "," : "", kept[i]);
        json_write(v, &sb);
    }
    strbuf_addc(&sb, '}');
    if (strbuf_failed(&sb))
        rc = ERR_NOMEM;
    else if (sb.len > 2)
        *out = strbuf_take(&sb);
    strbuf_deinit(&sb);
    return rc;
}

static void count_unknown(const struct json *row, size_t *unknown)
{
    for (size_t i = 0; i < json_size(row); i++) {
        const char *name = json_key_at(row, i, NULL);

        if (!is_in(name, kept, COUNT(kept)) && !is_in(name, taken, COUNT(taken)))
            ++*unknown;
    }
}

/* ---- rows ---- */

static int fill_key(const struct json *row, struct store_key *key)
{
    char **texts[] = {&key->name,    &key->alias,           &key->team_id,
                      &key->user_id, &key->organization_id, &key->created_by};
    static const char *const names[] = {"key_name", "key_alias",       "team_id",
                                        "user_id",  "organization_id", "created_by"};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < COUNT(texts); i++)
        rc = take_text(texts[i], row, names[i]);
    if (rc == 0)
        rc = take_json(&key->models, row, "models", JSON_ARRAY, NOTHING);
    if (rc == 0)
        rc = take_json(&key->aliases, row, "aliases", JSON_OBJECT, "{}");
    if (rc == 0)
        rc = take_json(&key->routes, row, "allowed_routes", JSON_ARRAY, NOTHING);
    if (rc == 0)
        rc = take_json(&key->metadata, row, "metadata", JSON_OBJECT, NO_TOKENS);
    if (rc == 0)
        rc = take_kept(&key->fields, row);
    key->blocked = take_truth(row, "blocked");
    key->expires_unix_ms = take_time(row, "expires", 1);
    key->created_unix_ms = take_time(row, "created_at", 0);
    return rc;
}

int litellm_key_of_row(const struct json *row, struct store_key *out, enum litellm_row *kind,
                       size_t *unknown)
{
    const char *token = json_get_str(row, "token"), *team = json_get_str(row, "team_id");
    struct store_key key = {0};
    int rc;

    *kind = LITELLM_NO_HASH;
    if (!is_hash(token))
        return 0;
    *kind = LITELLM_PAGE;
    if (team != NULL && strcmp(team, PAGES_TEAM) == 0)
        return 0;
    *kind = LITELLM_KEY;
    memcpy(key.hash, token, sizeof(key.hash));
    key.id = strdup(token);
    key.source = strdup("import");
    rc = key.id != NULL && key.source != NULL ? fill_key(row, &key) : ERR_NOMEM;
    if (rc != 0) {
        store_key_deinit(&key);
        return rc;
    }
    count_unknown(row, unknown);
    *out = key;
    return 0;
}

int litellm_team_of_row(const struct json *row, struct store_team *out, size_t *unknown)
{
    struct store_team team = {0};
    int rc = take_text(&team.id, row, "team_id");

    if (rc == 0 && team.id == NULL)
        return ERR_INVALID;
    if (rc == 0)
        rc = take_text(&team.alias, row, "team_alias");
    if (rc == 0)
        rc = take_text(&team.organization_id, row, "organization_id");
    if (rc == 0)
        rc = take_json(&team.models, row, "models", JSON_ARRAY, NOTHING);
    if (rc == 0)
        rc = take_json(&team.aliases, row, "litellm_modeltable", JSON_OBJECT, "{}");
    if (rc == 0)
        rc = take_json(&team.metadata, row, "metadata", JSON_OBJECT, NO_TOKENS);
    if (rc == 0)
        rc = take_kept(&team.fields, row);
    team.blocked = take_truth(row, "blocked");
    team.created_unix_ms = take_time(row, "created_at", 0);
    if (rc != 0) {
        store_team_deinit(&team);
        return rc;
    }
    count_unknown(row, unknown);
    *out = team;
    return 0;
}

void litellm_rows_deinit(struct litellm_rows *rows)
{
    for (size_t i = 0; i < rows->num_keys; i++)
        store_key_deinit(&rows->keys[i]);
    free(rows->keys);
    for (size_t i = 0; i < rows->num_teams; i++)
        store_team_deinit(&rows->teams[i]);
    free(rows->teams);
    free(rows->graces);
    memset(rows, 0, sizeof(*rows));
}
