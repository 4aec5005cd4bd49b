/* The six places where managed identities get their tokens (providers 2.3). All are on the port of
 * an entra account, each at its usual path:
 *   IMDS and Arc     GET /metadata/identity/oauth2/token, told apart by api-version
 *   App Service      GET /msi/token
 *   Azure ML         GET /MSI/auth
 *   Cloud Shell      POST /oauth2/token
 *   Service Fabric   GET /fabric/token
 * Stricter than the real ones: a parameter of another place is refused, where those ignore it and
 * hand out the machine's own identity. See entra.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "entra.h"

#define KEY_MAX (64 * 1024) /* of an Arc key file that a switch makes too large */

struct place {
    enum token_source source;
    const char *path;
    const char *method;
    const char *version;   /* api-version; NULL: none */
    const char *header;    /* that must be there; NULL: none */
    const char *selectors; /* parameters that choose an identity, comma-separated */
};

static const struct place places[] = {
    {SOURCE_IMDS, "/metadata/identity/oauth2/token", "GET", "2018-02-01", "metadata",
     "client_id,object_id,msi_res_id"},
    {SOURCE_ARC, "/metadata/identity/oauth2/token", "GET", "2020-06-01", "metadata",
     "client_id,object_id,msi_res_id"},
    {SOURCE_APP_SERVICE, "/msi/token", "GET", "2019-08-01", "x-identity-header",
     "client_id,object_id,principal_id,mi_res_id"},
    {SOURCE_ML, "/MSI/auth", "GET", "2017-09-01", "secret", "clientid"},
    {SOURCE_CLOUD_SHELL, "/oauth2/token", "POST", NULL, "metadata", ""},
    {SOURCE_FABRIC, "/fabric/token", "GET", "2019-07-01-preview", "secret", ""},
};

static const char *const all_selectors[] = {"client_id",    "clientid",   "object_id",
                                            "principal_id", "msi_res_id", "mi_res_id"};

static bool path_is(const struct request *req, const char *path)
{
    size_t len = req->path_len;

    if (len > 1 && req->target[len - 1] == '/')
        len--; /* Container Apps have one at the end */
    return strlen(path) == len && memcmp(path, req->target, len) == 0;
}

static const struct place *place_of(const struct token_ask *ask)
{
    char *version = request_query(ask->req, "api-version");
    const struct place *found = NULL;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const struct place *p = &places[i];
        if (!path_is(ask->req, p->path) ||
            (p->source == SOURCE_ARC &&
             (ask->entra->arc_directory == NULL || !text_is(version, p->version))))
            continue;
        found = p;
    }
    free(version);
    return found;
}

/* Each place words its refusals in its own way. */
static void deny(struct token_ask *ask, int status, const char *error, const char *text)
{
    struct strbuf *out = &ask->rep->body;
    char id[40];

    ask->rep->status = status;
    note_text(&ask->note.error, error);
    strbuf_reset(out);
    strbuf_addc(out, '{');
    if (ask->source == SOURCE_APP_SERVICE || ask->source == SOURCE_ML) {
        sim_uuid(&ask->acc->rng, id);
        put_int(out, "statusCode", status);
        put_str(out, "message", text);
        put_str(out, "correlationId", id);
    } else if (ask->source == SOURCE_CLOUD_SHELL || ask->source == SOURCE_FABRIC) {
        strbuf_adds(out, "\"error\":{");
        put_str(out, "code", error);
        put_str(out, "message", text);
        put_str(out, "correlationId", "sim");
        strbuf_addc(out, '}');
    } else {
        put_str(out, "error", error);
        put_str(out, "error_description", text);
    }
    strbuf_addc(out, '}');
}

/* A parameter of the query, or of Cloud Shell's form; owned by the caller. */
static char *parameter(const struct token_ask *ask, const char *name)
{
    size_t len = 0;

    if (ask->source != SOURCE_CLOUD_SHELL)
        return request_query(ask->req, name);
    char *text = request_text(ask->req, &len);
    char *value = text != NULL ? form_field(text, len, name) : NULL;
    free(text);
    return value;
}

static bool header_is(const struct request *req, const char *name, const char *value)
{
    const struct header *h = request_header(req, name);

    return h != NULL && h->value_len > 0 &&
           (value == NULL ||
            (strlen(value) == h->value_len && memcmp(value, h->value, h->value_len) == 0));
}

