/* A file that comes to stand whole or not at all: written beside its place, synced, renamed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct save {
    char *path, *part; /* owned; where it will stand, where it is written */
    int fd;            /* -1: closed */
    int error;         /* errno of what failed; 0 */
};

/** Begin a file "PATH.part", over one that an earlier try left. @return 0, ERR_NOMEM, ERR_IO
 * (`error`); save_end() it in any case */
MUST_USE int save_begin(struct save *save, const char *path);
/** @return whether all of it was written; else `error` */
bool save_write(struct save *save, const char *bytes, size_t len);
/** Sync it, put it in its place, sync the directory. @return 0, ERR_IO (`error`) */
MUST_USE int save_commit(struct save *save);
/** Remove what was not committed, free all. */
void save_end(struct save *save);

/** A small file at once. @param error  errno, written on ERR_IO. @return 0, ERR_NOMEM, ERR_IO */
MUST_USE int save_text(const char *path, const char *bytes, size_t len, int *error);
