/* Paths and queries to routes. Segments are decoded one by one, so that %2F inside an id never
 * changes the route (providers 4.5). */
#include "request/route.h"

#include <string.h>
#include <strings.h>

#define MAX_SEGMENTS 8

struct segment {
    const char *text; /* borrowed, not decoded */
    size_t len;
};

static bool is(const struct segment *s, const char *text)
{
    return s->len == strlen(text) && memcmp(s->text, text, s->len) == 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

int route_decode(const char *text, size_t len, bool plus, char *out, size_t size)
{
    size_t n = 0;

    if (size == 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)text[i];

        if (c == '%') {
            if (len - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
                return -1;
            c = hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (c == 0 || n + 1 >= size)
            return -1;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return (int)n;
}

int route_query(const char *query, size_t len, const char *name, char *out, size_t size)
{
    char key[64];
    size_t at = 0;

    while (at < len) {
        const char *pair = query + at;
        const char *amp = memchr(pair, '&', len - at);
        size_t pair_len = amp != NULL ? (size_t)(amp - pair) : len - at;
        const char *eq = memchr(pair, '=', pair_len);
        size_t key_len = eq != NULL ? (size_t)(eq - pair) : pair_len;

        if (route_decode(pair, key_len, true, key, sizeof(key)) >= 0 && strcmp(key, name) == 0) {
            if (eq == NULL)
                return route_decode("", 0, true, out, size);
            return route_decode(eq + 1, pair_len - key_len - 1, true, out, size);
        }
        at += pair_len + 1;
    }
    return -1;
}

bool route_query_has(const char *query, size_t len, const char *name)
{
    char key[64];

    for (size_t at = 0; at < len;) {
        const char *amp = memchr(query + at, '&', len - at);
        size_t pair_len = amp != NULL ? (size_t)(amp - query) - at : len - at;
        const char *eq = memchr(query + at, '=', pair_len);

        if (route_decode(query + at, eq != NULL ? (size_t)(eq - query) - at : pair_len, true, key,
                         sizeof(key)) >= 0 &&
            strcmp(key, name) == 0)
            return true;
        at += pair_len + 1;
    }
    return false;
}

bool route_provider(const char *name, size_t len, enum provider *out)
{
    if (len == 6 && strncasecmp(name, "openai", 6) == 0)
        *out = PROVIDER_OPENAI;
    else if (len == 5 && strncasecmp(name, "azure", 5) == 0)
        *out = PROVIDER_AZURE;
    else
        return false;
    return true;
}

void route_hint_provider(struct route_hints *hints, const char *name, size_t len)
{
    if (hints->has_provider || hints->unknown_provider || len == 0)
        return;
    if (route_provider(name, len, &hints->provider)) {
        hints->has_provider = true;
        return;
    }
    hints->unknown_provider = true;
    if (len >= sizeof(hints->provider_text))
        len = sizeof(hints->provider_text) - 1;
    memcpy(hints->provider_text, name, len);
    hints->provider_text[len] = '\0';
}

void route_hint_model(struct route_hints *hints, const char *name, size_t len)
{
    if (hints->model[0] != '\0' || len >= sizeof(hints->model))
        return;
    memcpy(hints->model, name, len);
    hints->model[len] = '\0';
}

/* Split at '/', one trailing slash ignored. Returns the count; -1: an empty segment inside, or too
 * many. */
static int split(const char *path, size_t len, struct segment *out)
{
    int n = 0;
    size_t at = 1;

    if (len == 0 || path[0] != '/')
        return -1;
    if (path[len - 1] == '/') /* "/" alone has no segment */
        len--;
    while (at <= len) { /* `at` is behind a slash: what follows may be empty */
        const char *slash = memchr(path + at, '/', len - at);
        size_t seg = slash != NULL ? (size_t)(slash - path) - at : len - at;

        if (seg == 0 || n == MAX_SEGMENTS)
            return -1;
        out[n].text = path + at;
        out[n].len = seg;
        n++;
        at += seg + 1;
    }
    return n;
}

/* Drop what names version, provider or an Azure deployment in front of the resource, of one segment
 * at least. */
static int strip_prefix(struct segment *seg, int n, struct route_hints *hints, bool *prefixed)
{
    int at = 0;
    enum provider provider;

    if (n > 1 && route_provider(seg[0].text, seg[0].len, &provider)) {
        route_hint_provider(hints, seg[0].text, seg[0].len);
        *prefixed = true;
        at = 1;
    }
    if (at == 1 && provider == PROVIDER_OPENAI && n > 3 && is(&seg[1], "deployments")) {
        hints->azure_shape = true;
        hints->has_provider = false; /* "/openai" is the Azure path here, not the provider */
        if (route_decode(seg[2].text, seg[2].len, false, hints->deployment,
                         sizeof(hints->deployment)) < 0)
            hints->deployment[0] = '\0';
        return 3;
    }
    if (is(&seg[at], "v1")) /* a prefix alone is none: there is such a segment */
        at++;
    return at;
}

static void set_id(struct route *route, const struct segment *seg)
{
    int len = route_decode(seg->text, seg->len, false, route->id, sizeof(route->id));

    if (len <= 0) {
        route->bad_id = true;
        route->id[0] = '\0';
        len = 0;
    }
    route->id_len = (size_t)len;
}

/* A model's name may have slashes, written as they are. */
static void set_model(struct route *route, const struct segment *seg, int n)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): both are segments of one path */
    struct segment all = {seg[0].text, (size_t)(seg[n - 1].text + seg[n - 1].len - seg[0].text)};

    set_id(route, &all);
}

static void set(struct route *route, enum route_kind kind, unsigned allowed)
{
    route->kind = kind;
    route->allowed = allowed;
}

static void match_upload(const struct segment *seg, int n, struct route *route)
{
    if (n == 1)
        set(route, ROUTE_UPLOADS, METHOD_POST);
    else if (n == 3 && is(&seg[2], "parts"))
        set(route, ROUTE_UPLOAD_PARTS, METHOD_POST);
    else if (n == 3 && is(&seg[2], "complete"))
        set(route, ROUTE_UPLOAD_COMPLETE, METHOD_POST);
    else if (n == 3 && is(&seg[2], "cancel"))
        set(route, ROUTE_UPLOAD_CANCEL, METHOD_POST);
}

/* seg[0..n): what is left after the prefixes. */
static void match_resource(const struct segment *seg, int n, struct route *route)
{
    if (n >= 1 && n <= 3 && is(&seg[0], "files")) {
        if (n == 1)
            set(route, ROUTE_FILES, METHOD_GET | METHOD_HEAD | METHOD_POST);
        else if (n == 2 && is(&seg[1], "validate"))
            set(route, ROUTE_FILE_VALIDATE, METHOD_POST);
        else if (n == 2)
            set(route, ROUTE_FILE, METHOD_GET | METHOD_HEAD | METHOD_DELETE);
        else if (is(&seg[2], "content"))
            set(route, ROUTE_FILE_CONTENT, METHOD_GET | METHOD_HEAD);
    } else if (n >= 1 && n <= 3 && is(&seg[0], "uploads")) {
        match_upload(seg, n, route);
    } else if (n >= 1 && n <= 3 && is(&seg[0], "batches")) {
        if (n == 1)
            set(route, ROUTE_BATCHES, METHOD_GET | METHOD_HEAD | METHOD_POST);
        else if (n == 2 && is(&seg[1], "placement"))
            set(route, ROUTE_PLACEMENT, METHOD_POST);
        else if (n == 2)
            set(route, ROUTE_BATCH, METHOD_GET | METHOD_HEAD);
        else if (is(&seg[2], "cancel"))
            set(route, ROUTE_BATCH_CANCEL, METHOD_POST);
        else if (is(&seg[2], "results"))
            set(route, ROUTE_BATCH_RESULTS, METHOD_GET);
        else if (is(&seg[2], "retry"))
            set(route, ROUTE_BATCH_RETRY, METHOD_POST);
    } else if (n == 1 && is(&seg[0], "models")) {
        set(route, ROUTE_MODELS, METHOD_GET | METHOD_HEAD);
    } else if (n >= 2 && is(&seg[0], "models")) {
        set(route, ROUTE_MODEL, METHOD_GET | METHOD_HEAD);
    } else if (n == 2 && is(&seg[0], "model") && is(&seg[1], "info")) {
        set(route, ROUTE_MODEL_INFO, METHOD_GET | METHOD_HEAD);
    } else if (n == 2 && is(&seg[0], "model_group") && is(&seg[1], "info")) {
        set(route, ROUTE_MODEL_GROUP_INFO, METHOD_GET | METHOD_HEAD);
    }
    if (route->kind == ROUTE_MODEL)
        set_model(route, &seg[1], n - 1);
    else if (route->kind != ROUTE_NONE && n >= 2 && route->kind != ROUTE_MODEL_INFO &&
             route->kind != ROUTE_MODEL_GROUP_INFO && route->kind != ROUTE_FILE_VALIDATE &&
             route->kind != ROUTE_PLACEMENT)
        set_id(route, &seg[1]);
}

/* /ui, and what the page asks. */
static void match_page(const struct segment *seg, int n, struct route *route)
{
    if (n == 1)
        set(route, ROUTE_UI, METHOD_GET | METHOD_HEAD);
    else if (n == 2 && is(&seg[1], "state"))
        set(route, ROUTE_UI_STATE, METHOD_GET);
    else if (n == 2 && is(&seg[1], "login"))
        set(route, ROUTE_UI_LOGIN, METHOD_POST);
    else if (n == 2 && is(&seg[1], "logout"))
        set(route, ROUTE_UI_LOGOUT, METHOD_POST);
    else if (n == 4 && is(&seg[1], "deployments") && is(&seg[3], "cool"))
        set(route, ROUTE_UI_COOL, METHOD_POST);
    else if (n == 4 && is(&seg[1], "deployments") && is(&seg[3], "restore"))
        set(route, ROUTE_UI_RESTORE, METHOD_POST);
    else if (n == 4 && is(&seg[1], "workers") && is(&seg[3], "drain"))
        set(route, ROUTE_UI_DRAIN, METHOD_POST);
    else if (n == 4 && is(&seg[1], "batches") && is(&seg[3], "cancel"))
        set(route, ROUTE_UI_CANCEL, METHOD_POST);
    if (n == 4 && route->kind != ROUTE_NONE)
        set_id(route, &seg[2]);
}

/* seg[0..n): the whole path, of one segment at least. */
static void match_operators(const struct segment *seg, int n, struct route *route)
{
    if (n == 1 && is(&seg[0], "metrics"))
        set(route, ROUTE_METRICS, METHOD_GET | METHOD_HEAD);
    else if (n == 2 && is(&seg[0], "key") && is(&seg[1], "info"))
        set(route, ROUTE_OWN_KEY, METHOD_GET);
    else if ((n == 1 && is(&seg[0], "usage")) ||
             ((n == 2 || n == 3) && is(&seg[0], "journal") && is(&seg[1], "batches")))
        set(route, ROUTE_JOURNAL, METHOD_GET);
    else if (n >= 1 && n <= 4 && is(&seg[0], "webhooks"))
        set(route, ROUTE_WEBHOOKS, METHOD_GET | METHOD_POST | METHOD_PATCH | METHOD_DELETE);
    else if (n >= 2 && (is(&seg[0], "key") || is(&seg[0], "team") ||
                        (is(&seg[0], "journal") && is(&seg[1], "rebuild"))))
        set(route, ROUTE_MANAGEMENT, METHOD_GET | METHOD_POST);
    else if (is(&seg[0], "ui"))
        match_page(seg, n, route);
    if (!is(&seg[0], "health"))
        return;
    if (n == 1)
        set(route, ROUTE_HEALTH, METHOD_GET | METHOD_HEAD);
    else if (n == 2 && (is(&seg[1], "liveliness") || is(&seg[1], "liveness")))
        set(route, ROUTE_LIVENESS, METHOD_GET | METHOD_HEAD);
    else if (n == 2 && is(&seg[1], "readiness"))
        set(route, ROUTE_READINESS, METHOD_GET | METHOD_HEAD);
}

static void query_hints(const char *query, size_t len, struct route_hints *hints)
{
    char text[ROUTE_NAME_MAX];
    int n;

    n = route_query(query, len, "provider", text, sizeof(text));
    if (n > 0)
        route_hint_provider(hints, text, (size_t)n);
    n = route_query(query, len, "model", text, sizeof(text));
    if (n > 0)
        route_hint_model(hints, text, (size_t)n);
}

void route_parse(const char *path, size_t path_len, const char *query, size_t query_len,
                 struct route *route, struct route_hints *hints)
{
    struct segment seg[MAX_SEGMENTS];
    bool prefixed = false;
    char version[32];
    int n, at;

    memset(route, 0, sizeof(*route));
    memset(hints, 0, sizeof(*hints));
    n = split(path, path_len, seg);
    if (n <= 0)
        return;
    at = strip_prefix(seg, n, hints, &prefixed);
    match_resource(seg + at, n - at, route);
    if (route->kind == ROUTE_NONE && !prefixed)
        match_operators(seg, n, route);
    if (route->kind == ROUTE_NONE)
        return;
    /* An Azure SDK speaks of /openai/...?api-version=...: that names Azure's path, not the provider
     * OpenAI. */
    if (prefixed && route_query(query, query_len, "api-version", version, sizeof(version)) > 0 &&
        hints->has_provider && hints->provider == PROVIDER_OPENAI) {
        hints->has_provider = false;
        hints->azure_shape = true;
    }
    hints->openai_path = hints->has_provider && hints->provider == PROVIDER_OPENAI;
    query_hints(query, query_len, hints);
}

enum route_method route_method(const char *method, size_t len)
{
    static const struct {
        const char *name;
        enum route_method method;
    } known[] = {{"GET", METHOD_GET},
                 {"HEAD", METHOD_HEAD},
                 {"POST", METHOD_POST},
                 {"DELETE", METHOD_DELETE},
                 {"PATCH", METHOD_PATCH}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (len == strlen(known[i].name) && memcmp(method, known[i].name, len) == 0)
            return known[i].method;
    return METHOD_OTHER;
}

void route_allow(unsigned allowed, char *out, size_t size)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "DELETE", "PATCH"};
    size_t at = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);

        if (!(allowed & (1u << i)) || at + len + 3 > size)
            continue;
        if (at > 0) {
            memcpy(out + at, ", ", 2);
            at += 2;
        }
        memcpy(out + at, names[i], len + 1);
        at += len;
    }
}

