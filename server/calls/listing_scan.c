/* See listing_scan.h. */
#include "calls/listing_scan.h"

#include <assert.h>
#include <string.h>

void listing_scan_init(struct listing_scan *s, const char *text, size_t len)
{
    listing_scan_deinit(s);
    s->text = text;
    s->len = len;
}

void listing_scan_deinit(struct listing_scan *s)
{
    strbuf_deinit(&s->rest);
    memset(s, 0, sizeof(*s));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t skip_space(const struct listing_scan *s, size_t at)
{
    while (at < s->len && is_space(s->text[at]))
        at++;
    return at;
}

/* From an opening quote to behind the closing one; 0: there is none. */
static size_t skip_string(const struct listing_scan *s, size_t at)
{
    for (at++; at < s->len; at++) {
        if (s->text[at] == '\\')
            at++;
        else if (s->text[at] == '"')
            return at + 1;
    }
    return 0;
}

/* From an opening bracket of either kind to behind the closing one; 0: there is none. */
static size_t skip_brackets(const struct listing_scan *s, size_t at)
{
    size_t depth = 0;

    while (at < s->len) {
        char c = s->text[at];

        if (c == '"') {
            at = skip_string(s, at);
            if (at == 0)
                return 0;
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return 0;
}

/* To behind the value at `at`; 0: it has no end, or is none. */
static size_t skip_value(const struct listing_scan *s, size_t at)
{
    size_t from = at;

    if (at >= s->len)
        return 0;
    if (s->text[at] == '"')
        return skip_string(s, at);
    if (s->text[at] == '{' || s->text[at] == '[')
        return skip_brackets(s, at);
    while (at < s->len && !is_space(s->text[at]) && strchr(",]}", s->text[at]) == NULL)
        at++;
    return at > from ? at : 0;
}

static bool is_list_key(const char *key, size_t len)
{
    return (len == 6 && memcmp(key, "\"data\"", 6) == 0) ||
           (len == 7 && memcmp(key, "\"value\"", 7) == 0);
}

static int keep(struct listing_scan *s, size_t from, size_t to)
{
    assert(from <= to && to <= s->len);
    if (s->rest.len + (to - from) > LISTING_MAX_REST)
        return ERR_SYNTAX;
    strbuf_add(&s->rest, s->text + from, to - from);
    return strbuf_failed(&s->rest) ? ERR_NOMEM : 0;
}

static int end(struct listing_scan *s, size_t from)
{
    int rc = keep(s, from, s->len);

    s->ended = true;
    s->at = s->len;
    return rc;
}

/* The members in front of the list. */
static int find_list(struct listing_scan *s)
{
    size_t at = skip_space(s, 0);

    if (at == s->len || s->text[at] != '{')
        return ERR_SYNTAX;
    at++;
    for (;;) {
        size_t key = skip_space(s, at), key_end;

        if (key == s->len || s->text[key] != '"')
            return end(s, 0); /* no list: the parser knows what else it is */
        key_end = skip_string(s, key);
        at = key_end != 0 ? skip_space(s, key_end) : s->len;
        if (at == s->len || s->text[at] != ':')
            return ERR_SYNTAX;
        at = skip_space(s, at + 1);
        if (at < s->len && s->text[at] == '[' && is_list_key(s->text + key, key_end - key)) {
            s->inside = true;
            s->at = at + 1;
            return keep(s, 0, s->at);
        }
        at = skip_value(s, at);
        if (at == 0)
            return ERR_SYNTAX;
        at = skip_space(s, at);
        if (at < s->len && s->text[at] == ',')
            at++;
    }
}

int listing_scan_next(struct listing_scan *s, const char **element, size_t *len)
{
    size_t at, behind;
    int rc;

    assert(s->at <= s->len && (!s->ended || s->at == s->len));
    if (s->ended)
        return 0;
    if (!s->inside && ((rc = find_list(s)) != 0 || s->ended))
        return rc;
    at = skip_space(s, s->at);
    if (at < s->len && s->text[at] == ']')
        return end(s, at);
    if (s->num > 0) {
        if (at == s->len || s->text[at] != ',')
            return ERR_SYNTAX;
        at = skip_space(s, at + 1);
    }
    behind = skip_value(s, at);
    if (behind == 0 || behind - at > LISTING_MAX_OBJECT)
        return ERR_SYNTAX;
    s->num++;
    s->at = behind;
    *element = s->text + at;
    *len = behind - at;
    return 1;
}

int listing_scan_slice(struct listing_scan *s, struct json_doc *doc, listing_scan_cb on_object,
                       void *arg)
{
    size_t from = s->at, len;
    const char *text;
    int rc;

    if (doc == NULL)
        return ERR_NOMEM;
    while ((rc = listing_scan_next(s, &text, &len)) > 0) {
        struct json_error error;
        struct json *object = json_parse(doc, text, len, &error);

        if (object == NULL)
            return ERR_SYNTAX;
        rc = on_object(arg, doc, object, text, len);
        if (rc != 0)
            return rc;
        if (s->at - from >= LISTING_SLICE_BYTES)
            return LISTING_SCAN_MORE;
    }
    return rc;
}

/* The list that was taken apart is the only one, and is empty now. Of two of them, or of one whose
 * name is spelt with an escape, the scan and the parser would not mean the same. */
static bool is_one_empty_list(const struct json *root)
{
    struct json *data = json_get(root, "data"), *value = json_get(root, "value");
    bool both = json_is(data, JSON_ARRAY) && json_is(value, JSON_ARRAY);
    const struct json *list = json_is(data, JSON_ARRAY) ? data : value;

    return json_is(list, JSON_ARRAY) && json_size(list) == 0 && !both;
}

int listing_scan_rest(const struct listing_scan *s, bool *more, bool *told)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *root;
    int rc = 0;

    assert(s->ended);
    if (doc == NULL)
        return ERR_NOMEM;
    root = json_parse(doc, strbuf_str(&s->rest), s->rest.len, &error);
    if (!json_is(root, JSON_OBJECT) || json_doc_repeats(doc) || !is_one_empty_list(root))
        rc = ERR_SYNTAX;
    *more = s->num > 0;
    *told = json_bool(json_get(root, "has_more"), more);
    json_doc_free(doc);
    return rc;
}
