/* See auth.h. Comparison is constant-time (secret_equal). */
#include "request/auth.h"

#include <assert.h>
#include <h2o.h>
#include <string.h>
#include <strings.h>

#include "auth_impl.h"
#include "auth_refusal.h"
#include "common/clock.h"
#include "crypto/sha256.h"
#include "request/errors.h"

/* The token of `Bearer <token>`; the scheme in any case (RFC 9110 section 11.1). */
static bool bearer_token(h2o_iovec_t value, const char **token, size_t *len)
{
    size_t at = 6;

    if (value.len < 8 || strncasecmp(value.base, "Bearer", 6) != 0 || value.base[6] != ' ')
        return false;
    while (at < value.len && value.base[at] == ' ')
        at++;
    *token = value.base + at;
    *len = value.len - at;
    return *len > 0;
}

/* Where LiteLLM's clients put the key, too: its own header, those of other providers' SDKs and of
 * Azure's API management. Source: get_api_key() of LiteLLM's user_api_key_auth.py. */
static bool is_key_header(const struct relay *relay, const h2o_header_t *h)
{
    static const char *const names[] = {"api-key", "x-litellm-api-key", "x-api-key",
                                        "x-goog-api-key", "ocp-apim-subscription-key"};
    const char *own = relay->rt->config->key_header;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (h2o_memis(h->name->base, h->name->len, names[i], strlen(names[i])))
            return true;
    return own != NULL && h2o_memis(h->name->base, h->name->len, own, strlen(own));
}

/* The credential in a header. @return false: the header is another one */
static bool credential_in(const struct relay *relay, const h2o_header_t *h, const char **token,
                          size_t *len)
{
    *token = NULL;
    *len = 0;
    if (h2o_memis(h->name->base, h->name->len, H2O_STRLIT("authorization"))) {
        if (!bearer_token(h->value, token, len))
            *token = NULL;
        return true;
    }
    if (!is_key_header(relay, h))
        return false;
    if (!bearer_token(h->value, token, len)) { /* with or without the scheme */
        *token = h->value.base;
        *len = h->value.len;
    }
    return true;
}

/* @param given  whether any credential was there */
static bool shows_key(const struct relay *relay, bool *given)
{
    const struct secret *key = &relay->rt->config->master_key;
    const h2o_headers_t *headers = &relay->req->headers;
    bool valid = false;

    *given = false;
    for (size_t i = 0; i < headers->size; i++) {
        const char *token;
        size_t len;

        if (!credential_in(relay, &headers->entries[i], &token, &len))
            continue;
        *given = true;
        valid |= token != NULL && secret_equal(key, token, len);
    }
    return valid;
}

const char *auth_credential(const struct relay *relay, size_t *len)
{
    const h2o_headers_t *headers = &relay->req->headers;
    const char *token = NULL;

    for (size_t i = 0; i < headers->size && token == NULL; i++)
        (void)credential_in(relay, &headers->entries[i], &token, len);
    return token;
}

bool auth_has_key(const struct relay *relay)
{
    bool given;

    return shows_key(relay, &given);
}

enum answered auth_check_single(struct relay *relay)
{
    const h2o_headers_t *headers = &relay->req->headers;
    unsigned num = 0;

    for (size_t i = 0; i < headers->size; i++)
        num += h2o_memis(headers->entries[i].name->base, headers->entries[i].name->len,
                         H2O_STRLIT("authorization"));
    if (num <= 1)
        return GO_ON;
    relay_error(relay, TWO_AUTHORIZATIONS, "");
    return ANSWERED;
}

/* --- tenants' keys --- */

#define KEY_MIN 16 /* characters: no shorter one is a key (tenants statement A6) */

/* What came of a search for a tenant's key among a request's credentials. */
struct found {
    struct tenant *tenant; /* pool; of the best key; NULL: none is known */
    enum rights_verdict verdict;
    const char *token; /* borrowed; the first credential that is none of a key; NULL: none */
    size_t len;
};

static struct tenant *tenant_new(const struct relay *relay, const struct rights *rights)
{
    struct tenant *tenant = h2o_mem_alloc_pool(&relay->req->pool, sizeof(*tenant));

    *tenant = (struct tenant){.kind = rights->admin ? TENANT_ADMIN : TENANT_KEY, .rights = *rights};
    return tenant;
}

static void try_key(const struct relay *relay, const char *token, size_t len, int64_t now_unix_ms,
                    struct found *found)
{
    const struct sha256_piece piece = {token, len};
    unsigned char hash[SHA256_BYTES];
    struct rights rights;

