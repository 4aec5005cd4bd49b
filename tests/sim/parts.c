/* See parts.h. RFC 2046, section 5.1 and RFC 7578. */
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PART_HEAD_MAX 16384

/* A parameter of a header value such as `form-data; name="x"`; malloc'ed. */
static char *parameter(const char *value, size_t len, const char *name)
{
    const char *p = value;
    const char *end = value + len;
    size_t n = strlen(name);

    while (p < end) {
        while (p < end && *p != ';')
            p += *p == '"' && memchr(p + 1, '"', (size_t)(end - p - 1)) != NULL
                     ? (const char *)memchr(p + 1, '"', (size_t)(end - p - 1)) - p + 1
                     : 1;
        while (p < end && (*p == ';' || *p == ' ' || *p == '\t'))
            p++;
        if ((size_t)(end - p) <= n || strncasecmp(p, name, n) != 0 || p[n] != '=')
            continue;
        p += n + 1;
        char *out = sim_alloc((size_t)(end - p) + 1);
        size_t k = 0;
        if (p < end && *p == '"') {
            for (p++; p < end && *p != '"'; p++) {
                if (*p == '\\' && p + 1 < end && (p[1] == '"' || p[1] == '\\'))
                    p++;
                out[k++] = *p;
            }
        } else {
            while (p < end && *p != ';' && *p != ' ')
                out[k++] = *p++;
        }
        return out;
    }
    return NULL;
}

