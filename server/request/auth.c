/* See auth.h. Comparison is constant-time (secret_equal). */
#include "request/auth.h"
#include "request/errors.h"

#include <h2o.h>
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

enum answered auth_check(struct relay *relay)
{
    bool given;

    relay->owner = 0;
    if (!secret_is_set(&relay->rt->config->master_key) || shows_key(relay, &given))
        return GO_ON;
    relay_header(relay, "www-authenticate", "Bearer");
    if (given)
        relay_error(relay, WRONG_KEY, "");
    else
        relay_error(relay, NO_KEY, "");
    return ANSWERED;
}
