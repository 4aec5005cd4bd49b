/* See outbox.h. */
#include "outbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES (1u << 20) /* of one message: the keeper's are shorter */
#define MAGIC      0x54475350u
#define FILES      8 /* of one path: so many processes may have one at a time */

/* In front of each message; of this machine's byte order. */
struct head {
    uint32_t magic, kind, len, sum;
};

struct outbox {
    char *path;      /* owned */
    int fd;          /* locked; -1: not open */
    uint64_t end;    /* of what was put */
    uint64_t synced; /* of what is on the disk */
    uint64_t read_at, kept;
};

int outbox_new(const char *path, struct outbox **out)
{
    struct outbox *outbox = calloc(1, sizeof(*outbox));

    if (outbox == NULL)
        return ERR_NOMEM;
    outbox->fd = -1;
    outbox->path = strdup(path);
    if (outbox->path == NULL) {
        free(outbox);
        return ERR_NOMEM;
    }
    *out = outbox;
    return 0;
}

void outbox_free(struct outbox *outbox)
{
    if (outbox == NULL)
        return;
    if (outbox->fd != -1)
        close(outbox->fd);
    free(outbox->path);
    free(outbox);
}

/* FNV-1a: a cut or torn message is to be found, nobody is to be kept from forging one. */
static uint32_t sum_of(const struct head *head, const char *bytes)
{
    uint32_t sum = 2166136261u;
    const uint32_t words[] = {head->magic, head->kind, head->len};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (unsigned shift = 0; shift < 32; shift += 8)
            sum = (sum ^ (words[i] >> shift & 0xff)) * 16777619u;
    for (uint32_t i = 0; i < head->len; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * 16777619u;
    return sum;
}

/* @return bytes read, less than asked for at the end; -1 (errno) */
static ssize_t read_at(const struct outbox *outbox, void *out, size_t len, uint64_t at)
{
    size_t have = 0;

    while (have < len) {
        ssize_t got = pread(outbox->fd, (char *)out + have, len - have, (off_t)(at + have));

        if (got == -1 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? (ssize_t)have : -1;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* @return 0; ERR_NOT_FOUND: there is no whole message; ERR_IO; ERR_NOMEM */
static int read_message(const struct outbox *outbox, uint64_t at, uint64_t end, struct head *head,
                        struct strbuf *out)
{
    ssize_t got;

    strbuf_reset(out);
    if (at + sizeof(*head) > end)
        return ERR_NOT_FOUND;
    got = read_at(outbox, head, sizeof(*head), at);
    if (got == -1)
        return ERR_IO;
    if (got != sizeof(*head) || head->magic != MAGIC || head->len > MOST_BYTES ||
        at + sizeof(*head) + head->len > end)
        return ERR_NOT_FOUND;
    if (strbuf_reserve(out, head->len + 1) != 0)
        return ERR_NOMEM;
    got = read_at(outbox, out->data, head->len, at + sizeof(*head));
    if (got == -1)
        return ERR_IO;
    out->len = head->len;
    out->data[out->len] = '\0';
    return got == (ssize_t)head->len && sum_of(head, out->data) == head->sum ? 0 : ERR_NOT_FOUND;
}

/* Where the last whole message ends: what is behind it was cut off. */
static int find_end(struct outbox *outbox, uint64_t size)
{
    struct strbuf message = STRBUF_INIT;
    struct head head = {0};
    uint64_t at = 0;
    int rc;

    while ((rc = read_message(outbox, at, size, &head, &message)) == 0)
        at += sizeof(head) + head.len;
    strbuf_deinit(&message);
    if (rc != ERR_NOT_FOUND)
        return rc;
    outbox->end = outbox->synced = at;
    return at < size && ftruncate(outbox->fd, (off_t)at) == -1 ? ERR_IO : 0;
}

static void close_file(struct outbox *outbox)
{
    close(outbox->fd);
    outbox->fd = -1;
    outbox->end = outbox->synced = outbox->read_at = outbox->kept = 0;
}

/* The first file has the path's name, the others a number behind it.
 * @return 0; ERR_NOT_FOUND: it is not there, and is not made; ERR_BAD_STATE: another process has it;
 *         ERR_IO */
static int open_file(struct outbox *outbox, unsigned number, int flags)
{
    char path[4096];
    struct stat st;
    int len = number == 0 ? snprintf(path, sizeof(path), "%s", outbox->path)
                          : snprintf(path, sizeof(path), "%s.%u", outbox->path, number);

    assert(outbox->fd == -1);
    if (len < 0 || (size_t)len >= sizeof(path))
        return ERR_IO;
    outbox->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (outbox->fd == -1)
        return errno == ENOENT && flags == 0 ? ERR_NOT_FOUND : ERR_IO;
    if (flock(outbox->fd, LOCK_EX | LOCK_NB) == -1) {
        int rc = errno == EWOULDBLOCK ? ERR_BAD_STATE : ERR_IO;

        close_file(outbox);
        return rc;
    }
    if (fstat(outbox->fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        close_file(outbox);
        return ERR_IO;
    }
    return find_end(outbox, (uint64_t)st.st_size);
}

/* What others left is taken over as long as there is any; of those that are empty none is kept. */
int outbox_open(struct outbox *outbox)
{
    if (outbox->fd != -1 && outbox->end > 0)
        return 0;
    if (outbox->fd != -1)
        close_file(outbox);
    for (unsigned number = 0; number < FILES; number++) {
        int rc = open_file(outbox, number, 0);

        if (rc == ERR_NOT_FOUND || rc == ERR_BAD_STATE)
            continue;
        if (rc != 0 || outbox->end > 0)
            return rc;
        close_file(outbox);
    }
    return 0;
}

/* One that nobody else has, to put something into. */
static int open_own(struct outbox *outbox)
{
    int rc = outbox->fd == -1 ? ERR_BAD_STATE : 0;

    for (unsigned number = 0; number < FILES && rc == ERR_BAD_STATE; number++)
        rc = open_file(outbox, number, O_CREAT);
    return rc == ERR_BAD_STATE ? ERR_FULL : rc;
}

static int write_at(const struct outbox *outbox, const void *bytes, size_t len, uint64_t at)
{
    size_t done = 0;

    while (done < len) {
        ssize_t put =
            pwrite(outbox->fd, (const char *)bytes + done, len - done, (off_t)(at + done));

        if (put == -1 && errno == EINTR)
            continue;
        if (put == -1)
            return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
        done += (size_t)put;
    }
    return 0;
}

int outbox_put(struct outbox *outbox, uint32_t kind, const void *bytes, size_t len)
{
    struct head head = {.magic = MAGIC, .kind = kind, .len = (uint32_t)len};
    int rc;

    assert(len <= MOST_BYTES);
    rc = open_own(outbox);
    if (rc == 0 && outbox->end + sizeof(head) + len > OUTBOX_MOST)
        return ERR_FULL;
    head.sum = sum_of(&head, bytes);
    if (rc == 0)
        rc = write_at(outbox, &head, sizeof(head), outbox->end);
    if (rc == 0)
        rc = write_at(outbox, bytes, len, outbox->end + sizeof(head));
    if (rc == 0)
        outbox->end += sizeof(head) + len;
    return rc;
}

int outbox_sync(struct outbox *outbox)
{
    if (outbox->end == outbox->synced)
        return 0;
    if (fdatasync(outbox->fd) == -1) {
        outbox->end = outbox->synced;
        (void)ftruncate(outbox->fd, (off_t)outbox->end); /* else its messages are said twice */
        return ERR_IO;
    }
    outbox->synced = outbox->end;
    return 0;
}

uint64_t outbox_bytes(const struct outbox *outbox)
{
    return outbox->end;
}

int outbox_read(struct outbox *outbox, uint32_t *kind, struct strbuf *out)
{
    struct head head = {0};
    int rc;

    strbuf_reset(out);
    if (outbox->fd == -1)
        return ERR_NOT_FOUND;
    rc = read_message(outbox, outbox->read_at, outbox->end, &head, out);
    if (rc != 0)
        return rc;
    outbox->read_at += sizeof(head) + head.len;
    *kind = head.kind;
    return 0;
}

void outbox_rewind(struct outbox *outbox)
{
    outbox->read_at = outbox->kept;
}

void outbox_keep(struct outbox *outbox)
{
    outbox->kept = outbox->read_at;
    if (outbox->kept < outbox->end || outbox->end == 0)
        return;
    if (ftruncate(outbox->fd, 0) == 0)
        outbox->end = outbox->synced = outbox->read_at = outbox->kept = 0;
}
