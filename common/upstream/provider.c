/* What all dialects have in common: addresses, URLs, header lines, multipart framing, the body of a
 * batch create. */
#include "upstream/provider.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dialect.h"

#define MOST_URLS 250 /* bytes that most URLs have */

static const struct dialect *const dialects[PROVIDER_COUNT] = {
    [PROVIDER_OPENAI] = &dialect_openai,
    [PROVIDER_AZURE] = &dialect_azure,
};

struct call_shape {
    const char *method;
    const char *collection; /* "/files" */
    const char *suffix;     /* after the id */
    bool has_id;
};

static const struct call_shape shapes[] = {
    [CALL_FILE_CREATE] = {"POST", "/files", "", false},
    [CALL_FILE_LIST] = {"GET", "/files", "", false},
    [CALL_FILE_GET] = {"GET", "/files", "", true},
    [CALL_FILE_DELETE] = {"DELETE", "/files", "", true},
    [CALL_FILE_CONTENT] = {"GET", "/files", "/content", true},
    [CALL_BATCH_CREATE] = {"POST", "/batches", "", false},
    [CALL_BATCH_LIST] = {"GET", "/batches", "", false},
    [CALL_BATCH_GET] = {"GET", "/batches", "", true},
    [CALL_BATCH_CANCEL] = {"POST", "/batches", "/cancel", true},
    [CALL_MODEL_LIST] = {"GET", "/models", "", false},
};

/* --- addresses --- */

static bool is_host_byte(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '.' || c == '_';
}

/* host[:port] or [v6][:port]; @return its text on error, NULL when it is fine; `port` points after
 * the colon or is NULL. What ends an authority (a slash, `?`, `#`, a blank, a NUL) is in no host
 * and no port. */
static const char *check_authority(const char *text, size_t len, size_t *host_len,
                                   const char **port)
{
    size_t i = 0;

    *port = NULL;
    if (memchr(text, '@', len) != NULL)
        return "the address must not hold credentials";
    if (text[0] == '[') {
        i = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        if (i < 3 || text[i++] != ']')
            return "the IPv6 address in brackets is none";
    } else {
        while (is_host_byte((unsigned char)text[i]))
            i++;
    }
    *host_len = i;
    if (i == 0)
        return "the host is missing";
    if (i > 253)
        return "the host is too long";
    if (i < len && text[i] != ':')
        return "the host holds a byte that no host name has";
    if (i + 1 < len)
        *port = text + i + 1;
    return NULL;
}

/* @return the port, 0 when it is none */
static unsigned read_port(const char *text, size_t len)
{
    unsigned port = 0;
    size_t i;

    if (len > 5)
        return 0;
    for (i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return 0;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port <= 65535 ? port : 0;
}

static int read_authority(const char *text, size_t len, bool https, struct provider_base *out,
                          const char **why)
{
    const char *port_text;
    size_t host_len, i, scheme_len;
    unsigned port = 0;

    *why = check_authority(text, len, &host_len, &port_text);
    if (*why != NULL)
        return ERR_INVALID;
    if (port_text != NULL) {
        port = read_port(port_text, len - (size_t)(port_text - text));
        if (port == 0) {
            *why = "the port is no number from 1 to 65535";
            return ERR_INVALID;
        }
    }
    strbuf_adds(&out->origin, https ? "https://" : "http://");
    scheme_len = out->origin.len;
    for (i = 0; i < host_len; i++)
        strbuf_addc(&out->origin, (char)tolower((unsigned char)text[i]));
    if (port != 0 && port != (https ? 443U : 80U))
        strbuf_addf(&out->origin, ":%u", port);
    if (strbuf_failed(&out->origin))
        return ERR_NOMEM;
    out->host = out->origin.data + scheme_len;
    return 0;
}

static bool is_dot_segment(const char *segment, size_t len)
{
    return (len == 1 && segment[0] == '.') || (len == 2 && memcmp(segment, "..", 2) == 0);
}

static int read_path(const char *path, size_t len, struct strbuf *out, const char **why)
{
    const char *end = path + len; /* no slash is there */
    size_t n;

    for (;; path += n) {
        path += strspn(path, "/");
        for (n = 0; path + n < end && path[n] != '/';)
            n++;
        if (n == 0)
            break;
        if (is_dot_segment(path, n)) {
            *why = "the path must not hold . or ..";
            return ERR_INVALID;
        }
        strbuf_addc(out, '/');
        strbuf_add(out, path, n);
    }
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}

/* Bytes that RFC 3986 lets stand in a URL, so that nothing can end a request line early. */
static bool is_url_text(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c) != NULL)
            return false;
    }
    return true;
}

