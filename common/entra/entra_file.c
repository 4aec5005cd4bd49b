/* See entra_file.h. A file is read from one open descriptor, so that one that is replaced meanwhile
 * gives the old content or the new, and never half of each. */
#include "entra/entra_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entra_challenge.h"

static int refuse(struct entra_error *error, int err, const char *path, const char *why)
{
    snprintf(error->message, sizeof(error->message), "%.*s: %s", 160, path, why);
    return err;
}

static int refuse_errno(struct entra_error *error, const char *path)
{
    char why[64] = "";

    snprintf(why, sizeof(why), "cannot be read: %s", strerror(errno));
    return refuse(error, ERR_IO, path, why);
}

static int judge(int fd, size_t most, const char *path, size_t *size, struct entra_error *error)
{
    struct stat st;
    char why[64];

    if (fstat(fd, &st) == -1)
        return refuse_errno(error, path);
    if (!S_ISREG(st.st_mode))
        return refuse(error, ERR_INVALID, path, "is no regular file");
    if (st.st_size == 0)
        return refuse(error, ERR_INVALID, path, "is empty");
    if ((uintmax_t)st.st_size > most) {
        snprintf(why, sizeof(why), "has more than %zu bytes", most);
        return refuse(error, ERR_LIMIT, path, why);
    }
    *size = (size_t)st.st_size;
    return 0;
}

static bool fill(int fd, struct secret *out)
{
    size_t done = 0;

    while (done < out->len) {
        ssize_t n = read(fd, out->data + done, out->len - done);

        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* Takes the descriptor. */
static int read_open(int fd, size_t most, const char *path, struct secret *out,
                     struct entra_error *error)
{
    size_t size = 0;
    int err;

    if (fd == -1)
        return refuse_errno(error, path);
    err = judge(fd, most, path, &size, error);
    if (err == 0 && secret_room(out, size) != 0)
        err = refuse(error, ERR_NOMEM, path, "there is no memory to read it");
    if (err == 0 && !fill(fd, out)) {
        secret_clear(out);
        err = refuse(error, ERR_IO, path, "became shorter while it was read");
    }
    close(fd);
    return err;
}

int entra_file_read(const char *path, struct secret *out, struct entra_error *error)
{
    /* A pipe in its place must not hold us up. */
    return read_open(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), ENTRA_MAX_FILE, path,
                     out, error);
}

int entra_file_arc_key(const char *path, const char *directory, struct secret *out,
                       struct entra_error *error)
{
    const char *name = entra_challenge_name(path, directory);
    int fd = -1, dir;

    if (name == NULL)
        return refuse(error, ERR_INVALID, path,
                      "is not what Azure Arc's challenge may name, a .key file directly in its "
                      "directory");
    dir = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir != -1) {
        fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (fd == -1 && errno == ELOOP) {
            close(dir);
            return refuse(error, ERR_INVALID, path, "is a link, which is not followed");
        }
        if (fd == -1) {
            int cause = errno;

            close(dir);
            errno = cause;
            return refuse_errno(error, path);
        }
        close(dir);
    }
    return read_open(fd, ENTRA_MAX_ARC_KEY, path, out, error);
}
