/* See query.h. */
#include "query.h"

#include <stdlib.h>
#include <string.h>

#include "request/errors.h"
#include "request/route.h"

static bool has(const struct relay *relay, const char *name)
{
    return route_query_has(relay->query, relay->query_len, name);
}

static int get(const struct relay *relay, const char *name, char *out, size_t size)
{
    return route_query(relay->query, relay->query_len, name, out, size);
}

enum answered query_choice(struct relay *relay, const char *name, const char *no, const char *yes,
                           bool *out)
{
    char text[16];
    int len = get(relay, name, text, sizeof(text));

    *out = len > 0 && strcmp(text, yes) == 0;
    if (len == 0 || *out || (len > 0 && strcmp(text, no) == 0) || !has(relay, name))
        return GO_ON;
    relay_error(relay, INVALID_CHOICE, name, name, yes, no);
    return ANSWERED;
}

enum answered query_text(struct relay *relay, const char *name, const char *set, char *out,
                         size_t size)
{
    int len = get(relay, name, out, size);

    if (len >= 0 && (set == NULL || strspn(out, set) == (size_t)len))
        return GO_ON;
    out[0] = '\0';
    if (!has(relay, name))
        return GO_ON;
    relay_error(relay, INVALID_VALUE, name, name);
    return ANSWERED;
}

enum answered query_count(struct relay *relay, const char *name, uint64_t *out)
{
    char text[19];

    if (query_text(relay, name, "0123456789", text, sizeof(text)) == ANSWERED)
        return ANSWERED;
    if (text[0] != '\0') {
        *out = strtoull(text, NULL, 10);
    } else if (has(relay, name)) {
        relay_error(relay, INVALID_VALUE, name, name);
        return ANSWERED;
    }
    return GO_ON;
}
