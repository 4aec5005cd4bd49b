/* The fields of bodies and queries: read by their kinds, checked, and put into a row. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/retention.h"
#include "manage_impl.h"
#include "price/budget.h"

#define MAX_MODELS  1000
#define MAX_FIELDS  (16u << 10) /* bytes of what one row keeps without understanding it */
#define MAX_LIFE_MS (INT64_C(100) * 365 * 86400000)
#define MIN_KEY_LEN 16
#define NO_JOURNAL  "by the journal (tranche_settings.journal), which this gateway has not"

enum kind {
    TEXT,     /* a column */
    TEXTS,    /* a column: JSON array of texts */
    TEXT_MAP, /* a column: JSON object of texts */
    METADATA, /* a column: JSON object, in which some members are limits */
    FLAG,     /* a column */
    LIMIT,    /* kept in `fields`: a whole number, 0 or more */
    DOLLARS,  /* kept: a number, 0 or more */
    PERIOD,   /* kept: a duration */
    EXPIRY,   /* kept: {anchor, seconds} */
    LEAVING,  /* kept: what retention_read() takes */
    KEY_TYPE, /* kept, and makes an administrator */
    BUDGET,   /* refused, for it would not be enforced (tenants statement A21) */
    UNDONE,   /* kept, and told that it has no effect */
    KEPT      /* kept; means nothing for files and batches */
};

#define OF_KEY  1u
#define OF_TEAM 2u
#define OF_BOTH 3u

struct field {
    const char *name;
    enum kind kind;
    unsigned of;
    size_t key, team; /* offsets of the column */
};

#define KEY(member)  offsetof(struct store_key, member)
#define TEAM(member) offsetof(struct store_team, member)

static const struct field fields[] = {
    {"key_alias", TEXT, OF_KEY, KEY(alias), 0},
    {"team_alias", TEXT, OF_TEAM, 0, TEAM(alias)},
    {"team_id", TEXT, OF_KEY, KEY(team_id), 0},
    {"user_id", TEXT, OF_KEY, KEY(user_id), 0},
    {"organization_id", TEXT, OF_BOTH, KEY(organization_id), TEAM(organization_id)},
    {"models", TEXTS, OF_BOTH, KEY(models), TEAM(models)},
    {"aliases", TEXT_MAP, OF_KEY, KEY(aliases), 0},
    {"model_aliases", TEXT_MAP, OF_TEAM, 0, TEAM(aliases)},
    {"allowed_routes", TEXTS, OF_KEY, KEY(routes), 0},
    {"metadata", METADATA, OF_BOTH, KEY(metadata), TEAM(metadata)},
    {"blocked", FLAG, OF_BOTH, KEY(blocked), TEAM(blocked)},
    {"key_type", KEY_TYPE, OF_KEY, 0, 0},
    {"batch_enqueued_token_limit", LIMIT, OF_BOTH, 0, 0},
    {"max_open_batches", LIMIT, OF_BOTH, 0, 0},
    {"rpm_limit", LIMIT, OF_BOTH, 0, 0},
    {"max_requests_per_second", LIMIT, OF_BOTH, 0, 0},
    {"request_burst", LIMIT, OF_BOTH, 0, 0},
    {"max_parallel_requests", LIMIT, OF_BOTH, 0, 0},
    {"max_concurrent_uploads", LIMIT, OF_BOTH, 0, 0},
    {"max_spool_bytes", LIMIT, OF_BOTH, 0, 0},
    {"max_batch_file_size_mb", LIMIT, OF_BOTH, 0, 0},
    {"enforced_file_expires_after", EXPIRY, OF_BOTH, 0, 0},
    {"enforced_batch_output_expires_after", EXPIRY, OF_BOTH, 0, 0},
    {"delete_after", LEAVING, OF_BOTH, 0, 0},
    {"max_budget", DOLLARS, OF_BOTH, 0, 0},
    {"soft_budget", BUDGET, OF_BOTH, 0, 0},
    {"budget_duration", PERIOD, OF_BOTH, 0, 0},
    {"budget_limits", BUDGET, OF_BOTH, 0, 0},
    {"budget_id", BUDGET, OF_BOTH, 0, 0},
    {"model_max_budget", BUDGET, OF_BOTH, 0, 0},
    {"temp_budget_increase", BUDGET, OF_KEY, 0, 0},
    {"temp_budget_expiry", BUDGET, OF_KEY, 0, 0},
    {"tpm_limit", UNDONE, OF_BOTH, 0, 0},
    {"model_rpm_limit", UNDONE, OF_BOTH, 0, 0},
    {"model_tpm_limit", UNDONE, OF_BOTH, 0, 0},
    {"auto_rotate", UNDONE, OF_KEY, 0, 0},
    {"rotation_interval", UNDONE, OF_KEY, 0, 0},
    {"permissions", KEPT, OF_KEY, 0, 0},
    {"tags", KEPT, OF_BOTH, 0, 0},
    {"project_id", KEPT, OF_KEY, 0, 0},
    {"agent_id", KEPT, OF_KEY, 0, 0},
    {"guardrails", KEPT, OF_BOTH, 0, 0},
    {"policies", KEPT, OF_BOTH, 0, 0},
    {"prompts", KEPT, OF_BOTH, 0, 0},
    {"object_permission", KEPT, OF_BOTH, 0, 0},
    {"router_settings", KEPT, OF_BOTH, 0, 0},
    {"config", KEPT, OF_KEY, 0, 0},
    {"budget_fallbacks", KEPT, OF_BOTH, 0, 0},
    {"throttle_on_budget_exceeded", KEPT, OF_BOTH, 0, 0},
    {"enforced_params", KEPT, OF_BOTH, 0, 0},
    {"members_with_roles", KEPT, OF_TEAM, 0, 0},
};

