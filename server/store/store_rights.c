/* What a row says a key or a team may, compiled: see store_key_rights(). Rows come from people's
 * scripts and from another program's tables, so that nothing in them is trusted to have the type
 * that it should: what cannot be read narrows. */
#include "store_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/retention.h"
#include "common/route_words.h"
#include "json/json.h"
#include "price/budget.h"

#define MIB          1048576.0 /* what LiteLLM calls a megabyte (tenants statement A33) */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- limits ---- */

static const struct limit {
    const char *name;
    size_t to; /* of the field in struct rights_limits */
    double unit;
} limits[] = {{"batch_enqueued_token_limit", offsetof(struct rights_limits, enqueued_tokens), 1},
              {"max_open_batches", offsetof(struct rights_limits, open_batches), 1},
              {"rpm_limit", offsetof(struct rights_limits, requests_per_minute), 1},
              {"max_requests_per_second", offsetof(struct rights_limits, requests_per_second), 1},
              {"request_burst", offsetof(struct rights_limits, request_burst), 1},
              {"max_parallel_requests", offsetof(struct rights_limits, parallel_requests), 1},
              {"max_concurrent_uploads", offsetof(struct rights_limits, uploads), 1},
              {"max_spool_bytes", offsetof(struct rights_limits, spool_bytes), 1},
              {"max_batch_file_size_mb", offsetof(struct rights_limits, file_bytes), MIB}};

/* The number that a value means, also as a text of digits (A39); what is none is 0. */
static uint64_t limit_of(const struct json *v, double unit)
{
    const char *text = json_type(v) == JSON_STRING ? json_str(v, NULL) : json_number_text(v);
    char *end = NULL;
    double number;

    if (text == NULL || *text == '\0')
        return 0;
    number = strtod(text, &end) * unit;
    if (*end != '\0' || !(number > 0))
        return 0;
    return number < 9e18 ? (uint64_t)number : RIGHTS_UNLIMITED - 1;
}

/* {anchor, seconds} (A43). */
static uint32_t expiry_of(const struct json *v)
{
    int64_t seconds = 0;

    if (!json_int64(json_get(v, "seconds"), &seconds) || seconds <= 0)
        return 0;
    return seconds < INT32_MAX ? (uint32_t)seconds : INT32_MAX;
}

/* What cannot be read deletes nothing. */
static uint32_t retention_in(const struct json *v)
{
    const char *text = json_str(v, NULL);
    uint32_t seconds;

    return text != NULL && retention_read(text, &seconds) ? seconds : RETENTION_UNSET;
}

/* Dollars, as a number or its text (tenants statement A3); what is none may spend nothing. */
static bool dollars_of(const struct json *v, int64_t *nano)
{
    const char *text = json_is(v, JSON_STRING) ? json_str(v, NULL) : json_number_text(v);

    *nano = 0;
    return text != NULL && price_parse_dollars(text, strlen(text), nano) == 0;
}

/* What LiteLLM has spent of a budget is written with each of its calls, and the table of keys should
 * not be written anew as often: what is left is told in hundredths of the whole, rounded up. */
static int64_t left_of(int64_t nano, int64_t spent)
{
    int64_t step = nano / 100 + (nano % 100 != 0), left = nano - spent;

    if (nano <= 0 || left <= 0)
        return 0;
    left = left / step * step + (left % step != 0 ? step : 0);
    return left < nano ? left : nano;
}

/* Of LiteLLM's keys and teams, and of those that were taken over, `spend` is what they have spent
 * there: within a period that is not over yet only LiteLLM knows of which it is. */
static void take_budget(const struct json *fields, bool beside, struct rights_limits *out)
{
    const struct json *most = json_get(fields, "max_budget");
    const char *period = json_get_str(fields, "budget_duration");
    int64_t nano, spent;

    if (most == NULL || json_is(most, JSON_NULL))
        return;
    (void)dollars_of(most, &nano);
    if (period != NULL && !budget_period_read(period, &out->budget_period_s))
        out->budget_period_s = 0; /* one that never begins anew */
    if ((beside || period == NULL) && dollars_of(json_get(fields, "spend"), &spent))
        nano = left_of(nano, spent);
    out->budget_nano = (uint64_t)nano;
}

static const struct json *look_up(const struct json *const places[2], const char *name)
{
    for (size_t i = 0; i < 2; i++) {
        const struct json *v = json_get(places[i], name);

        if (v != NULL && !json_is(v, JSON_NULL))
            return v;
    }
    return NULL;
}

