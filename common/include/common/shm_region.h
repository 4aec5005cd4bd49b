/* Tables in shared memory that outlive the program: what each begins with, and the two ways to get
 * one (balancer README 5 maps them all).
 *
 *   struct shm_head   magic, layout, size
 *   ...               the table's own: dimensions and offsets, all derived of what it is made with
 *   ...               the table
 *
 * The next program maps a region only if it begins with the very bytes with which it would begin
 * one itself: so no dimension and no offset in it leads out of it. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/shm.h"

struct shm_head {
    uint32_t magic;  /* four letters, the first one lowest */
    uint32_t layout; /* the table's number; raise it with any change of the region */
    uint64_t size;   /* bytes, the whole region */
};

static_assert(sizeof(struct shm_head) == 16, "layout of every region");

/** In place of a descriptor: make a region instead of mapping one. */
#define SHM_NEW (-2)

/** The region that begins with these bytes: a new one, else of zeroes, or the one that the program
 * before hands over.
 *
 * @param name      for /proc/self/maps
 * @param fd        SHM_NEW, or as of shm_adopt(), which takes it over
 * @param head      what the region begins with: a filled struct shm_head, and all that is derived
 *                  of what the table is made with
 * @param head_len  bytes of that, at most 128
 * @param region    written when 0 is returned
 * @return 0, ERR_NOMEM, or what shm_adopt() returns
 */
MUST_USE int shm_region_open(const char *name, int fd, const void *head, size_t head_len,
                             void **region);

/** Unmap a whole region by its head; NULL is fine. */
void shm_region_free(void *region);

/** @return the least multiple of `to` that is not below `bytes` */
static inline uint64_t shm_round_up(uint64_t bytes, uint64_t to)
{
    return (bytes + to - 1) / to * to;
}

/** @return the least power of two of buckets that hold `entries`, `each` so many */
static inline uint64_t shm_buckets(uint64_t entries, uint64_t each)
{
    uint64_t buckets = 1;

    while (buckets * each < entries)
        buckets *= 2;
    return buckets;
}
