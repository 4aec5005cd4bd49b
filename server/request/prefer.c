/* See prefer.h. */
#include "request/prefer.h"

#include <h2o.h>
#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Behind the preference that begins here: at its comma, or at the end. */
static size_t end_of_preference(const char *field, size_t len, size_t at)
{
    bool quoted = false;

    for (; at < len && (quoted || field[at] != ','); at++)
        if (quoted && field[at] == '\\' && at + 1 < len)
            at++;
        else if (field[at] == '"')
            quoted = !quoted;
    return at;
}

static size_t skip_blanks(const char *text, size_t len, size_t at)
{
    while (at < len && is_blank(text[at]))
        at++;
    return at;
}

/* A number, quoted or not, and nothing behind it but parameters. @return 0: it is none */
static uint32_t seconds_in(const char *text, size_t len, size_t at)
{
    bool quoted = at < len && text[at] == '"';
    uint32_t seconds = 0;

    for (at += quoted; at < len && is_digit(text[at]); at++) {
        seconds = 10 * seconds + (uint32_t)(text[at] - '0');
        if (seconds > PREFER_WAIT_MOST)
            seconds = PREFER_WAIT_MOST;
    }
    if (quoted && (at == len || text[at++] != '"'))
        return 0;
    at = skip_blanks(text, len, at);
    return at == len || text[at] == ';' ? seconds : 0;
}

static bool read_wait(const char *text, size_t len, uint32_t *seconds)
{
    static const char name[] = "wait";
    size_t at = skip_blanks(text, len, 0);

    if (len - at < strlen(name) || strncasecmp(text + at, name, strlen(name)) != 0)
        return false;
    at = skip_blanks(text, len, at + strlen(name));
    if (at < len && text[at] != '=' && text[at] != ';')
        return false; /* another name, or none at all */
    *seconds =
        at < len && text[at] == '=' ? seconds_in(text, len, skip_blanks(text, len, at + 1)) : 0;
    return true;
}

bool prefer_wait(const char *field, size_t len, uint32_t *seconds)
{
    for (size_t at = 0, end; at < len; at = end + 1) {
        end = end_of_preference(field, len, at);
        if (read_wait(field + at, end - at, seconds))
            return true;
    }
    return false;
}

/* It may come in several fields, which are one list (RFC 7240 section 2). */
uint32_t prefer_wait_of(const struct relay *relay)
{
    const h2o_headers_t *headers = &relay->req->headers;
    uint32_t seconds = 0;

    for (ssize_t at = -1; (at = h2o_find_header_by_str(headers, H2O_STRLIT("prefer"), at)) != -1;)
        if (prefer_wait(headers->entries[at].value.base, headers->entries[at].value.len, &seconds))
            return seconds;
    return 0;
}
