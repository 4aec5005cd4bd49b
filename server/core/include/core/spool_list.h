/* Files that are read one after another as if they were one: the parts of an upload. One of them is
 * open at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct spool_list;

/** An empty list of files in a folder.
 *  @param dir  descriptor; a duplicate of it is kept
 *  @return NULL: no memory, or no descriptor is left */
struct spool_list *spool_list_new(int dir);
void spool_list_free(struct spool_list *list); /* NULL is fine */

/** Add a file at the end.
 *  @param name  in the folder; copied
 *  @param size  its bytes, more than none
 *  @return 0, ERR_NOMEM */
MUST_USE int spool_list_add(struct spool_list *list, const char *name, uint64_t size);

/** Bytes of all of them. */
uint64_t spool_list_size(const struct spool_list *list);

/** Read like pread(2): at most to the end of one file. @return bytes, 0 at the end; -1: an error, or
 * a file that is gone or shorter than it was told to be */
ssize_t spool_list_read(struct spool_list *list, char *buf, size_t len, uint64_t offset);
