/* See spool.h. The file is made with O_TMPFILE (or made and unlinked where the file system lacks
 * that): nothing is left behind, whatever kills us. */
#include "core/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define GIVE_BACK_SLICE (4u << 20) /* bytes a turn: 0.45 ms at most, measured */

/* A file of a spool that is no more, getting shorter. */
struct remains {
    struct loop *loop; /* borrowed */
    struct loop_timer timer;
    int fd;                    /* owned */
    uint64_t size;             /* bytes left */
    _Atomic uint64_t *counted; /* where they are counted until they are gone */
};

void spool_init(struct spool *spool, const struct inherited *inherited, uint32_t slot,
                struct loop *loop)
{
    memset(spool, 0, sizeof(*spool));
    spool->inherited = inherited;
    spool->slot = slot;
    spool->loop = loop;
    spool->fd = -1;
}

static _Atomic uint64_t *own_bytes(const struct spool *spool)
{
    assert(spool->slot < WORKER_ROWS);
    return &spool->inherited->shared->slots[spool->slot].spool_bytes;
}

static void remains_close(struct remains *r)
{
    atomic_fetch_sub_explicit(r->counted, r->size, memory_order_relaxed);
    close(r->fd);
    free(r);
}

static void on_give_back(struct loop_timer *timer)
{
    struct remains *r = timer->arg;
    uint64_t slice = r->size < GIVE_BACK_SLICE ? r->size : GIVE_BACK_SLICE;

    assert(r->size > 0 && r->fd != -1);
    if (slice == r->size || ftruncate(r->fd, (off_t)(r->size - slice)) == -1) {
        remains_close(r);
        return;
    }
    r->size -= slice;
    atomic_fetch_sub_explicit(r->counted, slice, memory_order_relaxed);
    if (loop_timer_start(r->loop, timer, 0) != 0)
        remains_close(r);
}

/* @return false: not taken over */
static bool give_back_slowly(struct spool *spool)
{
    struct remains *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return false;
    r->loop = spool->loop;
    r->timer.cb = on_give_back;
    r->timer.arg = r;
    r->fd = spool->fd;
    r->size = spool->size;
    r->counted = own_bytes(spool);
    if (loop_timer_start(r->loop, &r->timer, 0) == 0)
        return true;
    free(r);
    return false;
}

void spool_deinit(struct spool *spool)
{
    if (spool->inherited == NULL)
        return;
    if (spool->fd == -1 || spool->loop == NULL || spool->size <= GIVE_BACK_SLICE ||
        !give_back_slowly(spool)) {
        atomic_fetch_sub_explicit(own_bytes(spool), spool->size, memory_order_relaxed);
        if (spool->fd != -1)
            close(spool->fd);
    }
    free(spool->memory);
    spool_init(spool, NULL, 0, NULL);
}

uint64_t spool_total(const struct inherited *inherited)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < WORKER_ROWS; i++)
        sum += atomic_load_explicit(&inherited->shared->slots[i].spool_bytes, memory_order_relaxed);
    return sum;
}

/* Whether `extra` more bytes fit under the limit of all workers; readers sum the slots, so two
 * workers may both take the last bytes: the limit is exact to one slice per worker. */
static bool fits(const struct spool *spool, size_t extra)
{
    return spool_total(spool->inherited) + extra <= spool->inherited->config->limits.spool_bytes;
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

/* What is in memory and the first bytes of `bytes`, together whole blocks, go to the file. The page
 * cache takes a whole block that begins at its own place as one large folio: writing then costs
 * half of what it does at odd offsets, reading and giving back two thirds (ext4, Linux 6.18,
 * measured). */
static int file_blocks(struct spool *spool, const char *bytes, size_t len)
{
    struct iovec pieces[2] = {
        {.iov_base = spool->memory, .iov_len = (size_t)(spool->size - spool->filed)},
        {.iov_base = (char *)(uintptr_t)bytes, .iov_len = len}};
    size_t total = pieces[0].iov_len + len;
    int rc;

    assert(total > 0 && total % SPOOL_MEMORY == 0);
    if (spool->fd == -1) {
        spool->fd = open_unlinked(spool->inherited->config->spool_dir);
        if (spool->fd == -1)
            return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
    }
    rc = write_both(spool->fd, pieces, spool->filed);
    if (rc == 0)
        spool->filed += total;
    return rc;
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

ssize_t spool_read(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct spool *spool = arg;
    ssize_t n;

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
