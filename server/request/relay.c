/* See relay.h. */
#include "request/relay.h"

#include <assert.h>
#include <h2o.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/log_out.h"
#include "common/mask.h"
#include "core/host_names.h"
#include "request/errors.h"
#include "request/admit.h"
#include "request/limits.h"
#include "request/auth.h"
#include "objects/client_ids.h"
#include "objects/polls.h"
#include "front/guard_peers.h"
#include "request/collect.h"
#include "request/cookie.h"
#include "request/cors.h"

static h2o_generator_t no_generator = {NULL, NULL};

/* The reason phrase of a status (RFC 9110 section 15). */
static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } known[] = {{200, "OK"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {304, "Not Modified"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {421, "Misdirected Request"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {507, "Insufficient Storage"}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].status == status)
            return known[i].reason;
    return status < 400 ? "OK" : "Error";
}

/* The model that was asked for, else that of the deployment which served. */
static const char *model_of(const struct relay *relay)
{
    const struct table *table = relay->rt->table;
    uint32_t group;

    if (relay->hints.model[0] != '\0' || relay->deployment == MODEL_NO_INDEX)
        return relay->hints.model;
    group = table_deployment(table, relay->deployment)->group;
    return group != MODEL_NO_INDEX ? table_group_name(table, group) : "";
}

static void log_access(const struct relay *relay, bool cut_off)
{
    const h2o_req_t *req = relay->req;
    const struct table *table = relay->rt->table;
    const char *id = relay->made != NULL ? relay->made : relay->route.id;
    char method[64], key[TENANT_NAME];
    struct access_line line = {.request_id = relay->request_id,
                               .client = relay->client,
                               .route = route_name(relay->route.kind, relay->method),
                               .path = route_shape(relay->route.kind),
                               .method = method,
                               .status = relay->answered ? req->res.status : 499,
                               .bytes_in = relay->bytes_in,
                               .bytes_out = req->bytes_sent,
                               .started_us = relay->started_us,
                               .version = req->version,
                               .model = model_of(relay),
                               .id = id,
                               .id_len = relay->made != NULL ? strlen(id) : relay->route.id_len,
                               .calls = &relay->live.calls,
                               .cut_off = cut_off};

    route_allow(relay->method, method, sizeof(method));
    tenant_log_name(relay->tenant, key);
    line.key = key;
    line.team = relay->tenant->rights.team_name;
    if (relay->deployment != MODEL_NO_INDEX)
        line.deployment = table_str(table, table_deployment(table, relay->deployment)->id);
    access_log_write(&line);
}

/* An open page looks each two seconds, and no operator asks afterwards who looked: what failed is
 * told, as is who logged in and what was changed. */
static bool is_mere_look(const struct relay *relay)
{
    return relay->route.kind == ROUTE_UI_STATE && relay->answered && relay->req->res.status < 400;
}

/* What the page plots; not what it asks itself. */
static void note_minute(const struct relay *relay)
{
    const struct runtime *rt = relay->rt;

    if (rt->inherited->minutes != NULL && !route_is_of_page(relay->route.kind))
        minutes_note(&rt->inherited->minutes[rt->slot], clock_now_us() - relay->started_us,
                     relay->answered && relay->req->res.status >= 500, clock_now_ms());
}

static void log_unfinished(struct live_request *request)
{
    log_access(H2O_STRUCT_FROM_MEMBER(struct relay, live, request), true);
}

void relay_log_unfinished(struct runtime *rt)
{
    live_each(&rt->live, log_unfinished);
    log_out_flush();
}

/* The pool goes: normal end, reset, abort, at any time. The request struct is still whole here. */
static void on_pool_gone(void *p)
{
    struct relay *relay = p;

    if (!is_mere_look(relay))
        log_access(relay, false);
    live_remove(&relay->live);
    note_minute(relay);
    if (relay->op != NULL) {
        void *op = relay->op;

        relay->op = NULL;
        relay->on_gone(op);
    }
    admit_end_turn(relay);
    collect_forget(relay);
    admit_release(relay);
    limits_release(relay->rt, &relay->limits);
    share_put(relay->share);
    atomic_fetch_add_explicit(&relay->rt->inherited->shared->slots[relay->rt->slot].requests, 1,
                              memory_order_relaxed);
}

/* Bytes of the path before the routes: LiteLLM's SERVER_ROOT_PATH, which a proxy in front may have
 * cut off already. */
static size_t below_root(const char *root, const char *path, size_t len)
{
    size_t root_len = root != NULL ? strlen(root) : 0;

    return root_len > 0 && len > root_len && memcmp(path, root, root_len) == 0 &&
                   path[root_len] == '/'
               ? root_len
               : 0;
}

struct relay *relay_new(struct runtime *rt, h2o_req_t *req)
{
    struct relay *relay = h2o_mem_alloc_shared(&req->pool, sizeof(*relay), on_pool_gone);
    size_t path_len = req->query_at == SIZE_MAX ? req->path.len : req->query_at, root_len;

    memset(relay, 0, sizeof(*relay));
    relay->req = req;
    relay->rt = rt;
    relay->started_us = clock_now_us();
    relay->moment = rt->inherited->poll_cache != NULL ? polls_moment(rt->inherited) : 0;
    relay->deployment = MODEL_NO_INDEX;
    relay->tenant = &tenant_anybody;
    access_log_new_id(relay->request_id);
    memcpy(relay->live.id, relay->request_id, sizeof(relay->live.id));
    live_add(&rt->live, &relay->live);
    if (path_len < req->path.len) {
        relay->query_len = req->path.len - path_len - 1;
        relay->query = h2o_strdup(&req->pool, req->path.base + path_len + 1, relay->query_len).base;
    } else {
        relay->query = "";
    }
    relay->method = route_method(req->method.base, req->method.len);
    root_len = below_root(rt->config->root_path, req->path.base, path_len);
    route_parse(req->path.base + root_len, path_len - root_len, relay->query, relay->query_len,
                &relay->route, &relay->hints);
    if (route_is_managed(relay->route.kind)) {
        relay->path_len = path_len - root_len;
        relay->path = h2o_strdup(&req->pool, req->path.base + root_len, relay->path_len).base;
    }
    return relay;
}

void relay_attach(struct relay *relay, void *op, void (*on_gone)(void *op))
{
    assert(relay->op == NULL && !relay->answered);
    relay->op = op;
    relay->on_gone = on_gone;
}

bool relay_request_header(const struct relay *relay, const char *name, const char **value,
                          size_t *len)
{
    const h2o_headers_t *headers = &relay->req->headers;
    ssize_t at = h2o_find_header_by_str(headers, name, strlen(name), -1);

    if (at == -1)
        return false;
    *value = headers->entries[at].value.base;
    *len = headers->entries[at].value.len;
    return true;
}

void relay_peer(const struct relay *relay, struct strbuf *out)
{
    h2o_conn_t *conn = relay->req->conn;
    struct sockaddr_storage peer;
    socklen_t peer_len = conn->callbacks->get_peername(conn, (struct sockaddr *)&peer);
    char host[NI_MAXHOST];
    size_t len = peer_len > 0 ? h2o_socket_getnumerichost((struct sockaddr *)&peer, peer_len, host)
                              : SIZE_MAX;

    if (len != SIZE_MAX)
        strbuf_add(out, host, len);
}

uint64_t relay_peer_key(const struct relay *relay)
{
    h2o_conn_t *conn = relay->req->conn;
    struct sockaddr_storage peer;

    if (conn->callbacks->get_peername(conn, (struct sockaddr *)&peer) == 0)
        return 0;
    return guard_peers_key((struct sockaddr *)&peer);
}

bool relay_is_secure(const struct relay *relay)
{
    const char *scheme;
    size_t len;

    return relay->rt->inherited->tls != NULL ||
           (relay_request_header(relay, "x-forwarded-proto", &scheme, &len) && len == 5 &&
            memcmp(scheme, "https", 5) == 0);
}

bool relay_cookie(const struct relay *relay, const char *name, const char **value, size_t *len)
{
    const h2o_headers_t *headers = &relay->req->headers;

    for (ssize_t at = -1; (at = h2o_find_header_by_str(headers, H2O_STRLIT("cookie"), at)) != -1;)
        if (cookie_find(headers->entries[at].value.base, headers->entries[at].value.len, name,
                        value, len))
            return true;
    return false;
}

void relay_header(struct relay *relay, const char *name, const char *value)
{
    h2o_req_t *req = relay->req;
    h2o_iovec_t n = h2o_strdup(&req->pool, name, SIZE_MAX);
    h2o_iovec_t v = h2o_strdup(&req->pool, value, SIZE_MAX);

    h2o_add_header_by_str(&req->pool, &req->res.headers, n.base, n.len, 0, NULL, v.base, v.len);
}

static void common_headers(struct relay *relay)
{
    relay_header(relay, "x-request-id", relay->request_id);
    relay_header(relay, "x-litellm-call-id", relay->request_id);
    cors_headers(relay);
    if (!route_is_for_all(relay->route.kind) || auth_has_key(relay))
        relay_header(relay, "x-tranche-version", TRANCHE_VERSION);
    /* Which of the host's deployments served is not for tenants. */
    if (relay->deployment != MODEL_NO_INDEX && !tenant_is_bound(relay->tenant)) {
        const struct table_deployment *d = table_deployment(relay->rt->table, relay->deployment);

        relay_header(relay, "x-litellm-model-id", table_str(relay->rt->table, d->id));
        relay_header(relay, "x-litellm-model-api-base",
                     relay->rt->config->models.accounts[d->account].base);
    }
}

void relay_begin_answer(struct relay *relay)
{
    assert(!relay->answered);
    relay->answered = true;
    collect_forget(relay);
    common_headers(relay);
}

void relay_head(struct relay *relay, int status, const char *content_type, size_t len)
{
    h2o_req_t *req = relay->req;

    relay_begin_answer(relay);
    req->res.status = status;
    req->res.reason = reason_of(status);
    req->res.content_length = len;
    relay_header(relay, "content-type", content_type);
}

/* --- an answer in pieces --- */

struct stream { /* in the request's pool */
    h2o_generator_t generator;
    void (*on_proceed)(void *arg);
    void *arg; /* borrowed */
};

static void on_stream_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct stream *stream = H2O_STRUCT_FROM_MEMBER(struct stream, generator, generator);

    (void)req;
    stream->on_proceed(stream->arg);
}

