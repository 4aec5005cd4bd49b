/* /batches of both providers (providers 1.3 and 2.5). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call.h"
#include "engine.h"

const char *status_name(enum status status)
{
    static const char *const names[] = {"validating", "failed",  "in_progress", "finalizing",
                                        "completed",  "expired", "cancelling",  "cancelled"};

    return names[status];
}

void batches_free(struct account *acc, struct batch *b)
{
    engine_free(acc, b);
    free(b->endpoint);
    free(b->metadata);
    free(b->input_blob);
    free(b->output_folder);
    free(b);
}

/* The object. */

static void put_time(const struct call *call, struct strbuf *out, const char *key, int64_t seconds)
{
    char text[40];

    if (seconds == 0) {
        put_raw(out, key, "null");
        return;
    }
    if (!call->acc->sw.iso_times) {
        put_int(out, key, seconds);
        return;
    }
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    put_str(out, key, text);
}

static int64_t at(const struct batch *b, enum status status)
{
    return b->at_ms[status] != 0 ? b->at_ms[status] / 1000 + b->skew_s : 0;
}

static void put_errors(const struct call *call, struct strbuf *out, const struct batch *b)
{
    if (b->status != STATUS_FAILED) {
        put_raw(out, "errors", "null");
        return;
    }
    put_raw(out, "errors", "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < b->n_errors; i++) {
        const struct batch_error *e = &b->errors[i];
        strbuf_adds(out, i > 0 ? ",{" : "{");
        put_str(out, "code", e->code);
        put_str(out, "message", e->message);
        put_str(out, "param", e->param);
        if (e->line == 0)
            put_raw(out, "line", "null");
        else if (call->acc->sw.line_as_string)
            strbuf_addf(out, ",\"line\":\"%lld\"", (long long)e->line);
        else
            put_int(out, "line", e->line);
        strbuf_addc(out, '}');
    }
    strbuf_adds(out, "]}");
}

static void put_id(const struct call *call, struct strbuf *out, const char *key, const char *id)
{
    put_str(out, key, id[0] != '\0' ? id : call->acc->sw.empty_ids ? "" : NULL);
}

/* An id that a batch shows only so long after its end. */
static void put_late_id(const struct call *call, struct strbuf *out, const struct batch *b,
                        const char *key, const char *id, int64_t late_ms)
{
    bool hidden = b->terminal && call->sim->now_ms - b->at_ms[b->status] < late_ms;

    put_id(call, out, key, hidden ? "" : id);
}

static void put_status(const struct call *call, struct strbuf *out, const struct batch *b)
{
    char text[32];

    snprintf(text, sizeof(text), "%s", status_name(b->status));
    if (call->acc->sw.capital_status) {
        text[0] = (char)toupper((unsigned char)text[0]);
        if (strcmp(text, "In_progress") == 0)
            snprintf(text, sizeof(text), "InProgress");
    }
    put_str(out, "status", text);
}

static void put_times(const struct call *call, struct strbuf *out, const struct batch *b)
{
    bool hide_failed = call->acc->sw.failed_at_null && b->status == STATUS_FAILED;
    int64_t completed = hide_failed ? at(b, STATUS_FAILED) : at(b, STATUS_COMPLETED);
    int64_t expires = at(b, STATUS_VALIDATING) + call->acc->sw.window_s;

    if (b->status == STATUS_VALIDATING && !call->acc->sw.expires_at_early)
        expires = 0;
    put_time(call, out, "created_at", at(b, STATUS_VALIDATING));
    put_time(call, out, "in_progress_at", at(b, STATUS_IN_PROGRESS));
    put_time(call, out, "expires_at", expires);
    put_time(call, out, "finalizing_at", at(b, STATUS_FINALIZING));
    put_time(call, out, "completed_at", completed);
    put_time(call, out, "failed_at", hide_failed ? 0 : at(b, STATUS_FAILED));
    put_time(call, out, "expired_at", at(b, STATUS_EXPIRED));
    put_time(call, out, "cancelling_at", at(b, STATUS_CANCELLING));
    put_time(call, out, "cancelled_at", at(b, STATUS_CANCELLED));
}

