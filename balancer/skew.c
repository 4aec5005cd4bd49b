/* See skew.h. */
#include "balancer/skew.h"

#include <stdlib.h>

#include "common/shm_words.h"

#define MINUTE_MS    60000u
#define KEEP_MINUTES (int32_t)(SKEW_KEEP_MS / MINUTE_MS)

static uint64_t pack(int64_t high, uint32_t low)
{
    return (uint64_t)(uint32_t)(int32_t)high << 32 | low;
}

static int64_t seconds_in(uint64_t word)
{
    return (int32_t)(uint32_t)(word >> 32);
}

static int64_t told_in(uint64_t word)
{
    return (int32_t)(uint32_t)word;
}

static int64_t floor_s(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

int64_t skew_after(int64_t before_s, const struct skew_sample *sample)
{
    int64_t least_s, most_s, after_s = before_s;

    if (sample->date_s < 0 || sample->date_s > INT64_MAX / 2000 ||
        sample->came_ms < sample->sent_ms)
        return before_s;
    /* `Date` has whole seconds, cut off. */
    least_s = floor_s(sample->date_s * 1000 - sample->came_ms);
    most_s = floor_s(sample->date_s * 1000 + 1999 - sample->sent_ms);
    if (after_s < least_s)
        after_s = least_s;
    if (after_s > most_s)
        after_s = most_s;
    return llabs(after_s) <= SKEW_MAX_S ? after_s : before_s;
}

static bool is_news(int64_t told_s, int64_t now_s)
{
    if (llabs(now_s) > SKEW_WARN_S)
        return llabs(now_s - told_s) > SKEW_WARN_S;
    return told_s != 0 && llabs(now_s) <= SKEW_CALM_S;
}

/* @param before_s  what was believed until now, and may have been for long */
static void keep_low(struct skew *skew, int64_t before_s, int64_t now_s, uint64_t now_ms)
{
    uint32_t minute = (uint32_t)(now_ms / MINUTE_MS) + 1; /* 0: none yet */
    uint64_t old = load_relaxed(&skew->low), new;

    do {
        int64_t low_s = seconds_in(old);
        uint32_t at = (uint32_t)old;

        if (at == 0) {
            low_s = before_s < now_s ? before_s : now_s;
            at = minute;
        }
        if (before_s <= low_s || (int32_t)(minute - at) > KEEP_MINUTES) {
            low_s = before_s;
            at = minute;
        }
        if (now_s <= low_s) {
            low_s = now_s;
            at = minute;
        }
        new = pack(low_s, at);
    } while (new != old && !cas_weak_relaxed(&skew->low, &old, new));
}

bool skew_learn(struct skew *skew, const struct skew_sample *sample, uint64_t now_ms)
{
    uint64_t old = load_relaxed(&skew->now), new;
    int64_t before_s, now_s;
    bool news;

    do {
        before_s = seconds_in(old);
        now_s = skew_after(before_s, sample);
        news = is_news(told_in(old), now_s);
        new = pack(now_s, news ? (llabs(now_s) > SKEW_WARN_S ? (uint32_t)(int32_t)now_s : 0)
                               : (uint32_t)old);
        /* The lowest first: who sees the new one must not miss the one before. */
        keep_low(skew, before_s, now_s, now_ms);
    } while (new != old && !cas_weak_relaxed(&skew->now, &old, new));
    return news;
}

int64_t skew_now_s(const struct skew *skew)
{
    return seconds_in(load_relaxed(&skew->now));
}

int64_t skew_low_s(const struct skew *skew)
{
    int64_t low_s = seconds_in(load_relaxed(&skew->low));
    int64_t now_s = skew_now_s(skew);

    return low_s < now_s ? low_s : now_s;
}

void skew_forget(struct skew *skew)
{
    store_relaxed(&skew->now, 0);
    store_relaxed(&skew->low, 0);
}
