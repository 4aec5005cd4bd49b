/* See manage.h: the routes, the request, and the answers that all handlers have. */
#include "manage_impl.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEAD_VALUES 256

static const struct route {
    const char *path; /* "*" stands for one segment */
    unsigned methods;
    bool for_all;      /* not for administrators alone */
    bool may_be_empty; /* its body */
    int (*run)(struct manage_job *job);
} routes[] = {
    {"/key/generate", MANAGE_POST, false, false, manage_key_generate},
    {"/key/service-account/generate", MANAGE_POST, false, false, manage_service_account},
    {"/key/update", MANAGE_POST, false, false, manage_key_update},
    {"/key/delete", MANAGE_POST, false, false, manage_key_delete},
    {"/key/block", MANAGE_POST, false, false, manage_key_block},
    {"/key/unblock", MANAGE_POST, false, false, manage_key_unblock},
    {"/key/regenerate", MANAGE_POST, false, false, manage_key_regenerate},
    {"/key/*/regenerate", MANAGE_POST, false, true, manage_key_regenerate},
    {"/key/info", MANAGE_GET, true, false, manage_key_info},
    {"/key/list", MANAGE_GET, false, false, manage_key_list},
    {"/team/new", MANAGE_POST, false, false, manage_team_new},
    {"/team/update", MANAGE_POST, false, false, manage_team_update},
    {"/team/info", MANAGE_GET, false, false, manage_team_info},
    {"/team/list", MANAGE_GET, false, false, manage_team_list},
    {"/team/block", MANAGE_POST, false, false, manage_team_block},
    {"/team/unblock", MANAGE_POST, false, false, manage_team_unblock},
    {"/team/delete", MANAGE_POST, false, false, manage_team_delete},
    {"/journal/batches", MANAGE_GET, true, false, manage_batches_list},
    {"/journal/batches/*", MANAGE_GET, true, false, manage_batch_get},
    {"/journal/rebuild", MANAGE_POST, false, true, manage_rebuild_start},
    {"/journal/rebuild/status", MANAGE_GET, false, false, manage_rebuild_get},
    {"/webhooks", MANAGE_POST, true, false, manage_hook_create},
    {"/webhooks", MANAGE_GET, true, false, manage_hook_list},
    {"/webhooks/*", MANAGE_GET, true, false, manage_hook_get},
    {"/webhooks/*", MANAGE_PATCH, true, false, manage_hook_update},
    {"/webhooks/*", MANAGE_DELETE, true, true, manage_hook_delete},
    {"/webhooks/*/rotate", MANAGE_POST, true, true, manage_hook_rotate},
    {"/webhooks/*/test", MANAGE_POST, true, true, manage_hook_test},
    {"/webhooks/*/events", MANAGE_GET, true, false, manage_hook_events},
    {"/webhooks/events/*/replay", MANAGE_POST, true, true, manage_hook_replay},
    {"/usage", MANAGE_GET, true, false, manage_usage},
};

/* --- answers --- */

static void finish(struct manage_job *job, int status, const struct json *body)
{
    if (job->answered)
        return;
    assert(job->out->body.len == 0); /* what is written behind an answer would be half of two */
    job->answered = true;
    job->out->status = status;
    json_write(body, &job->out->body);
}

void manage_ok(struct manage_job *job, struct json *body)
{
    if (job->warnings != NULL)
        json_set(job->doc, body, "warnings", job->warnings);
    finish(job, 200, body);
}

static struct json *envelope(struct manage_job *job, int status, const char *type,
                             const char *param, const char *message)
{
    struct json *body = json_new_object(job->doc), *error = json_new_object(job->doc);
    char code[16];

    assert(status >= 400 && status < 600);
    snprintf(code, sizeof(code), "%d", status);
    json_set_str(job->doc, error, "message", message);
    json_set_str(job->doc, error, "type", type);
    json_set(job->doc, error, "param", json_new_cstring(job->doc, param));
    json_set_str(job->doc, error, "code", code);
    json_set(job->doc, body, "error", error);
    return body;
}

