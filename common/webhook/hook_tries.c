/* See hook_tries.h. */
#include "webhook/hook_tries.h"

#include <assert.h>
#include <stddef.h>

#define SECOND_MS       ((int64_t)1000)
#define MINUTE_MS       (60 * SECOND_MS)
#define HOUR_MS         (60 * MINUTE_MS)
#define RETRY_AFTER_MAX (24 * HOUR_MS)
#define REST_MS         (30 * SECOND_MS) /* of one that does not say for how long */
#define REST_MAX        HOUR_MS

/* Standard Webhooks' own steps, the last of them again until it is over. */
static const int64_t waits[] = {5 * SECOND_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS,
                                5 * HOUR_MS,   10 * HOUR_MS,  14 * HOUR_MS,   20 * HOUR_MS};
#define NUM_WAITS (sizeof(waits) / sizeof(waits[0]))

enum hook_verdict hook_verdict(int status)
{
    if (status >= 200 && status < 300)
        return HOOK_DELIVERED;
    return status == 410 ? HOOK_GONE : HOOK_AGAIN;
}

int64_t hook_tries_wait(uint32_t tries, int64_t age_ms, int64_t retry_after_ms, uint32_t random)
{
    size_t step = tries > NUM_WAITS ? NUM_WAITS - 1 : tries - 1;
    int64_t wait;

    assert(tries > 0);
    wait = waits[step] + (int64_t)((uint64_t)(waits[step] / 10) * random >> 32);
    if (retry_after_ms > RETRY_AFTER_MAX)
        retry_after_ms = RETRY_AFTER_MAX;
    if (wait < retry_after_ms)
        wait = retry_after_ms;
    return age_ms > HOOK_GIVE_UP_MS - wait ? -1 : wait;
}

int64_t hook_tries_rest(int status, int64_t retry_after_ms)
{
    if (status != 429 && status != 502 && status != 503 && status != 504)
        return 0;
    if (retry_after_ms < 0)
        return REST_MS;
    return retry_after_ms < REST_MAX ? retry_after_ms : REST_MAX;
}

bool hook_tries_is_dead(int64_t failing_since_ms, int64_t now_ms)
{
    return failing_since_ms != 0 && now_ms - failing_since_ms >= HOOK_GIVE_UP_MS;
}
