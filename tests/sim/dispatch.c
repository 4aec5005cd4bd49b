/* From a request to its handler: paths, api-versions, and how each dialect words its errors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "call.h"

void put_raw(struct strbuf *out, const char *key, const char *raw)
{
    char last = out->len > 0 ? out->data[out->len - 1] : '{';

    if (last != '{' && last != '[')
        strbuf_addc(out, ',');
    strbuf_addc(out, '"');
    strbuf_adds(out, key);
    strbuf_add(out, "\":", 2);
    strbuf_adds(out, raw);
}

void put_str(struct strbuf *out, const char *key, const char *text)
{
    if (text == NULL) {
        put_raw(out, key, "null");
        return;
    }
    put_raw(out, key, "");
    json_write_string(out, text, strlen(text));
}

void put_int(struct strbuf *out, const char *key, int64_t n)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%lld", (long long)n);
    put_raw(out, key, digits);
}

/* The headers of every answer: OpenAI in 1.8, Azure in 2.9 of the reference. */
void dispatch_headers(struct account *acc, struct reply *rep)
{
    char id[40];

    if (acc->journal == NULL)
        return; /* the control port */
    if (acc->kind == KIND_OPENAI) {
        strbuf_adds(&rep->headers, "x-request-id: req_");
        sim_hex(&acc->rng, id, 32);
        strbuf_adds(&rep->headers, id);
        strbuf_adds(&rep->headers, "\r\nopenai-processing-ms: 7\r\nopenai-version: 2020-10-01\r\n");
        reply_header(rep, "openai-organization",
                     acc->organization != NULL ? acc->organization : "org-sim");
        reply_header(rep, "openai-project", acc->project != NULL ? acc->project : "proj_sim");
        strbuf_adds(&rep->headers, "x-envoy-upstream-service-time: 9\r\n"
                                   "strict-transport-security: max-age=31536000\r\n"
                                   "cf-cache-status: DYNAMIC\r\ncf-ray: 8f00-SIM\r\n"
                                   "set-cookie: __cf_bm=sim; path=/; HttpOnly\r\n"
                                   "set-cookie: _cfuvid=sim; path=/; HttpOnly\r\n"
                                   "server: cloudflare\r\nalt-svc: h3=\":443\"; ma=86400\r\n");
    } else if (acc->kind == KIND_AZURE) {
        sim_uuid(&acc->rng, id);
        reply_header(rep, "apim-request-id", id);
        reply_header(rep, "x-request-id", id);
        reply_header(rep, "x-ms-region", acc->sw.region);
        strbuf_adds(&rep->headers, "strict-transport-security: max-age=31536000\r\n"
                                   "x-content-type-options: nosniff\r\n");
    } else {
        sim_uuid(&acc->rng, id);
        reply_header(rep, "x-ms-request-id", id);
        strbuf_adds(&rep->headers, "cache-control: no-store, no-cache\r\npragma: no-cache\r\n"
                                   "strict-transport-security: max-age=31536000\r\n"
                                   "x-content-type-options: nosniff\r\n"
                                   "set-cookie: fpc=sim; path=/; secure; HttpOnly\r\n");
    }
    if (acc->sw.ratelimit_headers)
        strbuf_adds(&rep->headers, acc->kind == KIND_AZURE
                                       ? "x-ratelimit-remaining-requests: 99\r\n"
                                         "x-ratelimit-reset-requests: 0\r\n"
                                       : "x-ratelimit-limit-requests: 100\r\n"
                                         "x-ratelimit-remaining-requests: 99\r\n"
                                         "x-ratelimit-reset-requests: 17ms\r\n");
}

static const char *type_of(const struct account *acc, int status)
{
    if (status == 429)
        return "requests";
    if (status >= 500)
        return "server_error";
    return status == 404 && acc->sw.not_found_type[0] != '\0' ? acc->sw.not_found_type
                                                              : "invalid_request_error";
}