/* Skip the scheme. @return 0 or ERR_INVALID */
static int read_scheme(const char **text, const char *end, bool *https)
{
    const char *mark = memmem(*text, (size_t)(end - *text), "://", 3);

    *https = true;
    if (strncmp(*text, "//", 2) == 0) {
        *text += 2;
    } else if (strncasecmp(*text, "https://", 8) == 0) {
        *text += 8;
    } else if (strncasecmp(*text, "http://", 7) == 0) {
        *text += 7;
        *https = false;
    } else if (mark != NULL && memchr(*text, '/', (size_t)(mark - *text)) == NULL &&
               memchr(*text, '?', (size_t)(mark - *text)) == NULL) {
        return ERR_INVALID;
    }
    return 0;
}

int provider_base_parse(const char *text, struct provider_base *out, const char **why)
{
    const char *end, *path, *query;
    size_t len;
    bool https;
    int err;

    memset(out, 0, sizeof(*out));
    if (text == NULL)
        text = "";
    while (isspace((unsigned char)*text))
        text++;
    len = strcspn(text, "#");
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    end = text + len;
    if (len == 0 || len > 2048 || !is_url_text(text, len)) {
        *why = len == 0 ? "the address is empty" : "the address is no URL";
        return ERR_INVALID;
    }
    if (read_scheme(&text, end, &https) != 0) {
        *why = "the scheme must be https (or http)";
        return ERR_INVALID;
    }
    query = memchr(text, '?', (size_t)(end - text));
    path = memchr(text, '/', (size_t)((query != NULL ? query : end) - text));
    if (path == NULL)
        path = query != NULL ? query : end;
    err = read_authority(text, (size_t)(path - text), https, out, why);
    if (err == 0)
        err = read_path(path, (size_t)((query != NULL ? query : end) - path), &out->path, why);
    if (err == 0 && query != NULL)
        strbuf_add(&out->query, query + 1, (size_t)(end - query - 1));
    if (err == 0 && strbuf_failed(&out->query))
        err = ERR_NOMEM;
    if (err == ERR_NOMEM)
        *why = "out of memory";
    return err;
}

void provider_base_deinit(struct provider_base *base)
{
    strbuf_deinit(&base->origin);
    strbuf_deinit(&base->path);
    strbuf_deinit(&base->query);
}

bool provider_host_in(const char *host, const char *domain)
{
    size_t len = strcspn(host, ":"), domain_len = strlen(domain);

    if (len < domain_len || strncasecmp(host + len - domain_len, domain, domain_len) != 0)
        return false;
    return len == domain_len || host[len - domain_len - 1] == '.';
}

/* --- URLs --- */

static void add_encoded(struct strbuf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) != NULL)
            strbuf_addc(out, (char)c);
        else
            strbuf_addf(out, "%%%02X", c);
    }
}

int provider_url(const struct model_account *account, enum provider_call call, const char *id,
                 const char *query, struct strbuf *url)
{
    const struct dialect *dialect = dialects[account->provider];
    const struct call_shape *shape = &shapes[call];
    const char *version = dialect->api_version(account);

    if (shape->has_id && (id == NULL || *id == '\0' || is_dot_segment(id, strlen(id))))
        return ERR_INVALID;
    if (query != NULL && (!is_url_text(query, strlen(query)) || strchr(query, '#') != NULL))
        return ERR_INVALID;
    (void)strbuf_reserve(url, MOST_URLS); /* in one go; without memory all that follows says so */
    dialect->root(account, url);
    strbuf_adds(url, shape->collection);
    if (shape->has_id) {
        strbuf_addc(url, '/');
        add_encoded(url, id);
        strbuf_adds(url, shape->suffix);
    }
    if (version != NULL) {
        strbuf_adds(url, "?api-version=");
        add_encoded(url, version);
    }
    if (query != NULL && *query != '\0') {
        strbuf_addc(url, version != NULL ? '&' : '?');
        strbuf_adds(url, query);
    }
    return strbuf_failed(url) ? ERR_NOMEM : 0;
}