/* The connection broke under the response; the relay's disposer does the rest. */
static void on_stream_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)generator;
    (void)req;
}

void relay_start(struct relay *relay, int status, int64_t length, void (*on_proceed)(void *arg),
                 void *arg)
{
    h2o_req_t *req = relay->req;
    struct stream *stream = h2o_mem_alloc_pool(&req->pool, sizeof(*stream));

    assert(relay->answered);
    *stream = (struct stream){{on_stream_proceed, on_stream_stop}, on_proceed, arg};
    req->res.status = status;
    req->res.reason = reason_of(status);
    req->res.content_length = length >= 0 ? (size_t)length : SIZE_MAX;
    h2o_start_response(req, &stream->generator);
}

void relay_send(struct relay *relay, const char *bytes, size_t len, enum relay_more more)
{
    static const h2o_send_state_t states[] = {[RELAY_MORE] = H2O_SEND_STATE_IN_PROGRESS,
                                              [RELAY_LAST] = H2O_SEND_STATE_FINAL,
                                              [RELAY_BROKEN] = H2O_SEND_STATE_ERROR};
    h2o_iovec_t buf = {.base = (char *)(uintptr_t)bytes, .len = len};

    h2o_send(relay->req, &buf, len > 0 ? 1 : 0, states[more]);
}

