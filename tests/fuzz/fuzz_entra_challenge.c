/* The header by which Azure Arc's agent, or whoever listens in its place, names a file. What may be
 * read lies directly in the directory. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "entra/entra_challenge.h"
#include "entra/entra_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char header[1024], path[ENTRA_MAX_PATH];
    const char *name;

    if (size >= sizeof(header))
        return 0;
    memcpy(header, data, size);
    header[size] = '\0';
    if (!entra_challenge_read(header, path)) {
        MUST(path[0] == '\0');
        return 0;
    }
    MUST(path[0] == '/' && strlen(path) < sizeof(path));
    for (const char *at = path; *at != '\0'; at++)
        MUST((unsigned char)*at >= ' ' && *at != 0x7f);
    name = entra_challenge_name(path, ENTRA_ARC_KEYS);
    if (name == NULL)
        return 0;
    MUST(strncmp(path, ENTRA_ARC_KEYS "/", strlen(ENTRA_ARC_KEYS) + 1) == 0);
    MUST(name == path + strlen(ENTRA_ARC_KEYS) + 1 && strchr(name, '/') == NULL);
    MUST(strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".key") == 0);
    MUST(strcmp(name, "..") != 0 && strcmp(name, ".") != 0);
    return 0;
}
