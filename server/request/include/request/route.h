/* From a request target to what is asked: pure, no allocation. Server README 4 lists the
 * forms; a trailing slash is the same route and nothing redirects. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "crypto/ids.h"
#include "common/model.h"

enum route_kind {
    ROUTE_NONE,
    ROUTE_FILES,
    ROUTE_FILE_VALIDATE, /* ours: POST files/validate */
    ROUTE_FILE,
    ROUTE_FILE_CONTENT,
    ROUTE_UPLOADS,
    ROUTE_UPLOAD_PARTS,
    ROUTE_UPLOAD_COMPLETE,
    ROUTE_UPLOAD_CANCEL,
    ROUTE_BATCHES,
    ROUTE_PLACEMENT, /* ours: POST batches/placement */
    ROUTE_BATCH,
    ROUTE_BATCH_CANCEL,
    ROUTE_BATCH_RESULTS, /* ours: GET batches/{id}/results */
    ROUTE_BATCH_RETRY,   /* ours: POST batches/{id}/retry */
    ROUTE_MODELS,
    ROUTE_MODEL,
    ROUTE_MODEL_INFO,
    ROUTE_MODEL_GROUP_INFO,
    ROUTE_HEALTH,
    ROUTE_LIVENESS,
    ROUTE_READINESS,
    ROUTE_METRICS,
    ROUTE_MANAGEMENT, /* /key/... and /team/...: the keeper knows them one by one */
    ROUTE_OWN_KEY,    /* GET /key/info, which a key may ask about itself */
    ROUTE_JOURNAL,    /* ours: GET /journal/batches, /journal/batches/{id}, /usage */
    ROUTE_WEBHOOKS,   /* ours: /webhooks..., of which a tenant has its own */
    ROUTE_UI,         /* ours: the page for operators, and what it asks */
    ROUTE_UI_STATE,
    ROUTE_UI_LOGIN,
    ROUTE_UI_LOGOUT,
    ROUTE_UI_COOL, /* of a deployment, as the next one */
    ROUTE_UI_RESTORE,
    ROUTE_UI_DRAIN, /* of a worker */
    ROUTE_UI_CANCEL /* of a batch */
};

enum route_method {
    METHOD_GET = 1,
    METHOD_HEAD = 2,
    METHOD_POST = 4,
    METHOD_DELETE = 8,
    METHOD_PATCH = 16,
    METHOD_OTHER = 32
};

#define ROUTE_NAME_MAX 256 /* bytes of a model or deployment name that a client may send */

/* What says who serves a request; filled from path and query by route_parse(), from headers and
 * body later. Earlier sources win. */
struct route_hints {
    bool has_provider; /* path prefix or ?provider=, header, query, body: in this order */
    enum provider provider;
    bool openai_path; /* it was the path's "/openai", which is how Azure's v1 API begins, too */
    bool unknown_provider; /* a provider was named that we do not serve; `provider_text` has it */
    char provider_text[64];
    /* An Azure SDK's URL form (api-version, /openai/deployments/): used only when nothing else
     * decides */
    bool azure_shape;
    char model[ROUTE_NAME_MAX];      /* model group asked for; "" none */
    char deployment[ROUTE_NAME_MAX]; /* {d} of /openai/deployments/{d}/...; "" none */
};

struct route {
    enum route_kind kind;
    unsigned allowed;     /* bit set of enum route_method */
    char id[IDS_MAX + 1]; /* decoded once; "" for collections */
    size_t id_len;
    /* An id segment that is over-long or decodes to something that no id can be: answer 404 */
    bool bad_id;
};

/** Take a path (without query) and a query string (without '?', may be empty) apart.
 *  `hints` is zeroed and filled with what path and query say. An unknown path gives ROUTE_NONE. */
void route_parse(const char *path, size_t path_len, const char *query, size_t query_len,
                 struct route *route, struct route_hints *hints);

/** The method of a request line; METHOD_OTHER: one that no route has. */
enum route_method route_method(const char *method, size_t len);

/** "GET, HEAD, POST" for an Allow header (RFC 9110 section 10.2.1). `out` needs 64 bytes. */
void route_allow(unsigned allowed, char *out, size_t size);

/** "files.create", "batches.cancel", ...: for logs. */
const char *route_name(enum route_kind kind, enum route_method method);

/** The path of a route, with `{id}` where an id stands, whatever prefix it came with; "*" of none. Of
 * the management routes, which only the keeper knows one by one, their common beginning. Constant. */
const char *route_shape(enum route_kind kind);

/** Whether a route answers without a key: liveness and readiness. Who asks them without one learns
 * no version. */
static inline bool route_is_for_all(enum route_kind kind)
{
    return kind == ROUTE_LIVENESS || kind == ROUTE_READINESS;
}

/** Whether the keeper answers it: the management API. */
static inline bool route_is_managed(enum route_kind kind)
{
    return kind == ROUTE_MANAGEMENT || kind == ROUTE_OWN_KEY || kind == ROUTE_JOURNAL ||
           kind == ROUTE_WEBHOOKS;
}

/** Whether it is of the page for operators: /ui and what is below it. */
static inline bool route_is_of_page(enum route_kind kind)
{
    return kind >= ROUTE_UI && kind <= ROUTE_UI_CANCEL;
}

/** Whether the door of health serves it, too (tranche_settings.health_port). */
static inline bool route_is_of_health(enum route_kind kind)
{
    return kind == ROUTE_LIVENESS || kind == ROUTE_READINESS || kind == ROUTE_HEALTH ||
           kind == ROUTE_METRICS || route_is_of_page(kind);
}

/** Decode %XX once (and '+' as space when `plus`) into a NUL-terminated string.
 *  @return length; -1: a bad escape, a NUL byte, or no room */
int route_decode(const char *text, size_t len, bool plus, char *out, size_t size);

/** The decoded value of a query parameter. @return its length; -1: absent, undecodable or over-long
 */
int route_query(const char *query, size_t len, const char *name, char *out, size_t size);

/** Whether a parameter is there at all: its value may be one that route_query() cannot give. */
bool route_query_has(const char *query, size_t len, const char *name);

/** A provider's name as clients write it ("openai", "azure", any case). @return false: not one of
 * ours */
bool route_provider(const char *name, size_t len, enum provider *out);

/** Note a provider from a later source; the first one given stays. */
void route_hint_provider(struct route_hints *hints, const char *name, size_t len);
/** The same for a model name; over-long ones are ignored. */
void route_hint_model(struct route_hints *hints, const char *name, size_t len);
