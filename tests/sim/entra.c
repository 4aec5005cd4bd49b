/* Entra ID (providers 2.3): which service a path means, and the token endpoint. See entra.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "entra.h"

/* A GUID that the caller sent comes back, so that people can find the call. */
static void correlation(const struct token_ask *ask, char *out)
{
    const struct header *h = request_header(ask->req, "client-request-id");

    if (h != NULL && h->value_len == 36)
        snprintf(out, 40, "%.36s", h->value);
    else
        sim_uuid(&ask->acc->rng, out);
}

static void put_description(const struct account *acc, struct strbuf *out, int number,
                            const char *text, const char *trace, const char *correlation_id,
                            const char *stamp)
{
    const char *gap = acc->sw.error_crlf ? "\r\n" : " ";
    struct strbuf all = STRBUF_INIT;

    strbuf_addf(&all, "AADSTS%d: %s", number, text);
    strbuf_addf(&all, " Trace ID: %s%sCorrelation ID: %s%sTimestamp: %s", trace, gap,
                correlation_id, gap, stamp);
    put_str(out, "error_description", strbuf_str(&all));
    strbuf_deinit(&all);
}

void entra_refuse(struct token_ask *ask, int status, const char *error, int number,
                  const char *text)
{
    struct account *acc = ask->acc;
    struct strbuf *out = &ask->rep->body;
    char codes[32], stamp[40], trace[40], correlation_id[40], uri[80];
    time_t now = (time_t)entra_now_s(acc);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%SZ", &tm);
    snprintf(codes, sizeof(codes), "[%d]", number);
    sim_uuid(&acc->rng, trace);
    correlation(ask, correlation_id);
    ask->rep->status = status;
    ask->note.number = number;
    note_text(&ask->note.error, error);
    strbuf_reset(out);
    strbuf_addc(out, '{');
    put_str(out, "error", error);
    put_description(acc, out, number, text, trace, correlation_id, stamp);
    put_raw(out, "error_codes", codes);
    put_str(out, "timestamp", stamp);
    put_str(out, "trace_id", trace);
    put_str(out, "correlation_id", correlation_id);
    if (acc->sw.error_uri) {
        snprintf(uri, sizeof(uri), "https://login.microsoftonline.com/error?code=%d", number);
        put_str(out, "error_uri", uri);
    }
    strbuf_addc(out, '}');
}

/* What a fault gets that names a status and no body. */
void entra_error(struct account *acc, const struct request *req, int status, struct reply *rep)
{
    static const struct request none;
    struct token_ask ask = {
        .acc = acc, .req = (struct request *)(uintptr_t)(req ? req : &none), .rep = rep};

    if (status == 429)
        entra_throttled(acc, rep);
    else if (status >= 500 || status == 408)
        entra_refuse(&ask, status, "temporarily_unavailable", 90033,
                     "A transient error has occurred. Please try again.");
    else if (status == 404 || status == 410)
        entra_refuse(&ask, status, "not_found", 90002, "Nothing is here.");
    else
        entra_refuse(&ask, status, "invalid_request", 900144, reply_reason(status));
    free(ask.note.error);
}

/* The form. */

enum field { GRANT, CLIENT, SCOPE, SECRET, TYPE, ASSERTION, N_FIELDS };

static const char *const field_names[N_FIELDS] = {
    "grant_type",      "client_id", "scope", "client_secret", "client_assertion_type",
    "client_assertion"};

static bool empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

static void missing(struct token_ask *ask, const char *name)
{
    char text[160];

    snprintf(text, sizeof(text), "The request body must contain the following parameter: '%s'.",
             name);
    entra_refuse(ask, 400, "invalid_request", 900144, text);
}

static const char *repeated(const char *text, size_t len)
{
    for (int i = 0; i < N_FIELDS; i++) {
        size_t n = strlen(field_names[i]);
        int seen = 0;
        for (const char *p = text; p != NULL && p < text + len;) {
            seen += strncmp(p, field_names[i], n) == 0 && p[n] == '=';
            p = memchr(p, '&', (size_t)(text + len - p));
            p = p == NULL ? NULL : p + 1;
        }
        if (seen > 1)
            return field_names[i];
    }
    return NULL;
}

