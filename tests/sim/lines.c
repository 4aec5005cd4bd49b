/* See lines.h. RFC 8259, nesting up to 4096. */
#include "lines.h"

#include <stdio.h>
#include <string.h>

#include "json/json.h"

#define DEPTH_MAX 4096

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* All of these return the position after the value, or NULL. */

static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '"')
            return p + 1;
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p != '\\')
            continue;
        if (++p == end)
            return NULL;
        if (*p == 'u') {
            if (end - p < 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]))
                return NULL;
            p += 4;
        } else if (strchr("\"\\/bfnrt", *p) == NULL || *p == '\0') {
            return NULL;
        }
    }
    return NULL;
}

static const char *skip_digits(const char *p, const char *end)
{
    const char *start = p;

    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p == start ? NULL : p;
}

static const char *skip_number(const char *p, const char *end)
{
    if (*p == '-')
        p++;
    if (p < end && *p == '0')
        p++;
    else if ((p = skip_digits(p, end)) == NULL)
        return NULL;
    if (p < end && *p == '.' && (p = skip_digits(p + 1, end)) == NULL)
        return NULL;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const char *skip_word(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    return (size_t)(end - p) >= n && memcmp(p, word, n) == 0 ? p + n : NULL;
}

typedef void (*member_cb)(void *arg, struct span key, struct span value);

static const char *skip_value(const char *p, const char *end, int depth, member_cb cb, void *arg);

static const char *skip_member(const char *p, const char *end, int depth, member_cb cb, void *arg)
{
    struct span key = {p, 0};

    if (p == end || *p != '"' || (p = skip_string(p, end)) == NULL)
        return NULL;
    key.len = (size_t)(p - key.p);
    p = skip_space(p, end);
    if (p == end || *p != ':')
        return NULL;
    p = skip_space(p + 1, end);
    struct span value = {p, 0};
    p = skip_value(p, end, depth, NULL, NULL);
    if (p != NULL && cb != NULL) {
        value.len = (size_t)(p - value.p);
        cb(arg, key, value);
    }
    return p;
}

static const char *skip_container(const char *p, const char *end, int depth, member_cb cb,
                                  void *arg)
{
    bool object = *p == '{';
    char close = object ? '}' : ']';

    p = skip_space(p + 1, end);
    if (p < end && *p == close)
        return p + 1;
    for (;;) {
        p = object ? skip_member(p, end, depth + 1, cb, arg)
                   : skip_value(p, end, depth + 1, NULL, NULL);
        if (p == NULL)
            return NULL;
        p = skip_space(p, end);
        if (p == end)
            return NULL;
        if (*p == close)
            return p + 1;
        if (*p != ',')
            return NULL;
        p = skip_space(p + 1, end);
    }
}

static const char *skip_value(const char *p, const char *end, int depth, member_cb cb, void *arg)
{
    if (p >= end || depth > DEPTH_MAX)
        return NULL;
    switch (*p) {
    case '{':
    case '[':
        return skip_container(p, end, depth, cb, arg);
    case '"':
        return skip_string(p, end);
    case 't':
        return skip_word(p, end, "true");
    case 'f':
        return skip_word(p, end, "false");
    case 'n':
        return skip_word(p, end, "null");
    default:
        return *p == '-' || (*p >= '0' && *p <= '9') ? skip_number(p, end) : NULL;
    }
}

bool span_text(struct span s, char *out, size_t size)
{
    if (s.p == NULL || s.len < 2 || s.p[0] != '"')
        return false;
    if (memchr(s.p, '\\', s.len) == NULL) {
        size_t n = s.len - 2 < size - 1 ? s.len - 2 : size - 1;
        memcpy(out, s.p + 1, n);
        out[n] = '\0';
        return true;
    }
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *v = doc == NULL ? NULL : json_parse_most(doc, s.p, s.len, SIZE_MAX, &error);
    const char *text = json_str(v, NULL);
    if (text != NULL)
        snprintf(out, size, "%s", text);
    json_doc_free(doc);
    return text != NULL;
}

bool span_is(struct span s, const char *text)
{
    char buf[512];

    return span_text(s, buf, sizeof(buf)) && strcmp(buf, text) == 0;
}

static void on_body_member(void *arg, struct span key, struct span value)
{
    struct line_scan *out = arg;

    if (span_is(key, "model"))
        out->model = value;
    else if (span_is(key, "input"))
        out->input = value;
}

static void on_member(void *arg, struct span key, struct span value)
{
    struct line_scan *out = arg;

    if (span_is(key, "custom_id"))
        out->custom_id = value;
    else if (span_is(key, "method"))
        out->method = value;
    else if (span_is(key, "url"))
        out->url = value;
    else if (span_is(key, "body"))
        out->body = value;
}

int64_t lines_inputs(struct span input)
{
    const char *p = input.p, *end = p + input.len;
    int64_t count = 0;

    if (input.len == 0 || *p != '[')
        return input.len > 0 && *p == '"';
    p = skip_space(p + 1, end);
    if (*p != '"' && *p != '[')
        return *p != ']'; /* token ids */
    for (count = 1; (p = skip_value(p, end, 0, NULL, NULL)) != NULL; count++) {
        p = skip_space(p, end);
        if (*p != ',')
            break;
        p = skip_space(p + 1, end);
    }
    return count;
}

bool lines_scan(const char *p, size_t len, struct line_scan *out)
{
    const char *end = p + len;

    *out = (struct line_scan){0};
    p = skip_space(p, end);
    if (p == end || *p != '{' || !utf8_is_valid(p, (size_t)(end - p)))
        return false;
    p = skip_container(p, end, 0, on_member, out);
    if (p == NULL || skip_space(p, end) != end)
        return false;
    if (out->body.p != NULL && out->body.p[0] == '{')
        (void)skip_container(out->body.p, out->body.p + out->body.len, 0, on_body_member, out);
    return true;
}