static bool header_ok(struct token_ask *ask, const struct place *p)
{
    const struct entra *e = ask->entra;
    const char *want = "true";

    if (p->source == SOURCE_APP_SERVICE)
        want = e->app_service_header;
    else if (p->source == SOURCE_ML)
        want = e->ml_secret;
    else if (p->source == SOURCE_FABRIC)
        want = e->fabric_secret;
    if (request_header(ask->req, "x-forwarded-for") != NULL) {
        deny(ask, 400, "invalid_request", "X-Forwarded-For: the call came through a proxy");
        return false;
    }
    if (header_is(ask->req, p->header, want))
        return true;
    if (strcmp(p->header, "metadata") == 0)
        deny(ask, 400, "invalid_request",
             "bad_request_102: Required metadata header not specified");
    else
        deny(ask, 401, "unauthorized", "The secret of the identity endpoint is missing or wrong");
    return false;
}

static bool call_ok(struct token_ask *ask, const struct place *p)
{
    char *version = NULL;
    bool ok = false;

    if (!request_is(ask->req, p->method)) {
        deny(ask, 405, "method_not_allowed", "The method is not supported here");
        reply_header(ask->rep, "allow", p->method);
        return false;
    }
    if (!header_ok(ask, p))
        return false;
    if (p->version == NULL)
        return true;
    version = request_query(ask->req, "api-version");
    ok = text_is(version, p->version);
    free(version);
    if (!ok)
        deny(ask, 400, "bad_request", "The api-version is missing or not supported");
    return ok;
}

/* Identities. */

struct selector {
    const char *name; /* borrowed, constant; NULL: none */
    char *value;      /* owned */
};

/* The one selector of the call; false when the error is answered. */
static bool selector_of(struct token_ask *ask, const struct place *p, struct selector *sel)
{
    char text[120];

    *sel = (struct selector){0};
    for (size_t i = 0; i < sizeof(all_selectors) / sizeof(all_selectors[0]); i++) {
        const char *name = all_selectors[i];
        char *value = parameter(ask, name);
        if (value == NULL)
            continue;
        if (sel->name != NULL || !switches_has(p->selectors, name, strlen(name))) {
            snprintf(text, sizeof(text), "%s: not a parameter here, or one of two", name);
            free(value);
            free(sel->value);
            deny(ask, 400, "invalid_request", text);
            return false;
        }
        *sel = (struct selector){name, value};
    }
    return true;
}

static bool is_meant(const struct entra_identity *id, const struct selector *sel)
{
    if (strcmp(sel->name, "client_id") == 0 || strcmp(sel->name, "clientid") == 0)
        return text_is(id->client_id, sel->value);
    if (strcmp(sel->name, "object_id") == 0 || strcmp(sel->name, "principal_id") == 0)
        return text_is(id->object_id, sel->value);
    return text_is(id->resource_id, sel->value);
}

/* Without a selector: the machine's own identity, else the only one. */
static const struct entra_identity *identity_of(struct token_ask *ask, const struct selector *sel)
{
    const char *place = source_name(ask->source);
    const struct entra_identity *found = NULL;
    int n = 0;

    for (size_t i = 0; i < ask->entra->n_identities; i++) {
        const struct entra_identity *id = &ask->entra->identities[i];
        if (id->sources[0] != '\0' && !switches_has(id->sources, place, strlen(place)))
            continue;
        if (sel->name != NULL ? is_meant(id, sel) : id->system)
            return id;
        if (sel->name == NULL) {
            found = id;
            n++;
        }
    }
    if (n == 1)
        return found;
    if (n > 1)
        deny(ask, 400, "invalid_request",
             "Multiple user assigned identities exist, please specify the clientId / resourceId "
             "of the identity in the token request");
    else if (ask->source == SOURCE_APP_SERVICE || ask->source == SOURCE_ML)
        deny(ask, 400, "invalid_request", "Unable to load the proper Managed Identity.");
    else
        deny(ask, 400, "invalid_request", "Identity not found");
    return NULL;
}

/* Azure Arc: whoever can read a file of the machine is on it. */