void manage_fail(struct manage_job *job, int status, const char *type, const char *param,
                 const char *fmt, ...)
{
    char message[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    finish(job, status, envelope(job, status, type, param, message));
}

void manage_fail_store(struct manage_job *job, int err)
{
    assert(err != 0 && job->manage->store != NULL);
    switch (err) {
    case ERR_FULL:
        if (store_state(job->manage->store) == STORE_LOCKED) {
            job->out->retry_after_s = 5;
            manage_fail(job, 503, "no_db_connection", NULL,
                        "Another gateway has the database of keys, and only one may change it. "
                        "Nothing was changed; please retry shortly.");
            break;
        }
        manage_fail(job, 507, "server_error", NULL,
                    "The disk of the database of keys is full. Nothing was changed.");
        break;
    case ERR_BAD_STATE:
        manage_fail(job, 503, "no_db_connection", NULL,
                    "The database of keys cannot be used (the gateway's log says why). Nothing was "
                    "changed.");
        break;
    case ERR_NOMEM:
        manage_fail(job, 500, "server_error", NULL, "The gateway is out of memory.");
        break;
    default:
        job->out->retry_after_s = 5;
        manage_fail(job, 503, "no_db_connection", NULL,
                    "Service Unavailable, the authentication database is temporarily unreachable. "
                    "Please retry shortly. Whether a change was made is not known: read it again "
                    "first.");
    }
}

void manage_problem(struct manage_job *job, const char *field, const char *type, const char *fmt,
                    ...)
{
    struct manage_problem *p = &job->problems[job->num_problems];
    va_list args;

    if (job->num_problems == MANAGE_PROBLEMS)
        return;
    snprintf(p->field, sizeof(p->field), "%s", field);
    p->type = type;
    va_start(args, fmt);
    vsnprintf(p->text, sizeof(p->text), fmt, args);
    va_end(args);
    job->num_problems++;
}

void manage_warn(struct manage_job *job, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (job->warnings == NULL)
        job->warnings = json_new_array(job->doc);
    json_append(job->doc, job->warnings, json_new_cstring(job->doc, text));
}

/* FastAPI's `detail` beside the envelope, so that both kinds of client read it (tenants A2). */
bool manage_is_refused(struct manage_job *job)
{
    const struct manage_problem *first = &job->problems[0];
    struct json *detail, *body;
    char message[256];

    if (job->num_problems == 0)
        return false;
    snprintf(message, sizeof(message), "%s%s%s", first->field, *first->field != '\0' ? ": " : "",
             first->text);
    body = envelope(job, 422, "invalid_request_error", *first->field != '\0' ? first->field : NULL,
                    message);
    detail = json_new_array(job->doc);
    for (size_t i = 0; i < job->num_problems; i++) {
        const struct manage_problem *p = &job->problems[i];
        struct json *item = json_new_object(job->doc), *loc = json_new_array(job->doc);

        json_append(job->doc, loc, json_new_cstring(job->doc, "body"));
        if (*p->field != '\0')
            json_append(job->doc, loc, json_new_cstring(job->doc, p->field));
        json_set_str(job->doc, item, "type", p->type);
        json_set(job->doc, item, "loc", loc);
        json_set_str(job->doc, item, "msg", p->text);
        json_append(job->doc, detail, item);
    }
    json_set(job->doc, body, "detail", detail);
    finish(job, 422, body);
    return true;
}

bool manage_has_store(struct manage_job *job, const char *what)
{
    if (job->manage->store != NULL)
        return true;
    manage_fail(job, 400, "no_db_connection", NULL,
                "No database of keys is configured here (tranche_settings.database): %s come from "
                "the configuration.",
                what);
    return false;
}

bool manage_has_journal(struct manage_job *job)
{
    if (job->manage->store != NULL && job->manage->journal)
        return true;
    manage_fail(job, 404, "invalid_request_error", NULL,
                "There is no journal of batches here: it needs tranche_settings.database, and "
                "tranche_settings.journal not switched off.");
    return false;
}

bool manage_is_admin(const struct manage_job *job)
{
    bool admin = false;

    return json_bool(json_get(job->caller, "admin"), &admin) && admin;
}

bool manage_owner(const struct manage_job *job, uint64_t *owner)
{
    const char *text = json_get_str(job->caller, "owner");
    char *end;

    if (text == NULL || text[0] == '\0')
        return false;
    *owner = strtoull(text, &end, 16);
    return *end == '\0' && *owner != 0;
}

struct store_actor manage_actor(const struct manage_job *job)
{
    const char *name = json_get_str(job->caller, "name");

    return (struct store_actor){.who = name == NULL ? "" : name};
}

/* --- the request --- */

/* @param segment  written: what stands for "*" */
static bool matches(const char *path, const char *pattern, const char **segment, size_t *len)
{
    const char *star = strchr(pattern, '*');
    size_t before = star == NULL ? 0 : (size_t)(star - pattern), have = strlen(path), behind;

    if (star == NULL)
        return strcmp(path, pattern) == 0;
    behind = strlen(star + 1);
    if (have <= before + behind || strncmp(path, pattern, before) != 0 ||
        strcmp(path + have - behind, star + 1) != 0)
        return false;
    *segment = path + before;
    *len = have - before - behind;
    return memchr(*segment, '/', *len) == NULL;
}

/* @param methods  written: those that the path has */
static const struct route *find_route(struct manage_job *job, const char *path, unsigned method,
                                      unsigned *methods)
{
    const struct route *found = NULL;
    const char *segment;
    size_t len = 0;

    *methods = 0;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        segment = NULL;
        if (!matches(path, routes[i].path, &segment, &len))
            continue;
        *methods |= routes[i].methods;
        if ((routes[i].methods & method) == 0 || found != NULL)
            continue;
        found = &routes[i];
        if (segment != NULL)
            job->segment = json_str(json_new_string(job->doc, segment, len), NULL);
    }
    return found;
}