/* --- whole answers --- */

void relay_bytes(struct relay *relay, int status, const char *content_type, const char *bytes,
                 size_t len)
{
    h2o_req_t *req = relay->req;
    h2o_iovec_t copy = h2o_strdup(&req->pool, bytes, len);

    relay->op = NULL;
    relay_head(relay, status, content_type, len);
    h2o_start_response(req, &no_generator);
    if (relay->method == METHOD_HEAD || len == 0)
        h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
    else
        h2o_send(req, &copy, 1, H2O_SEND_STATE_FINAL);
}

/* Nothing that describes content but an ETag (RFC 9110 section 15.4.5), and none. */
void relay_empty(struct relay *relay, int status)
{
    h2o_req_t *req = relay->req;

    relay->op = NULL;
    relay_begin_answer(relay);
    req->res.status = status;
    req->res.reason = reason_of(status);
    h2o_start_response(req, &no_generator);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

void relay_made(struct relay *relay, const char *id)
{
    if (id != NULL && id[0] != '\0')
        relay->made = h2o_strdup(&relay->req->pool, id, SIZE_MAX).base;
}

void relay_json(struct relay *relay, int status, const struct json *value)
{
    struct strbuf text = STRBUF_INIT;

    if (status == 200 && relay->method == METHOD_POST && relay->route.kind == ROUTE_FILES)
        relay_made(relay, json_get_str(value, "id"));

    json_write(value, &text);
    if (strbuf_failed(&text))
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        relay_bytes(relay, status, "application/json", strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

#define MAX_RETRY_AFTER_MS     60000 /* SDKs ignore longer waits, or give up (providers 3.5) */
#define DEFAULT_RETRY_AFTER_MS 1000

/* What the client may try again says when, also where the provider named no time (providers
 * statement 86). */
static int64_t wait_of(const struct failure *failure)
{
    bool retryable = !failure->should_not_retry &&
                     (failure->status == 408 || failure->status == 429 || failure->status >= 500);

    if (failure->retry_after_ms < 0)
        return retryable ? DEFAULT_RETRY_AFTER_MS : -1;
    return failure->retry_after_ms < MAX_RETRY_AFTER_MS ? failure->retry_after_ms
                                                        : MAX_RETRY_AFTER_MS;
}

static void retry_headers(struct relay *relay, const struct failure *failure)
{
    int64_t wait_ms = wait_of(failure);
    char text[32];

    if (failure->should_not_retry)
        relay_header(relay, "x-should-retry", "false");
    if (wait_ms < 0)
        return;
    snprintf(text, sizeof(text), "%lld", (long long)(wait_ms + 999) / 1000);
    relay_header(relay, "retry-after", text);
    snprintf(text, sizeof(text), "%lld", (long long)wait_ms);
    relay_header(relay, "retry-after-ms", text);
}

static void hide_in(const struct mask *mask, struct failure *failure)
{
    struct {
        char *text;
        size_t size;
    } texts[] = {{failure->message, sizeof(failure->message)},
                 {failure->type, sizeof(failure->type)},
                 {failure->code, sizeof(failure->code)},
                 {failure->param, sizeof(failure->param)}};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        mask_hide(mask, texts[i].text, strlen(texts[i].text), texts[i].size);
}

/* What a provider said, as a tenant may hear it. */
static void hide_host(const struct mask *names, struct failure *failure)
{
    host_names_hide(names, failure->message, strlen(failure->message), sizeof(failure->message));
    host_names_hide(names, failure->param, strlen(failure->param), sizeof(failure->param));
}

/* Errors show what was asked for: an id, a name, a line. A key that somebody put there by mistake
 * would end in the logs of whoever reads the answer. */
static void hide_secrets(const struct relay *relay, struct failure *failure)
{
    struct secret own = SECRET_NONE;
    const struct secret *list[] = {&own};
    struct mask *mask = NULL;

    hide_in(mask_installed(), failure);
    own.data = (char *)auth_credential(relay, &own.len);
    if (own.data != NULL)
        mask = mask_new(list, 1);
    hide_in(mask, failure);
    mask_free(mask);
}

/* LiteLLM's, of a refusal by a limit of the caller's (tenants statements A30, A32). */
static void limit_headers(struct relay *relay, const struct failure *failure)
{
    char text[48];

    if (failure->rate_limit[0] == '\0')
        return;
    relay_header(relay, "rate_limit_type", failure->rate_limit);
    if (failure->retry_after_ms < 0)
        return;
    limits_reset_time(failure->retry_after_ms, text, sizeof(text));
    relay_header(relay, "reset_at", text);
}

void relay_failure(struct relay *relay, const struct failure *failure)
{
    struct failure shown = *failure;
    struct strbuf text = STRBUF_INIT;

    hide_secrets(relay, &shown);
    if (shown.said && tenant_is_bound(relay->tenant))
        hide_host(relay->rt->inherited->host_names, &shown);
    retry_headers(relay, failure);
    if (shown.allow[0] != '\0')
        relay_header(relay, "allow", shown.allow);
    limit_headers(relay, failure);
    failure_write(&shown, &text);
    relay_bytes(relay, failure->status, "application/json", strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

static void __attribute__((format(printf, 6, 0)))
fill(struct failure *failure, int status, const char *type, const char *code, const char *param,
     const char *fmt, va_list args)
{
    *failure = (struct failure){.status = status, .retry_after_ms = -1};
    snprintf(failure->type, sizeof(failure->type), "%s", type);
    snprintf(failure->code, sizeof(failure->code), "%s", code);
    snprintf(failure->param, sizeof(failure->param), "%s", param);
    vsnprintf(failure->message, sizeof(failure->message), fmt, args);
}

void relay_fill(struct failure *failure, int status, const char *type, const char *code,
                const char *param, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fill(failure, status, type, code, param, fmt, args);
    va_end(args);
}

void relay_problem(struct relay *relay, int status, const char *type, const char *code,
                   const char *param, const char *fmt, ...)
{
    struct failure failure;
    va_list args;

    va_start(args, fmt);
    fill(&failure, status, type, code, param, fmt, args);
    va_end(args);
    relay_failure(relay, &failure);
}

struct viewer relay_viewer(const struct relay *relay)
{
    return (struct viewer){.rt = relay->rt,
                           .owner = relay->owner,
                           .named = &relay->named,
                           .moment = relay->moment,
                           .is_tenant = relay->owner != 0};
}
