/* See spool_list.h. Who reads goes forward, and now and then back to the start. */
#include "core/spool_list.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct entry {
    char *name;   /* owned */
    uint64_t end; /* offset behind its last byte, in the whole */
};

struct spool_list {
    int dir; /* owned */
    struct entry *entries;
    size_t num, room;
    size_t at; /* of the file that is open */
    int fd;    /* owned; -1: none is open */
};

struct spool_list *spool_list_new(int dir)
{
    struct spool_list *list = calloc(1, sizeof(*list));

    assert(dir >= 0);
    if (list == NULL)
        return NULL;
    list->fd = -1;
    list->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    if (list->dir != -1)
        return list;
    free(list);
    return NULL;
}

static void close_file(struct spool_list *list)
{
    if (list->fd != -1)
        close(list->fd);
    list->fd = -1;
}

void spool_list_free(struct spool_list *list)
{
    if (list == NULL)
        return;
    close_file(list);
    close(list->dir);
    for (size_t i = 0; i < list->num; i++)
        free(list->entries[i].name);
    free(list->entries);
    free(list);
}

static int make_room(struct spool_list *list)
{
    size_t room = list->room > 0 ? 2 * list->room : 16;
    struct entry *entries;

    if (list->num < list->room)
        return 0;
    entries = realloc(list->entries, room * sizeof(*entries));
    if (entries == NULL)
        return ERR_NOMEM;
    list->entries = entries;
    list->room = room;
    return 0;
}

int spool_list_add(struct spool_list *list, const char *name, uint64_t size)
{
    char *copy = strdup(name);

    assert(size > 0);
    if (copy == NULL || make_room(list) != 0) {
        free(copy);
        return ERR_NOMEM;
    }
    list->entries[list->num] = (struct entry){copy, spool_list_size(list) + size};
    list->num++;
    return 0;
}

uint64_t spool_list_size(const struct spool_list *list)
{
    return list->num > 0 ? list->entries[list->num - 1].end : 0;
}

static uint64_t start_of(const struct spool_list *list, size_t i)
{
    return i > 0 ? list->entries[i - 1].end : 0;
}

/* The file that has the byte: mostly the one that is open, or the next one. */
static size_t find(const struct spool_list *list, uint64_t offset)
{
    size_t low = 0, high = list->num - 1;

    assert(offset < spool_list_size(list));
    if (offset >= start_of(list, list->at) && offset < list->entries[list->at].end)
        return list->at;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (offset < list->entries[middle].end)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int open_file(struct spool_list *list, size_t i)
{
    if (list->fd != -1 && list->at == i)
        return 0;
    close_file(list);
    list->at = i;
    list->fd = openat(list->dir, list->entries[i].name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return list->fd != -1 ? 0 : ERR_IO;
}

ssize_t spool_list_read(struct spool_list *list, char *buf, size_t len, uint64_t offset)
{
    uint64_t left;
    size_t i;
    ssize_t n;

    if (offset >= spool_list_size(list))
        return 0;
    i = find(list, offset);
    if (open_file(list, i) != 0)
        return -1;
    left = list->entries[i].end - offset;
    do
        n = pread(list->fd, buf, len < left ? len : (size_t)left,
                  (off_t)(offset - start_of(list, i)));
    while (n == -1 && errno == EINTR);
    return n > 0 || len == 0 ? n : -1;
}
