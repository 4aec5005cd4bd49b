/* A request target, the query and a Range header: the same answer as the plain way of reading them,
 * within the bounds that handlers rely on. Lines of the input: target, a query parameter's name,
 * Range. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "calls/range.h"
#include "request/route.h"

struct line {
    char *text; /* owned; of exactly that size, without a NUL */
    size_t len;
};

static struct line take_line(const uint8_t **data, size_t *size)
{
    const uint8_t *end = memchr(*data, '\n', *size);
    struct line line = {.len = end != NULL ? (size_t)(end - *data) : *size};

    line.text = malloc(line.len != 0 ? line.len : 1);
    MUST(line.text != NULL);
    memcpy(line.text, *data, line.len);
    *data += line.len + (end != NULL);
    *size -= line.len + (end != NULL);
    return line;
}

static char *terminated(const struct line *line)
{
    char *text = malloc(line->len + 1);

    MUST(text != NULL);
    memcpy(text, line->text, line->len);
    text[line->len] = '\0';
    return text;
}

/* --- routes --- */

static bool fits(const char *text, size_t size)
{
    return strnlen(text, size) < size;
}

static void check_route(const char *path, size_t path_len, const char *query, size_t query_len)
{
    struct route_hints hints;
    struct route route;
    char allow[64];

    route_parse(path, path_len, query, query_len, &route, &hints);
    MUST(fits(route.id, sizeof(route.id)) && strlen(route.id) == route.id_len);
    MUST(fits(hints.model, sizeof(hints.model)) &&
         fits(hints.deployment, sizeof(hints.deployment)) &&
         fits(hints.provider_text, sizeof(hints.provider_text)));
    MUST(!route.bad_id || route.id_len == 0);
    MUST((route.kind == ROUTE_NONE) == (route.allowed == 0));
    MUST(strcmp(route_name(route.kind, METHOD_GET), "none") == 0 || route.kind != ROUTE_NONE);
    memset(allow, 'x', sizeof(allow));
    route_allow(route.allowed, allow, sizeof(allow));
    MUST(fits(allow, sizeof(allow)));
}

/* --- decoding, the plain way --- */

static int digit(char c)
{
    const char *digits = "0123456789abcdefABCDEF", *at = c != '\0' ? strchr(digits, c) : NULL;

    return at == NULL ? -1 : at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

static int plain_decode(const char *text, size_t len, bool plus, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%') {
            if (i + 2 >= len || digit(text[i + 1]) == -1 || digit(text[i + 2]) == -1)
                return -1;
            out[n] = (char)(digit(text[i + 1]) << 4 | digit(text[i + 2]));
            i += 2;
        } else {
            out[n] = text[i];
            if (plus && text[i] == '+')
                out[n] = ' ';
        }
        if (out[n++] == '\0')
            return -1;
    }
    out[n] = '\0';
    return (int)n;
}

static void check_decode(const char *text, size_t len, size_t room, bool plus)
{
    char *slow = malloc(len + 1), *fast = malloc(room != 0 ? room : 1);
    int want, got;

    MUST(slow != NULL && fast != NULL);
    want = plain_decode(text, len, plus, slow);
    got = route_decode(text, len, plus, fast, room);
    if (want >= 0 && (size_t)want < room)
        MUST(got == want && memcmp(fast, slow, (size_t)got + 1) == 0);
    else
        MUST(got == -1);
    free(slow);
    free(fast);
}

/* The first pair of that name, found by looking at each. */
static int plain_query(const char *query, size_t len, const char *name, char *out, bool *there)
{
    char *key = malloc(len + 1);
    int got = -1;

    MUST(key != NULL);
    *there = false;
    for (size_t at = 0; at < len && !*there;) {
        size_t end = at, eq;

        while (end < len && query[end] != '&')
            end++;
        for (eq = at; eq < end && query[eq] != '=';)
            eq++;
        if (plain_decode(query + at, eq - at, true, key) >= 0 && strlen(key) < 64 &&
            strcmp(key, name) == 0) {
            *there = true;
            got = plain_decode(query + eq + 1, end > eq ? end - eq - 1 : 0, true, out);
        }
        at = end + 1;
    }
    free(key);
    return got;
}

static void check_query(const char *query, size_t len, const char *name)
{
    char *slow = malloc(len + 1), fast[100];
    bool there;
    int want, got;

    MUST(slow != NULL);
    want = plain_query(query, len, name, slow, &there);
    got = route_query(query, len, name, fast, sizeof(fast));
    MUST(route_query_has(query, len, name) == there);
    MUST(got == (want < (int)sizeof(fast) ? want : -1));
    MUST(got < 0 || memcmp(fast, slow, (size_t)got + 1) == 0);
    free(slow);
}

/* --- ranges --- */

static void check_range(const char *text, uint64_t total)
{
    struct range range = range_parse(text, total);

    if (range.kind == RANGE_PART)
        MUST(range.first <= range.last && range.last < total);
    MUST(range.kind != RANGE_PART || strpbrk(text, ",") == NULL);
    MUST(range.kind != RANGE_UNSATISFIABLE || strncmp(text + 5, "=", 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct line target = take_line(&data, &size), name = take_line(&data, &size);
    struct line range = take_line(&data, &size);
    const char *mark = memchr(target.text, '?', target.len);
    size_t path_len = mark != NULL ? (size_t)(mark - target.text) : target.len;
    const char *query = mark != NULL ? mark + 1 : target.text + target.len;
    size_t query_len = target.len - (size_t)(query - target.text);
    char *name_text = terminated(&name), *range_text = terminated(&range);

    check_route(target.text, path_len, query, query_len);
    check_decode(target.text, target.len, name.len, range.len % 2 != 0);
    check_decode(target.text, target.len, target.len + 1, true);
    check_query(query, query_len, name_text);
    check_query(query, query_len, "limit");
    check_range(range_text, name.len);
    check_range(range_text, UINT64_MAX);
    free(name_text);
    free(range_text);
    free(target.text);
    free(name.text);
    free(range.text);
    return 0;
}