static void put_counts(const struct call *call, struct strbuf *out, const struct batch *b)
{
    if (b->status == STATUS_VALIDATING && call->acc->sw.null_counts) {
        put_raw(out, "request_counts", "{\"total\":null,\"completed\":null,\"failed\":null}");
        return;
    }
    if (b->terminal && strcmp(call->acc->sw.ended_counts, "null") == 0) {
        put_raw(out, "request_counts", "null");
        return;
    }
    if (b->terminal && strcmp(call->acc->sw.ended_counts, "zero") == 0) {
        put_raw(out, "request_counts", "{\"total\":0,\"completed\":0,\"failed\":0}");
        return;
    }
    size_t total = b->order == NULL ? 0 : b->n_lines;
    put_raw(out, "request_counts", "{");
    put_int(out, "total", (int64_t)total);
    put_int(out, "completed", (int64_t)b->ok);
    put_int(out, "failed", (int64_t)b->failed);
    strbuf_addc(out, '}');
}

int64_t batch_output_tokens(const struct batch *b)
{
    return (int64_t)b->ok * 8;
}

static void put_usage(struct strbuf *out, const struct batch *b)
{
    int64_t made = batch_output_tokens(b);

    put_raw(out, "usage", "{");
    put_int(out, "input_tokens", b->in_tokens);
    put_raw(out, "input_tokens_details", "{\"cached_tokens\":0}");
    put_int(out, "output_tokens", made);
    put_raw(out, "output_tokens_details", "{\"reasoning_tokens\":0}");
    put_int(out, "total_tokens", b->in_tokens + made);
    strbuf_addc(out, '}');
}

static bool has_blobs(const struct call *call, const struct batch *b)
{
    return b->input_blob != NULL || call->v1 || strcmp(call->version, "2025-04-01-preview") == 0;
}

static void put_blobs(struct strbuf *out, const struct batch *b)
{
    char url[256] = "";

    if (b->input_blob != NULL && b->terminal)
        snprintf(url, sizeof(url), "https://sim.blob.example/out/%s", b->id);
    put_str(out, "input_blob", b->input_blob != NULL ? b->input_blob : "");
    put_str(out, "output_blob", url);
    put_str(out, "error_blob", url);
    if (b->output_folder != NULL)
        put_raw(out, "output_folder", b->output_folder);
}

static const char *shown_endpoint(const struct call *call, const struct batch *b)
{
    const char *endpoint = b->endpoint;

    if (call->acc->sw.echo_bare_endpoint && strncmp(endpoint, "/v1/", 4) == 0)
        endpoint += 3;
    return endpoint;
}

static void write_batch(const struct call *call, const struct batch *b, struct strbuf *out)
{
    const struct switches *sw = &call->acc->sw;

    strbuf_addc(out, '{');
    put_str(out, "id", b->id);
    put_raw(out, "object", "\"batch\"");
    put_str(out, "endpoint", shown_endpoint(call, b));
    if (sw->recent)
        put_str(out, "model", b->model[0] != '\0' ? b->model : NULL);
    put_errors(call, out, b);
    put_str(out, "input_file_id", b->input_id[0] != '\0' ? b->input_id : NULL);
    put_raw(out, "completion_window", "\"24h\"");
    put_status(call, out, b);
    put_late_id(call, out, b, "output_file_id", b->output_id, sw->output_late_ms);
    put_late_id(call, out, b, "error_file_id", b->error_id, sw->errors_late_ms);
    put_times(call, out, b);
    put_counts(call, out, b);
    if (sw->recent)
        put_usage(out, b);
    put_raw(out, "metadata", b->metadata != NULL ? b->metadata : "null");
    if (call->azure && has_blobs(call, b))
        put_blobs(out, b);
    strbuf_addc(out, '}');
}