static void write_openai(struct strbuf *out, const char *message, const char *type,
                         const char *param, const char *code)
{
    strbuf_adds(out, "{\"error\":{");
    put_str(out, "message", message);
    put_str(out, "type", type);
    put_str(out, "param", param);
    put_str(out, "code", code);
    strbuf_adds(out, "}}");
}

static void write_azure(struct strbuf *out, const char *message, const char *code)
{
    strbuf_adds(out, "{\"error\":{");
    put_str(out, "code", code);
    put_str(out, "message", message);
    strbuf_adds(out, "}}");
}

static void write_inner(struct strbuf *out, const char *message, const char *code,
                        const char *param)
{
    strbuf_adds(out, "{\"error\":{");
    put_str(out, "code", code);
    put_str(out, "message", message);
    put_str(out, "param", param);
    put_str(out, "type", "error");
    put_raw(out, "inner_error", "{}");
    strbuf_adds(out, "}}");
}

static void write_error(struct account *acc, bool v1, int status, struct reply *rep,
                        const char *code, const char *param, const char *message)
{
    char number[16];

    rep->status = status;
    rep->type = "application/json";
    strbuf_reset(&rep->body);
    if (acc->kind != KIND_AZURE || (v1 && strcmp(acc->sw.v1_errors, "openai") == 0)) {
        write_openai(&rep->body, message, type_of(acc, status), param, code);
        return;
    }
    snprintf(number, sizeof(number), "%d", status);
    if (code == NULL || code[0] == '\0')
        code = number;
    if (v1 && strcmp(acc->sw.v1_errors, "inner") == 0)
        write_inner(&rep->body, message, code, param);
    else
        write_azure(&rep->body, message, code);
}

void call_error(struct call *call, int status, const char *code, const char *param, const char *fmt,
                ...)
{
    struct strbuf text = STRBUF_INIT;
    va_list args;

    va_start(args, fmt);
    strbuf_addv(&text, fmt, args);
    va_end(args);
    if (code != NULL && code[0] == '\0')
        code = NULL;
    write_error(call->acc, call->v1, status, call->rep, code, param, strbuf_str(&text));
    strbuf_deinit(&text);
}

static void add_retry(const struct account *acc, struct reply *rep)
{
    if (acc->sw.retry_after_ms)
        strbuf_addf(&rep->headers, "retry-after-ms: %lld\r\n",
                    (long long)acc->sw.retry_after_s * 1000);
    if (acc->sw.retry_after)
        strbuf_addf(&rep->headers, "retry-after: %lld\r\n", (long long)acc->sw.retry_after_s);
}

static bool path_is_v1(const struct request *req)
{
    return req != NULL && req->path_len > 11 && memcmp(req->target, "/openai/v1/", 11) == 0;
}

static void openai_error(struct account *acc, int status, struct reply *rep)
{
    static const char page[] =
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
        "<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";

    if (status == 502 || status == 413 || status >= 520) {
        rep->status = status;
        rep->type = "text/html";
        strbuf_adds(&rep->body, page);
    } else if (status == 401) {
        write_error(acc, false, status, rep, "invalid_api_key", NULL,
                    "Incorrect API key provided: sk-***. You can find your API key at "
                    "https://platform.openai.com/account/api-keys.");
    } else if (status == 429) {
        write_error(acc, false, status, rep, "rate_limit_exceeded", NULL,
                    "Rate limit reached for requests");
    } else if (status >= 500) {
        write_error(acc, false, status, rep, NULL, NULL,
                    "The server had an error while processing your request. Sorry about that!");
    } else {
        write_error(acc, false, status, rep, NULL, NULL, reply_reason(status));
    }
}

