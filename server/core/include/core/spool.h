/* Where an upload waits while it is checked: memory up to 64 KiB, then one unlinked file in
 * spool_dir and its last bytes in memory. All workers' spools together stay under one limit. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/loop.h"
#include "core/inherited.h"

#define SPOOL_MEMORY 65536 /* bytes; also what the file is written in */

struct spool_list; /* spool_list.h */

struct spool {
    const struct inherited *inherited; /* borrowed: spool_dir, limit, slots */
    uint32_t slot;                     /* whose account the bytes are on */
    struct loop *loop;                 /* borrowed; NULL: a large file is given back at once */
    char *memory;   /* owned; the last bytes, SPOOL_MEMORY at most; NULL: none yet */
    int fd;         /* -1: all is in memory */
    uint64_t filed; /* bytes in the file: whole blocks of SPOOL_MEMORY */
    uint64_t size;  /* bytes written: `filed`, then those in memory */
    /* Owned; where its file stands until spool_keep(), locked by flock(2) meanwhile; NULL: the file
     * has no name */
    char *path;
    uint64_t allowance; /* bytes that it may go over the limit: they are counted elsewhere, too */
    struct spool_list *list; /* owned; files that it reads in place of its own; NULL: none */
};

/** An empty spool; nothing is allocated before the first byte. `inherited` and `loop` are borrowed
 * until spool_deinit(). */
void spool_init(struct spool *spool, const struct inherited *inherited, uint32_t slot,
                struct loop *loop);

/** An empty spool whose file, from the first byte on, has a name until it is kept: whoever finds one
 * that nobody has locked may remove it.
 *  @param path       copied; nothing of that name is there
 *  @param allowance  bytes that are counted for it already
 *  @return 0, ERR_NOMEM */
MUST_USE int spool_init_named(struct spool *spool, const struct inherited *inherited, uint32_t slot,
                              struct loop *loop, const char *path, uint64_t allowance);

/** All was written: the file gets its name for good and counts no more here. The spool is empty
 * then, as after spool_deinit().
 *  @param path  on the same file system; replaced if it is there
 *  @return 0; ERR_NOT_FOUND: its folder is gone; ERR_FULL, ERR_IO, ERR_NOMEM: the spool is as it
 *          was, of no use but for spool_deinit() */
MUST_USE int spool_keep(struct spool *spool, const char *path);

/** A spool of files that are counted elsewhere: it can be read, and not written.
 *  @param list  taken over, also when it is empty */
void spool_of_list(struct spool *spool, const struct inherited *inherited, struct spool_list *list);

/** Give the space back. Its bytes count no more; a large file leaves the disk in slices, one a turn
 * of the loop, because the kernel takes 20 ms to drop 200 MB (measured) and everybody would wait. A
 * disk that is full meanwhile gets all of this process's at once. */
void spool_deinit(struct spool *spool);

/** Bytes of all workers' spools now, and what open uploads have reserved (parts/parts.h). */
uint64_t spool_total(const struct inherited *inherited);

/** Append. @return 0; ERR_FULL (the limit of all workers, or the disk); ERR_IO (errno); ERR_NOMEM.
 * After an error the spool is of no use but for spool_deinit() */
MUST_USE int spool_write(struct spool *spool, const char *bytes, size_t len);

/** Read like pread(2): bytes, 0 at the end, -1 on error. Fits jsonl_read_cb with the spool as
 * `arg`. */
ssize_t spool_read(void *spool, char *buf, size_t len, uint64_t offset);