static const char *const method_names[] = {"GET", "POST", "PATCH", "DELETE"};
#define NUM_METHODS (sizeof(method_names) / sizeof(method_names[0]))

static unsigned method_of(const char *name)
{
    for (unsigned i = 0; i < NUM_METHODS; i++)
        if (strcmp(method_names[i], name) == 0)
            return 1u << i;
    return 0;
}

static void wrong_method(struct manage_job *job, const char *method, unsigned methods)
{
    char allowed[32] = "";

    for (unsigned i = 0; i < NUM_METHODS; i++)
        if ((methods & (1u << i)) != 0)
            snprintf(allowed + strlen(allowed), sizeof(allowed) - strlen(allowed), "%s%s",
                     *allowed != '\0' ? ", " : "", method_names[i]);
    manage_fail(job, 405, "invalid_request_error", NULL, "Not allowed to %s here. Allowed: %s.",
                method, allowed);
}

/* The body, when it is an object; every other one is a problem. */
static void read_body(struct manage_job *job, const char *text, size_t len)
{
    struct json_error error;
    struct json *root;

    if (len == 0) {
        manage_problem(job, "", "missing", "Field required");
        return;
    }
    root = json_parse(job->doc, text, len, &error);
    if (root == NULL)
        manage_problem(job, "", "json_invalid", "JSON decode error: line %zu, column %zu: %s",
                       error.line, error.column, error.message);
    else if (!json_is(root, JSON_OBJECT))
        manage_problem(job, "", "model_attributes_type", "Input should be a valid dictionary");
    else if (json_doc_repeats(job->doc))
        manage_problem(job, "", "json_invalid", "a member stands there twice");
    else
        job->body = root;
}

static int run(struct manage_job *job, const char *method, const char *path, const char *body,
               size_t body_len)
{
    unsigned methods;
    const struct route *route = find_route(job, path, method_of(method), &methods);
    bool admin = false;

    if (methods == 0) {
        manage_fail(job, 404, "invalid_request_error", NULL, "Invalid URL (%s %.128s)", method,
                    path);
        return 0;
    }
    if (route == NULL) {
        wrong_method(job, method, methods);
        return 0;
    }
    if (!route->for_all && (!json_bool(json_get(job->caller, "admin"), &admin) || !admin)) {
        manage_fail(job, 403, "auth_error", NULL, "Only an administrator's key may call %s.",
                    route->path);
        return 0;
    }
    if (route->methods != MANAGE_GET && (body_len > 0 || !route->may_be_empty))
        read_body(job, body, body_len);
    return manage_is_refused(job) ? 0 : route->run(job);
}

int manage_call(const struct manage *manage, const char *message, size_t len,
                struct manage_answer *out)
{
    struct manage_job job = {.manage = manage, .doc = json_doc_new(), .out = out};
    struct json_doc *head_doc = json_doc_new(); /* what stands twice in a query is not the body's */
    const char *end = memchr(message, '\n', len), *method, *path;
    size_t head_len = end == NULL ? len : (size_t)(end - message);
    struct json_error error;
    const struct json *head;
    int ret = ERR_SYNTAX;

    *out = (struct manage_answer){.status = 500};
    if (job.doc == NULL || head_doc == NULL) {
        json_doc_free(job.doc);
        json_doc_free(head_doc);
        return ERR_NOMEM;
    }
    head = json_parse_most(head_doc, message, head_len, MAX_HEAD_VALUES, &error);
    method = json_get_str(head, "method");
    path = json_get_str(head, "path");
    job.query = json_get(head, "query");
    job.caller = json_get(head, "caller");
    if (method != NULL && path != NULL && json_is(job.caller, JSON_OBJECT))
        ret = run(&job, method, path, end == NULL ? "" : end + 1,
                  end == NULL ? 0 : len - head_len - 1);
    if (ret == 0 && (!job.answered || json_doc_failed(job.doc) || strbuf_failed(&out->body)))
        ret = ERR_NOMEM;
    if (ret != 0) { /* half an answer is none */
        out->status = 500;
        strbuf_reset(&out->body);
    }
    json_doc_wipe(job.doc); /* a key that was chosen, or made, is in there */
    json_doc_wipe(head_doc);
    return ret;
}
