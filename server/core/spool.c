/* See spool.h. The file is made with O_TMPFILE (or made and unlinked where the file system lacks
 * that): nothing is left behind, whatever kills us. */
#include "core/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/spool_list.h"

#define GIVE_BACK_SLICE (512u << 10) /* a turn, of all files; 4 MiB cost 0.45 ms, measured */

/* A file of a spool that is no more, getting shorter. */
struct remains {
    struct remains *next;
    int fd;        /* owned */
    uint64_t size; /* bytes left; counted nowhere: whoever reads an answer finds the room */
};

/* All of this process, one after the other: fifty uploads whose client leaves cost a turn of the
 * loop no more than one does. */
static struct {
    struct remains *first, *last; /* owned */
    struct loop_timer timer;      /* runs while there is any; its argument is the loop */
} going;

void spool_init(struct spool *spool, const struct inherited *inherited, uint32_t slot,
                struct loop *loop)
{
    memset(spool, 0, sizeof(*spool));
    spool->inherited = inherited;
    spool->slot = slot;
    spool->loop = loop;
    spool->fd = -1;
}

int spool_init_named(struct spool *spool, const struct inherited *inherited, uint32_t slot,
                     struct loop *loop, const char *path, uint64_t allowance)
{
    spool_init(spool, inherited, slot, loop);
    spool->path = strdup(path);
    spool->allowance = allowance;
    return spool->path != NULL ? 0 : ERR_NOMEM;
}

void spool_of_list(struct spool *spool, const struct inherited *inherited, struct spool_list *list)
{
    assert(list != NULL);
    spool_init(spool, inherited, 0, NULL);
    spool->list = list;
    spool->size = spool_list_size(list);
}

static _Atomic uint64_t *own_bytes(const struct spool *spool)
{
    assert(spool->slot < WORKER_ROWS);
    return &spool->inherited->shared->slots[spool->slot].spool_bytes;
}

static void close_first(void)
{
    struct remains *r = going.first;

    going.first = r->next;
    close(r->fd);
    free(r);
}

static void close_all(void)
{
    if (going.first == NULL)
        return;
    loop_timer_stop(going.timer.arg, &going.timer);
    while (going.first != NULL)
        close_first();
}

static void on_give_back(struct loop_timer *timer)
{
    struct remains *r = going.first;
    uint64_t slice = r->size < GIVE_BACK_SLICE ? r->size : GIVE_BACK_SLICE;

    assert(r->size > 0 && r->fd != -1);
    if (slice == r->size || ftruncate(r->fd, (off_t)(r->size - slice)) == -1)
        close_first();
    else
        r->size -= slice;
    if (going.first != NULL && loop_timer_start(timer->arg, timer, 0) != 0)
        close_all();
}

/* @return false: not taken over */
static bool give_back_slowly(struct spool *spool)
{
    struct remains *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return false;
    r->fd = spool->fd;
    r->size = spool->size;
    if (going.first == NULL) {
        going.timer.cb = on_give_back;
        going.timer.arg = spool->loop;
        if (loop_timer_start(spool->loop, &going.timer, 0) != 0) {
            free(r);
            return false;
        }
        going.first = r;
    } else {
        assert(going.timer.arg == spool->loop);
        going.last->next = r;
    }
    going.last = r;
    return true;
}

void spool_deinit(struct spool *spool)
{
    if (spool->inherited == NULL)
        return;
    if (spool->list == NULL)
        atomic_fetch_sub_explicit(own_bytes(spool), spool->size, memory_order_relaxed);
    spool_list_free(spool->list);
    if (spool->path != NULL && spool->fd != -1)
        (void)unlink(spool->path);
    free(spool->path);
    if (spool->fd != -1 &&
        (spool->loop == NULL || spool->size <= GIVE_BACK_SLICE || !give_back_slowly(spool)))
        close(spool->fd);
    free(spool->memory);
    spool_init(spool, NULL, 0, NULL);
}

uint64_t spool_total(const struct inherited *inherited)
{
    uint64_t sum = atomic_load_explicit(&inherited->shared->parts_bytes, memory_order_relaxed);

    for (unsigned i = 0; i < WORKER_ROWS; i++)
        sum += atomic_load_explicit(&inherited->shared->slots[i].spool_bytes, memory_order_relaxed);
    return sum;
}

/* Whether `extra` more bytes fit under the limit of all workers; readers sum the slots, so two
 * workers may both take the last bytes: the limit is exact to one slice per worker. */
static bool fits(const struct spool *spool, size_t extra)
{
    return spool_total(spool->inherited) + extra <=
           spool->inherited->config->limits.spool_bytes + spool->allowance;
}

