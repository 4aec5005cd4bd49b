/* Bytes of a request body or of a file: in memory while small, else in an unlinked file of the data
 * directory, so that files of 1 GB never sit in memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOB_MEMORY_MAX 65536

struct blob {
    char *mem; /* owned; NULL when empty or on disk */
    size_t cap;
    int fd;      /* owned; -1 when in memory */
    int64_t off; /* where the content begins in fd or mem */
    int64_t len; /* bytes */
    bool shared; /* the file has, or had, a second reference */
};

#define BLOB_INIT                                                                                  \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/** Where large blobs go. `dir` is borrowed for the life of the process. */
void blob_set_dir(const char *dir);

/** Append. Returns 0 or a negative code of common/err.h (disk full). Only for blobs with off 0. */
int blob_append(struct blob *blob, const void *bytes, size_t len);

/** Read up to `len` bytes at `pos` (relative to the content). Returns the number of bytes, 0 at the
 * end, -1 on error. */
int64_t blob_read(const struct blob *blob, int64_t pos, void *buf, size_t len);

/** Narrow the content to a part of it (no copy on disk). */
void blob_slice(struct blob *blob, int64_t off, int64_t len);

/** A second reference to the same bytes. Returns 0 or a negative code. */
int blob_dup(struct blob *from, struct blob *to);

void blob_free(struct blob *blob);

/** The first position >= `from` where `needle` (up to 256 bytes) occurs, or -1. */
int64_t blob_find(const struct blob *blob, int64_t from, const void *needle, size_t len);

/** SHA-256 as 64 hex digits and a NUL. */
void blob_sha256(const struct blob *blob, char out[65]);
