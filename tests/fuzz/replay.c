/* Runs a fuzz target over a corpus without a fuzzer, so that every build replays what was found:
 * each file, and each beginning of a small one that has a name (what scripts/fuzz --keep adds has a
 * number for one). With --whole as the first argument no beginnings are run. The others are files
 * and directories. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

enum { SMALL_BYTES = 2048 };

static size_t inputs;
static bool beginnings = true;

/* In memory of exactly that size, so that a sanitizer sees the first byte read too many. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    MUST(copy != NULL);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs++;
}

/* What a fuzzer calls what it found: 40 hex digits. */
static bool has_number(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

    return strlen(name) == 40 && strspn(name, "0123456789abcdef") == 40;
}

static void run_beginnings(const char *path, const uint8_t *data, size_t size)
{
    size_t len;

    if (beginnings && size <= SMALL_BYTES && !has_number(path))
        for (len = 0; len < size; len++)
            run(data, len);
    run(data, size);
}

static int run_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size + 1);
    size_t got = 0;

    if (f != NULL && data != NULL)
        got = fread(data, 1, size, f);
    if (f != NULL)
        fclose(f);
    if (got == size && data != NULL)
        run_beginnings(path, data, size);
    else
        fprintf(stderr, "%s: cannot be read\n", path);
    free(data);
    return got == size ? 0 : 1;
}

static int run_path(const char *path)
{
    struct dirent *entry;
    struct stat st;
    char name[4096];
    int failed = 0;
    DIR *dir;

    if (stat(path, &st) == -1) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode))
        return run_file(path, (size_t)st.st_size);
    dir = opendir(path);
    if (dir == NULL) {
        perror(path);
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        failed |= run_path(name);
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0, i;

    beginnings = argc < 2 || strcmp(argv[1], "--whole") != 0;
    for (i = beginnings ? 1 : 2; i < argc; i++)
        failed |= run_path(argv[i]);
    fprintf(stderr, "%zu inputs\n", inputs);
    return failed != 0 || inputs == 0;
}
