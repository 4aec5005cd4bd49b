/* See jsonl_inputs.h. A pass of its own over lines of one kind, so that the readers of all lines
 * need not know of inputs. */
#include "jsonl_inputs.h"

#include <string.h>

/* Behind the string whose opening quote is at `p`. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        p += *p == '\\' && p + 1 < end;
    return p < end ? p + 1 : end;
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

/* Behind a value, or behind the first character of a number or word. @param commas  NULL, or counts
 * the commas of an array itself, not those of what is in it */
static const char *skip_value(const char *p, const char *end, uint64_t *commas)
{
    size_t depth = 0;

    do {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        else if (*p == ',' && depth == 1 && commas != NULL)
            ++*commas;
        p++;
    } while (p < end && depth > 0);
    return p;
}

static uint64_t count(const char *p, const char *end)
{
    uint64_t commas = 0;
    const char *first;

    if (p == end || *p != '[')
        return p < end && *p == '"';
    first = skip_blanks(p + 1, end);
    if (first == end || *first == ']')
        return 0;
    if (*first != '"' && *first != '[')
        return 1; /* token ids */
    (void)skip_value(p, end, &commas);
    return commas + 1;
}

/* OpenAI takes 300,000 tokens a request, 1.8 MB when each is a character that is escaped: what is
 * larger is refused there by itself, and is not worth the time of a turn of the loop (0.4 to 0.6 ms
 * for each MiB). */
enum { MOST_BYTES = 2 << 20 };

uint64_t jsonl_inputs(const char *line, size_t len, size_t body_at)
{
    static const char wanted[] = "\"input\"";
    const char *p = line + body_at + 1, *end = line + (len < MOST_BYTES ? len : MOST_BYTES);

    while (p < end) {
        const char *key = p = skip_blanks(p, end), *key_end;

        if (p == end || *p != '"')
            return 0; /* the end of the body */
        key_end = skip_string(p, end);
        p = skip_blanks(key_end, end);
        p = skip_blanks(p + (p < end), end); /* a colon */
        if ((size_t)(key_end - key) == strlen(wanted) && memcmp(key, wanted, strlen(wanted)) == 0)
            return count(p, end);
        if (p < end)
            p = skip_value(p, end, NULL);
        while (p < end && *p != ',' && *p != '}')
            p++;
        p += p < end && *p == ',';
    }
    return 0;
}
