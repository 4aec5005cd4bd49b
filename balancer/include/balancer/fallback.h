/* Where the work of a group goes when all its deployments refuse: LiteLLM's `fallbacks`,
 * `default_fallbacks` and `max_fallbacks` as an ordered list of groups. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What one group falls back to. Groups are indexes of the table. */
struct fallback_rule {
    uint32_t group;     /* MODEL_NO_INDEX: any (`default_fallbacks`, or "*") */
    const uint32_t *to; /* borrowed; in the order they are tried */
    uint32_t num_to;
};

/**
 * The groups that a request for `group` goes through, that one first.
 *
 * A group that is fallen back to brings its own fallbacks with it, before the next one of the list
 * that named it: LiteLLM asks each in turn as if it were the group that was asked for. What holds
 * for any group comes last. No group comes twice. Of several rules for one group the first counts;
 * of those for any group all do, in their order.
 *
 * @param chain  room for max_fallbacks + 1
 * @return the length of the chain: 1 to max_fallbacks + 1
 */
uint32_t fallback_chain(const struct fallback_rule *rules, size_t num_rules, uint32_t group,
                        uint32_t max_fallbacks, uint32_t *chain);