/* The resource of a scope, into `out` (owned by the caller); the error is answered. */
static bool scope_ok(struct token_ask *ask, const char *scope, char **out)
{
    static const char tail[] = "/.default";
    size_t len = strlen(scope), n = sizeof(tail) - 1;
    char text[512];

    if (strchr(scope, ' ') != NULL) {
        entra_refuse(ask, 400, "invalid_scope", 28000,
                     "Provided value for the input parameter scope is not valid because it "
                     "contains more than one resource.");
        return false;
    }
    if (len <= n || strcmp(scope + len - n, tail) != 0) {
        snprintf(text, sizeof(text),
                 "The provided value for the input parameter 'scope' is not valid. The scope "
                 "%.200s is not valid.",
                 scope);
        entra_refuse(ask, 400, "invalid_scope", 1002012, text);
        return false;
    }
    *out = sim_strndup(scope, len - n);
    if (entra_resource_known(ask->acc, *out))
        return true;
    snprintf(text, sizeof(text),
             "The resource principal named %.200s was not found in the tenant named %.60s.", *out,
             ask->note.tenant);
    entra_refuse(ask, 400, "invalid_resource", 500011, text);
    free(*out);
    *out = NULL;
    return false;
}

/* Who asks. */

static bool tenant_known(const struct entra *e, const char *tenant)
{
    for (size_t i = 0; i < e->n_clients; i++) {
        if (e->clients[i].tenant == NULL || strcasecmp(e->clients[i].tenant, tenant) == 0)
            return true;
    }
    return false;
}

static const struct entra_client *client_of(const struct entra *e, const char *tenant,
                                            const char *id)
{
    for (size_t i = 0; i < e->n_clients; i++) {
        const struct entra_client *c = &e->clients[i];
        if ((c->tenant == NULL || strcasecmp(c->tenant, tenant) == 0) &&
            (c->id == NULL || strcasecmp(c->id, id) == 0))
            return c;
    }
    return NULL;
}

static bool secret_ok(struct token_ask *ask, const struct entra_client *client, const char *secret)
{
    char which[32];

    ask->source = SOURCE_SECRET;
    for (size_t i = 0; i < client->n_secrets; i++) {
        if (strcmp(client->secrets[i].text, secret) != 0)
            continue;
        snprintf(which, sizeof(which), "secret %zu", i + 1);
        note_text(&ask->note.credential, which);
        if (strcmp(client->secrets[i].state, "expired") != 0)
            return true;
        entra_refuse(ask, (int)ask->acc->sw.secret_status, "invalid_client", 7000222,
                     "The provided client secret keys for app are expired. Visit the Azure "
                     "portal to create new keys for your app.");
        return false;
    }
    if (client->any_secret)
        return true;
    entra_refuse(ask, (int)ask->acc->sw.secret_status, "invalid_client", 7000215,
                 "Invalid client secret provided. Ensure the secret being sent in the request is "
                 "the client secret value, not the client secret ID.");
    return false;
}

/* The token URL as the caller wrote it: what `aud` of an assertion has to be. */
static char *own_url(const struct token_ask *ask)
{
    const struct header *host = request_header(ask->req, "host");
    struct strbuf out = STRBUF_INIT;

    strbuf_adds(&out, ask->acc->tls != NULL ? "https://" : "http://");
    if (host != NULL)
        strbuf_add(&out, host->value, host->value_len);
    strbuf_add(&out, ask->req->target, ask->req->path_len);
    return strbuf_take(&out);
}

static bool credential_ok(struct token_ask *ask, const struct entra_client *client, char **f)
{
    static const char jwt[] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

    if (f[SECRET] != NULL && f[ASSERTION] != NULL) {
        entra_refuse(ask, 400, "invalid_request", 7000218,
                     "The request body must contain 'client_assertion' or 'client_secret', not "
                     "both.");
        return false;
    }
    if (f[SECRET] != NULL)
        return secret_ok(ask, client, f[SECRET]);
    if (empty(f[ASSERTION]) || !text_is(f[TYPE], jwt)) {
        entra_refuse(ask, 401, "invalid_client", 7000218,
                     "The request body must contain the following parameter: 'client_assertion' "
                     "or 'client_secret'.");
        return false;
    }
    char *url = own_url(ask);
    bool ok = assertion_ok(ask, client, f[ASSERTION], url);
    free(url);
    return ok;
}

