/* Rows as LiteLLM shows them: the names and shapes that its clients read (tenants statements A5,
 * A10, A11). Money, which is not counted here, is 0. */
#include <string.h>

#include "common/iso8601.h"
#include "manage_impl.h"

static void set_time(struct manage_job *job, struct json *out, const char *name, int64_t unix_ms)
{
    char text[ISO8601_SIZE];

    if (unix_ms == 0) {
        json_set(job->doc, out, name, json_new_null(job->doc));
        return;
    }
    iso8601_print(unix_ms, text);
    json_set_str(job->doc, out, name, text);
}

static void set_text(struct manage_job *job, struct json *out, const char *name, const char *text)
{
    json_set(job->doc, out, name, json_new_cstring(job->doc, text));
}

/* A column that has JSON; what cannot be read is shown as empty. */
static struct json *read_column(struct manage_job *job, const char *text, enum json_type type)
{
    struct json_error error;
    struct json *v = text == NULL ? NULL : json_parse(job->doc, text, strlen(text), &error);

    if (json_is(v, type))
        return v;
    return type == JSON_ARRAY ? json_new_array(job->doc) : json_new_object(job->doc);
}

/* What LiteLLM always shows, also when nobody set it; then the row's own fields. */
static void set_fields(struct manage_job *job, struct json *out, const char *text)
{
    static const char *const always[] = {
        "max_parallel_requests", "tpm_limit",      "rpm_limit", "max_budget",
        "budget_duration",       "budget_reset_at"};
    const struct json *fields = read_column(job, text, JSON_OBJECT);

    json_set(job->doc, out, "spend", json_new_double(job->doc, 0));
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        json_set(job->doc, out, always[i], json_new_null(job->doc));
    for (size_t i = 0; i < json_size(fields); i++)
        json_set(job->doc, out, json_key_at(fields, i, NULL), json_at(fields, i));
}

struct json *manage_show_key(struct manage_job *job, const struct store_key *key, bool hash)
{
    struct json *out = json_new_object(job->doc);

    if (hash)
        set_text(job, out, "token", key->hash);
    set_text(job, out, "key_name", key->name);
    set_text(job, out, "key_alias", key->alias);
    set_time(job, out, "expires", key->expires_unix_ms);
    json_set(job->doc, out, "models", read_column(job, key->models, JSON_ARRAY));
    json_set(job->doc, out, "aliases", read_column(job, key->aliases, JSON_OBJECT));
    set_text(job, out, "user_id", key->user_id);
    set_text(job, out, "team_id", key->team_id);
    set_text(job, out, "organization_id", key->organization_id);
    json_set(job->doc, out, "metadata", read_column(job, key->metadata, JSON_OBJECT));
    json_set(job->doc, out, "allowed_routes", read_column(job, key->routes, JSON_ARRAY));
    json_set(job->doc, out, "blocked", json_new_bool(job->doc, key->blocked));
    set_fields(job, out, key->fields);
    set_time(job, out, "created_at", key->created_unix_ms);
    set_text(job, out, "created_by", key->created_by);
    set_time(job, out, "updated_at", key->updated_unix_ms);
    set_text(job, out, "updated_by", key->updated_by);
    return out;
}

static struct json *show_models(struct manage_job *job, const struct rights_models *models)
{
    struct json *out = json_new_array(job->doc);

    if (models->all)
        json_append(job->doc, out, json_new_cstring(job->doc, "all-proxy-models"));
    if (models->of_team)
        json_append(job->doc, out, json_new_cstring(job->doc, "all-team-models"));
    for (size_t i = 0; i < models->num_names; i++)
        json_append(job->doc, out, json_new_cstring(job->doc, models->names[i]));
    return out;
}

struct json *manage_show_file_key(struct manage_job *job, const struct rights_key *key,
                                  const char *source)
{
    struct json *out = json_new_object(job->doc);
    struct strbuf name = STRBUF_INIT;

    if (key->tail[0] != '\0')
        strbuf_addf(&name, "sk-...%s", key->tail);
    set_text(job, out, "key_name", name.len == 0 ? NULL : strbuf_str(&name));
    strbuf_deinit(&name);
    set_text(job, out, "key_alias", key->alias);
    set_time(job, out, "expires", key->expires_unix_ms);
    json_set(job->doc, out, "models", show_models(job, &key->models));
    set_text(job, out, "user_id", key->user_id);
    set_text(job, out, "team_id", key->team_id);
    json_set(job->doc, out, "blocked", json_new_bool(job->doc, key->blocked));
    set_text(job, out, "source", source);
    return out;
}

struct json *manage_show_team(struct manage_job *job, const struct store_team *team)
{
    struct json *out = json_new_object(job->doc);

    set_text(job, out, "team_id", team->id);
    set_text(job, out, "team_alias", team->alias);
    set_text(job, out, "organization_id", team->organization_id);
    json_set(job->doc, out, "models", read_column(job, team->models, JSON_ARRAY));
    json_set(job->doc, out, "model_aliases", read_column(job, team->aliases, JSON_OBJECT));
    json_set(job->doc, out, "metadata", read_column(job, team->metadata, JSON_OBJECT));
    json_set(job->doc, out, "members_with_roles", json_new_array(job->doc));
    json_set(job->doc, out, "blocked", json_new_bool(job->doc, team->blocked));
    set_fields(job, out, team->fields);
    set_time(job, out, "created_at", team->created_unix_ms);
    set_time(job, out, "updated_at", team->updated_unix_ms);
    return out;
}
