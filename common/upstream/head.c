/* The head of an answer while it comes in: what curl hands over line by line, checked, in lower
 * case, and kept in one piece of text until it is complete. */
#include "client_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_HEADERS 256

void head_reset(struct head *head, int status)
{
    strbuf_reset(&head->text);
    head->num = 0;
    head->status = status;
    head->content_length = -1;
    head->bad_length = head->chunked = false;
}

void head_deinit(struct head *head)
{
    strbuf_deinit(&head->text);
    free(head->list);
    memset(head, 0, sizeof(*head));
}

/* Bit c % 64 of word c / 64: letters, digits and "!#$%&'*+-.^_`|~". */
static const uint64_t token_bytes[4] = {UINT64_C(0x03ff6cfa00000000), UINT64_C(0x57ffffffc7fffffe)};

/* RFC 9110 5.6.2 */
bool head_is_token(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((token_bytes[c / 64] >> c % 64 & 1) == 0)
            return false;
    }
    return len > 0;
}

bool head_is_field_value(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

int head_parse_status(const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    int status = 0, i;

    if (space == NULL || len - (size_t)(space - line) < 4)
        return 0;
    for (i = 1; i <= 3; i++) {
        if (!isdigit((unsigned char)space[i]))
            return 0;
        status = status * 10 + (space[i] - '0');
    }
    return status;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static int64_t parse_length(const char *text, size_t len)
{
    int64_t value = 0;
    size_t i;

    if (len == 0 || len > 18)
        return -1;
    for (i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* RFC 9112 6.3: two lengths that differ are a broken message, whatever curl makes of them. */
static void note_framing(struct head *head, const char *line, size_t name_len, const char *value,
                         size_t len)
{
    int64_t length;

    if (name_len == 17 && strncasecmp(line, "transfer-encoding", 17) == 0)
        head->chunked = true;
    if (name_len != 14 || strncasecmp(line, "content-length", 14) != 0)
        return;
    length = parse_length(value, len);
    if (length < 0 || (head->content_length >= 0 && head->content_length != length))
        head->bad_length = true;
    head->content_length = length;
}

static void add_line(struct strbuf *text, const char *name, size_t name_len, const char *value,
                     size_t len)
{
    char *at;

    if (strbuf_reserve(text, name_len + len + 2) != 0)
        return;
    at = text->data + text->len;
    for (size_t i = 0; i < name_len; i++)
        at[i] = lower(name[i]);
    at[name_len] = '\0';
    memcpy(at + name_len + 1, value, len);
    at[name_len + 1 + len] = '\0';
    text->len += name_len + len + 2;
    text->data[text->len] = '\0';
}

/* One header line, without its end. Lines that are none, folded ones and values with control bytes
 * are left out: they must not reach a client. */
bool head_add(struct head *head, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len), *value, *end = line + len;
    size_t name_len;

    if (colon == NULL || !head_is_token(line, (size_t)(colon - line)))
        return true;
    name_len = (size_t)(colon - line);
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t');)
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (!head_is_field_value(value, (size_t)(end - value)))
        return true;
    if (head->num == MAX_HEADERS)
        return false;
    note_framing(head, line, name_len, value, (size_t)(end - value));
    add_line(&head->text, line, name_len, value, (size_t)(end - value));
    head->num++;
    return true;
}

/* The text stands still from now on: make the list that points into it. */
int head_finish(struct head *head)
{
    const char *at = strbuf_str(&head->text);
    size_t i;

    if (strbuf_failed(&head->text))
        return ERR_NOMEM;
    head->list = calloc(head->num + 1, sizeof(*head->list));
    if (head->list == NULL)
        return ERR_NOMEM;
    for (i = 0; i < head->num; i++) {
        head->list[i].name = at;
        at += strlen(at) + 1;
        head->list[i].value = at;
        at += strlen(at) + 1;
    }
    head->complete = true;
    return 0;
}

void head_view(const struct head *head, struct upstream_head *out)
{
    memset(out, 0, sizeof(*out));
    out->content_length = -1;
    if (!head->complete)
        return;
    out->status = head->status;
    out->content_length = head->chunked ? -1 : head->content_length;
    out->headers = head->list;
    out->num_headers = head->num;
}

const char *upstream_header_find(const struct upstream_head *head, const char *name)
{
    size_t i;

    for (i = 0; i < head->num_headers; i++)
        if (strcmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}
