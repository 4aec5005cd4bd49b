/* How often one address may make a worker ask for a key that it does not know (tenants statement
 * C27): a database is behind each question, and a stranger may make up as many keys as it likes. A
 * bucket for each of some hundred places, which addresses share by chance. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MISSES_PLACES  1024
#define MISSES_EACH_MS 100 /* one question in this time, */
#define MISSES_AT_ONCE 20  /* and so many more at once */

/* Of a worker; all zero is a new one. */
struct misses {
    uint64_t full_ms[MISSES_PLACES]; /* monotonic: when the bucket is full again */
};

/** Take one question from an address's bucket.
 *  @param peer  a number for the address
 *  @return false: it has asked too often, and nothing was taken */
bool misses_pass(struct misses *misses, uint64_t peer, uint64_t now_ms);