/* Create. */

static const char *code_of(const struct call *call, const char *openai)
{
    return call->azure ? "invalidPayload" : openai;
}

static int want_string(struct call *call, const struct json *body, const char *key)
{
    const struct json *v = json_get(body, key);

    if (v == NULL || json_is(v, JSON_NULL)) {
        call_error(call, 400, code_of(call, "missing_required_parameter"), key,
                   "Missing required parameter: '%s'.", key);
        return -1;
    }
    if (!json_is(v, JSON_STRING)) {
        call_error(call, 400, code_of(call, "invalid_type"), key,
                   "Invalid type for '%s': expected a string.", key);
        return -1;
    }
    return 0;
}

static int check_required(struct call *call, const struct json *body)
{
    bool blob = call->azure && json_get_str(body, "input_blob") != NULL;
    const char *endpoint;

    if (!blob && want_string(call, body, "input_file_id") != 0)
        return -1;
    if (want_string(call, body, "endpoint") != 0 ||
        want_string(call, body, "completion_window") != 0)
        return -1;
    endpoint = json_get_str(body, "endpoint");
    bool refused =
        call->azure && !call->acc->sw.embeddings && strstr(endpoint, "embeddings") != NULL;
    if (refused || !switches_has(call->acc->sw.endpoints, endpoint, strlen(endpoint))) {
        call_error(call, 400, code_of(call, "invalid_value"), "endpoint",
                   "Invalid value: '%.64s'. Supported values are: %s.", endpoint,
                   call->acc->sw.endpoints);
        return -1;
    }
    if (strcmp(json_get_str(body, "completion_window"), "24h") != 0) {
        call_error(call, 400, code_of(call, "invalid_value"), "completion_window",
                   "Invalid value: '%.64s'. Value must be '24h'.",
                   json_get_str(body, "completion_window"));
        return -1;
    }
    return 0;
}