#define NUM_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* --- values --- */

/* As pydantic takes one: a whole number, or its digits as a text. */
static bool whole_number(const struct json *v, int64_t *out)
{
    const char *text = json_str(v, NULL);
    char *end;

    if (json_int64(v, out))
        return true;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool is_limit(const struct json *v)
{
    int64_t value;

    return whole_number(v, &value) && value >= 0;
}

static bool is_dollars(const struct json *v)
{
    const char *text = json_is(v, JSON_STRING) ? json_str(v, NULL) : json_number_text(v);
    int64_t nano;

    return text != NULL && price_parse_dollars(text, strlen(text), &nano) == 0;
}

static bool is_period(const struct json *v)
{
    const char *text = json_str(v, NULL);
    uint32_t seconds;

    return text != NULL && budget_period_read(text, &seconds);
}

static bool is_retention(const struct json *v)
{
    const char *text = json_str(v, NULL);
    uint32_t seconds;

    return text != NULL && retention_read(text, &seconds);
}

/* {"anchor": "created_at", "seconds": N} */
static bool is_expiry(const struct json *v)
{
    const char *anchor = json_get_str(v, "anchor");
    int64_t seconds;

    return anchor != NULL && strcmp(anchor, "created_at") == 0 &&
           json_int64(json_get(v, "seconds"), &seconds) && seconds > 0 && seconds <= INT32_MAX;
}

/* A text that fits a column and has no end within. */
static bool is_text(const struct json *v)
{
    size_t len;
    const char *text = json_str(v, &len);

    return text != NULL && len <= RIGHTS_NAME_MAX && strlen(text) == len;
}

static bool is_texts(const struct json *v)
{
    if (!json_is(v, JSON_ARRAY) || json_size(v) > MAX_MODELS)
        return false;
    for (size_t i = 0; i < json_size(v); i++)
        if (!is_text(json_at(v, i)))
            return false;
    return true;
}

static bool is_text_map(const struct json *v)
{
    if (!json_is(v, JSON_OBJECT) || json_size(v) > MAX_MODELS)
        return false;
    for (size_t i = 0; i < json_size(v); i++) {
        size_t len;

        (void)json_key_at(v, i, &len);
        if (len > RIGHTS_NAME_MAX || !is_text(json_at(v, i)))
            return false;
    }
    return true;
}

/* --- into the row --- */

/* @return 0, ERR_NOMEM */
static int set_text(char **column, const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    if (text != NULL && copy == NULL)
        return ERR_NOMEM;
    free(*column);
    *column = copy;
    return 0;
}

static int set_json(char **column, const struct json *v)
{
    struct strbuf text = STRBUF_INIT;
    char *copy;

    json_write(v, &text);
    copy = strbuf_take(&text);
    if (copy == NULL)
        return ERR_NOMEM;
    free(*column);
    *column = copy;
    return 0;
}

/* Limits in the metadata, as LiteLLM has them (tenants statements A39, A43). */
static void check_metadata(struct manage_job *job, const struct json *v)
{
    const struct json *limit = json_get(v, "batch_enqueued_token_limit");
    const struct json *leaving = json_get(v, "delete_after");
    static const char *const expiries[] = {"enforced_file_expires_after",
                                           "enforced_batch_output_expires_after"};
    int64_t value;

    if (limit != NULL && json_type(limit) != JSON_NULL &&
        (!whole_number(limit, &value) || value <= 0))
        manage_problem(job, "metadata.batch_enqueued_token_limit", "int_parsing",
                       "Input should be a positive integer or a string of digits");
    for (size_t i = 0; i < 2; i++) {
        const struct json *expiry = json_get(v, expiries[i]);

        if (expiry != NULL && json_type(expiry) != JSON_NULL && !is_expiry(expiry))
            manage_problem(job, "metadata", "value_error",
                           "%s should be {\"anchor\": \"created_at\", \"seconds\": N}",
                           expiries[i]);
    }
    if (leaving != NULL && json_type(leaving) != JSON_NULL && !is_retention(leaving))
        manage_problem(job, "metadata.delete_after", "value_error",
                       "Input should be " RETENTION_WANTED);
    else if (leaving != NULL && json_type(leaving) != JSON_NULL && !job->manage->journal)
        manage_problem(job, "metadata.delete_after", "value_error",
                       "files of batches are deleted " NO_JOURNAL);
}

static const char *const key_types[] = {"default", "llm_api", "management", "read_only"};

static bool is_key_type(const struct json *v)
{
    const char *text = json_str(v, NULL);

    for (size_t i = 0; text != NULL && i < sizeof(key_types) / sizeof(key_types[0]); i++)
        if (strcmp(text, key_types[i]) == 0)
            return true;
    return false;
}

/* What each kind takes, and how that is called. NULL: it is fine. */
static const char *fault_of(enum kind kind, const struct json *v, const char **type)
{
    static const struct {
        bool (*is)(const struct json *v);
        const char *type, *text;
    } rules[] = {
        [TEXT] = {is_text, "string_type", "Input should be a valid string of 255 bytes at most"},
        [TEXTS] = {is_texts, "list_type", "Input should be a valid list of strings"},
        [TEXT_MAP] = {is_text_map, "dict_type", "Input should be a dictionary of strings"},
        [LIMIT] = {is_limit, "int_parsing", "Input should be a valid integer, 0 or more"},
        [DOLLARS] = {is_dollars, "float_parsing", "Input should be dollars, 0 or more"},
        [PERIOD] = {is_period, "value_error",
                    "Input should be a duration: 30s, 30min, 1h, 30d, 2w, 1mo"},
        [EXPIRY] = {is_expiry, "value_error",
                    "Input should be {\"anchor\": \"created_at\", \"seconds\": N}"},
        [LEAVING] = {is_retention, "value_error", "Input should be " RETENTION_WANTED},
        [KEY_TYPE] = {is_key_type, "enum",
                      "Input should be 'default', 'llm_api', 'management' or 'read_only'"},
    };
    bool fine;

    *type = "value_error";
    if (kind == METADATA) {
        *type = "dict_type";
        return json_is(v, JSON_OBJECT) ? NULL : "Input should be a valid dictionary";
    }
    if (kind == FLAG) {
        *type = "bool_type";
        return json_is(v, JSON_BOOL) ? NULL : "Input should be a valid boolean";
    }
    if (kind > KEY_TYPE)
        return NULL;
    assert(rules[kind].is != NULL);
    fine = rules[kind].is(v);
    *type = rules[kind].type;
    return fine ? NULL : rules[kind].text;
}

static void put_kept(struct manage_job *job, const struct field *f, const struct json *v,
                     struct json *kept)
{
    int64_t number;

    assert(f->kind > FLAG && f->kind != BUDGET); /* columns have a place, budgets are refused */
    if (json_type(v) == JSON_NULL)
        json_remove(kept, f->name);
    else if (f->kind == LIMIT && whole_number(v, &number))
        json_set_int(job->doc, kept, f->name, number);
    else
        json_set(job->doc, kept, f->name, (struct json *)v);
}

/* A column of the row. @return 0, ERR_NOMEM */
static int put_column(struct manage_job *job, const struct field *f, const struct json *v,
                      void *column)
{
    bool null = json_type(v) == JSON_NULL;

    assert(f->kind <= FLAG);
    if (f->kind == FLAG) {
        bool *flag = column;

        *flag = false;
        if (!null)
            (void)json_bool(v, flag);
        return 0;
    }
    if (f->kind == METADATA && !null)
        check_metadata(job, v);
    if (null)
        return set_text(column, NULL);
    return f->kind == TEXT ? set_text(column, json_str(v, NULL)) : set_json(column, v);
}

/* A budget that nobody would hold a key to (tenants statement A21), a promise that nobody would
 * keep. @return NULL: it is kept */
static const char *why_not(const struct manage_job *job, enum kind kind)
{
    if (kind == BUDGET)
        return "not enforced by this gateway, so none is taken: max_budget and budget_duration are";
    if (job->manage->journal)
        return NULL;
    if (kind == LEAVING)
        return "files of batches are deleted " NO_JOURNAL;
    return kind == DOLLARS || kind == PERIOD ? "budgets are counted " NO_JOURNAL : NULL;
}

/* One field of the body. @param row  the key or team; `kept` its other fields */
static int take(struct manage_job *job, const struct field *f, bool is_team, char *row,
                struct json *kept)
{
    const struct json *v = json_get(job->body, f->name);
    const char *type, *fault;

    if (v == NULL || !(f->of & (is_team ? OF_TEAM : OF_KEY)))
        return 0;
    fault = json_type(v) == JSON_NULL ? NULL : fault_of(f->kind, v, &type);
    if (fault != NULL) {
        manage_problem(job, f->name, type, "%s", fault);
        return 0;
    }
    fault = json_type(v) == JSON_NULL ? NULL : why_not(job, f->kind);
    if (fault != NULL) {
        manage_problem(job, f->name, "value_error", "%s", fault);
        return 0;
    }
    if (f->kind == UNDONE && json_type(v) != JSON_NULL)
        manage_warn(job, "%s is kept, but has no effect here", f->name);
    if (f->kind <= FLAG)
        return put_column(job, f, v, row + (is_team ? f->team : f->key));
    put_kept(job, f, v, kept);
    return 0;
}

/* @param text  the row's `fields`, replaced. @return 0, ERR_NOMEM */
static int take_all(struct manage_job *job, bool is_team, void *row, char **text)
{
    struct json_error error;
    struct json *kept = *text == NULL ? NULL : json_parse(job->doc, *text, strlen(*text), &error);
    int ret = 0;

    if (!json_is(kept, JSON_OBJECT))
        kept = json_new_object(job->doc);
    for (size_t i = 0; i < NUM_FIELDS && ret == 0; i++)
        ret = take(job, &fields[i], is_team, row, kept);
    if (ret == 0)
        ret = set_json(text, kept);
    if (ret == 0 && strlen(*text) > MAX_FIELDS)
        manage_problem(job, "", "value_error", "the fields are more than %u bytes", MAX_FIELDS);
    return ret;
}

/* `duration` counts from now; null: never ends. */
static void take_duration(struct manage_job *job, struct store_key *key)
{
    const struct json *v = json_get(job->body, "duration");
    const char *text = json_str(v, NULL);
    int64_t ms;

    if (v == NULL)
        return;
    if (json_type(v) == JSON_NULL || (text != NULL && strcmp(text, "-1") == 0))
        key->expires_unix_ms = 0; /* "-1" is LiteLLM's other word for never */
    else if (text == NULL || !manage_duration(text, &ms))
        manage_problem(job, "duration", "value_error",
                       "Input should be a duration: 30s, 30min, 1h, 30d, 2w, 1mo");
    else
        key->expires_unix_ms = job->manage->now_unix_ms + ms;
}

int manage_take_key(struct manage_job *job, struct store_key *key)
{
    const char *type = json_get_str(job->body, "key_type");
    int ret = take_all(job, false, key, &key->fields);

    take_duration(job, key);
    if (json_get(job->body, "key_type") != NULL)
        key->admin = type != NULL && strcmp(type, "management") == 0;
    return ret;
}

int manage_take_team(struct manage_job *job, struct store_team *team)
{
    return take_all(job, true, team, &team->fields);
}

/* --- single values --- */

const char *manage_text(struct manage_job *job, const char *field)
{
    const struct json *v = json_get(job->body, field);

    if (v == NULL || json_type(v) == JSON_NULL)
        return NULL;
    if (is_text(v))
        return json_str(v, NULL);
    manage_problem(job, field, "string_type", "Input should be a valid string");
    return NULL;
}

const char *manage_required(struct manage_job *job, const char *field)
{
    size_t before = job->num_problems;
    const char *text = manage_text(job, field);

    if (text == NULL && job->num_problems == before)
        manage_problem(job, field, "missing", "Field required");
    return text;
}

bool manage_duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"s", 1000},
                 {"m", 60000},
                 {"min", 60000},
                 {"h", 3600000},
                 {"d", 86400000},
                 {"w", INT64_C(604800000)},
                 {"mo", INT64_C(2592000000)}};
    char *end;
    long long number;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno != 0 || number <= 0)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        *ms = number > MAX_LIFE_MS / units[i].ms ? 0 : number * units[i].ms;
        return *ms > 0;
    }
    return false;
}

const char *manage_query(const struct manage_job *job, const char *name)
{
    const char *text = json_get_str(job->query, name);

    return text == NULL || *text == '\0' ? NULL : text;
}

int64_t manage_query_int(struct manage_job *job, const char *name, int64_t otherwise)
{
    const char *text = manage_query(job, name);
    char *end;
    long long number;

    if (text == NULL)
        return otherwise;
    errno = 0;
    number = strtoll(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && errno == 0 && *end == '\0')
        return number;
    manage_problem(job, name, "int_parsing", "Input should be a valid integer");
    return -1;
}
