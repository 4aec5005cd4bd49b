/* See names.h. */
#include "common/names.h"

#include <stdio.h>
#include <string.h>

/* The last star takes more when the rest does not fit. */
bool names_fit(const char *pattern, const char *name, size_t len)
{
    const char *star = NULL;
    size_t i = 0, retry = 0;

    while (i < len) {
        if (*pattern == '*') {
            star = pattern++;
            retry = i;
        } else if (*pattern != '\0' && *pattern == name[i]) {
            pattern++;
            i++;
        } else if (star != NULL) {
            pattern = star + 1;
            i = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

const char *names_without_hint(const char *name)
{
    static const char *const hints[] = {"responses/", "o_series/", "gpt5_series/", NULL};

    for (const char *const *hint = hints; *hint != NULL; hint++)
        if (strncmp(name, *hint, strlen(*hint)) == 0)
            return name + strlen(*hint);
    return name;
}

bool names_fill(const char *pattern, const char *upstream, const char *name, char *out, size_t size)
{
    const char *star = strchr(pattern, '*'), *at = strchr(upstream, '*');
    size_t head = star != NULL ? (size_t)(star - pattern) : 0,
           tail = star != NULL ? strlen(star + 1) : 0, len = strlen(name);

    if (star == NULL || at == NULL || len < head + tail || strncmp(name, pattern, head) != 0 ||
        strcmp(name + len - tail, star + 1) != 0)
        return false;
    return snprintf(out, size, "%.*s%.*s%s", (int)(at - upstream), upstream,
                    (int)(len - head - tail), name + head, at + 1) < (int)size;
}
