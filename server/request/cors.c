/* See cors.h. Source: https://fetch.spec.whatwg.org, section 3.2 (HTTP-network-or-cache requests
 * with CORS): the headers' names and what they say. */
#include "request/cors.h"

#include <h2o.h>
#include <string.h>

#define MAX_AGE "600" /* seconds that a preflight is remembered */

/* What a page's script may read of an answer besides what every script may: each header of server
 * README 11 but those that are the browser's own, or the operators' page's. */
#define EXPOSED                                                                                    \
    "x-request-id, x-litellm-call-id, x-tranche-version, x-litellm-model-id, "                     \
    "x-litellm-model-api-base, x-tranche-partial, x-tranche-unmarked, x-tranche-retry-of, "        \
    "x-tranche-incomplete, x-tranche-unreadable-lines, x-tranche-cache, x-tranche-moves, "         \
    "idempotent-replayed, idempotency, x-should-retry, retry-after, retry-after-ms, "              \
    "rate_limit_type, reset_at, allow, www-authenticate, content-disposition, content-range, "     \
    "accept-ranges, etag, preference-applied"

static h2o_iovec_t find(const struct relay *relay, const char *name)
{
    ssize_t at = h2o_find_header_by_str(&relay->req->headers, name, strlen(name), -1);

    return at == -1 ? h2o_iovec_init(NULL, 0) : relay->req->headers.entries[at].value;
}

static bool is_listed(const struct relay *relay, bool star)
{
    const struct config *config = relay->rt->config;
    h2o_iovec_t origin =
        config->num_cors_origins > 0 ? find(relay, "origin") : h2o_iovec_init(NULL, 0);

    for (size_t i = 0; origin.base != NULL && i < config->num_cors_origins; i++)
        if ((star && strcmp(config->cors_origins[i], "*") == 0) ||
            (strlen(config->cors_origins[i]) == origin.len &&
             memcmp(config->cors_origins[i], origin.base, origin.len) == 0))
            return true;
    return false;
}

static bool is_allowed(const struct relay *relay)
{
    return is_listed(relay, true);
}

bool cors_names(const struct relay *relay)
{
    return is_listed(relay, false);
}

void cors_headers(struct relay *relay)
{
    h2o_iovec_t origin;

    if (relay->rt->config->num_cors_origins == 0)
        return;
    relay_header(relay, "vary", "origin");
    if (!is_allowed(relay))
        return;
    origin = find(relay, "origin");
    relay_header(relay, "access-control-allow-origin",
                 h2o_strdup(&relay->req->pool, origin.base, origin.len).base);
    relay_header(relay, "access-control-expose-headers", EXPOSED);
}

enum answered cors_preflight(struct relay *relay)
{
    h2o_iovec_t asked;

    if (relay->method != METHOD_OTHER ||
        !h2o_memis(relay->req->method.base, relay->req->method.len, H2O_STRLIT("OPTIONS")) ||
        find(relay, "access-control-request-method").base == NULL || !is_allowed(relay))
        return GO_ON;
    relay_header(relay, "access-control-allow-methods", "GET, HEAD, POST, DELETE");
    asked = find(relay, "access-control-request-headers");
    if (asked.base != NULL && asked.len <= 1024)
        relay_header(relay, "access-control-allow-headers",
                     h2o_strdup(&relay->req->pool, asked.base, asked.len).base);
    relay_header(relay, "access-control-max-age", MAX_AGE);
    relay_empty(relay, 204);
    return ANSWERED;
}