static void azure_error(struct account *acc, bool v1, int status, struct reply *rep)
{
    struct strbuf text = STRBUF_INIT;

    if (status == 401) {
        write_error(
            acc, v1, status, rep, acc->sw.auth_code, NULL,
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure "
            "to provide a valid key for an active subscription and use a correct regional "
            "API endpoint for your resource.");
    } else if (status == 404) {
        rep->status = 404;
        write_azure(&rep->body, "Resource not found", "404");
    } else if (status == 429) {
        strbuf_addf(
            &text,
            "Requests to the Batch Operation under Azure OpenAI API version 2024-10-21 have "
            "exceeded call rate limit of your current pricing tier. Please retry after %lld "
            "seconds.",
            (long long)acc->sw.retry_after_s);
        rep->status = 429;
        write_azure(&rep->body, strbuf_str(&text), "429");
    } else {
        write_error(acc, v1, status, rep, NULL, NULL, reply_reason(status));
    }
    strbuf_deinit(&text);
}

void dispatch_error(struct account *acc, const struct request *req, int status, struct reply *rep)
{
    strbuf_reset(&rep->body);
    rep->type = "application/json";
    if (acc->kind == KIND_ENTRA) {
        entra_error(acc, req, status, rep);
        return;
    }
    if (acc->kind == KIND_AZURE)
        azure_error(acc, path_is_v1(req), status, rep);
    else
        openai_error(acc, status, rep);
    if (status == 429)
        add_retry(acc, rep);
}

int64_t call_expires_min(const struct call *call)
{
    return call->v1 ? call->acc->sw.v1_expires_min_s : call->acc->sw.expires_min_s;
}

void call_throttled(struct call *call)
{
    dispatch_error(call->acc, call->req, 429, call->rep);
}

struct json *call_json(struct call *call, struct json_doc **doc)
{
    struct json_error error = {0};
    size_t len = 0;
    char *text = request_text(call->req, &len);
    struct json *root = NULL;

    *doc = json_doc_new();
    if (text != NULL && *doc != NULL)
        root = json_parse_most(*doc, text, len, SIZE_MAX, &error);
    free(text);
    if (root == NULL || !json_is(root, JSON_OBJECT)) {
        call_error(call, 400, call->azure ? "invalidPayload" : NULL, NULL,
                   "We could not parse the JSON body of your request. (line %zu, column %zu)",
                   error.line, error.column);
        return NULL;
    }
    return root;
}

static int parse_limit(struct call *call, struct page *page, int64_t max)
{
    char *text = request_query(call->req, "limit");
    char *end = NULL;

    if (text == NULL)
        return 0;
    page->limit = strtoll(text, &end, 10);
    bool number = end != text && *end == '\0';
    free(text);
    if (!number) {
        call_error(call, 400, call->azure ? "invalidPayload" : "invalid_type", "limit",
                   "Invalid type for 'limit': expected an integer.");
        return -1;
    }
    if (page->limit > max) {
        call_error(
            call, 400, call->azure ? "invalidPayload" : "integer_above_max_value", "limit",
            "Invalid 'limit': integer above maximum value. Expected a value <= %lld, but got "
            "%lld instead.",
            (long long)max, (long long)page->limit);
        return -1;
    }
    if (page->limit < 0) {
        call_error(call, 400, call->azure ? "invalidPayload" : "integer_below_min_value", "limit",
                   "Invalid 'limit': integer below minimum value. Expected a value >= 0, but got "
                   "%lld instead.",
                   (long long)page->limit);
        return -1;
    }
    return 0;
}

int call_page(struct call *call, struct page *page, int64_t max, int64_t dflt)
{
    *page = (struct page){.limit = dflt};
    if (parse_limit(call, page, max) != 0)
        return -1;
    char *order = request_query(call->req, "order");
    bool ok = order == NULL || strcmp(order, "asc") == 0 || strcmp(order, "desc") == 0;
    page->ascending = order != NULL && strcmp(order, "asc") == 0;
    free(order);
    if (!ok) {
        call_error(call, 400, call->azure ? "invalidPayload" : "invalid_value", "order",
                   "Invalid value for 'order'. Supported values are: 'asc' and 'desc'.");
        return -1;
    }
    page->after = request_query(call->req, "after");
    return 0;
}

