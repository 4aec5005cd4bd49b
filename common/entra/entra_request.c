/* See entra_request.h. All texts of a request lie one behind the other in one mapping that no core
 * has: nothing grows, so nothing is left behind unwiped. */
#include "entra/entra_request.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/rand.h>

#include "common/hidden.h"
#include "entra/entra_certificate.h"
#include "entra/entra_file.h"

#define REST_BYTES     16384 /* for all but the proof: URL, names, ids */
#define PROOF_COPIES   4     /* as it is, and percent-encoded at its worst */
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define DEFAULT_SCOPE  "/.default"

/* What writes into the room. */
struct pen {
    char *at, *end;
    bool full;
};

static int refuse(struct entra_error *error, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct entra_error *error, int err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error->message, sizeof(error->message), fmt, args);
    va_end(args);
    return err;
}

/* --- texts --- */

static void put(struct pen *pen, const char *bytes, size_t len)
{
    if (len >= (size_t)(pen->end - pen->at)) {
        pen->full = true;
        return;
    }
    memcpy(pen->at, bytes, len);
    pen->at += len;
    *pen->at = '\0';
}

static void put_text(struct pen *pen, const char *text)
{
    put(pen, text, strlen(text));
}

static bool is_unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* RFC 3986 section 2.1, which a reader of forms takes too: all but the unreserved is escaped, the
 * space too. */
static void put_escaped(struct pen *pen, const char *bytes, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        const char code[] = {'%', digits[c >> 4], digits[c & 15]};

        if (is_unreserved(c))
            put(pen, bytes + i, 1);
        else
            put(pen, code, sizeof(code));
    }
}

static void put_pair(struct pen *pen, const char *between, const char *name, const char *value,
                     size_t len)
{
    put_text(pen, between);
    put_text(pen, name);
    put_text(pen, "=");
    put_escaped(pen, value, len);
}

/* A text that begins where the pen stands; end_text() closes it. */
static char *begin_text(struct pen *pen)
{
    return pen->at;
}

static void end_text(struct pen *pen)
{
    if (pen->at + 1 < pen->end)
        *pen->at++ = '\0';
    else
        pen->full = true;
}