/* Characters, not bytes. */
static size_t length_of(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static int check_pair(struct call *call, const char *key, size_t key_len, const struct json *v)
{
    char param[128];
    size_t len = 0;
    const char *text = json_str(v, &len);

    snprintf(param, sizeof(param), "metadata.%.100s", key);
    if (text == NULL) {
        call_error(call, 400, code_of(call, "invalid_type"), param,
                   "Invalid type for '%s': expected a string.", param);
        return -1;
    }
    if (length_of(key, key_len) > 64) {
        call_error(call, 400, code_of(call, "string_above_max_length"), "metadata",
                   "Invalid 'metadata': keys may have at most 64 characters.");
        return -1;
    }
    if (length_of(text, len) > 512) {
        call_error(call, 400, code_of(call, "string_above_max_length"), param,
                   "Invalid '%s': string too long. Expected a string with maximum length 512.",
                   param);
        return -1;
    }
    return 0;
}

static const char *type_name(const struct json *v)
{
    static const char *const names[] = {"null",     "a boolean", "a number",
                                        "a string", "an array",  "an object"};

    return names[json_type(v)];
}

static int check_metadata(struct call *call, const struct json *meta)
{
    if (meta == NULL || json_is(meta, JSON_NULL))
        return 0;
    if (!json_is(meta, JSON_OBJECT)) {
        call_error(call, 400, code_of(call, "invalid_type"), "metadata",
                   "Invalid type for 'metadata': expected an object, but got %s instead.",
                   type_name(meta));
        return -1;
    }
    if (json_size(meta) > 16) {
        call_error(call, 400, code_of(call, "object_above_max_properties"), "metadata",
                   "Invalid 'metadata': too many properties. Expected an object with at most 16 "
                   "properties, but got an object with %zu properties instead.",
                   json_size(meta));
        return -1;
    }
    for (size_t i = 0; i < json_size(meta); i++) {
        size_t len = 0;
        const char *key = json_key_at(meta, i, &len);
        if (check_pair(call, key, len, json_at(meta, i)) != 0)
            return -1;
    }
    return 0;
}

static int check_output_expiry(struct call *call, const struct json *body, int64_t *seconds)
{
    const struct switches *sw = &call->acc->sw;
    const struct json *v = json_get(body, "output_expires_after");
    const char *anchor = json_get_str(v, "anchor");

    *seconds = 0;
    if (v == NULL || json_is(v, JSON_NULL))
        return 0;
    if (anchor == NULL || strcmp(anchor, "created_at") != 0) {
        call_error(call, 400, code_of(call, "invalid_value"), "output_expires_after.anchor",
                   "Invalid value for 'output_expires_after.anchor'.");
        return -1;
    }
    bool ok = json_int64(json_get(v, "seconds"), seconds) && *seconds > 0;
    if (!ok || (sw->enforce_expires &&
                (*seconds < call_expires_min(call) || *seconds > sw->expires_max_s))) {
        call_error(call, 400, code_of(call, "invalid_value"), "output_expires_after.seconds",
                   "Invalid 'output_expires_after.seconds': integer out of range.");
        return -1;
    }
    return 0;
}

static int file_unknown(struct call *call, const char *id)
{
    if (call->acc->sw.unknown_file_status == 400)
        call_error(call, 400, code_of(call, NULL), "file_id",
                   "Cannot find file ID %.200s, or project %s does not have access to it.", id,
                   call->acc->project != NULL ? call->acc->project : "proj_sim");
    else
        call_error(call, 404, call->acc->sw.file_not_found_code, "input_file_id",
                   "No such File object: %.200s", id);
    return -1;
}

static int check_file(struct call *call, const char *id, struct file **out)
{
    const struct switches *sw = &call->acc->sw;
    struct file *f = files_find(call->acc, id);
    int64_t now_ms = call->sim->now_ms;

    if (f == NULL || files_is_gone(f, now_ms) || now_ms - f->created_ms < sw->file_visible_after_ms)
        return file_unknown(call, id);
    if (strcmp(f->purpose, "batch") != 0) {
        call_error(call, 400, code_of(call, "invalid_value"), "input_file_id",
                   "The file '%s' has purpose '%s', expected 'batch'.", f->id, f->purpose);
        return -1;
    }
    if (now_ms < f->ready_ms && strcmp(sw->pending_create, "400") == 0) {
        call_error(call, 400, code_of(call, NULL), "input_file_id",
                   "The file '%s' is not processed yet, its status is 'pending'.", f->id);
        return -1;
    }
    *out = f;
    return 0;
}

static bool fails_unready(const struct call *call, const struct batch *b)
{
    return call->sim->now_ms < b->input->ready_ms &&
           strcmp(call->acc->sw.pending_create, "async") == 0;
}

/* The fast form of the quota (providers 2.6). */
static int check_room(struct call *call, struct batch *b)
{
    const struct deployment *d = b->deployment;

    if (!call->azure || d == NULL || d->enqueued_limit == 0 || !d->fast_refusal)
        return 0;
    if (engine_enqueued(call->acc, d, NULL) + b->tokens <= d->enqueued_limit)
        return 0;
    call_error(
        call, 400, call->acc->sw.refusal_code, NULL,
        "token_limit_exceeded: The number of enqueued tokens has surpassed the configured "
        "limit of %lldK for the deployment '%s'. Please either increase the limit or try again "
        "once the current jobs have finished.",
        (long long)d->enqueued_limit / 1000, d->name);
    return -1;
}

static int check_rates(struct call *call)
{
    struct account *acc = call->acc;
    int64_t limit = acc->sw.batches_per_hour;

    if (acc->sw.max_active_batches > 0 && (int64_t)acc->n_active >= acc->sw.max_active_batches) {
        call_throttled(call);
        return -1;
    }
    if (limit <= 0)
        return 0;
    size_t recent = 0;
    for (size_t i = acc->n_batches; i-- > 0;) {
        if (call->sim->now_ms - acc->batches[i]->at_ms[STATUS_VALIDATING] >= 3600000)
            break;
        recent++;
    }
    if ((int64_t)recent < limit)
        return 0;
    call_throttled(call);
    return -1;
}

static char *json_text(const struct json *v)
{
    struct strbuf out = STRBUF_INIT;

    if (v == NULL || json_is(v, JSON_NULL))
        return NULL;
    json_write(v, &out);
    return strbuf_take(&out);
}

static void add_batch(struct account *acc, struct batch *b)
{
    sim_new_id(acc, b->id, "batch_", acc->kind == KIND_AZURE);
    if (acc->n_batches == acc->cap_batches) {
        acc->cap_batches = acc->cap_batches == 0 ? 64 : acc->cap_batches * 2;
        acc->batches = sim_realloc(acc->batches, acc->cap_batches * sizeof(struct batch *));
    }
    acc->batches[acc->n_batches++] = b;
    map_put(&acc->batch_ix, b->id, strlen(b->id), b);
    acc->creates++;
}

static void answer_created(struct call *call, const struct batch *b)
{
    write_batch(call, b, &call->rep->body);
    if (!call->azure || strcmp(call->version, "2025-04-01-preview") != 0)
        return;
    call->rep->status = 201;
    if (b->deployment == NULL)
        return;
    strbuf_addf(&call->rep->headers,
                "deployment-enqueued-tokens: %lld\r\ndeployment-maximum-enqueued-tokens: %lld\r\n",
                (long long)engine_enqueued(call->acc, b->deployment, NULL),
                (long long)b->deployment->enqueued_limit);
}

/* Whether the call is accepted as far as the body itself tells. */
static int read_body(struct call *call, const struct json *body, struct batch *b)
{
    const char *id = json_get_str(body, "input_file_id");

    if (check_required(call, body) != 0 || check_metadata(call, json_get(body, "metadata")) != 0 ||
        check_output_expiry(call, body, &b->output_expires_s) != 0)
        return -1;
    if (id != NULL && check_file(call, id, &b->input) != 0)
        return -1;
    if (b->input != NULL) {
        b->unready = fails_unready(call, b);
        snprintf(b->input_id, sizeof(b->input_id), "%s", b->input->id);
        engine_peek_model(b->input, b->model, sizeof(b->model));
        b->deployment = engine_deployment(call->acc, b->model);
        b->tokens = engine_count_tokens(call->acc, b->input);
    }
    engine_advance_all(call->acc);
    if (check_rates(call) != 0 || check_room(call, b) != 0)
        return -1;
    b->endpoint = sim_strdup(json_get_str(body, "endpoint"));
    b->input_blob = sim_strdup(b->input == NULL ? json_get_str(body, "input_blob") : NULL);
    b->metadata = b->input_blob != NULL ? NULL : json_text(json_get(body, "metadata"));
    b->output_folder = json_text(json_get(body, "output_folder"));
    return 0;
}

static void create(struct call *call)
{
    struct json_doc *doc = NULL;
    const struct json *body = call_json(call, &doc);
    struct batch *b = sim_alloc(sizeof(*b));

    if (body == NULL || read_body(call, body, b) != 0) {
        batches_free(call->acc, b);
    } else {
        add_batch(call->acc, b);
        engine_start(call->acc, b);
        if (b->deployment != NULL)
            call->rep->delay_ms += b->deployment->latency_ms;
        answer_created(call, b);
    }
    json_doc_free(doc);
}

/* List, with the OData of Azure's previews. */

struct filter {
    int64_t gt, lt;  /* created_at strictly between */
    char status[32]; /* lower case; "": any */
    bool ascending;
};

static bool one_clause(struct filter *f, const char *text)
{
    char field[32], op[8], value[64];

    if (sscanf(text, " %31s %7s %63s", field, op, value) != 3)
        return false;
    if (strcmp(field, "status") == 0 && strcmp(op, "eq") == 0 && value[0] == '\'') {
        size_t n = strcspn(value + 1, "'");
        for (size_t i = 0; i < n && i < sizeof(f->status) - 1; i++)
            f->status[i] = (char)tolower((unsigned char)value[1 + i]);
        return value[1 + n] == '\'';
    }
    char *end = NULL;
    long long n = strtoll(value, &end, 10);
    if (strcmp(field, "created_at") != 0 || *end != '\0' || end == value)
        return false;
    if (strcmp(op, "gt") == 0 || strcmp(op, "ge") == 0)
        f->gt = op[1] == 't' ? n : n - 1;
    else if (strcmp(op, "lt") == 0 || strcmp(op, "le") == 0)
        f->lt = op[1] == 't' ? n : n + 1;
    else
        return false;
    return true;
}

static bool parse_filter(struct filter *f, char *text)
{
    for (char *p = text; p != NULL;) {
        char *next = strstr(p, " and ");
        if (next != NULL) {
            *next = '\0';
            next += 5;
        }
        if (!one_clause(f, p))
            return false;
        p = next;
    }
    return true;
}

static bool parse_orderby(struct filter *f, const char *text)
{
    if (strncmp(text, "created_at", 10) != 0)
        return false;
    f->ascending = strcmp(text + 10, " asc") == 0 || text[10] == '\0';
    return f->ascending || strcmp(text + 10, " desc") == 0;
}

/* Any other $word in the query is unknown OData. */
static bool has_other_odata(const struct request *req)
{
    const char *p = req->target + req->path_len;
    const char *end = req->target + req->target_len;

    for (; p < end; p++) {
        if (*p != '?' && *p != '&')
            continue;
        size_t skip = end - p > 1 && p[1] == '$'                    ? 2
                      : end - p > 3 && memcmp(p + 1, "%24", 3) == 0 ? 4
                                                                    : 0;
        if (skip == 0)
            continue;
        size_t left = (size_t)(end - p) - skip;
        if (!(left >= 7 && memcmp(p + skip, "filter=", 7) == 0) &&
            !(left >= 8 && memcmp(p + skip, "orderby=", 8) == 0))
            return true;
    }
    return false;
}

static int read_filter(struct call *call, struct filter *f)
{
    char *filter = request_query(call->req, "$filter");
    char *orderby = request_query(call->req, "$orderby");
    bool preview = strstr(call->version, "preview") != NULL;
    bool ok = !has_other_odata(call->req) && ((filter == NULL && orderby == NULL) || preview);

    *f = (struct filter){.gt = INT64_MIN, .lt = INT64_MAX};
    ok = ok && (filter == NULL || parse_filter(f, filter));
    ok = ok && (orderby == NULL || parse_orderby(f, orderby));
    free(filter);
    free(orderby);
    if (ok)
        return 0;
    call_error(call, 400, "invalidPayload", NULL, "The query option is not supported.");
    return -1;
}

static bool passes(const struct filter *f, const struct batch *b)
{
    int64_t created = at(b, STATUS_VALIDATING);

    return created > f->gt && created < f->lt &&
           (f->status[0] == '\0' || strcmp(f->status, status_name(b->status)) == 0);
}

static const struct batch *batch_at(const struct account *acc, size_t i, bool ascending)
{
    return acc->batches[ascending ? i : acc->n_batches - 1 - i];
}

static int64_t page_start(struct call *call, const struct page *page, bool ascending)
{
    const struct account *acc = call->acc;

    if (page->after == NULL)
        return 0;
    for (size_t i = 0; i < acc->n_batches; i++) {
        if (strcmp(batch_at(acc, i, ascending)->id, page->after) == 0)
            return (int64_t)i + 1;
    }
    if (strcmp(acc->sw.unknown_after, "ignore") == 0)
        return 0;
    if (strcmp(acc->sw.unknown_after, "empty") == 0)
        return (int64_t)acc->n_batches;
    call_error(call, 404, acc->sw.batch_not_found_code, "after", "No batch found with id '%.200s'.",
               page->after);
    return -1;
}

static void write_page(struct call *call, const struct page *page, const struct filter *f,
                       size_t start)
{
    struct strbuf *out = &call->rep->body;
    const char *first = NULL, *last = NULL;
    bool more = false;
    int64_t n = 0;

    strbuf_adds(out, call->acc->sw.list_without_object ? "{" : "{\"object\":\"list\"");
    put_raw(out, "data", "[");
    for (size_t i = start; i < call->acc->n_batches; i++) {
        const struct batch *b = batch_at(call->acc, i, f->ascending);
        if (!passes(f, b))
            continue;
        if (n == page->limit) {
            more = true;
            break;
        }
        if (n++ > 0)
            strbuf_addc(out, ',');
        write_batch(call, b, out);
        first = first == NULL ? b->id : first;
        last = b->id;
    }
    strbuf_addc(out, ']');
    put_str(out, "first_id", first);
    put_str(out, "last_id", last);
    put_raw(out, "has_more", page->limit > 0 && more ? "true" : "false");
    strbuf_addc(out, '}');
}

static void list(struct call *call)
{
    struct page page = {0};
    struct filter filter = {.gt = INT64_MIN, .lt = INT64_MAX};

    if (call_page(call, &page, 100, 20) != 0)
        return;
    if (!call->azure || read_filter(call, &filter) == 0) {
        engine_advance_all(call->acc);
        int64_t start = page_start(call, &page, filter.ascending);
        if (start != -1)
            write_page(call, &page, &filter, (size_t)start);
    }
    free(page.after);
}

/* Cancel. */

static void cancel(struct call *call, struct batch *b)
{
    const struct switches *sw = &call->acc->sw;
    int64_t refuse = 0;

    if (b->status == STATUS_CANCELLED)
        refuse = sw->cancel_cancelled_status;
    else if (b->terminal)
        refuse = sw->cancel_finished_status;
    if (refuse >= 400) {
        call_error(call, (int)refuse, call->azure ? "conflict" : NULL, NULL,
                   "Cannot cancel a batch with status '%s'.", status_name(b->status));
        return;
    }
    if (!b->terminal && b->status != STATUS_CANCELLING)
        engine_cancel(call->acc, b);
    write_batch(call, b, &call->rep->body);
}

static void one_batch(struct call *call)
{
    struct batch *b = map_get(&call->acc->batch_ix, call->id, strlen(call->id));
    bool get = request_is(call->req, "GET") || request_is(call->req, "HEAD");

    if (call->sub[0] != '\0' && strcmp(call->sub, "cancel") != 0) {
        call_error(call, 404, call->azure ? "404" : NULL, NULL, "Invalid URL (%.*s %.*s)",
                   (int)call->req->method_len, call->req->method, (int)call->req->path_len,
                   call->req->target);
        return;
    }
    if (b == NULL) {
        call_error(call, 404, call->acc->sw.batch_not_found_code, call->azure ? NULL : "id",
                   "No batch found with id '%.200s'.", call->id);
        return;
    }
    if (b->deployment != NULL)
        call->rep->delay_ms += b->deployment->latency_ms;
    engine_advance(call->acc, b);
    if (get && call->sub[0] == '\0')
        write_batch(call, b, &call->rep->body);
    else if (request_is(call->req, "POST") && call->sub[0] != '\0')
        cancel(call, b);
    else
        dispatch_error(call->acc, call->req, 405, call->rep);
}

void batches_call(struct call *call)
{
    if (call->id[0] != '\0')
        one_batch(call);
    else if (request_is(call->req, "POST"))
        create(call);
    else if (request_is(call->req, "GET") || request_is(call->req, "HEAD"))
        list(call);
    else
        dispatch_error(call->acc, call->req, 405, call->rep);
}
