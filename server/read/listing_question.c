/* What a list request asks: limit, order, purpose, after, strict. What cannot be read is an error,
 * never taken for absent. */
#include "listing_impl.h"
#include "query.h"
#include "request/errors.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_BATCHES 20

static bool has(const struct relay *relay, const char *name)
{
    return route_query_has(relay->query, relay->query_len, name);
}

static int get(const struct relay *relay, const char *name, char *out, size_t size)
{
    return route_query(relay->query, relay->query_len, name, out, size);
}

/* Limits are OpenAI's, and so are the words about them. */
static enum answered parse_limit(struct relay *relay, enum id_kind kind, size_t *out)
{
    size_t max = kind == ID_FILE ? LISTING_MAX_FILES : LISTING_MAX_BATCHES;
    size_t min = kind == ID_FILE ? 1 : 0;
    char text[32], *end;
    long value;
    int len = get(relay, "limit", text, sizeof(text));

    *out = kind == ID_FILE ? LISTING_MAX_FILES : DEFAULT_BATCHES;
    if (!has(relay, "limit"))
        return GO_ON;
    if (len < 0)
        text[0] = '\0';
    value = strtol(text, &end, 10);
    if (len <= 0 || strspn(text, "-0123456789") != (size_t)len || *end != '\0') {
        relay_error(relay, LIMIT_TYPE, "limit", text);
    } else if (value > (long)max) {
        relay_error(relay, LIMIT_ABOVE, "limit", max, text);
    } else if (value < (long)min) {
        relay_error(relay, LIMIT_BELOW, "limit", min, text);
    } else {
        *out = (size_t)value;
        return GO_ON;
    }
    return ANSWERED;
}

enum answered listing_parse(struct relay *relay, struct listing_question *q)
{
    q->owner = relay->owner;
    if (query_choice(relay, "strict", "false", "true", &q->strict) == ANSWERED ||
        parse_limit(relay, q->kind, &q->limit) == ANSWERED ||
        query_text(relay, "after", NULL, q->after, sizeof(q->after)) == ANSWERED)
        return ANSWERED;
    if (q->kind == ID_BATCH)
        return GO_ON;
    if (query_choice(relay, "order", "desc", "asc", &q->ascending) == ANSWERED)
        return ANSWERED;
    return query_text(relay, "purpose", "abcdefghijklmnopqrstuvwxyz_-", q->purpose,
                      sizeof(q->purpose));
}
