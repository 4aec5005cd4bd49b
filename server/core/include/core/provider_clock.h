/* The clocks of the providers, one of each account (balancer/skew.h): who gets an answer tells its
 * `Date`, and who compares a provider's times with now asks here. Shared by all processes. */
#pragma once

#include <stdint.h>

#include "upstream/client.h"
#include "core/inherited.h"

/** An answer came, just now: learn from its `Date`, if it has one. A skew above SKEW_WARN_S is
 * logged, once for each change.
 *  @param deployment  that was asked; the clock is its account's
 *  @param now_ms      monotonic */
void provider_clock_learn(const struct inherited *inherited, uint32_t deployment,
                          const struct upstream_result *result, uint64_t now_ms);

/** Now, in Unix seconds, as the provider of that deployment would tell it. */
int64_t provider_clock_now_s(const struct inherited *inherited, uint32_t deployment);

/** The same, but not later than what its clock told of now at any time in a day: who must not take
 * something for old that is not asks this. */
int64_t provider_clock_floor_s(const struct inherited *inherited, uint32_t deployment);

/** Seconds that its clock is ahead of ours; below 0: behind. */
int64_t provider_clock_skew_s(const struct inherited *inherited, uint32_t deployment);