void provider_url_pattern(const struct model_account *account, struct strbuf *out)
{
    const struct dialect *dialect = dialects[account->provider];
    const char *version = dialect->api_version(account);

    dialect->root(account, out);
    strbuf_adds(out, "/files/{file_id}");
    if (version != NULL) {
        strbuf_adds(out, "?api-version=");
        add_encoded(out, version);
    }
}

const char *provider_method(enum provider_call call)
{
    return shapes[call].method;
}

void provider_expiry_range(enum provider provider, int64_t *min_s, int64_t *max_s)
{
    *min_s = dialects[provider]->min_expiry_s;
    *max_s = dialects[provider]->max_expiry_s;
}

enum provider provider_rules(const struct model_account *account)
{
    static const char *const azure[] = {
        "openai.azure.com",
        "services.ai.azure.com",
        "cognitiveservices.azure.com",
        "api.cognitive.microsoft.com",
        "openai.azure.us",
        "cognitiveservices.azure.us",
        "openai.azure.cn",
        "cognitiveservices.azure.cn",
    };
    const char *host = strstr(account->base, "://");
    char name[256];

    host = host != NULL ? host + 3 : account->base;
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(host, "/"), host);
    for (size_t i = 0; i < sizeof(azure) / sizeof(azure[0]); i++)
        if (provider_host_in(name, azure[i]))
            return PROVIDER_AZURE;
    return account->provider;
}

const char *provider_endpoint_v1(const char *endpoint)
{
    static const char *const known[] = {
        "/v1/responses",   "/v1/chat/completions",   "/v1/embeddings",   "/v1/completions",
        "/v1/moderations", "/v1/images/generations", "/v1/images/edits", "/v1/videos",
    };
    size_t i;

    for (i = 0; endpoint != NULL && i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(endpoint, known[i] + 3) == 0)
            return known[i];
    return NULL;
}

/* --- header lines --- */

