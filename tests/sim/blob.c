/* See blob.h. */
#include "blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "common/err.h"

#define WINDOW (256 * 1024)

/* Large files that are no more, kept as they are: to write over pages costs a copy, to make new
 * ones several times that, and a benchmark would measure it. Their old bytes are never read: each
 * blob knows its own length. */
#define MAX_SPARE       2
#define MAX_SPARE_BYTES ((int64_t)2 << 30)

static const char *spool_dir = "/tmp";
static int spare[MAX_SPARE];
static int num_spare;

void blob_set_dir(const char *dir)
{
    spool_dir = dir;
}

static int spool_open(void)
{
    char path[4096];
    int fd;

    if (num_spare > 0)
        return spare[--num_spare];
    fd = open(spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd != -1)
        return fd;
    snprintf(path, sizeof(path), "%s/blob-XXXXXX", spool_dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd != -1)
        unlink(path);
    return fd;
}

static int write_all(int fd, const char *bytes, size_t len, int64_t pos)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, pos);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_FULL;
        bytes += n;
        len -= (size_t)n;
        pos += n;
    }
    return 0;
}

static int append_memory(struct blob *blob, const void *bytes, size_t len)
{
    size_t need = (size_t)blob->len + len;

    if (need > blob->cap) {
        size_t cap = blob->cap != 0 ? blob->cap : 1024;
        while (cap < need)
            cap *= 2;
        char *mem = realloc(blob->mem, cap);
        if (mem == NULL)
            return ERR_NOMEM;
        blob->mem = mem;
        blob->cap = cap;
    }
    memcpy(blob->mem + blob->len, bytes, len);
    blob->len += (int64_t)len;
    return 0;
}

int blob_append(struct blob *blob, const void *bytes, size_t len)
{
    if (len == 0)
        return 0;
    if (blob->fd == -1 && (size_t)blob->len + len <= BLOB_MEMORY_MAX)
        return append_memory(blob, bytes, len);
    if (blob->fd == -1) {
        blob->fd = spool_open();
        if (blob->fd == -1)
            return ERR_IO;
        if (blob->len > 0 && write_all(blob->fd, blob->mem, (size_t)blob->len, 0) != 0)
            return ERR_FULL;
        free(blob->mem);
        blob->mem = NULL;
        blob->cap = 0;
    }
    int rc = write_all(blob->fd, bytes, len, blob->len);
    if (rc == 0)
        blob->len += (int64_t)len;
    return rc;
}

int64_t blob_read(const struct blob *blob, int64_t pos, void *buf, size_t len)
{
    if (pos < 0 || pos >= blob->len)
        return 0;
    if ((int64_t)len > blob->len - pos)
        len = (size_t)(blob->len - pos);
    if (blob->fd == -1) {
        memcpy(buf, blob->mem + blob->off + pos, len);
        return (int64_t)len;
    }
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(blob->fd, (char *)buf + got, len - got, blob->off + pos + (int64_t)got);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return got > 0 ? (int64_t)got : -1;
        got += (size_t)n;
    }
    return (int64_t)got;
}

void blob_slice(struct blob *blob, int64_t off, int64_t len)
{
    blob->off += off;
    blob->len = len;
}

int blob_dup(struct blob *from, struct blob *to)
{
    *to = (struct blob)BLOB_INIT;
    if (from->fd == -1)
        return from->len == 0 ? 0 : append_memory(to, from->mem + from->off, (size_t)from->len);
    to->fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 0);
    to->off = from->off;
    to->len = from->len;
    to->shared = from->shared = true;
    return to->fd == -1 ? ERR_IO : 0;
}

/* A file that several blobs share stays open with the others, so it is never a spare. */
static void spool_close(const struct blob *blob)
{
    if (!blob->shared && num_spare < MAX_SPARE && blob->off + blob->len <= MAX_SPARE_BYTES)
        spare[num_spare++] = blob->fd;
    else
        close(blob->fd);
}

void blob_free(struct blob *blob)
{
    if (blob->fd != -1)
        spool_close(blob);
    free(blob->mem);
    *blob = (struct blob)BLOB_INIT;
}

int64_t blob_find(const struct blob *blob, int64_t from, const void *needle, size_t len)
{
    if (blob->fd == -1) {
        if (from < 0 || from > blob->len || blob->mem == NULL)
            return -1;
        const char *base = blob->mem + blob->off;
        const char *hit = memmem(base + from, (size_t)(blob->len - from), needle, len);
        return hit == NULL ? -1 : hit - base;
    }
    static char window[WINDOW + 256];
    int64_t pos = from;
    while (pos < blob->len) {
        int64_t n = blob_read(blob, pos, window, sizeof(window));
        if (n <= 0)
            return -1;
        const char *hit = memmem(window, (size_t)n, needle, len);
        if (hit != NULL)
            return pos + (hit - window);
        if (pos + n >= blob->len)
            return -1;
        pos += n - (int64_t)len + 1;
    }
    return -1;
}

void blob_sha256(const struct blob *blob, char out[65])
{
    static char window[WINDOW];
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int md_len = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    out[0] = '\0';
    if (ctx == NULL)
        return;
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (int64_t pos = 0, n; (n = blob_read(blob, pos, window, sizeof(window))) > 0; pos += n)
        EVP_DigestUpdate(ctx, window, (size_t)n);
    EVP_DigestFinal_ex(ctx, md, &md_len);
    EVP_MD_CTX_free(ctx);
    for (unsigned int i = 0; i < md_len && i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}
