/* The little of khash.h (klib's hash table) that libh2o's installed header h2o/http2_internal.h
 * needs and no package installs beside it: the table's layout and the look-up, written after klib's
 * documentation and what the library's binary does. Only looking is possible: libh2o alone writes
 * its table. The start-up self-test (guard_selftest.c) proves that layout, hash function and
 * probing still match. */
#pragma once

#include <stdint.h>

typedef uint32_t khint_t;
typedef khint_t khiter_t;

#define KHASH_MAP_INIT_INT64(name, value_type)                                                     \
    typedef struct kh_##name##_s {                                                                 \
        khint_t n_buckets, size, n_occupied, upper_bound;                                          \
        uint32_t *flags; /* two bits a bucket: 2 empty, 1 deleted */                               \
        uint64_t *keys;                                                                            \
        value_type *vals;                                                                          \
    } kh_##name##_t;                                                                               \
    static inline khint_t kh_get_##name(const kh_##name##_t *h, uint64_t key)                      \
    {                                                                                              \
        khint_t mask = h->n_buckets - 1, step = 0, first, i;                                       \
                                                                                                   \
        if (h->n_buckets == 0)                                                                     \
            return 0;                                                                              \
        first = i = (khint_t)(key >> 33 ^ key ^ key << 11) & mask;                                 \
        while ((kh_bits(h, i) & 2) == 0 && ((kh_bits(h, i) & 1) != 0 || h->keys[i] != key)) {      \
            i = (i + ++step) & mask;                                                               \
            if (i == first)                                                                        \
                return h->n_buckets;                                                               \
        }                                                                                          \
        return kh_bits(h, i) == 0 ? i : h->n_buckets;                                              \
    }

#define kh_bits(h, i)      ((h)->flags[(i) >> 4] >> (((i)&15U) << 1) & 3U)
#define khash_t(name)      kh_##name##_t
#define kh_get(name, h, k) kh_get_##name(h, k)
#define kh_begin(h)        ((khint_t)0)
#define kh_end(h)          ((h)->n_buckets)
#define kh_exist(h, i)     (kh_bits(h, i) == 0)
#define kh_val(h, i)       ((h)->vals[i])
