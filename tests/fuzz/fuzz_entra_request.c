/* What files and variables of strangers put into a token call: an assertion, a client secret, the key
 * file of Azure Arc, the secret of a managed identity. It goes as it is and into its own place: no
 * other field, no other header line. The first byte says which of them it is. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "entra/entra_request.h"

#define NOW 1790000000

static struct entra_credential credential_of(uint8_t which)
{
    struct entra_credential c = {.kind = ENTRA_ASSERTION_FILE,
                                 .name = (char *)"n",
                                 .authority = (char *)"https://login.example",
                                 .tenant = (char *)"t",
                                 .client_id = (char *)"c",
                                 .scope = (char *)"https://r.example/.default",
                                 .path = (char *)"/p",
                                 .why = "w"};

    if (which % 4 == 1)
        c.kind = ENTRA_SECRET;
    if (which % 4 < 2)
        return c;
    c.kind = ENTRA_MANAGED;
    c.source = which % 4 == 2 ? ENTRA_ARC : ENTRA_APP_SERVICE;
    c.endpoint = (char *)"http://127.0.0.1:1/x";
    c.path = NULL;
    return c;
}

static size_t count(const char *text, char c)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == c;
    return n;
}

static bool is_visible(const char *text)
{
    while (*text > ' ' && *text <= '~')
        text++;
    return *text == '\0';
}

static unsigned nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Does the last field say the proof, once its escapes are taken back? */
static void check_last_field(const struct entra_request *r)
{
    const char *at = strrchr(r->body, '=');
    size_t n = 0;

    MUST(at != NULL);
    for (at++; *at != '\0'; at++, n++) {
        unsigned c = (unsigned char)*at;

        if (*at == '%') {
            c = nibble(at[1]) << 4 | nibble(at[2]);
            at += 2;
        }
        MUST(n < r->proof_len && c == (unsigned char)r->proof[n]);
    }
    MUST(n == r->proof_len);
}

static void check_request(const struct entra_credential *c, const struct entra_request *r)
{
    size_t authorizations = 0;

    MUST(is_visible(r->url) && strlen(r->id) == ENTRA_ID_SIZE - 1);
    for (size_t i = 0; i < r->num_headers; i++) {
        MUST(is_visible(r->headers[i].name));
        for (const char *at = r->headers[i].value; *at != '\0'; at++)
            MUST(*at >= ' ' && *at <= '~');
        authorizations += strcmp(r->headers[i].name, "Authorization") == 0;
    }
    if (c->kind == ENTRA_MANAGED) {
        MUST(r->body == NULL && authorizations == (c->source == ENTRA_ARC && r->proof_len > 0));
        return;
    }
    MUST(strcmp(r->method, "POST") == 0 && authorizations == 0);
    MUST(strlen(r->body) == r->body_len && is_visible(r->body));
    MUST(count(r->body, '&') == (c->kind == ENTRA_SECRET ? 3 : 4));
    MUST(count(r->body, '=') == (c->kind == ENTRA_SECRET ? 4 : 5));
    check_last_field(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct entra_credential c;
    struct entra_request request;
    struct entra_error error = {""};
    struct secret text = SECRET_NONE;
    int err;

    if (size == 0 || secret_set(&text, (const char *)data + 1, size - 1) != 0)
        return 0;
    c = credential_of(data[0]);
    if (c.source == ENTRA_APP_SERVICE)
        c.secret = text;
    err = entra_request_build(&c, c.source == ENTRA_APP_SERVICE ? NULL : &text, NOW, &request,
                              &error);
    if (err == 0)
        check_request(&c, &request);
    else
        MUST(error.message[0] != '\0' && strlen(error.message) < sizeof(error.message));
    entra_request_wipe(&request);
    secret_clear(&text);
    return 0;
}
