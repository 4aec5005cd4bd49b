/* See range.h. */
#include "calls/range.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* Digits to a number; over-large ones become the largest. @return what follows the digits; NULL:
 * there were none */
static const char *number(const char *text, uint64_t *out)
{
    const char *at = text;

    for (*out = 0; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*out, 10u, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*at - '0'), out))
            *out = UINT64_MAX;
    return at == text ? NULL : at;
}

static struct range part(uint64_t first, uint64_t last, uint64_t total)
{
    if (first >= total)
        return (struct range){.kind = RANGE_UNSATISFIABLE};
    assert(first <= last);
    return (struct range){RANGE_PART, first, last < total ? last : total - 1};
}

/* "-500": the last 500 bytes. */
static struct range suffix(const char *text, uint64_t total)
{
    uint64_t len;
    const char *end = number(text, &len);

    if (end == NULL || *end != '\0')
        return (struct range){.kind = RANGE_NONE};
    if (len == 0 || total == 0)
        return (struct range){.kind = RANGE_UNSATISFIABLE};
    return part(len < total ? total - len : 0, total - 1, total);
}

struct range range_parse(const char *text, uint64_t total)
{
    const struct range none = {.kind = RANGE_NONE};
    uint64_t first, last = UINT64_MAX;
    const char *at;

    if (text == NULL || strncasecmp(text, "bytes=", 6) != 0)
        return none;
    text += 6;
    text += strspn(text, " \t");
    if (*text == '-')
        return suffix(text + 1, total);
    at = number(text, &first);
    if (at == NULL || *at++ != '-')
        return none;
    if (*at != '\0' && ((at = number(at, &last)) == NULL || *at != '\0' || last < first))
        return none;
    return part(first, last, total);
}

bool content_range_parse(const char *text, struct content_range *out)
{
    uint64_t total = UINT64_MAX;

    if (text == NULL || strncasecmp(text, "bytes ", 6) != 0)
        return false;
    text += 6;
    text += strspn(text, " ");
    if ((text = number(text, &out->first)) == NULL || *text++ != '-' ||
        (text = number(text, &out->last)) == NULL || *text++ != '/')
        return false;
    if (strcmp(text, "*") != 0 && ((text = number(text, &total)) == NULL || *text != '\0' ||
                                   total > INT64_MAX || out->last >= total))
        return false;
    out->total = total == UINT64_MAX ? -1 : (int64_t)total;
    return out->first <= out->last && out->last < INT64_MAX;
}
