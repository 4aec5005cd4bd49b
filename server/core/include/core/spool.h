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

struct spool {
    const struct inherited *inherited; /* borrowed: spool_dir, limit, slots */
    uint32_t slot;                     /* whose account the bytes are on */
    struct loop *loop;                 /* borrowed; NULL: a large file is given back at once */
    char *memory;   /* owned; the last bytes, SPOOL_MEMORY at most; NULL: none yet */
    int fd;         /* -1: all is in memory */
    uint64_t filed; /* bytes in the file: whole blocks of SPOOL_MEMORY */
    uint64_t size;  /* bytes written: `filed`, then those in memory */
};

/** An empty spool; nothing is allocated before the first byte. `inherited` and `loop` are borrowed
 * until spool_deinit(). */
void spool_init(struct spool *spool, const struct inherited *inherited, uint32_t slot,
                struct loop *loop);

/** Give the space back: a large file in slices, one a turn of the loop, because the kernel takes 20
 * ms to drop 200 MB (measured) and everybody would wait. */
void spool_deinit(struct spool *spool);

/** Bytes of all workers' spools now. */
uint64_t spool_total(const struct inherited *inherited);

/** Append. @return 0; ERR_FULL (the limit of all workers, or the disk); ERR_IO (errno); ERR_NOMEM.
 * After an error the spool is of no use but for spool_deinit() */
MUST_USE int spool_write(struct spool *spool, const char *bytes, size_t len);

/** Read like pread(2): bytes, 0 at the end, -1 on error. Fits jsonl_read_cb with the spool as
 * `arg`. */
ssize_t spool_read(void *spool, char *buf, size_t len, uint64_t offset);
