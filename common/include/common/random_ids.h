/* Random bytes for the ids of requests, of which each poll needs some: drawn from OpenSSL's generator
 * many at a time, since each draw costs a system call and a lock. What is handed out is wiped, and a
 * child begins with nothing that its parent drew. For what must stay secret, or makes money safe
 * (keys, markers' nonces), draw with RAND_bytes() itself. Of one thread, as a worker's loop is. */
#pragma once

#include <stddef.h>

#define RANDOM_IDS_MOST 64 /* bytes of one draw */

/** Draw `len` bytes, at most RANDOM_IDS_MOST. Who may do with zeros need not look at the result.
 *  @return 0; ERR_IO: the generator failed, `out` is zeros */
int random_ids(unsigned char *out, size_t len);
