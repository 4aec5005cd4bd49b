/* See cookie.h. */
#include "request/cookie.h"

#include <string.h>

static void trim(const char **at, size_t *len)
{
    while (*len > 0 && (**at == ' ' || **at == '\t')) {
        ++*at;
        --*len;
    }
    while (*len > 0 && ((*at)[*len - 1] == ' ' || (*at)[*len - 1] == '\t'))
        --*len;
    if (*len >= 2 && **at == '"' && (*at)[*len - 1] == '"') {
        ++*at;
        *len -= 2;
    }
}

bool cookie_find(const char *header, size_t header_len, const char *name, const char **value,
                 size_t *len)
{
    size_t name_len = strlen(name);

    for (const char *at = header, *end = header + header_len, *next; at < end; at = next) {
        const char *semicolon = memchr(at, ';', (size_t)(end - at));

        next = semicolon != NULL ? semicolon + 1 : end;
        *len = (size_t)((semicolon != NULL ? semicolon : end) - at);
        *value = at;
        trim(value, len);
        if (*len > name_len && memcmp(*value, name, name_len) == 0 && (*value)[name_len] == '=') {
            *value += name_len + 1;
            *len -= name_len + 1;
            trim(value, len);
            return true;
        }
    }
    return false;
}