static int write_key(const struct arc_key *key, int64_t bytes)
{
    struct strbuf text = STRBUF_INIT;
    int fd = open(key->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    strbuf_adds(&text, key->text);
    while ((int64_t)text.len < bytes && text.len < KEY_MAX)
        strbuf_addc(&text, 'x');
    ssize_t n = fd == -1 ? -1 : write(fd, strbuf_str(&text), text.len);
    if (fd != -1)
        close(fd);
    bool whole = n == (ssize_t)text.len;
    strbuf_deinit(&text);
    return whole ? 0 : -1;
}

static void challenge(struct token_ask *ask)
{
    struct entra *e = ask->entra;
    const struct switches *sw = &ask->acc->sw;
    struct strbuf value = STRBUF_INIT;
    struct arc_key key = {0};
    char hex[40];

    sim_hex(&ask->acc->rng, hex, 32);
    strbuf_addf(&value, "%s/%d-%.16s.key", e->arc_directory, (int)getpid(), hex);
    key.path = strbuf_take(&value);
    key.text = sim_strdup(hex);
    if (write_key(&key, sw->arc_key_bytes) != 0)
        deny(ask, 500, "server_error", "The key file cannot be written");
    else
        deny(ask, 401, "unauthorized_client", "Missing Basic Authorization header");
    strbuf_addf(&value, "Basic realm=%s", sw->arc_realm[0] != '\0' ? sw->arc_realm : key.path);
    if (ask->rep->status == 401)
        reply_header(ask->rep, "www-authenticate", strbuf_str(&value));
    strbuf_deinit(&value);
    e->arc_keys = sim_realloc(e->arc_keys, (e->n_arc_keys + 1) * sizeof(*e->arc_keys));
    e->arc_keys[e->n_arc_keys++] = key;
}

/* A key is good for one call. */
static bool key_ok(struct token_ask *ask)
{
    struct entra *e = ask->entra;
    const struct header *h = request_header(ask->req, "authorization");

    if (h == NULL) {
        challenge(ask);
        return false;
    }
    for (size_t i = 0; i < e->n_arc_keys; i++) {
        struct arc_key key = e->arc_keys[i];
        if (h->value_len != 6 + strlen(key.text) || memcmp(h->value, "Basic ", 6) != 0 ||
            memcmp(h->value + 6, key.text, strlen(key.text)) != 0)
            continue;
        (void)unlink(key.path);
        free(key.path);
        free(key.text);
        e->arc_keys[i] = e->arc_keys[--e->n_arc_keys];
        return true;
    }
    deny(ask, 403, "unauthorized_client", "The key is not one that was given");
    return false;
}

static void give(struct token_ask *ask, const struct selector *sel)
{
    bool old_agent = ask->source == SOURCE_ARC && !ask->acc->sw.arc_selects;
    static const struct selector nobody;
    const struct entra_identity *id = identity_of(ask, old_agent ? &nobody : sel);
    char *resource = parameter(ask, "resource");
    char text[300];

    if (id == NULL)
        goto out;
    note_text(&ask->note.client, id->client_id);
    note_text(&ask->note.object_id, id->object_id);
    note_text(&ask->note.scope, resource);
    note_text(&ask->note.credential, sel->name != NULL ? sel->name : "no selector");
    if (resource == NULL || resource[0] == '\0') {
        deny(ask, 400, "invalid_request", "Required parameter 'resource' is missing");
    } else if (!entra_resource_known(ask->acc, resource)) {
        snprintf(text, sizeof(text),
                 "AADSTS500011: The resource principal named %.150s was not found in the tenant.",
                 resource);
        deny(ask, 400, "invalid_resource", text);
        ask->note.number = 500011;
    } else {
        ask->resource = resource;
        ask->expires_in = id->expires_in;
        if (ask->source == SOURCE_ARC && !old_agent) {
            ask->echo_name = sel->name;
            ask->echo_value = sel->value;
        }
        tokens_grant(ask);
    }
out:
    free(resource);
    ask->resource = NULL;
}

bool metadata_call(struct token_ask *ask)
{
    const struct place *p = place_of(ask);
    struct selector sel = {0};

    if (p == NULL)
        return false;
    ask->source = p->source;
    if (!call_ok(ask, p) || (p->source == SOURCE_ARC && !key_ok(ask)))
        return true;
    if (selector_of(ask, p, &sel)) {
        give(ask, &sel);
        free(sel.value);
    }
    return true;
}
