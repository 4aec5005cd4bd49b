/* The parts of one upload: parts.h. */
#include "parts/parts.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/rand.h>

#include "parts_impl.h"

#define LIST_MAX (PARTS_MAX + PARTS_OVER)

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct part *)a)->id, ((const struct part *)b)->id);
}

/* @return false: it is no part's */
static bool read_name(const char *name, struct part *part)
{
    if (strlen(name) != PARTS_PART_ID + 1 + PARTS_DIGEST || strncmp(name, "part_", 5) != 0 ||
        name[PARTS_PART_ID] != '-')
        return false;
    memcpy(part->id, name, PARTS_PART_ID);
    part->id[PARTS_PART_ID] = '\0';
    memcpy(part->digest, name + PARTS_PART_ID + 1, PARTS_DIGEST + 1);
    return true;
}

static int add(int dir, const char *name, struct parts_list *list)
{
    struct part part;
    struct stat st;

    if (!read_name(name, &part) || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
        !S_ISREG(st.st_mode) || st.st_size == 0)
        return 0;
    if (list->num == LIST_MAX)
        return ERR_LIMIT;
    part.size = (uint64_t)st.st_size;
    part.names = st.st_nlink > 0 ? (uint32_t)st.st_nlink : 1;
    list->parts[list->num++] = part;
    return 0;
}

/* Each of several names of a file stands for its share of the bytes; what is left over in the
 * division is less than a byte for each. */
static uint64_t bytes_of(const struct parts_list *list)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < list->num; i++)
        bytes += list->parts[i].size / list->parts[i].names;
    return bytes;
}

int parts_list(const struct parts *parts, struct parts_list *list)
{
    int fd = openat(parts->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;
    DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    *list = (struct parts_list){.parts = calloc(LIST_MAX, sizeof(struct part))};
    if (dir == NULL) {
        if (fd != -1)
            close(fd);
        ret = ERR_IO;
    }
    if (list->parts == NULL)
        ret = ERR_NOMEM;
    while (ret == 0 && (entry = readdir(dir)) != NULL)
        ret = add(fd, entry->d_name, list);
    if (dir != NULL)
        closedir(dir);
    if (ret != 0) {
        parts_list_deinit(list);
        return ret;
    }
    list->bytes = bytes_of(list);
    qsort(list->parts, list->num, sizeof(struct part), by_id);
    return 0;
}

void parts_list_deinit(struct parts_list *list)
{
    free(list->parts);
    *list = (struct parts_list){NULL, 0, 0};
}

const struct part *parts_find(const struct parts_list *list, const char *id)
{
    struct part key;

    if (strlen(id) != PARTS_PART_ID || list->num == 0)
        return NULL;
    memcpy(key.id, id, PARTS_PART_ID + 1);
    return bsearch(&key, list->parts, list->num, sizeof(struct part), by_id);
}

void parts_file(const struct part *part, char name[PARTS_PART_ID + PARTS_DIGEST + 2])
{
    assert(strlen(part->id) == PARTS_PART_ID && strlen(part->digest) == PARTS_DIGEST);
    snprintf(name, PARTS_PART_ID + PARTS_DIGEST + 2, "%s-%s", part->id, part->digest);
}

void parts_drop(const struct parts *parts, const struct part *part)
{
    char name[PARTS_PART_ID + PARTS_DIGEST + 2];

    parts_file(part, name);
    (void)unlinkat(parts->dir, name, 0);
}

static char *path_of(const struct parts *parts, const char *name)
{
    struct strbuf path = STRBUF_INIT;

    strbuf_addf(&path, "%s/%s", parts->path, name);
    return strbuf_take(&path);
}

char *parts_new_part(const struct parts *parts, char id[PARTS_PART_ID + 1])
{
    unsigned char r[16];
    char name[sizeof("tmp-") + 32] = "tmp-";

    if (RAND_bytes(r, sizeof(r)) != 1)
        return NULL;
    for (size_t i = 0; i < sizeof(r); i++)
        snprintf(name + 4 + 2 * i, 3, "%02x", r[i]);
    snprintf(id, PARTS_PART_ID + 1, "part_%s", name + 4);
    return path_of(parts, name);
}

char *parts_path(const struct parts *parts, const struct part *part)
{
    char name[PARTS_PART_ID + PARTS_DIGEST + 2];

    parts_file(part, name);
    return path_of(parts, name);
}

int parts_same(const struct parts *parts, const struct part *old, const struct part *part)
{
    char from[PARTS_PART_ID + PARTS_DIGEST + 2], to[sizeof(from)];

    parts_file(old, from);
    parts_file(part, to);
    if (linkat(parts->dir, from, parts->dir, to, 0) == 0)
        return 0;
    return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}