/* Whether it can stand in a header line: no control byte ends the line early. */
static bool is_field_value(const char *text)
{
    for (; *text != '\0'; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            return false;
    return true;
}

/* One line; `storage` has been given its room, so that it never moves and leaves no copy of a key
 * behind. */
static int add_header(struct provider_headers *out, const char *name, const char *prefix,
                      const char *value)
{
    size_t at = out->storage.len;

    if (out->num == PROVIDER_MAX_HEADERS)
        return ERR_LIMIT;
    if (!is_field_value(value))
        return ERR_INVALID;
    strbuf_adds(&out->storage, prefix);
    strbuf_adds(&out->storage, value);
    strbuf_addc(&out->storage, '\0');
    out->list[out->num].name = name;
    out->list[out->num].value = out->storage.data + at;
    out->num++;
    return 0;
}

static size_t text_room(const char *text)
{
    return text != NULL ? strlen(text) + 32 : 0;
}

int provider_headers(const struct model_account *account, const char *token,
                     enum provider_call call, const char *content_type,
                     struct provider_headers *out)
{
    bool openai = account->provider == PROVIDER_OPENAI;
    bool entra = account->auth == ACCOUNT_AUTH_ENTRA;
    const char *credential = entra ? token : account->key.data, *prefix = "",
               *name = dialects[account->provider]->credential_header(account, &prefix);
    size_t room = 512 + text_room(credential) + text_room(account->organization) +
                  text_room(account->project) + text_room(content_type);
    int err;

    for (size_t i = 0; i < account->num_headers; i++)
        room += account->headers[i].value.len + 1;

    memset(out, 0, sizeof(*out));
    if (entra && (token == NULL || *token == '\0'))
        return ERR_INVALID;
    err = strbuf_reserve(&out->storage, room);
    if (err == 0 && credential != NULL && *credential != '\0')
        err = add_header(out, name, prefix, credential);
    if (err == 0)
        err = add_header(out, "Accept", "", call == CALL_FILE_CONTENT ? "*/*" : "application/json");
    if (err == 0)
        err = add_header(out, "Accept-Encoding", "", "identity");
    if (err == 0)
        err = add_header(out, "User-Agent", "", "tranche/" TRANCHE_VERSION);
    if (err == 0 && content_type != NULL)
        err = add_header(out, "Content-Type", "", content_type);
    if (err == 0 && openai && account->organization != NULL && *account->organization != '\0')
        err = add_header(out, "OpenAI-Organization", "", account->organization);
    if (err == 0 && openai && account->project != NULL && *account->project != '\0')
        err = add_header(out, "OpenAI-Project", "", account->project);
    for (size_t i = 0; err == 0 && i < account->num_headers; i++)
        err = add_header(out, account->headers[i].name, "", account->headers[i].value.data);
    if (err != 0)
        provider_headers_wipe(out);
    return err;
}

void provider_headers_wipe(struct provider_headers *headers)
{
    if (headers->storage.data != NULL)
        secret_wipe(headers->storage.data, headers->storage.cap);
    strbuf_deinit(&headers->storage);
    memset(headers, 0, sizeof(*headers));
}

/* --- multipart --- */

static bool is_boundary(const char *text)
{
    size_t len = strlen(text);

    return len >= 1 && len <= 70 && text[len - 1] != ' ' &&
           strspn(text,
                  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ") ==
               len;
}

static void add_field(struct strbuf *out, const char *boundary, const char *name, const char *value)
{
    if (value != NULL)
        strbuf_addf(out, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n",
                    boundary, name, value);
}

/* Quotes and control bytes as the Node SDK sends them (WHATWG %22, %0D, %0A, and %5C besides);
 * invalid UTF-8 becomes '_'. */
static void add_filename(struct strbuf *out, const char *name)
{
    bool valid;

    if (name == NULL || *name == '\0')
        name = "upload.jsonl";
    valid = utf8_is_valid(name, strlen(name));
    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        if (c < ' ' || c == 0x7f || c == '"' || c == '\\')
            strbuf_addf(out, "%%%02X", c);
        else
            strbuf_addc(out, c >= 0x80 && !valid ? '_' : (char)c);
    }
}

int provider_multipart(const struct provider_upload *upload, const char *boundary,
                       struct strbuf *prologue, struct strbuf *epilogue)
{
    if (!is_boundary(boundary))
        return ERR_INVALID;
    add_field(prologue, boundary, "purpose", upload->purpose);
    add_field(prologue, boundary, "expires_after[anchor]", upload->expires_after_anchor);
    add_field(prologue, boundary, "expires_after[seconds]", upload->expires_after_seconds);
    strbuf_addf(prologue, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"",
                boundary);
    add_filename(prologue, upload->filename);
    strbuf_adds(prologue, "\"\r\nContent-Type: application/octet-stream\r\n\r\n");
    strbuf_addf(epilogue, "\r\n--%s--\r\n", boundary);
    return strbuf_failed(prologue) || strbuf_failed(epilogue) ? ERR_NOMEM : 0;
}

/* --- batch create --- */

static bool is_gateway_only(const char *key)
{
    static const char *const names[] = {
        "model",      "custom_llm_provider", "provider",       "api_key",        "api_base",
        "base_url",   "api_version",         "azure_ad_token", "azure_endpoint", "extra_headers",
        "extra_body", "extra_query",         "default_headers"};
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(key, names[i]) == 0)
            return true;
    return strncmp(key, "litellm_", 8) == 0;
}

static void add_member(struct strbuf *out, const char *key, size_t len)
{
    if (out->data[out->len - 1] != '{')
        strbuf_addc(out, ',');
    json_write_string(out, key, len);
    strbuf_addc(out, ':');
}

static void add_member_str(struct strbuf *out, const char *key, const char *value)
{
    add_member(out, key, strlen(key));
    json_write_string(out, value, strlen(value));
}

int provider_batch_body(const struct model_account *account, struct json_doc *doc,
                        const struct json *request, const char *native_file_id, struct strbuf *out)
{
    const char *endpoint = json_get_str(request, "endpoint");
    size_t i, len;

    (void)doc;
    if (!json_is(request, JSON_OBJECT))
        return ERR_INVALID;
    if (strbuf_reserve(out, 256) != 0)
        return ERR_NOMEM;
    strbuf_addc(out, '{');
    if (native_file_id != NULL)
        add_member_str(out, "input_file_id", native_file_id);
    for (i = 0; i < json_size(request); i++) {
        const char *key = json_key_at(request, i, &len);
        if (is_gateway_only(key) || (native_file_id != NULL && strcmp(key, "input_file_id") == 0))
            continue;
        if (endpoint != NULL && strcmp(key, "endpoint") == 0) {
            add_member_str(out, key, dialects[account->provider]->endpoint(endpoint));
            continue;
        }
        add_member(out, key, len);
        json_write(json_at(request, i), out);
    }
    strbuf_addc(out, '}');
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}

bool provider_file_is_pending(const char *status)
{
    return status != NULL &&
           (strcasecmp(status, "pending") == 0 || strcasecmp(status, "running") == 0);
}
