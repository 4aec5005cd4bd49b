/* Entra ID and the instance metadata service (providers 2.3): tokens that the Azure fakes of this
 * process accept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call.h"

static const char *issue(struct account *acc, const char *scope)
{
    struct sim *sim = acc->sim;
    struct token *t;
    char hex[64];

    sim->tokens = sim_realloc(sim->tokens, (sim->n_tokens + 1) * sizeof(*sim->tokens));
    t = &sim->tokens[sim->n_tokens++];
    sim_hex(&acc->rng, hex, 48);
    t->text = sim_alloc(128);
    snprintf(t->text, 128, "eyJ0eXAiOiJKV1QifQ.%s.%.16s", hex, hex + 16);
    t->scope = sim_strdup(scope);
    t->expires_ms = sim->now_ms + acc->expires_in * 1000;
    return t->text;
}

bool entra_token_ok(struct account *acc, const char *token, size_t len)
{
    const struct sim *sim = acc->sim;

    for (size_t i = sim->n_tokens; i-- > 0;) {
        const struct token *t = &sim->tokens[i];
        if (strlen(t->text) != len || memcmp(t->text, token, len) != 0)
            continue;
        if (t->expires_ms <= sim->now_ms)
            return false;
        if (strcmp(acc->sw.token_scope, "any") == 0)
            return true;
        const char *want = strcmp(acc->sw.token_scope, "ai") == 0
                               ? "https://ai.azure.com"
                               : "https://cognitiveservices.azure.com";
        return strncmp(t->scope, want, strlen(want)) == 0;
    }
    return false;
}

static void refuse(struct account *acc, struct reply *rep, int status, const char *error,
                   int number, const char *text)
{
    struct strbuf *out = &rep->body;
    char message[512], codes[32], stamp[40], id[40];
    time_t now = (time_t)(acc->sim->now_ms / 1000);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%SZ", &tm);
    snprintf(message, sizeof(message), "AADSTS%d: %s", number, text);
    snprintf(codes, sizeof(codes), "[%d]", number);
    rep->status = status;
    strbuf_addc(out, '{');
    put_str(out, "error", error);
    put_str(out, "error_description", message);
    put_raw(out, "error_codes", codes);
    put_str(out, "timestamp", stamp);
    sim_uuid(&acc->rng, id);
    put_str(out, "trace_id", id);
    sim_uuid(&acc->rng, id);
    put_str(out, "correlation_id", id);
    strbuf_addc(out, '}');
}

struct form {
    char *grant, *client, *scope, *secret, *type, *assertion;
};

static bool is(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

static void grant(struct account *acc, const struct form *f, struct reply *rep)
{
    static const char jwt[] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    bool federated = is(f->type, jwt) && f->assertion != NULL && f->assertion[0] != '\0';

    if (!is(f->grant, "client_credentials")) {
        refuse(acc, rep, 400, "unsupported_grant_type", 70003, "The grant type is not supported.");
    } else if (f->client == NULL || f->client[0] == '\0') {
        refuse(acc, rep, 400, "invalid_request", 900144,
               "The request body must contain the following parameter: 'client_id'.");
    } else if (f->scope == NULL || strlen(f->scope) < 10 ||
               strcmp(f->scope + strlen(f->scope) - 9, "/.default") != 0) {
        refuse(acc, rep, 400, "invalid_scope", 70011, "The provided value for scope is not valid.");
    } else if (acc->client_id != NULL && strcmp(acc->client_id, f->client) != 0) {
        refuse(acc, rep, 400, "unauthorized_client", 700016, "Application was not found.");
    } else if (!federated &&
               (f->secret == NULL || (acc->secret != NULL && !is(f->secret, acc->secret)))) {
        refuse(acc, rep, (int)acc->sw.secret_status, "invalid_client", 7000215,
               "Invalid client secret provided.");
    } else {
        struct strbuf *out = &rep->body;
        strbuf_addc(out, '{');
        put_raw(out, "token_type", "\"Bearer\"");
        put_int(out, "expires_in", acc->expires_in);
        if (acc->sw.ext_expires_in)
            put_int(out, "ext_expires_in", acc->expires_in);
        put_str(out, "access_token", issue(acc, f->scope));
        strbuf_addc(out, '}');
    }
}

static void token_endpoint(struct account *acc, struct request *req, struct reply *rep)
{
    size_t len = 0;
    const struct header *type = request_header(req, "content-type");
    char *text = request_text(req, &len);

    if (!request_is(req, "POST") || text == NULL || type == NULL || type->value_len < 33 ||
        strncmp(type->value, "application/x-www-form-urlencoded", 33) != 0) {
        refuse(acc, rep, 400, "invalid_request", 900144,
               "The request body must be a form with 'grant_type'.");
        free(text);
        return;
    }
    struct form f = {
        .grant = form_field(text, len, "grant_type"),
        .client = form_field(text, len, "client_id"),
        .scope = form_field(text, len, "scope"),
        .secret = form_field(text, len, "client_secret"),
        .type = form_field(text, len, "client_assertion_type"),
        .assertion = form_field(text, len, "client_assertion"),
    };
    grant(acc, &f, rep);
    free(f.grant);
    free(f.client);
    free(f.scope);
    free(f.secret);
    free(f.type);
    free(f.assertion);
    free(text);
}

static void put_number_text(struct strbuf *out, const char *key, int64_t n)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%lld", (long long)n);
    put_str(out, key, digits);
}

/* Faults of the service (404, 410, 429, 500) are scripted like all others. */
static void imds(struct account *acc, struct request *req, struct reply *rep)
{
    struct strbuf *out = &rep->body;
    char *resource = request_query(req, "resource");
    char *version = request_query(req, "api-version");

    if (!request_header_is(req, "metadata", "true")) {
        rep->status = 400;
        strbuf_adds(
            out, "{\"error\":\"invalid_request\",\"error_description\":\"bad_request_102: Required "
                 "metadata header not specified\"}");
    } else if (resource == NULL || resource[0] == '\0' || version == NULL) {
        rep->status = 400;
        strbuf_adds(out,
                    "{\"error\":\"invalid_request\",\"error_description\":\"Required parameter "
                    "'resource' or 'api-version' is missing\"}");
    } else {
        int64_t now = acc->sim->now_ms / 1000;
        strbuf_addc(out, '{');
        put_str(out, "access_token", issue(acc, resource));
        put_str(out, "refresh_token", "");
        put_number_text(out, "expires_in", acc->expires_in);
        put_number_text(out, "expires_on", now + acc->expires_in);
        put_number_text(out, "not_before", now);
        put_str(out, "resource", resource);
        put_raw(out, "token_type", "\"Bearer\"");
        strbuf_addc(out, '}');
    }
    free(resource);
    free(version);
}

void entra_call(struct account *acc, struct request *req, struct reply *rep)
{
    static const char tail[] = "/oauth2/v2.0/token";
    size_t n = sizeof(tail) - 1;
    size_t len = req->path_len;

    if (len > n + 1 && memcmp(req->target + len - n, tail, n) == 0 &&
        memchr(req->target + 1, '/', len - n - 1) == NULL) {
        if (acc->tenant != NULL && (strlen(acc->tenant) != len - n - 1 ||
                                    memcmp(acc->tenant, req->target + 1, len - n - 1) != 0))
            refuse(acc, rep, 400, "invalid_request", 90002, "Tenant not found.");
        else
            token_endpoint(acc, req, rep);
        return;
    }
    if (len == 31 && memcmp(req->target, "/metadata/identity/oauth2/token", 31) == 0 &&
        request_is(req, "GET")) {
        imds(acc, req, rep);
        return;
    }
    rep->status = 404;
    strbuf_adds(&rep->body, "{\"error\":\"not_found\"}");
}