/* Azure lets ten custom headers through (2.9); these are the ones that it does not count. */
static bool is_standard(const struct header *h)
{
    static const char *const names[] = {
        "host",          "user-agent", "accept",        "accept-encoding", "accept-language",
        "authorization", "api-key",    "content-type",  "content-length",  "transfer-encoding",
        "connection",    "expect",     "cache-control", "pragma",          "te",
        "range",         "cookie",     "origin",        "referer",         "keep-alive"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == h->name_len && strncasecmp(names[i], h->name, h->name_len) == 0)
            return true;
    }
    return false;
}

static bool too_many_headers(const struct call *call)
{
    int64_t custom = 0;

    if (call->acc->sw.max_custom_headers == 0)
        return false;
    for (size_t i = 0; i < call->req->n_headers; i++)
        custom += !is_standard(&call->req->headers[i]);
    return custom > call->acc->sw.max_custom_headers;
}

/* Paths. */

struct walk {
    const char *p;
    const char *end;
};

/* The next segment; false at the end of the path. */
static bool next_segment(struct walk *w, const char **seg, size_t *len)
{
    if (w->p >= w->end)
        return false;
    const char *p = w->p + 1; /* the slash */
    const char *slash = memchr(p, '/', (size_t)(w->end - p));
    *seg = p;
    *len = (size_t)((slash == NULL ? w->end : slash) - p);
    w->p = *seg + *len;
    return true;
}

static bool take(struct walk *w, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(w->end - w->p) < n + 1 || w->p[0] != '/' || memcmp(w->p + 1, word, n) != 0)
        return false;
    if (w->p + n + 1 < w->end && w->p[n + 1] != '/')
        return false;
    w->p += n + 1;
    return true;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *hit = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);

    return hit == NULL ? -1 : (int)(hit - digits);
}

/* One path segment, percent-decoded. An id that does not fit is not one of ours. */
static void decode_id(struct call *call, const char *seg, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len && n + 1 < sizeof(call->id); i++) {
        int high = seg[i] == '%' && i + 2 < len ? hex_digit(seg[i + 1]) : -1;
        int low = high == -1 ? -1 : hex_digit(seg[i + 2]);
        call->id[n++] = low == -1 ? seg[i] : (char)(high * 16 + low);
        i += low == -1 ? 0 : 2;
    }
    call->id[n] = '\0';
}

/* /{collection}[/{id}[/{sub}]] */
static bool parse_rest(struct call *call, struct walk *w)
{
    const char *seg = NULL;
    size_t len = 0;

    if (take(w, "files"))
        call->collection = COLLECTION_FILES;
    else if (take(w, "batches"))
        call->collection = COLLECTION_BATCHES;
    else if (take(w, "models"))
        call->collection = COLLECTION_MODELS;
    else
        return false;
    if (w->p + 1 == w->end) /* a trailing slash */
        return strcmp(call->acc->sw.trailing_slash, "accept") == 0;
    if (!next_segment(w, &seg, &len))
        return true;
    decode_id(call, seg, len);
    if (!next_segment(w, &seg, &len))
        return true;
    if (len == 0 && w->p == w->end)
        return strcmp(call->acc->sw.trailing_slash, "accept") == 0;
    snprintf(call->sub, sizeof(call->sub), "%.*s", (int)(len < 15 ? len : 15), seg);
    return !next_segment(w, &seg, &len) ||
           (len == 0 && w->p == w->end && strcmp(call->acc->sw.trailing_slash, "accept") == 0);
}

static bool openai_path(struct call *call)
{
    struct walk w = {call->req->target, call->req->target + call->req->path_len};

    return take(&w, "v1") && parse_rest(call, &w);
}

static bool azure_version_ok(struct call *call)
{
    char *version = request_query(call->req, "api-version");
    bool ok = false;

    if (version != NULL) {
        size_t len = strlen(version);
        snprintf(call->version, sizeof(call->version), "%s", version);
        call->old_version = switches_has(call->acc->sw.old_api_versions, version, len);
        ok = call->old_version || switches_has(call->acc->sw.api_versions, version, len);
        if (call->v1)
            ok = strcmp(version, "v1") == 0 || strcmp(version, "preview") == 0;
    } else {
        ok = call->v1;
    }
    free(version);
    return ok;
}