const char *route_shape(enum route_kind kind)
{
    switch (kind) {
    case ROUTE_FILES:
        return "/v1/files";
    case ROUTE_FILE_VALIDATE:
        return "/v1/files/validate";
    case ROUTE_FILE:
        return "/v1/files/{id}";
    case ROUTE_FILE_CONTENT:
        return "/v1/files/{id}/content";
    case ROUTE_BATCHES:
        return "/v1/batches";
    case ROUTE_PLACEMENT:
        return "/v1/batches/placement";
    case ROUTE_BATCH:
        return "/v1/batches/{id}";
    case ROUTE_BATCH_CANCEL:
        return "/v1/batches/{id}/cancel";
    case ROUTE_MODELS:
        return "/v1/models";
    case ROUTE_MODEL:
        return "/v1/models/{id}";
    case ROUTE_MODEL_INFO:
        return "/v1/model/info";
    case ROUTE_MODEL_GROUP_INFO:
        return "/model_group/info";
    case ROUTE_HEALTH:
        return "/health";
    case ROUTE_LIVENESS:
        return "/health/liveliness";
    case ROUTE_READINESS:
        return "/health/readiness";
    case ROUTE_METRICS:
        return "/metrics";
    case ROUTE_MANAGEMENT:
        return "/{key,team}/...";
    case ROUTE_OWN_KEY:
        return "/key/info";
    case ROUTE_JOURNAL:
        return "/{journal,usage}/...";
    case ROUTE_WEBHOOKS:
        return "/webhooks...";
    case ROUTE_BATCH_RESULTS:
        return "/v1/batches/{id}/results";
    case ROUTE_UPLOADS:
        return "/v1/uploads";
    case ROUTE_UPLOAD_PARTS:
        return "/v1/uploads/{id}/parts";
    case ROUTE_UPLOAD_COMPLETE:
        return "/v1/uploads/{id}/complete";
    case ROUTE_UPLOAD_CANCEL:
        return "/v1/uploads/{id}/cancel";
    case ROUTE_BATCH_RETRY:
        return "/v1/batches/{id}/retry";
    case ROUTE_UI:
        return "/ui";
    case ROUTE_UI_STATE:
        return "/ui/state";
    case ROUTE_UI_LOGIN:
        return "/ui/login";
    case ROUTE_UI_LOGOUT:
        return "/ui/logout";
    default:
        return "*";
    }
}

