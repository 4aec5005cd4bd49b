/* How often an address may fail to log in: some times at once, then once in a while. The words are
 * shared by all workers; each is the time until which its bucket is not empty, in a place that
 * addresses share by chance. Pure but for the words. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOGIN_AT_ONCE 5
#define LOGIN_EACH_MS 10000

/** Take one try from the bucket of an address, whose login shows no good key.
 *  @param words    [num], zeroes at first
 *  @param peer     a number for the address
 *  @param wait_ms  written when false is returned: until the next try
 *  @return false: it has failed too often, and nothing was taken */
bool login_limit_take(_Atomic uint64_t *words, uint32_t num, uint64_t peer, uint64_t now_ms,
                      uint64_t *wait_ms);
