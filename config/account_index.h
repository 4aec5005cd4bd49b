/* Which accounts of a list may be the one that is looked for: a hash index, so that a list of ten
 * thousand rows with as many keys is built in one go over them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Numbers by hash. All zero before its first use. */
struct account_index {
    struct account_slot *slots; /* owned; open addressing; a power of two, half of it free */
    size_t num, cap;
};

/** Add a number, also one that is there already. @return 0, ERR_NOMEM */
MUST_USE int account_index_add(struct account_index *index, uint32_t hash, uint32_t number);
/** The next number that was added with this hash; equal hashes may be of others.
 *  @param at  the caller's; 0 before the first call for a hash
 *  @return false: there is none any more */
bool account_index_next(const struct account_index *index, uint32_t hash, size_t *at,
                        uint32_t *number);
void account_index_deinit(struct account_index *index);

/** Go on with a hash: FNV-1a of the bytes and their end. @param hash  ACCOUNT_HASH to begin with
 *  @param bytes  NULL: a value that is not there, unlike an empty one */
uint32_t account_hash(uint32_t hash, const void *bytes, size_t len);

#define ACCOUNT_HASH UINT32_C(2166136261)
