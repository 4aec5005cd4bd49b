/* What an answer to a try means, and when the next one is due (webhook statements D24, D25, D27).
 * Pure: times and randomness are arguments. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HOOK_GIVE_UP_MS ((int64_t)72 * 3600 * 1000) /* without a success: an event, an endpoint */

enum hook_verdict {
    HOOK_DELIVERED, /* any 2xx */
    HOOK_AGAIN,     /* no answer, 3xx, 4xx, 5xx: what is broken during a deployment mends */
    HOOK_GONE       /* 410: the endpoint wants nothing any more */
};

/** @param status  of the answer; 0: there was none */
enum hook_verdict hook_verdict(int status);

/** When a try that failed is followed by another one: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h,
 * 20 h after the one before, and up to a tenth more; later where the receiver asked for that.
 *  @param tries           that were made, at least 1
 *  @param age_ms          since the event's birth, or since somebody had it told again
 *  @param retry_after_ms  what the receiver asked for; -1: nothing; a day counts at most
 *  @param random          any 32 bits
 *  @return ms from now; -1: none, it would be later than HOOK_GIVE_UP_MS after its birth */
int64_t hook_tries_wait(uint32_t tries, int64_t age_ms, int64_t retry_after_ms, uint32_t random);

/** For how long an endpoint gets nothing at all after an answer: 429, 502, 503 and 504 say that it
 * has too much to do. @return ms; 0: it goes on */
int64_t hook_tries_rest(int status, int64_t retry_after_ms);

/** Whether an endpoint is switched off: all failed for so long.
 *  @param failing_since_ms  Unix ms of the first failure after the last success; 0: none */
bool hook_tries_is_dead(int64_t failing_since_ms, int64_t now_ms);
