/* See entra_challenge.h. */
#include "entra_challenge.h"

#include <string.h>
#include <strings.h>

#define SCHEME "Basic realm="
#define SUFFIX ".key"

bool entra_challenge_read(const char *header, char path[ENTRA_MAX_PATH])
{
    size_t len;

    path[0] = '\0';
    header += strspn(header, " \t");
    if (strncasecmp(header, SCHEME, strlen(SCHEME)) != 0)
        return false;
    header += strlen(SCHEME);
    if (*header == '"') {
        header++;
        len = strcspn(header, "\"");
        if (header[len] != '"')
            return false;
    } else {
        len = strcspn(header, ", \t");
    }
    if (len == 0 || len >= ENTRA_MAX_PATH || header[0] != '/')
        return false;
    for (size_t i = 0; i < len; i++)
        if (header[i] < ' ' || header[i] == 0x7f)
            return false;
    memcpy(path, header, len);
    path[len] = '\0';
    return true;
}

const char *entra_challenge_name(const char *path, const char *directory)
{
    size_t folder = strlen(directory), len = strlen(path);
    const char *name = path + folder + 1;

    if (len <= folder + 1 + strlen(SUFFIX) || strncmp(path, directory, folder) != 0 ||
        path[folder] != '/' || strchr(name, '/') != NULL)
        return NULL;
    return strcmp(path + len - strlen(SUFFIX), SUFFIX) == 0 ? name : NULL;
}