static void add_header(struct entra_request *out, const char *name, const char *value)
{
    assert(out->num_headers < ENTRA_MAX_HEADERS);
    out->headers[out->num_headers++] = (struct upstream_header){name, value};
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Whoever mounts a file has a line end in it. */
static void trim(const char **text, size_t *len)
{
    while (*len > 0 && is_blank((*text)[*len - 1]))
        (*len)--;
    while (*len > 0 && is_blank(**text)) {
        (*text)++;
        (*len)--;
    }
}

static bool is_visible(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

/* --- ids --- */

/* RFC 9562 section 5.4 */
static int make_id(char id[ENTRA_ID_SIZE])
{
    unsigned char b[16];

    if (RAND_bytes(b, sizeof(b)) != 1)
        return ERR_NOMEM;
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(id, ENTRA_ID_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return 0;
}

static void add_usual_headers(struct entra_request *out, const char *id_name, struct pen *pen)
{
    const char *id = begin_text(pen);

    put_text(pen, out->id);
    end_text(pen);
    add_header(out, "Accept", "application/json");
    add_header(out, "Accept-Encoding", "identity");
    add_header(out, "User-Agent", "tranche/" TRANCHE_VERSION);
    add_header(out, id_name, id);
}

/* The room, with the proof at its beginning. */
static int open_room(struct entra_request *out, const char *proof, size_t len, struct pen *pen,
                     struct entra_error *error)
{
    if (secret_room(&out->room, REST_BYTES + PROOF_COPIES * len) != 0)
        return refuse(error, ERR_NOMEM, "out of memory");
    *pen = (struct pen){.at = out->room.data, .end = out->room.data + out->room.len};
    if (len == 0)
        return 0;
    out->proof = begin_text(pen);
    out->proof_len = len;
    put(pen, proof, len);
    end_text(pen);
    return 0;
}

static int close_room(const struct pen *pen, struct entra_error *error)
{
    return pen->full ? refuse(error, ERR_LIMIT,
                              "the texts of the credential are too long for a token call")
                     : 0;
}

/* --- client credentials (entra 2.1) --- */

struct signing {
    const struct secret *file, *password;
    const struct entra_claims *claims;
    struct secret assertion; /* owned */
    struct entra_error *error;
    int err;
};

static void sign(void *arg)
{
    struct signing *s = arg;
    struct entra_certificate *certificate = NULL;

    s->err =
        entra_certificate_read(s->file->data, s->file->len, s->password, &certificate, s->error);
    if (s->err == 0)
        s->err = entra_certificate_sign(certificate, s->claims, &s->assertion, s->error);
    entra_certificate_free(certificate);
}

static bool is_tenant(const char *text)
{
    return text[0] != '\0' && strlen(text) <= 255 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
               strlen(text);
}

static int write_url(const struct entra_credential *credential, char *url, size_t size,
                     struct entra_error *error)
{
    int len;

    if (!is_tenant(credential->tenant))
        return refuse(error, ERR_INVALID, "the tenant is no id and no domain");
    len = snprintf(url, size, "%s/%s/oauth2/v2.0/token", credential->authority, credential->tenant);
    return len > 0 && (size_t)len < size ? 0
                                         : refuse(error, ERR_LIMIT, "the authority is too long");
}

/* What shows that we are the client: the bytes, in `own` where they were made here. */
static int find_proof(const struct entra_credential *credential, const struct secret *file,
                      const char *url, int64_t now_unix_s, struct secret *own, const char **proof,
                      size_t *len, struct entra_error *error)
{
    const struct secret *from = file != NULL ? file : &credential->secret;
    struct entra_error why = {""};
    char jti[ENTRA_ID_SIZE];

    if (credential->kind == ENTRA_CERTIFICATE) {
        struct entra_claims claims = {.audience = url,
                                      .client_id = credential->client_id,
                                      .jti = jti,
                                      .now_unix_s = now_unix_s,
                                      .send_chain = credential->send_chain};
        struct signing s = {
            .file = file, .password = &credential->secret, .claims = &claims, .error = &why};

        if (file == NULL || !secret_is_set(file))
            return refuse(error, ERR_INVALID, "there is no certificate");
        if (make_id(jti) != 0)
            return refuse(error, ERR_NOMEM, "there are no random numbers");
        hidden_run(sign, &s);
        *own = s.assertion;
        from = own;
        if (s.err != 0)
            return refuse(error, s.err, "%.80s: %.170s", credential->path, why.message);
    }
    *proof = from->data != NULL ? from->data : "";
    *len = from->len;
    trim(proof, len);
    return 0;
}

static int judge_proof(const struct entra_credential *credential, const char *proof, size_t len,
                       struct entra_error *error)
{
    const char *what =
        credential->kind == ENTRA_SECRET ? "the client secret" : "the client assertion";
    const char *from = credential->path != NULL ? credential->path : "its setting";

    if (len == 0)
        return refuse(error, ERR_INVALID, "%s is empty (%.120s)", what, from);
    if (len > ENTRA_MAX_ASSERTION)
        return refuse(error, ERR_LIMIT, "%s has more than %d bytes (%.120s)", what,
                      ENTRA_MAX_ASSERTION, from);
    if (memchr(proof, '\0', len) != NULL ||
        (credential->kind != ENTRA_SECRET && !is_visible(proof, len)))
        return refuse(error, ERR_INVALID, "%s has a byte in it that none has (%.120s)", what, from);
    return 0;
}

static void write_form(const struct entra_credential *credential, struct entra_request *out,
                       struct pen *pen)
{
    const char *body = begin_text(pen);

    put_text(pen, "grant_type=client_credentials");
    put_pair(pen, "&", "client_id", credential->client_id, strlen(credential->client_id));
    put_pair(pen, "&", "scope", credential->scope, strlen(credential->scope));
    if (credential->kind == ENTRA_SECRET) {
        put_pair(pen, "&", "client_secret", out->proof, out->proof_len);
    } else {
        put_pair(pen, "&", "client_assertion_type", ASSERTION_TYPE, strlen(ASSERTION_TYPE));
        put_pair(pen, "&", "client_assertion", out->proof, out->proof_len);
    }
    out->body = body;
    out->body_len = (size_t)(pen->at - body);
    end_text(pen);
}

static int build_client(const struct entra_credential *credential, const struct secret *file,
                        int64_t now_unix_s, struct entra_request *out, struct entra_error *error)
{
    struct secret own = SECRET_NONE;
    const char *proof = "";
    char url[1024];
    struct pen pen = {NULL};
    size_t len = 0;
    int err = write_url(credential, url, sizeof(url), error);

    if (err == 0)
        err = find_proof(credential, file, url, now_unix_s, &own, &proof, &len, error);
    if (err == 0)
        err = judge_proof(credential, proof, len, error);
    if (err == 0)
        err = open_room(out, proof, len, &pen, error);
    secret_clear(&own);
    if (err != 0)
        return err;
    out->method = "POST";
    out->url = begin_text(&pen);
    put_text(&pen, url);
    end_text(&pen);
    add_header(out, "Content-Type", "application/x-www-form-urlencoded");
    add_usual_headers(out, "client-request-id", &pen);
    write_form(credential, out, &pen);
    return close_room(&pen, error);
}

/* --- managed identities (entra 2.3) --- */

struct place {
    const char *version;       /* api-version; NULL: it takes a form instead of a query */
    const char *secret_header; /* NULL: it wants no secret */
    bool metadata;             /* it wants `Metadata: true`, which no redirect brings along */
    /* By enum entra_selector; NULL: cannot be chosen by that */
    const char *by[ENTRA_BY_RESOURCE_ID + 1];
};

static const struct place *place_of(enum entra_source source)
{
    static const struct place imds = {
        "2018-02-01", NULL, true, {NULL, "client_id", "object_id", "msi_res_id"}};
    static const struct place app_service = {
        "2019-08-01", "X-IDENTITY-HEADER", false, {NULL, "client_id", "object_id", "mi_res_id"}};
    static const struct place ml = {"2017-09-01", "secret", false, {NULL, "clientid", NULL, NULL}};
    static const struct place cloud_shell = {NULL, NULL, true, {NULL, NULL, NULL, NULL}};
    static const struct place arc = {
        "2020-06-01", NULL, true, {NULL, "client_id", "object_id", "msi_res_id"}};

    switch (source) {
    case ENTRA_IMDS:
        return &imds;
    case ENTRA_APP_SERVICE:
        return &app_service;
    case ENTRA_ML:
        return &ml;
    case ENTRA_CLOUD_SHELL:
        return &cloud_shell;
    case ENTRA_ARC:
        return &arc;
    default:
        return NULL;
    }
}

/* The scope's resource: a scope is that and what is asked for at it. */
static size_t resource_len(const char *scope)
{
    size_t len = strlen(scope), tail = strlen(DEFAULT_SCOPE);

    return len > tail && strcmp(scope + len - tail, DEFAULT_SCOPE) == 0 ? len - tail : len;
}

static void write_query(const struct entra_credential *credential, const struct place *place,
                        struct entra_request *out, struct pen *pen)
{
    const char *by = place->by[credential->selector];

    out->url = begin_text(pen);
    put_text(pen, credential->endpoint);
    if (place->version != NULL) {
        put_pair(pen, strchr(credential->endpoint, '?') != NULL ? "&" : "?", "api-version",
                 place->version, strlen(place->version));
        put_pair(pen, "&", "resource", credential->scope, resource_len(credential->scope));
    }
    if (by != NULL)
        put_pair(pen, "&", by, credential->selector_value, strlen(credential->selector_value));
    end_text(pen);
}

static void write_resource(const struct entra_credential *credential, struct entra_request *out,
                           struct pen *pen)
{
    const char *body = begin_text(pen);

    put_pair(pen, "", "resource", credential->scope, resource_len(credential->scope));
    out->body = body;
    out->body_len = (size_t)(pen->at - body);
    end_text(pen);
}

/* Azure Arc's second call shows what its file holds. */
static void write_authorization(struct entra_request *out, struct pen *pen)
{
    const char *value = begin_text(pen);

    put_text(pen, "Basic ");
    put(pen, out->proof, out->proof_len);
    end_text(pen);
    add_header(out, "Authorization", value);
}

static int judge_place(const struct entra_credential *credential, const struct place *place,
                       const char *proof, size_t len, struct entra_error *error)
{
    const char *name = entra_source_name(credential->source);

    if (credential->selector != ENTRA_SELECT_NONE && place->by[credential->selector] == NULL)
        return refuse(error, ERR_INVALID, "the managed identity of %s cannot be chosen by %s", name,
                      credential->selector == ENTRA_BY_CLIENT_ID   ? "client id"
                      : credential->selector == ENTRA_BY_OBJECT_ID ? "object id"
                                                                   : "resource id");
    if (len == 0 && place->secret_header != NULL)
        return refuse(error, ERR_INVALID, "the secret of the managed identity (%s) is empty", name);
    if (len > ENTRA_MAX_ARC_KEY || !is_visible(proof, len))
        return refuse(error, ERR_INVALID,
                      "the secret of the managed identity (%s) has a byte in it that no header "
                      "carries, or is too long",
                      name);
    return 0;
}

static int build_managed(const struct entra_credential *credential, const struct secret *file,
                         struct entra_request *out, struct entra_error *error)
{
    const struct place *place = place_of(credential->source);
    const struct secret *from = credential->source == ENTRA_ARC ? file : &credential->secret;
    const char *proof = from != NULL && from->data != NULL ? from->data : "";
    size_t len = from != NULL ? from->len : 0;
    struct pen pen = {NULL};
    int err;

    if (place == NULL)
        return refuse(error, ERR_INVALID, "managed identities of %s are not supported",
                      entra_source_name(credential->source));
    trim(&proof, &len);
    if (place->secret_header == NULL && credential->source != ENTRA_ARC)
        len = 0;
    err = judge_place(credential, place, proof, len, error);
    if (err == 0)
        err = open_room(out, proof, len, &pen, error);
    if (err != 0)
        return err;
    out->method = place->version != NULL ? "GET" : "POST";
    write_query(credential, place, out, &pen);
    if (place->version == NULL) {
        write_resource(credential, out, &pen);
        add_header(out, "Content-Type", "application/x-www-form-urlencoded");
    }
    add_usual_headers(out, "x-ms-client-request-id", &pen);
    if (place->metadata)
        add_header(out, "Metadata", "true");
    if (place->secret_header != NULL)
        add_header(out, place->secret_header, out->proof);
    else if (len > 0)
        write_authorization(out, &pen);
    return close_room(&pen, error);
}

/* --- both --- */

int entra_request_build(const struct entra_credential *credential, const struct secret *file,
                        int64_t now_unix_s, struct entra_request *out, struct entra_error *error)
{
    memset(out, 0, sizeof(*out));
    if (make_id(out->id) != 0)
        return refuse(error, ERR_NOMEM, "there are no random numbers");
    return credential->kind == ENTRA_MANAGED
               ? build_managed(credential, file, out, error)
               : build_client(credential, file, now_unix_s, out, error);
}

void entra_request_wipe(struct entra_request *request)
{
    secret_clear(&request->room);
    memset(request, 0, sizeof(*request));
}