static void take_limits(const struct json *const places[2], bool beside, struct rights_limits *out)
{
    rights_limits_init(out);
    for (size_t i = 0; i < COUNT(limits); i++) {
        const struct json *v = look_up(places, limits[i].name);

        if (v != NULL)
            *(uint64_t *)((char *)out + limits[i].to) = limit_of(v, limits[i].unit);
    }
    take_budget(places[0], beside, out);
    out->file_expiry_s = expiry_of(look_up(places, "enforced_file_expires_after"));
    out->output_expiry_s = expiry_of(look_up(places, "enforced_batch_output_expires_after"));
    out->delete_after_s = retention_in(look_up(places, "delete_after"));
}

/* ---- models ---- */

static int add_name(struct rights_models *out, const char *name)
{
    out->names[out->num_names] = strdup(name);
    if (out->names[out->num_names] == NULL)
        return ERR_NOMEM;
    out->num_names++;
    return 0;
}

/* One item of `models` (A17). @return 0, ERR_NOMEM */
static int take_model(const char *name, struct rights_models *out)
{
    if (strcmp(name, "*") == 0 || strcmp(name, "all-proxy-models") == 0)
        out->all = true;
    else if (strcmp(name, "all-team-models") == 0)
        out->of_team = true;
    else if (strcmp(name, "no-default-models") != 0 && strlen(name) <= RIGHTS_NAME_MAX)
        return add_name(out, name);
    return 0;
}

static int take_models(const struct json *list, struct rights_models *out)
{
    size_t num = json_size(list);
    int rc = 0;

    if (list == NULL || (json_is(list, JSON_ARRAY) && num == 0)) {
        out->all = true;
        return 0;
    }
    if (!json_is(list, JSON_ARRAY))
        return 0;
    out->names = calloc(num, sizeof(out->names[0]));
    if (out->names == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < num; i++) {
        const char *name = json_str(json_at(list, i), NULL);

        if (name != NULL)
            rc = take_model(name, out);
    }
    return rc;
}

static int take_aliases(const struct json *map, struct rights_models *out)
{
    size_t num = json_is(map, JSON_OBJECT) ? json_size(map) : 0;

    if (num == 0)
        return 0;
    out->aliases = calloc(num, sizeof(out->aliases[0]));
    if (out->aliases == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < num; i++) {
        const char *name = json_key_at(map, i, NULL), *target = json_str(json_at(map, i), NULL);
        struct rights_alias *alias = &out->aliases[out->num_aliases];

        if (target == NULL || strlen(name) > RIGHTS_NAME_MAX || strlen(target) > RIGHTS_NAME_MAX)
            continue;
        out->num_aliases++;
        alias->name = strdup(name);
        alias->target = strdup(target);
        if (alias->name == NULL || alias->target == NULL)
            return ERR_NOMEM;
    }
    return 0;
}

/* ---- routes ---- */

/* What serves nothing here, and what nobody knows, allows nothing. */
static uint32_t route_of(const char *text)
{
    const char *path = route_without_version(text);
    const struct route_word *word =
        route_word_find(*path == '/' ? &route_paths : &route_names, path);

    if (strcmp(text, "*") == 0)
        return RIGHTS_EVERY_ROUTE;
    if (word != NULL)
        return word->routes;
    return *path == '/' && strchr(path, '*') != NULL ? route_pattern(path) : 0;
}

static uint32_t take_routes(const struct json *list, const struct json *fields)
{
    const char *type = json_get_str(fields, "key_type");
    const struct route_word *word;
    uint32_t routes = 0;

    if (list != NULL && !json_is(list, JSON_ARRAY))
        return 0;
    for (size_t i = 0; i < json_size(list); i++) {
        const char *text = json_str(json_at(list, i), NULL);

        routes |= text != NULL ? route_of(text) : 0;
    }
    if (json_size(list) > 0)
        return routes;
    word = route_word_find(&route_types, type != NULL ? type : "default");
    return word != NULL ? word->routes : 0;
}

/* ---- a key, a team ---- */

/* The JSON columns of a row. */
struct parsed {
    struct json_doc *doc; /* owned */
    const struct json *models, *aliases, *routes;
    const struct json *limits[2]; /* fields, metadata */
};

/* A text that is none at all is like one of the wrong type. */
static const struct json *parse(struct json_doc *doc, const char *text)
{
    struct json_error error;
    const struct json *v;

    if (text == NULL)
        return NULL;
    v = json_parse(doc, text, strlen(text), &error);
    return v != NULL ? v : json_new_bool(doc, false);
}

