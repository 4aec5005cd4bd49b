/* See fallback.h. */
#include "balancer/fallback.h"

#include <stdbool.h>

#include "common/model.h"

/* One chain under way. Each step down into follow() has added a group, so that the depth is bounded
 * by the room. */
struct walk {
    const struct fallback_rule *rules;
    size_t num_rules;
    uint32_t *chain;
    uint32_t num, room;
};

static void follow(struct walk *w, uint32_t group);

static bool has(const struct walk *w, uint32_t group)
{
    for (uint32_t i = 0; i < w->num; i++) {
        if (w->chain[i] == group)
            return true;
    }
    return false;
}

static void follow_all(struct walk *w, const struct fallback_rule *rule)
{
    for (uint32_t i = 0; i < rule->num_to; i++)
        follow(w, rule->to[i]);
}

static void follow(struct walk *w, uint32_t group)
{
    if (w->num == w->room || has(w, group))
        return;
    w->chain[w->num++] = group;
    for (size_t i = 0; i < w->num_rules; i++) {
        if (w->rules[i].group == group) {
            follow_all(w, &w->rules[i]);
            return;
        }
    }
}

uint32_t fallback_chain(const struct fallback_rule *rules, size_t num_rules, uint32_t group,
                        uint32_t max_fallbacks, uint32_t *chain)
{
    struct walk w = {.rules = rules, .num_rules = num_rules, .chain = chain};

    w.room = max_fallbacks < UINT32_MAX ? max_fallbacks + 1 : UINT32_MAX;
    follow(&w, group);
    for (size_t i = 0; i < num_rules; i++) {
        if (rules[i].group == MODEL_NO_INDEX)
            follow_all(&w, &rules[i]);
    }
    return w.num;
}