static bool form_ok(struct token_ask *ask, char **f)
{
    if (!text_is(f[GRANT], "client_credentials")) {
        entra_refuse(ask, 400, "unsupported_grant_type", 70003,
                     "The app requested an unsupported grant type.");
        return false;
    }
    for (int i = CLIENT; i <= SCOPE; i++) {
        if (empty(f[i])) {
            missing(ask, field_names[i]);
            return false;
        }
    }
    return true;
}

static void grant(struct token_ask *ask, char **f)
{
    const struct entra_client *client = NULL;
    char *resource = NULL;
    char text[256];

    note_text(&ask->note.client, f[CLIENT]);
    note_text(&ask->note.scope, f[SCOPE]);
    ask->source = f[ASSERTION] != NULL ? SOURCE_ASSERTION : SOURCE_SECRET;
    if (!form_ok(ask, f) || !scope_ok(ask, f[SCOPE], &resource))
        return;
    client = client_of(ask->entra, ask->note.tenant, f[CLIENT]);
    if (client == NULL) {
        snprintf(text, sizeof(text),
                 "Application with identifier '%.60s' was not found in the directory '%.40s'.",
                 f[CLIENT], ask->note.tenant);
        entra_refuse(ask, 400, "unauthorized_client", 700016, text);
    } else if (client->disabled) {
        entra_refuse(ask, 400, "unauthorized_client", 7000112, "Application is disabled.");
    } else if (credential_ok(ask, client, f)) {
        note_text(&ask->note.object_id, client->object_id);
        ask->resource = resource;
        ask->expires_in = client->expires_in;
        tokens_grant(ask);
    }
    free(resource);
}

static bool is_form(const struct request *req)
{
    const struct header *type = request_header(req, "content-type");

    return type != NULL && type->value_len >= 33 &&
           strncasecmp(type->value, "application/x-www-form-urlencoded", 33) == 0;
}

static void token_endpoint(struct token_ask *ask)
{
    size_t len = 0;
    char *text = request_text(ask->req, &len);
    const char *twice = text != NULL ? repeated(text, len) : NULL;
    char *fields[N_FIELDS] = {0};
    char message[160];

    if (!request_is(ask->req, "POST") || text == NULL || !is_form(ask->req)) {
        missing(ask, "grant_type");
    } else if (twice != NULL) {
        snprintf(message, sizeof(message),
                 "The request is not properly formatted. The parameter '%s' is duplicated.", twice);
        entra_refuse(ask, 400, "invalid_request", 9000411, message);
    } else if (!tenant_known(ask->entra, ask->note.tenant)) {
        snprintf(message, sizeof(message), "Tenant '%.60s' not found.", ask->note.tenant);
        entra_refuse(ask, 400, "invalid_request", 90002, message);
    } else {
        for (int i = 0; i < N_FIELDS; i++)
            fields[i] = form_field(text, len, field_names[i]);
        grant(ask, fields);
    }
    for (int i = 0; i < N_FIELDS; i++)
        free(fields[i]);
    free(text);
}

/* The tenant of /{tenant}/oauth2/v2.0/token, owned by the caller; NULL: another path. */
static char *tenant_of(const struct request *req)
{
    static const char tail[] = "/oauth2/v2.0/token";
    size_t n = sizeof(tail) - 1, len = req->path_len;

    if (len <= n + 1 || memcmp(req->target + len - n, tail, n) != 0 ||
        memchr(req->target + 1, '/', len - n - 1) != NULL)
        return NULL;
    return sim_strndup(req->target + 1, len - n - 1);
}

void entra_call(struct account *acc, struct request *req, struct reply *rep)
{
    struct token_ask ask = {
        .acc = acc, .entra = acc->entra, .req = req, .rep = rep, .expires_in = acc->expires_in};

    ask.note.tenant = tenant_of(req);
    if (ask.note.tenant != NULL) {
        token_endpoint(&ask);
    } else if (!metadata_call(&ask)) {
        rep->status = 404;
        strbuf_adds(&rep->body, "{\"error\":\"not_found\"}");
        return;
    }
    tokens_note(&ask);
}
