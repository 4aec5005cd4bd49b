/* See save.h. */
#include "save.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(struct save *s)
{
    s->error = errno != 0 ? errno : EIO;
    return ERR_IO;
}

int save_begin(struct save *s, const char *path)
{
    *s = (struct save){.fd = -1};
    s->path = strdup(path);
    if (s->path == NULL || asprintf(&s->part, "%s.part", path) == -1) {
        s->part = NULL;
        return ERR_NOMEM;
    }
    s->fd = open(s->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return s->fd == -1 ? fail(s) : 0;
}

bool save_write(struct save *s, const char *bytes, size_t len)
{
    assert(s->fd != -1);
    while (len > 0) {
        ssize_t n = write(s->fd, bytes, len);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1) {
            (void)fail(s);
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* A name is on the disk when its directory is. */
static int sync_directory(struct save *s)
{
    char *copy = strdup(s->path);
    int fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int ret = 0;

    if (fd == -1 || (fsync(fd) == -1 && errno != EINVAL))
        ret = fail(s);
    if (fd != -1)
        close(fd);
    free(copy);
    return ret;
}

int save_commit(struct save *s)
{
    int fd = s->fd;

    assert(fd != -1);
    if (fsync(fd) == -1 && errno != EINVAL && errno != EROFS) /* a pipe or device cannot */
        return fail(s);
    s->fd = -1;
    if (close(fd) == -1 || rename(s->part, s->path) == -1)
        return fail(s);
    free(s->part);
    s->part = NULL;
    return sync_directory(s);
}

void save_end(struct save *s)
{
    if (s->fd != -1)
        close(s->fd);
    if (s->part != NULL)
        (void)unlink(s->part);
    free(s->part);
    free(s->path);
    s->part = s->path = NULL;
    s->fd = -1;
}

int save_text(const char *path, const char *bytes, size_t len, int *error)
{
    struct save s;
    int ret = save_begin(&s, path);

    if (ret == 0 && !save_write(&s, bytes, len))
        ret = ERR_IO;
    if (ret == 0)
        ret = save_commit(&s);
    *error = s.error;
    save_end(&s);
    return ret;
}
