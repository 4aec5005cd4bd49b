/* Anonymous memory shared by the master and every child forked later; never written to a core. */
#pragma once

#include <stddef.h>

#include "common/err.h"

/** Map `size` bytes of zeroes (rounded up to pages) shared with children. NULL when out of memory
 * (errno). */
void *shm_new(size_t size);

/** Make a region read-only in this process and all forked from it afterwards. Returns 0 or ERR_IO.
 */
MUST_USE int shm_seal(void *region, size_t size);

/** Unmap; NULL is fine. */
void shm_free(void *region, size_t size);