const char *route_name(enum route_kind kind, enum route_method method)
{
    switch (kind) {
    case ROUTE_FILES:
        return method == METHOD_POST ? "files.create" : "files.list";
    case ROUTE_FILE_VALIDATE:
        return "files.validate";
    case ROUTE_FILE:
        return method == METHOD_DELETE ? "files.delete" : "files.get";
    case ROUTE_FILE_CONTENT:
        return "files.content";
    case ROUTE_UPLOADS:
        return "uploads.create";
    case ROUTE_UPLOAD_PARTS:
        return "uploads.parts";
    case ROUTE_UPLOAD_COMPLETE:
        return "uploads.complete";
    case ROUTE_UPLOAD_CANCEL:
        return "uploads.cancel";
    case ROUTE_BATCHES:
        return method == METHOD_POST ? "batches.create" : "batches.list";
    case ROUTE_PLACEMENT:
        return "batches.placement";
    case ROUTE_BATCH:
        return "batches.get";
    case ROUTE_BATCH_CANCEL:
        return "batches.cancel";
    case ROUTE_BATCH_RESULTS:
        return "batches.results";
    case ROUTE_BATCH_RETRY:
        return "batches.retry";
    case ROUTE_MODELS:
        return "models.list";
    case ROUTE_MODEL:
        return "models.get";
    case ROUTE_MODEL_INFO:
        return "models.info";
    case ROUTE_MODEL_GROUP_INFO:
        return "model_groups.info";
    case ROUTE_HEALTH:
        return "health";
    case ROUTE_LIVENESS:
        return "health.liveness";
    case ROUTE_READINESS:
        return "health.readiness";
    case ROUTE_METRICS:
        return "metrics";
    case ROUTE_MANAGEMENT:
        return "management";
    case ROUTE_OWN_KEY:
        return "keys.info";
    case ROUTE_JOURNAL:
        return "journal";
    case ROUTE_WEBHOOKS:
        return "webhooks";
    case ROUTE_UI:
        return "ui";
    case ROUTE_UI_STATE:
        return "ui.state";
    case ROUTE_UI_LOGIN:
        return "ui.login";
    case ROUTE_UI_LOGOUT:
        return "ui.logout";
    case ROUTE_UI_COOL:
        return "ui.cool";
    case ROUTE_UI_RESTORE:
        return "ui.restore";
    case ROUTE_UI_DRAIN:
        return "ui.drain";
    case ROUTE_UI_CANCEL:
        return "ui.cancel";
    case ROUTE_NONE:
        break;
    }
    return "none";
}