    static_assert(SHA256_BYTES == RIGHTS_HASH_BYTES, "a key is known by its SHA-256");
    sha256_of(&piece, 1, hash);
    if (rights_find(relay->rt->inherited->rights, hash, &rights)) {
        found->tenant = tenant_new(relay, &rights);
        found->verdict = rights_judge(&rights, now_unix_ms);
    } else if (found->token == NULL) {
        found->token = token;
        found->len = len;
    }
}

/* One valid key is enough, as with the master key. */
static void find_key(const struct relay *relay, int64_t now_unix_ms, struct found *found)
{
    const h2o_headers_t *headers = &relay->req->headers;

    *found = (struct found){.verdict = RIGHTS_KEY_BLOCKED};
    for (size_t i = 0; i < headers->size && found->verdict != RIGHTS_GOOD; i++) {
        const char *token;
        size_t len;

        if (credential_in(relay, &headers->entries[i], &token, &len) && token != NULL && len > 0)
            try_key(relay, token, len, now_unix_ms, found);
    }
}

bool auth_take_admin(struct relay *relay, const unsigned char hash[RIGHTS_HASH_BYTES])
{
    const struct rights_table *table = relay->rt->inherited->rights;
    struct rights rights;

    if (table == NULL || !rights_find(table, hash, &rights) || !rights.admin ||
        rights_judge(&rights, clock_unix_ms()) != RIGHTS_GOOD)
        return false;
    relay->tenant = tenant_new(relay, &rights);
    relay->owner = tenant_owner(relay->tenant);
    return true;
}

/* Whether the keeper may know a credential that the table does not have. */
static bool may_ask(const struct relay *relay, const struct found *found)
{
    return found->tenant == NULL && found->token != NULL && found->len >= KEY_MIN &&
           memcmp(found->token, "sk-", 3) == 0 && relay->rt->ask != NULL &&
           !rights_is_complete(relay->rt->inherited->rights);
}

/* No `www-authenticate`: LiteLLM sends none (tenants statement A23). */
static enum auth_end check_tenant(struct relay *relay, struct unknown_key *key)
{
    int64_t now_unix_ms = clock_unix_ms();
    struct failure why;
    struct found found;

    find_key(relay, now_unix_ms, &found);
    if (found.tenant != NULL)
        relay->tenant = found.tenant;
    if (found.verdict == RIGHTS_GOOD) {
        relay->owner = tenant_owner(relay->tenant);
        return AUTH_GO_ON;
    }
    if (key != NULL && may_ask(relay, &found)) {
        assert(relay->tenant == &tenant_anybody && relay->owner == 0); /* while it waits */
        key->token = found.token;
        key->len = found.len;
        sha256_of(&(struct sha256_piece){found.token, found.len}, 1, key->hash);
        return AUTH_ASK;
    }
    if (found.tenant != NULL)
        auth_refusal_judged(&why, found.verdict, &found.tenant->rights, now_unix_ms);
    else if (found.token != NULL)
        auth_refusal_unknown(&why, found.token, found.len,
                             rights_is_complete(relay->rt->inherited->rights));
    else
        auth_refusal_none(&why);
    relay_failure(relay, &why);
    return AUTH_ANSWERED;
}

/* --- routes --- */

/* What a route counts as. */
static uint32_t bit_of(enum route_kind kind)
{
    switch (kind) {
    case ROUTE_FILES:
    case ROUTE_FILE_VALIDATE:
    case ROUTE_FILE:
    case ROUTE_FILE_CONTENT:
    case ROUTE_UPLOADS:
    case ROUTE_UPLOAD_PARTS:
    case ROUTE_UPLOAD_COMPLETE:
    case ROUTE_UPLOAD_CANCEL:
        return RIGHTS_FILES;
    case ROUTE_BATCHES:
    case ROUTE_BATCH:
    case ROUTE_BATCH_CANCEL:
    case ROUTE_BATCH_RESULTS:
    case ROUTE_BATCH_RETRY:
    case ROUTE_JOURNAL:  /* a tenant's own, as in its list */
    case ROUTE_WEBHOOKS: /* of one's own batches */
        return RIGHTS_BATCHES;
    case ROUTE_PLACEMENT:
        return RIGHTS_PLACEMENT;
    case ROUTE_MODELS:
    case ROUTE_MODEL:
        return RIGHTS_MODELS;
    case ROUTE_MODEL_INFO:
    case ROUTE_MODEL_GROUP_INFO:
        return RIGHTS_MODEL_INFO;
    case ROUTE_HEALTH:
    case ROUTE_METRICS:
    case ROUTE_UI:
    case ROUTE_UI_STATE:
    case ROUTE_UI_LOGIN:
    case ROUTE_UI_LOGOUT:
    case ROUTE_UI_COOL:
    case ROUTE_UI_RESTORE:
    case ROUTE_UI_DRAIN:
    case ROUTE_UI_CANCEL:
        return RIGHTS_OPERATOR;
    case ROUTE_MANAGEMENT:
        return RIGHTS_MANAGEMENT;
    case ROUTE_OWN_KEY:
        return RIGHTS_OWN_KEY;
    case ROUTE_LIVENESS:
    case ROUTE_READINESS:
    case ROUTE_NONE:
        break;
    }
    return 0;
}

