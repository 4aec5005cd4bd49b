/* Memory shared by the master and every child forked later, never written to a core. What outlives
 * the program as well is a file without a name (memfd_create(2)), which the next program maps. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define CACHE_LINE 64

/** Map `size` bytes of zeroes (rounded up to pages) shared with children. NULL when out of memory
 * (errno). */
void *shm_new(size_t size);

/** As shm_new(), of a memfd that cannot change its size any more, so that shm_fd() has something to
 * hand over. Where the system gives none (a limit, an old kernel) it is as shm_new() makes it.
 *  @param name  for /proc/self/maps */
void *shm_new_lasting(const char *name, size_t size);

/** The descriptor of a region, close-on-exec and the region's own; -1: it has none. */
int shm_fd(const void *region);

/** Map what another program made by shm_new_lasting(), if it is what we would make.
 *
 * @param fd        taken over, also on failure; -1 is fine
 * @param head      the bytes that it has to begin with: magic, layout, size and all that is derived
 *                  of them, so that no index in it leads out of it
 * @param head_len  at most 128
 * @param size      bytes, the whole region
 * @return 0; ERR_NOT_FOUND (fd is -1); ERR_INVALID (another magic, layout or size, cut off, or no
 *         memfd whose size is fixed: a shorter one would end us with SIGBUS); ERR_NOMEM
 */
MUST_USE int shm_adopt(int fd, const void *head, size_t head_len, size_t size, void **out);

/** Make a region read-only in this process and all forked from it afterwards. Returns 0 or ERR_IO.
 */
MUST_USE int shm_seal(void *region, size_t size);

/** Unmap; NULL is fine. */
void shm_free(void *region, size_t size);