static int parse_row(struct parsed *p, const char *models, const char *aliases, const char *fields,
                     const char *metadata)
{
    *p = (struct parsed){.doc = json_doc_new()};
    if (p->doc == NULL)
        return ERR_NOMEM;
    p->models = parse(p->doc, models);
    p->aliases = parse(p->doc, aliases);
    p->limits[0] = parse(p->doc, fields);
    p->limits[1] = parse(p->doc, metadata);
    return json_doc_failed(p->doc) ? ERR_NOMEM : 0;
}

int copy_text(char **out, const char *text)
{
    *out = text != NULL ? strdup(text) : NULL;
    return text == NULL || *out != NULL ? 0 : ERR_NOMEM;
}

int copy_names(struct rights_key *out, const char *id, const char *alias, const char *team_id,
               const char *user_id)
{
    int rc = copy_text(&out->id, id);

    if (rc == 0)
        rc = copy_text(&out->alias, alias);
    if (rc == 0)
        rc = copy_text(&out->team_id, team_id);
    return rc == 0 ? copy_text(&out->user_id, user_id) : rc;
}

static void take_tail(const char *name, char tail[RIGHTS_TAIL + 1])
{
    size_t len = name != NULL ? strlen(name) : 0;

    if (len >= RIGHTS_TAIL + 3)
        memcpy(tail, name + len - RIGHTS_TAIL, RIGHTS_TAIL + 1);
}

static int fill_key(const struct store_key *key, const struct parsed *p, struct rights_key *out)
{
    int rc = copy_names(out, key->id != NULL ? key->id : key->hash, key->alias, key->team_id,
                        key->user_id);

    if (rc == 0)
        rc = take_models(p->models, &out->models);
    if (rc == 0)
        rc = take_aliases(p->aliases, &out->models);
    take_tail(key->name, out->tail);
    take_limits(p->limits, out->source == RIGHTS_OF_LITELLM, &out->limits);
    out->admin = key->admin;
    out->routes = take_routes(p->routes, p->limits[0]) | RIGHTS_OWN_KEY;
    if (!key->admin)
        out->routes &= RIGHTS_ALL_ROUTES;
    else if (p->routes == NULL || json_size(p->routes) == 0)
        out->routes = RIGHTS_EVERY_ROUTE;
    out->blocked = key->blocked;
    out->expires_unix_ms = key->expires_unix_ms;
    return rc;
}

int store_key_rights(const struct store_key *key, enum rights_source source, struct rights_key *out)
{
    struct rights_key made = {.source = source};
    struct parsed p;
    int rc;

    if (!hash_from_hex(key->hash, made.hash))
        return ERR_INVALID;
    rc = parse_row(&p, key->models, key->aliases, key->fields, key->metadata);
    if (rc == 0) {
        p.routes = parse(p.doc, key->routes);
        rc = fill_key(key, &p, &made);
    }
    json_doc_free(p.doc);
    if (rc != 0) {
        rights_key_deinit(&made);
        return rc;
    }
    *out = made;
    return 0;
}

int store_team_rights(const struct store_team *team, enum rights_source source,
                      struct rights_team *out)
{
    struct rights_team made = {.source = source, .blocked = team->blocked};
    struct parsed p;
    int rc = parse_row(&p, team->models, team->aliases, team->fields, team->metadata);

    if (rc == 0)
        rc = copy_text(&made.id, team->id);
    if (rc == 0)
        rc = copy_text(&made.alias, team->alias);
    if (rc == 0)
        rc = take_models(p.models, &made.models);
    if (rc == 0)
        rc = take_aliases(p.aliases, &made.models);
    if (rc == 0)
        take_limits(p.limits, source == RIGHTS_OF_LITELLM, &made.limits);
    json_doc_free(p.doc);
    if (rc != 0) {
        rights_team_deinit(&made);
        return rc;
    }
    *out = made;
    return 0;
}

/* ---- with what the store's owner knows of models ---- */

void store_expand(struct store *store, store_expand_cb expand, void *arg)
{
    store->expand = expand;
    store->expand_arg = arg;
}

int work_key_rights(const struct store *store, const struct store_key *key,
                    enum rights_source source, struct rights_key *out)
{
    int rc = store_key_rights(key, source, out);

    if (rc != 0 || store->expand == NULL)
        return rc;
    rc = store->expand(store->expand_arg, &out->models);
    if (rc != 0)
        rights_key_deinit(out);
    return rc;
}

int work_team_rights(const struct store *store, const struct store_team *team,
                     enum rights_source source, struct rights_team *out)
{
    int rc = store_team_rights(team, source, out);

    if (rc != 0 || store->expand == NULL)
        return rc;
    rc = store->expand(store->expand_arg, &out->models);
    if (rc != 0)
        rights_team_deinit(out);
    return rc;
}