/* LiteLLM's word for all that clients call, else each in its own. */
static void list_routes(uint32_t routes, struct strbuf *out)
{
    static const struct {
        uint32_t bits;
        const char *name;
    } names[] = {{RIGHTS_LLM_ROUTES, "llm_api_routes"},
                 {RIGHTS_FILES, "/files"},
                 {RIGHTS_BATCHES, "/batches"},
                 {RIGHTS_PLACEMENT, "/batches/placement"},
                 {RIGHTS_MODELS, "/models"},
                 {RIGHTS_MODEL_INFO, "info_routes"},
                 {RIGHTS_MANAGEMENT, "management_routes"},
                 {RIGHTS_OPERATOR, "/health', '/metrics"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((routes & names[i].bits) != names[i].bits)
            continue;
        strbuf_addf(out, "%s'%s'", out->len > 0 ? ", " : "", names[i].name);
        routes &= ~names[i].bits;
    }
}

static void refuse_route(struct relay *relay, const char *path, size_t len)
{
    struct strbuf routes = STRBUF_INIT;

    list_routes(tenant_is_bound(relay->tenant) ? relay->tenant->rights.routes & RIGHTS_ALL_ROUTES
                                               : relay->tenant->rights.routes,
                &routes);
    relay_error(relay, ROUTE_NOT_OF_KEY, "None", strbuf_str(&routes), len > 256 ? 256 : (int)len,
                path);
    strbuf_deinit(&routes);
}

enum answered auth_check_route(struct relay *relay)
{
    const h2o_req_t *req = relay->req;
    uint32_t bit = bit_of(relay->route.kind);
    bool for_admins = bit == RIGHTS_OPERATOR || bit == RIGHTS_MANAGEMENT;

    assert(relay->tenant != &tenant_anybody || relay->owner == 0);
    if (bit == RIGHTS_OWN_KEY ||
        (tenant_may_call(relay->tenant, bit) && (!for_admins || !tenant_is_bound(relay->tenant))))
        return GO_ON;
    refuse_route(relay, req->path.base, req->query_at == SIZE_MAX ? req->path.len : req->query_at);
    return ANSWERED;
}

enum answered auth_check_content(struct relay *relay)
{
    static const char path[] = "/v1/files/{file_id}/content";

    if (tenant_may_call(relay->tenant, bit_of(ROUTE_FILE_CONTENT)))
        return GO_ON;
    refuse_route(relay, path, strlen(path));
    return ANSWERED;
}

/* --- all --- */

/* Of a gateway without tenants' keys. */
static enum auth_end refuse(struct relay *relay, bool given)
{
    relay_header(relay, "www-authenticate", "Bearer");
    if (given)
        relay_error(relay, WRONG_KEY, "");
    else
        relay_error(relay, NO_KEY, "");
    return AUTH_ANSWERED;
}

enum auth_end auth_try(struct relay *relay, struct unknown_key *key)
{
    const struct secret *master = &relay->rt->config->master_key;
    const struct rights_table *keys = relay->rt->inherited->rights;
    bool given = false;

    relay->owner = 0;
    relay->tenant = &tenant_anybody;
    if (secret_is_set(master) && shows_key(relay, &given)) {
        relay->tenant = &tenant_master;
        return AUTH_GO_ON;
    }
    if (keys != NULL)
        return check_tenant(relay, key);
    return secret_is_set(master) ? refuse(relay, given) : AUTH_GO_ON;
}

enum answered auth_check(struct relay *relay)
{
    return auth_try(relay, NULL) == AUTH_GO_ON ? GO_ON : ANSWERED;
}

bool auth_next_credential(const struct relay *relay, size_t *at, const char **text, size_t *len)
{
    const h2o_headers_t *headers = &relay->req->headers;

    while (*at < headers->size)
        if (credential_in(relay, &headers->entries[(*at)++], text, len) && *text != NULL)
            return true;
    return false;
}

bool auth_shows_good_key(const struct relay *relay)
{
    const struct rights_table *keys = relay->rt->inherited->rights;
    struct found found = {.verdict = RIGHTS_KEY_BLOCKED};
    bool given;

    if (secret_is_set(&relay->rt->config->master_key) && shows_key(relay, &given))
        return true;
    if (keys != NULL)
        find_key(relay, clock_unix_ms(), &found);
    return found.verdict == RIGHTS_GOOD;
}