/* Browsers and newer SDKs write %22 for a quote in a name (providers 3.2). */
static void undo_escapes(char *text)
{
    char *out = text;

    for (const char *p = text; *p != '\0'; p++) {
        if (strncmp(p, "%22", 3) == 0) {
            *out++ = '"';
            p += 2;
        } else if (strncasecmp(p, "%0d", 3) == 0 || strncasecmp(p, "%0a", 3) == 0) {
            *out++ = ' ';
            p += 2;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
}

static void disposition(struct part *part, const char *value, size_t len)
{
    free(part->name);
    free(part->filename);
    part->name = parameter(value, len, "name");
    part->filename = parameter(value, len, "filename");
    if (part->name != NULL)
        undo_escapes(part->name);
    if (part->filename == NULL)
        return;
    undo_escapes(part->filename);
    const char *slash = strrchr(part->filename, '/');
    if (slash != NULL)
        memmove(part->filename, slash + 1, strlen(slash + 1) + 1);
}

static void read_headers(struct part *part)
{
    const char *p = part->headers;

    while (*p != '\0') {
        size_t len = strcspn(p, "\r\n");
        if (len > 20 && strncasecmp(p, "content-disposition:", 20) == 0)
            disposition(part, p + 20, len - 20);
        else if (len > 13 && strncasecmp(p, "content-type:", 13) == 0)
            part->has_type |= strspn(p + 13, " \t") < len - 13;
        else if (len >= 15 && strncasecmp(p, "content-length:", 15) == 0)
            part->has_length = true;
        p += len;
        p += strspn(p, "\r\n");
    }
}

/* Find the end of a part's headers. Returns the position of its content, -1 when there is none. */
static int64_t take_headers(const struct request *req, struct part *part, int64_t pos)
{
    char *head = sim_alloc(PART_HEAD_MAX + 1);
    int64_t n = blob_read(&req->body, pos, head, PART_HEAD_MAX);

    if (n < 2) {
        free(head);
        return -1;
    }
    head[n] = '\0';
    if (memcmp(head, "\r\n", 2) == 0) { /* no headers at all */
        head[0] = '\0';
        part->headers = head;
        return pos + 2;
    }
    char *end = memmem(head, (size_t)n, "\r\n\r\n", 4);
    if (end == NULL) {
        free(head);
        return -1;
    }
    *end = '\0';
    part->headers = head;
    read_headers(part);
    return pos + (end - head) + 4;
}

/* After a delimiter: 1 for the closing one, 0 with `*pos` at the part's headers, -1 on nonsense. */
static int after_delimiter(const struct request *req, int64_t *pos)
{
    char text[128];
    int64_t n = blob_read(&req->body, *pos, text, sizeof(text));
    int64_t i = 0;

    if (n >= 2 && text[0] == '-' && text[1] == '-')
        return 1;
    while (i < n && (text[i] == ' ' || text[i] == '\t'))
        i++;
    if (i + 2 > n || text[i] != '\r' || text[i + 1] != '\n')
        return -1;
    *pos += i + 2;
    return 0;
}

static int boundary_of(const struct request *req, char *delimiter, size_t *len)
{
    const struct header *h = request_header(req, "content-type");

    if (h == NULL || h->value_len < 19 || strncasecmp(h->value, "multipart/form-data", 19) != 0)
        return -1;
    char *boundary = parameter(h->value, h->value_len, "boundary");
    size_t n = boundary == NULL ? 0 : strlen(boundary);
    if (n >= 1 && n <= 70) {
        memcpy(delimiter, "\r\n--", 4);
        memcpy(delimiter + 4, boundary, n);
        *len = n + 4;
    }
    free(boundary);
    return n >= 1 && n <= 70 ? 0 : -1;
}

int parts_read(const struct request *req, struct parts *parts, const char **why)
{
    char delimiter[80];
    char first[80];
    size_t len = 0;

    *parts = (struct parts){0};
    *why = "Content-Type must be multipart/form-data with a boundary.";
    if (boundary_of(req, delimiter, &len) != 0)
        return -1;
    *why = "The multipart body is malformed.";
    int64_t pos = 0;
    if (blob_read(&req->body, 0, first, len - 2) == (int64_t)len - 2 &&
        memcmp(first, delimiter + 2, len - 2) == 0) {
        pos = (int64_t)len - 2;
    } else {
        pos = blob_find(&req->body, 0, delimiter, len);
        if (pos == -1)
            return -1;
        pos += (int64_t)len;
    }
    for (;;) {
        int rc = after_delimiter(req, &pos);
        if (rc != 0)
            return rc == 1 ? 0 : -1;
        if (parts->n == PARTS_MAX)
            return -1;
        struct part *part = &parts->part[parts->n++];
        part->off = take_headers(req, part, pos);
        if (part->off == -1)
            return -1;
        /* the delimiter's CRLF may be the one that ends the headers when the content is empty */
        int64_t end = blob_find(&req->body, part->off - 2, delimiter, len);
        if (end == -1)
            return -1;
        part->len = end < part->off ? 0 : end - part->off;
        pos = end + (int64_t)len;
    }
}

void parts_free(struct parts *parts)
{
    for (size_t i = 0; i < parts->n; i++) {
        free(parts->part[i].name);
        free(parts->part[i].filename);
        free(parts->part[i].headers);
    }
    parts->n = 0;
}

const struct part *parts_get(const struct parts *parts, const char *name)
{
    for (size_t i = 0; i < parts->n; i++) {
        if (parts->part[i].name != NULL && strcmp(parts->part[i].name, name) == 0)
            return &parts->part[i];
    }
    return NULL;
}

char *parts_text(const struct request *req, const struct parts *parts, const char *name)
{
    const struct part *part = parts_get(parts, name);

    if (part == NULL || part->len > 65536)
        return NULL;
    char *text = sim_alloc((size_t)part->len + 1);
    (void)blob_read(&req->body, part->off, text, (size_t)part->len);
    return text;
}

void parts_write(const struct parts *parts, struct strbuf *out)
{
    strbuf_addc(out, '[');
    for (size_t i = 0; i < parts->n; i++) {
        const struct part *part = &parts->part[i];
        strbuf_adds(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_write_string(out, part->name != NULL ? part->name : "",
                          part->name != NULL ? strlen(part->name) : 0);
        strbuf_adds(out, ",\"filename\":");
        if (part->filename != NULL)
            json_write_string(out, part->filename, strlen(part->filename));
        else
            strbuf_adds(out, "null");
        strbuf_adds(out, ",\"headers\":");
        json_write_string(out, part->headers != NULL ? part->headers : "",
                          part->headers != NULL ? strlen(part->headers) : 0);
        strbuf_addf(out, ",\"bytes\":%lld}", (long long)part->len);
    }
    strbuf_addc(out, ']');
}
