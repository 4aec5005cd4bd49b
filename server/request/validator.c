/* See validator.h. */
#include "request/validator.h"

#include <h2o.h>
#include <string.h>

#include "common/hex.h"
#include "common/strbuf.h"
#include "crypto/sha256.h"
#include "request/errors.h"

#define MOST_ANSWERS 2000 /* bytes that most answers have */
#define HASH_BYTES   16 /* of the hash in a tag: two representations of one object never share it */

static_assert(VALIDATOR_ETAG == 2 * HASH_BYTES + 3, "digits, two quotes and the NUL");

void validator_etag(const char *bytes, size_t len, char out[VALIDATOR_ETAG])
{
    struct sha256_piece piece = {bytes, len};
    unsigned char hash[SHA256_BYTES];

    sha256_of(&piece, 1, hash);
    out[0] = '"';
    hex_write(hash, HASH_BYTES, out + 1);
    memcpy(out + VALIDATOR_ETAG - 2, "\"", 2);
}

static size_t skip(const char *field, size_t len, size_t at, const char *set)
{
    while (at < len && field[at] != '\0' && strchr(set, field[at]) != NULL)
        at++;
    return at;
}

bool validator_names(const char *field, size_t len, const char *etag)
{
    size_t at = skip(field, len, 0, " \t"), etag_len = strlen(etag);

    if (at < len && field[at] == '*')
        return skip(field, len, at + 1, " \t") == len;
    while ((at = skip(field, len, at, " \t,")) < len) {
        const char *end;

        if (len - at > 2 && memcmp(field + at, "W/", 2) == 0)
            at += 2;
        end = field[at] == '"' ? memchr(field + at + 1, '"', len - at - 1) : NULL;
        if (end == NULL)
            return false;
        if ((size_t)(end + 1 - (field + at)) == etag_len && memcmp(field + at, etag, etag_len) == 0)
            return true;
        at = (size_t)(end + 1 - field);
    }
    return false;
}

/* A list may come in several fields (RFC 9110 section 5.3). */
static bool client_has(const struct relay *relay, const char *etag)
{
    const h2o_headers_t *headers = &relay->req->headers;

    for (ssize_t at = -1;
         (at = h2o_find_header_by_str(headers, H2O_STRLIT("if-none-match"), at)) != -1;)
        if (validator_names(headers->entries[at].value.base, headers->entries[at].value.len, etag))
            return true;
    return false;
}

static bool client_has_any(const struct relay *relay)
{
    return h2o_find_header_by_str(&relay->req->headers, H2O_STRLIT("if-none-match"), -1) != -1;
}

bool validator_wants_fresh(const struct relay *relay)
{
    static const char *const words[] = {"no-cache", "max-age=0"};
    const h2o_headers_t *headers = &relay->req->headers;

    for (ssize_t at = -1; (at = h2o_find_header(headers, H2O_TOKEN_CACHE_CONTROL, at)) != -1;) {
        const h2o_iovec_t *value = &headers->entries[at].value;

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (h2o_contains_token(value->base, value->len, words[i], strlen(words[i]), ','))
                return true;
    }
    return false;
}

bool validator_differs(const struct relay *relay, const struct json *value)
{
    struct strbuf text = STRBUF_INIT;
    char etag[VALIDATOR_ETAG] = "";

    if (!client_has_any(relay))
        return false;
    json_write(value, &text);
    validator_etag(strbuf_str(&text), text.len, etag);
    strbuf_deinit(&text);
    return !client_has(relay, etag);
}

void validator_answer(struct relay *relay, const struct json *value)
{
    struct strbuf text = STRBUF_INIT;
    char etag[VALIDATOR_ETAG];

    (void)strbuf_reserve(&text, MOST_ANSWERS);
    json_write(value, &text);
    if (strbuf_failed(&text)) {
        relay_error(relay, OUT_OF_MEMORY, "");
    } else {
        validator_etag(strbuf_str(&text), text.len, etag);
        relay_header(relay, "etag", etag);
        relay_header(relay, "cache-control", "private, no-cache");
        if (client_has(relay, etag))
            relay_empty(relay, 304);
        else
            relay_bytes(relay, 200, "application/json", strbuf_str(&text), text.len);
    }
    strbuf_deinit(&text);
}
