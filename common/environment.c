/* See environment.h. */
#include "common/environment.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/secret.h"

static struct {
    struct secret block; /* the variables, each "NAME=value" with its NUL */
    bool taken;
} kept;

/* What a program says to the next one: numbers of descriptors and processes. Every other name may be
 * an operator's and hold a key, those that begin with TRANCHE_ too. */
static bool is_own(const char *variable)
{
    static const char *const names[] = {"TRANCHE_HANDOVER", "TRANCHE_LISTEN_FD",
                                        "TRANCHE_HEALTH_FD", "TRANCHE_UPGRADE_FROM"};
    size_t len = strcspn(variable, "=");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && memcmp(names[i], variable, len) == 0)
            return true;
    return false;
}

/* What libraries look at after the start, and what says nothing that is not known anyway. */
static bool is_harmless(const char *variable)
{
    static const char *const names[] = {"PATH",
                                        "HOME",
                                        "LANG",
                                        "LANGUAGE",
                                        "TZ",
                                        "TMPDIR",
                                        "USER",
                                        "LOGNAME",
                                        "SHELL",
                                        "PWD",
                                        "TERM",
                                        "HOSTNAME",
                                        "HOST",
                                        "PORT",
                                        "NUM_WORKERS",
                                        "SSL_CERT_DIR",
                                        "RES_OPTIONS",
                                        "LOCALDOMAIN",
                                        "HOSTALIASES",
                                        "SSL_CERT_FILE",
                                        "OPENSSL_CONF",
                                        "OPENSSL_MODULES",
                                        "OPENSSL_ENGINES",
                                        "INVOCATION_ID",
                                        "JOURNAL_STREAM",
                                        "ASAN_OPTIONS",
                                        "LSAN_OPTIONS",
                                        "UBSAN_OPTIONS",
                                        "TSAN_OPTIONS",
                                        "LLVM_PROFILE_FILE",
                                        "GLIBC_TUNABLES"};
    static const char *const beginnings[] = {"LC_", "LD_", "MALLOC_", "GCOV_"};
    size_t len = strcspn(variable, "=");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && memcmp(names[i], variable, len) == 0)
            return true;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(variable, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

static size_t count_bytes(void)
{
    size_t bytes = 0;

    for (char **at = environ; at != NULL && *at != NULL; at++)
        bytes += is_own(*at) ? 0 : strlen(*at) + 1;
    return bytes;
}

static void copy_all(char *to)
{
    for (char **at = environ; at != NULL && *at != NULL; at++)
        if (!is_own(*at)) {
            size_t len = strlen(*at) + 1;

            memcpy(to, *at, len);
            to += len;
        }
}

/* The name stays, so that who looks at the process sees what it was started with. */
static void wipe_value(char *variable)
{
    char *value = strchr(variable, '=');

    if (value != NULL)
        secret_wipe(value + 1, strlen(value + 1));
    else
        secret_wipe(variable, strlen(variable));
}

static void keep_harmless(void)
{
    char **to = environ;

    for (char **at = environ; at != NULL && *at != NULL; at++)
        if (is_own(*at) || is_harmless(*at))
            *to++ = *at;
        else
            wipe_value(*at);
    if (to != NULL)
        *to = NULL;
}

int environment_take(void)
{
    size_t bytes = count_bytes();

    if (kept.taken)
        return 0;
    if (secret_room(&kept.block, bytes) != 0)
        return ERR_NOMEM;
    if (bytes > 0)
        copy_all(kept.block.data);
    keep_harmless();
    kept.taken = true;
    return 0;
}

/* The next "NAME=value" behind `at`, NULL at first. */
static char *next_kept(char *at)
{
    at = at == NULL ? kept.block.data : at + strlen(at) + 1;
    return at != NULL && at < kept.block.data + kept.block.len ? at : NULL;
}

const char *environment_get(const char *name)
{
    size_t len = strlen(name);

    if (!kept.taken || is_own(name))
        return getenv(name);
    for (char *at = next_kept(NULL); at != NULL; at = next_kept(at))
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return at + len + 1;
    return NULL;
}

int environment_restore(void)
{
    size_t num = 1;
    char **list, **to;

    if (!kept.taken)
        return 0;
    for (char **at = environ; at != NULL && *at != NULL; at++)
        num += is_own(*at);
    for (char *at = next_kept(NULL); at != NULL; at = next_kept(at))
        num++;
    list = to = calloc(num, sizeof(*list)); /* exec lets go of it */
    if (list == NULL)
        return ERR_NOMEM;
    for (char **at = environ; at != NULL && *at != NULL; at++)
        if (is_own(*at))
            *to++ = *at;
    for (char *at = next_kept(NULL); at != NULL; at = next_kept(at))
        *to++ = at;
    environ = list;
    return 0;
}

void environment_drop(void)
{
    secret_clear(&kept.block);
}