/* An online call to a batch deployment (litellm#5279). */
static bool is_online_call(struct walk w)
{
    const char *seg = NULL;
    size_t len = 0;

    return take(&w, "deployments") && next_segment(&w, &seg, &len) &&
           (take(&w, "chat") || take(&w, "completions") || take(&w, "embeddings"));
}

static bool azure_path(struct call *call)
{
    struct walk w = {call->req->target, call->req->target + call->req->path_len};
    const char *seg = NULL;
    size_t len = 0;

    if (!take(&w, "openai"))
        return false;
    if (call->acc->sw.v1_paths && take(&w, "v1"))
        call->v1 = true;
    if (!azure_version_ok(call))
        return false;
    if (is_online_call(w)) {
        call_error(call, 400, "OperationNotSupported", NULL,
                   "The operation does not work with the specified model. Please choose different "
                   "model and try again.");
        return false;
    }
    if (strcmp(call->acc->sw.deployment_paths, "accept") == 0 && take(&w, "deployments"))
        (void)next_segment(&w, &seg, &len);
    return parse_rest(call, &w) && !(call->old_version && call->collection != COLLECTION_FILES);
}

static void models_call(struct call *call)
{
    struct strbuf *out = &call->rep->body;

    strbuf_adds(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < call->acc->n_deployments; i++) {
        strbuf_adds(out, i > 0 ? ",{" : "{");
        put_str(out, "id",
                call->azure ? call->acc->deployments[i]->model : call->acc->deployments[i]->name);
        put_raw(out, "object", "\"model\",\"created\":1790000000,\"owned_by\":\"system\"");
        if (!call->azure)
            put_str(out, "shutdown_date", call->acc->deployments[i]->shutdown_date);
        strbuf_addc(out, '}');
    }
    strbuf_adds(out, "]}");
}

static void no_such_path(struct call *call)
{
    struct request *req = call->req;

    if (call->azure)
        dispatch_error(call->acc, req, 404, call->rep);
    else
        call_error(call, 404, NULL, NULL, "Invalid URL (%.*s %.*s)", (int)req->method_len,
                   req->method, (int)req->path_len, req->target);
}

static void data_plane(struct call *call)
{
    struct reply *rep = call->rep;
    bool found = call->azure ? azure_path(call) : openai_path(call);

    if (!found) {
        if (rep->body.len == 0)
            no_such_path(call);
        return;
    }
    if (call->azure && too_many_headers(call)) {
        dispatch_error(call->acc, call->req, 431, rep);
        return;
    }
    if (call->acc->key != NULL && !(call->azure ? azure_authorised(call) : openai_authorised(call)))
        return;
    if (call->req->chunked && !call->acc->sw.chunked_uploads) {
        dispatch_error(call->acc, call->req, 411, rep);
        return;
    }
    if (request_is(call->req, "HEAD") && strcmp(call->acc->sw.head, "405") == 0) {
        dispatch_error(call->acc, call->req, 405, rep);
        reply_header(rep, "allow", "GET");
        return;
    }
    if (call->collection == COLLECTION_FILES)
        files_call(call);
    else if (call->collection == COLLECTION_BATCHES)
        batches_call(call);
    else
        models_call(call);
}

void dispatch(struct conn *c, struct account *acc, struct request *req, struct reply *rep)
{
    struct call call = {.sim = http_sim(c), .acc = acc, .req = req, .rep = rep};

    if (acc == call.sim->control) {
        control_call(c, call.sim, req, rep);
        return;
    }
    dispatch_headers(acc, rep);
    rep->delay_ms = acc->sw.latency_ms;
    if (acc->kind == KIND_ENTRA) {
        entra_call(acc, req, rep);
        return;
    }
    call.azure = acc->kind == KIND_AZURE;
    data_plane(&call);
}
