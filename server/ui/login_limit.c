/* See login_limit.h. */
#include "login_limit.h"

#include <assert.h>

#include "common/shm_words.h"

#define BUCKET_MS (UINT64_C(1) * LOGIN_AT_ONCE * LOGIN_EACH_MS)

/* Any bits to good ones: the finisher of SplitMix64 (public domain). */
static _Atomic uint64_t *place_of(_Atomic uint64_t *words, uint32_t num, uint64_t peer)
{
    assert(num > 0);
    peer = (peer ^ peer >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    peer = (peer ^ peer >> 27) * UINT64_C(0x94d049bb133111eb);
    return &words[(peer ^ peer >> 31) % num];
}

bool login_limit_take(_Atomic uint64_t *words, uint32_t num, uint64_t peer, uint64_t now_ms,
                      uint64_t *wait_ms)
{
    _Atomic uint64_t *word = place_of(words, num, peer);
    uint64_t until_ms = load_relaxed(word), next_ms;

    do {
        next_ms = (until_ms > now_ms ? until_ms : now_ms) + LOGIN_EACH_MS;
        if (next_ms > now_ms + BUCKET_MS) {
            *wait_ms = next_ms - now_ms - BUCKET_MS;
            return false;
        }
    } while (!cas_weak_relaxed(word, &until_ms, next_ms));
    return true;
}
