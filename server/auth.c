/* See auth.h. Comparison is constant-time (secret_equal). */
#include "server/auth.h"

#include <string.h>
#include <strings.h>

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

bool auth_check(struct relay *relay)
{
    const struct secret *key = &relay->worker->config->master_key;
    const h2o_headers_t *headers = &relay->req->headers;
    bool given = false, valid = false;

    relay->owner = 0;
    if (!secret_is_set(key))
        return true;
    for (size_t i = 0; i < headers->size; i++) {
        const h2o_header_t *h = &headers->entries[i];
        const char *token = h->value.base;
        size_t len = h->value.len;

        if (h2o_memis(h->name->base, h->name->len, H2O_STRLIT("authorization"))) {
            given = true;
            if (!bearer_token(h->value, &token, &len))
                continue;
        } else if (!h2o_memis(h->name->base, h->name->len, H2O_STRLIT("api-key"))) {
            continue;
        }
        given = true;
        valid |= secret_equal(key, token, len);
    }
    if (valid)
        return true;
    relay_header(relay, "www-authenticate", "Bearer");
    relay_problem(relay, 401, "invalid_request_error", "invalid_api_key", "",
                  given ? "Incorrect API key provided."
                        : "You didn't provide an API key. Send it as 'Authorization: Bearer KEY' "
                          "or as 'api-key: KEY'.");
    return false;
}
