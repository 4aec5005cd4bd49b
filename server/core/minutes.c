/* See minutes.h. */
#include "core/minutes.h"

#include <assert.h>

#include "common/shm_words.h"

#define MINUTE_MS   60000u
#define FIRST_SHIFT 6 /* the first bucket ends at 2^6 us */

static_assert((MINUTES_KEPT & (MINUTES_KEPT - 1)) == 0 && MINUTES_SHOWN < MINUTES_KEPT,
              "the minute that is written next is none of those that are shown");

static uint32_t stamp_of(uint64_t now_ms)
{
    return (uint32_t)(now_ms / MINUTE_MS) + 1;
}

/* Buckets end at 2^6, 2^6.5, 2^7, ... us. */
static unsigned bucket_of(uint64_t us)
{
    unsigned shift, bucket;

    if (us < 1u << FIRST_SHIFT)
        return 0;
    if (us > UINT32_MAX)
        return MINUTES_BUCKETS - 1;
    shift = 63 - (unsigned)__builtin_clzll(us);
    bucket = 2 * (shift - FIRST_SHIFT) + (us * us >= UINT64_C(1) << (2 * shift + 1)) + 1;
    return bucket < MINUTES_BUCKETS ? bucket : MINUTES_BUCKETS - 1;
}

/* The middle of a bucket, as ratios go. */
static uint64_t middle_us(unsigned bucket)
{
    static const uint64_t halves[2] = {11892, 16818}; /* 2^(1/4), 2^(3/4), in 1/10000 */

    if (bucket == 0)
        return (1u << FIRST_SHIFT) / 2;
    return (halves[(bucket - 1) % 2] << (FIRST_SHIFT + (bucket - 1) / 2)) / 10000;
}

void minutes_note(struct minutes_row *row, uint64_t us, bool failed, uint64_t now_ms)
{
    uint32_t stamp = stamp_of(now_ms);
    struct minute *m = &row->minutes[stamp % MINUTES_KEPT];
    _Atomic uint32_t *count = &m->times[bucket_of(us)];

    if (load_relaxed_32(&m->stamp) != stamp) {
        store_relaxed_32(&m->stamp, 0);
        store_relaxed_32(&m->failed, 0);
        for (unsigned i = 0; i < MINUTES_BUCKETS; i++)
            store_relaxed_32(&m->times[i], 0);
        store_relaxed_32(&m->stamp, stamp);
    }
    store_relaxed_32(count, load_relaxed_32(count) + 1);
    if (failed)
        store_relaxed_32(&m->failed, load_relaxed_32(&m->failed) + 1);
}

static void add_minute(const struct minute *m, struct minutes_sum *sum)
{
    for (unsigned i = 0; i < MINUTES_BUCKETS; i++) {
        uint32_t count = load_relaxed_32(&m->times[i]);

        sum->times[i] += count;
        sum->requests += count;
    }
    sum->failed += load_relaxed_32(&m->failed);
}

void minutes_add(const struct minutes_row *row, uint64_t now_ms, struct minutes_sum *sums)
{
    uint32_t now = stamp_of(now_ms);

    for (uint32_t i = 0; i < MINUTES_SHOWN && i < now; i++) {
        const struct minute *m = &row->minutes[(now - i) % MINUTES_KEPT];

        if (load_relaxed_32(&m->stamp) == now - i)
            add_minute(m, &sums[i]);
    }
}

uint64_t minutes_quantile_us(const struct minutes_sum *sum, unsigned permille)
{
    uint64_t wanted = (sum->requests * permille + 999) / 1000, seen = 0;

    assert(permille <= 1000);
    for (unsigned i = 0; i < MINUTES_BUCKETS; i++) {
        seen += sum->times[i];
        if (seen > 0 && seen >= wanted)
            return middle_us(i);
    }
    return 0;
}
