/* See request.h. Strict where a proxy must not differ from us (lengths, framing), lenient
 * elsewhere. */
#include "request.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_token(const char *p, size_t len)
{
    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)p[i]) && strchr("!#$%&'*+-.^_`|~", p[i]) == NULL)
            return false;
    }
    return true;
}

static int parse_line(struct request *req, const char *p, const char *end)
{
    const char *sp = memchr(p, ' ', (size_t)(end - p));

    if (sp == NULL || !is_token(p, (size_t)(sp - p)))
        return 400;
    req->method = p;
    req->method_len = (size_t)(sp - p);
    p = sp + 1;
    sp = memchr(p, ' ', (size_t)(end - p));
    if (sp == NULL || sp == p || p[0] != '/')
        return 400;
    req->target = p;
    req->target_len = (size_t)(sp - p);
    for (size_t i = 0; i < req->target_len; i++) {
        if ((unsigned char)p[i] <= ' ' || p[i] == 0x7f)
            return 400;
    }
    const char *q = memchr(p, '?', req->target_len);
    req->path_len = q == NULL ? req->target_len : (size_t)(q - p);
    p = sp + 1;
    if (end - p != 8 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1'))
        return memcmp(p, "HTTP/", end - p >= 5 ? 5 : 0) == 0 ? 505 : 400;
    req->minor = p[7] - '0';
    return 0;
}

static int parse_header(struct request *req, const char *p, const char *end)
{
    const char *colon = memchr(p, ':', (size_t)(end - p));

    if (colon == NULL || !is_token(p, (size_t)(colon - p)))
        return 400;
    if (req->n_headers == HEADERS_MAX)
        return 431;
    struct header *h = &req->headers[req->n_headers++];
    h->name = p;
    h->name_len = (size_t)(colon - p);
    p = colon + 1;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    h->value = p;
    h->value_len = (size_t)(end - p);
    return memchr(p, '\0', h->value_len) != NULL ? 400 : 0;
}

static bool has_word(const struct header *h, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= h->value_len; i++) {
        if (strncasecmp(h->value + i, word, n) == 0)
            return true;
    }
    return false;
}

static bool name_is(const struct header *h, const char *name, size_t len)
{
    return h->name_len == len && strncasecmp(h->name, name, len) == 0;
}

static int parse_length(struct request *req, const struct header *h)
{
    int64_t n = 0;

    if (h->value_len == 0 || h->value_len > 15)
        return 400;
    for (size_t i = 0; i < h->value_len; i++) {
        if (!isdigit((unsigned char)h->value[i]))
            return 400;
        n = n * 10 + (h->value[i] - '0');
    }
    if (req->content_length != -1 && req->content_length != n)
        return 400;
    req->content_length = n;
    return 0;
}

static int parse_framing(struct request *req)
{
    bool has_host = false;

    for (size_t i = 0; i < req->n_headers; i++) {
        const struct header *h = &req->headers[i];
        int rc = 0;
        switch (h->name_len) {
        case 4:
            has_host |= name_is(h, "host", 4);
            break;
        case 6:
            if (name_is(h, "expect", 6))
                req->expects_continue = has_word(h, "100-continue");
            break;
        case 10:
            if (name_is(h, "connection", 10)) {
                if (has_word(h, "close"))
                    req->keep_alive = false;
                else if (has_word(h, "keep-alive"))
                    req->keep_alive = true;
            }
            break;
        case 14:
            if (name_is(h, "content-length", 14))
                rc = parse_length(req, h);
            break;
        case 17:
            if (name_is(h, "transfer-encoding", 17)) {
                if (h->value_len != 7 || strncasecmp(h->value, "chunked", 7) != 0)
                    rc = 501;
                req->chunked = true;
            }
            break;
        default:
            break;
        }
        if (rc != 0)
            return rc;
    }
    if (req->chunked && req->content_length != -1)
        return 400;
    return req->minor == 1 && !has_host ? 400 : 0;
}

int request_parse(struct request *req)
{
    const char *p = req->head.data;
    const char *end = p + req->head.len;
    bool first = true;

    req->n_headers = 0;
    req->content_length = -1;
    req->chunked = false;
    req->expects_continue = false;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *stop = nl == NULL ? end : nl;
        if (stop > p && stop[-1] == '\r')
            stop--;
        int rc = first ? parse_line(req, p, stop) : parse_header(req, p, stop);
        if (rc != 0)
            return rc;
        first = false;
        p = nl == NULL ? end : nl + 1;
    }
    if (first)
        return 400;
    req->keep_alive = req->minor == 1;
    return parse_framing(req);
}

const struct header *request_header(const struct request *req, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < req->n_headers; i++) {
        if (name_is(&req->headers[i], name, len))
            return &req->headers[i];
    }
    return NULL;
}

bool request_header_is(const struct request *req, const char *name, const char *value)
{
    const struct header *h = request_header(req, name);

    return h != NULL && h->value_len == strlen(value) &&
           strncasecmp(h->value, value, h->value_len) == 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(const char *p, size_t len)
{
    char *out = sim_alloc(len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (p[i] == '%' && i + 2 < len && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            out[n++] = (char)(hex_digit(p[i + 1]) * 16 + hex_digit(p[i + 2]));
            i += 2;
        } else {
            out[n++] = p[i] == '+' ? ' ' : p[i];
        }
    }
    out[n] = '\0';
    return out;
}

char *form_field(const char *text, size_t len, const char *name)
{
    const char *p = text;
    const char *end = text + len;

    while (p < end) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        const char *stop = amp == NULL ? end : amp;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        const char *key_end = eq == NULL ? stop : eq;
        char *key = decode(p, (size_t)(key_end - p));
        bool hit = strcmp(key, name) == 0;
        free(key);
        if (hit)
            return eq == NULL ? sim_strdup("") : decode(eq + 1, (size_t)(stop - eq - 1));
        p = stop + 1;
    }
    return NULL;
}

char *request_query(const struct request *req, const char *name)
{
    if (req->path_len == req->target_len)
        return NULL;
    return form_field(req->target + req->path_len + 1, req->target_len - req->path_len - 1, name);
}

bool request_is(const struct request *req, const char *method)
{
    return strlen(method) == req->method_len && memcmp(req->method, method, req->method_len) == 0;
}

char *request_text(const struct request *req, size_t *len)
{
    if (req->body.len > 16 * 1024 * 1024)
        return NULL;
    char *text = sim_alloc((size_t)req->body.len + 1);
    int64_t n = blob_read(&req->body, 0, text, (size_t)req->body.len);
    *len = n > 0 ? (size_t)n : 0;
    text[*len] = '\0';
    return text;
}

void reply_header(struct reply *rep, const char *name, const char *value)
{
    strbuf_adds(&rep->headers, name);
    strbuf_add(&rep->headers, ": ", 2);
    strbuf_adds(&rep->headers, value);
    strbuf_add(&rep->headers, "\r\n", 2);
}

void reply_reset(struct reply *rep)
{
    strbuf_reset(&rep->headers);
    strbuf_reset(&rep->body);
    if (rep->has_file)
        blob_free(&rep->file);
    rep->has_file = false;
    rep->no_compress = false;
    rep->status = 200;
    rep->type = "application/json";
    rep->delay_ms = 0;
    rep->park = false;
}

const char *reply_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {416, "Range Not Satisfiable"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].status == status)
            return table[i].text;
    }
    return "Status";
}
