/* See provider_clock.h. */
#include "core/provider_clock.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "upstream/date.h"

static struct skew *skew_of(const struct inherited *inherited, uint32_t deployment)
{
    uint32_t first = table_deployment(inherited->table, deployment)->first;

    return state_skew(inherited->state, inherited->columns[first]);
}

static void log_skew(const struct inherited *inherited, uint32_t deployment, int64_t skew_s)
{
    uint32_t account = table_deployment(inherited->table, deployment)->account;
    const char *name = inherited->config->models.accounts[account].name;

    if (llabs(skew_s) > SKEW_WARN_S)
        log_warn("account %s: its clock is %lld s %s ours; its times are judged by its own clock",
                 name, llabs(skew_s), skew_s > 0 ? "ahead of" : "behind");
    else
        log_info("account %s: its clock agrees with ours again", name);
}

void provider_clock_learn(const struct inherited *inherited, uint32_t deployment,
                          const struct upstream_result *result, uint64_t now_ms)
{
    int64_t began_ms = clock_unix_ms() - (int64_t)(result->total_us / 1000);
    struct skew_sample sample = {.sent_ms = began_ms,
                                 .came_ms = began_ms + (int64_t)(result->first_byte_us / 1000)};
    struct skew *skew;

    if (result->head.status == 0 || !date_of(&result->head, &sample.date_s))
        return;
    if (result->first_byte_us == 0)
        sample.came_ms = began_ms + (int64_t)(result->total_us / 1000);
    skew = skew_of(inherited, deployment);
    if (skew_learn(skew, &sample, now_ms))
        log_skew(inherited, deployment, skew_now_s(skew));
}

int64_t provider_clock_skew_s(const struct inherited *inherited, uint32_t deployment)
{
    return skew_now_s(skew_of(inherited, deployment));
}

int64_t provider_clock_now_s(const struct inherited *inherited, uint32_t deployment)
{
    return clock_unix_s() + provider_clock_skew_s(inherited, deployment);
}

int64_t provider_clock_floor_s(const struct inherited *inherited, uint32_t deployment)
{
    return clock_unix_s() + skew_low_s(skew_of(inherited, deployment));
}