static int open_unlinked(const char *dir)
{
    char path[4096];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd != -1 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd;
    if (snprintf(path, sizeof(path), "%s/tranche.XXXXXX", dir) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd != -1)
        unlink(path);
    return fd;
}

/* Locked for as long as somebody writes it, whatever kills him. */
static int open_named(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd != -1)
        (void)flock(fd, LOCK_EX | LOCK_NB); /* nobody else has it: it is new */
    return fd;
}

/* Both pieces, one behind the other. */
static int write_both(int fd, struct iovec pieces[2], uint64_t offset)
{
    struct iovec *at = pieces, *end = pieces + 2;

    while (at < end) {
        ssize_t n = pwritev(fd, at, (int)(end - at), (off_t)offset);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ERR_FULL : ERR_IO;
        offset += (uint64_t)n;
        for (; at < end && (size_t)n >= at->iov_len; at++)
            n -= (ssize_t)at->iov_len;
        if (at < end) {
            at->iov_base = (char *)at->iov_base + n;
            at->iov_len -= (size_t)n;
        }
    }
    return 0;
}

static int file_both(struct spool *spool, const char *bytes, size_t len)
{
    struct iovec pieces[2] = {
        {.iov_base = spool->memory, .iov_len = (size_t)(spool->size - spool->filed)},
        {.iov_base = (char *)(uintptr_t)bytes, .iov_len = len}};
    size_t total = pieces[0].iov_len + len;
    int rc;

    assert(total > 0 && spool->list == NULL);
    if (spool->fd == -1) {
        spool->fd = spool->path != NULL ? open_named(spool->path)
                                        : open_unlinked(spool->inherited->config->spool_dir);
        if (spool->fd == -1)
            return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
    }
    rc = write_both(spool->fd, pieces, spool->filed);
    if (rc == 0)
        spool->filed += total;
    return rc;
}

/* What is in memory and the first bytes of `bytes`, together whole blocks, go to the file. The page
 * cache takes a whole block that begins at its own place as one large folio: writing then costs
 * half of what it does at odd offsets, reading and giving back two thirds (ext4, Linux 6.18,
 * measured). A disk that is full of files that are given back is not full. */
static int file_blocks(struct spool *spool, const char *bytes, size_t len)
{
    int rc = file_both(spool, bytes, len);

    if (rc != ERR_FULL || going.first == NULL)
        return rc;
    close_all();
    return file_both(spool, bytes, len);
}

int spool_write(struct spool *spool, const char *bytes, size_t len)
{
    size_t held = (size_t)(spool->size - spool->filed), total = held + len, to_file;
    int rc;

    assert(spool->filed <= spool->size && held <= SPOOL_MEMORY);
    if (!fits(spool, len))
        return ERR_FULL;
    if (spool->memory == NULL && (spool->memory = malloc(SPOOL_MEMORY)) == NULL)
        return ERR_NOMEM;
    if (total > SPOOL_MEMORY) {
        to_file = total - total % SPOOL_MEMORY - held;
        rc = file_blocks(spool, bytes, to_file);
        if (rc != 0)
            return rc;
        bytes += to_file;
        held = 0;
        total %= SPOOL_MEMORY;
    }
    memcpy(spool->memory + held, bytes, total - held);
    spool->size += len;
    atomic_fetch_add_explicit(own_bytes(spool), len, memory_order_relaxed);
    return 0;
}

int spool_keep(struct spool *spool, const char *path)
{
    size_t held = (size_t)(spool->size - spool->filed);
    int rc;

    assert(spool->path != NULL && spool->size > 0);
    if (held > 0 && (rc = file_blocks(spool, NULL, 0)) != 0)
        return rc;
    if (rename(spool->path, path) == -1)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    close(spool->fd); /* its name keeps the bytes */
    spool->fd = -1;
    spool_deinit(spool);
    return 0;
}

ssize_t spool_read(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct spool *spool = arg;
    ssize_t n;

    if (spool->list != NULL)
        return spool_list_read(spool->list, buf, len, offset);
    assert(spool->filed <= spool->size && (spool->filed == 0 || spool->fd != -1));
    if (offset >= spool->size)
        return 0;
    if (len > spool->size - offset)
        len = (size_t)(spool->size - offset);
    if (offset >= spool->filed) {
        memcpy(buf, spool->memory + (offset - spool->filed), len);
        return (ssize_t)len;
    }
    if (len > spool->filed - offset)
        len = (size_t)(spool->filed - offset);
    do
        n = pread(spool->fd, buf, len, (off_t)offset);
    while (n == -1 && errno == EINTR);
    return n;
}
