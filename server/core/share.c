/* See share.h. A hash table with chains: there are as many shares as tenants that have something in
 * flight at this worker, and none of anybody else. */
#include "core/share.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST_BUCKETS 16

static struct share **find(const struct shares *s, uint64_t owner)
{
    struct share **at = &s->buckets[owner & s->mask];

    while (*at != NULL && (*at)->owner != owner)
        at = &(*at)->next;
    return at;
}

/* @return false: no memory; the table is as it was */
static bool grow(struct shares *s)
{
    size_t num = s->buckets != NULL ? 2 * (s->mask + 1) : FIRST_BUCKETS;
    struct shares next = {.buckets = calloc(num, sizeof(struct share *)), .mask = num - 1};

    assert((num & (num - 1)) == 0);
    if (next.buckets == NULL)
        return false;
    for (size_t i = 0; s->buckets != NULL && i <= s->mask; i++)
        while (s->buckets[i] != NULL) {
            struct share *share = s->buckets[i], **at = find(&next, share->owner);

            s->buckets[i] = share->next;
            share->next = NULL;
            *at = share;
        }
    free(s->buckets);
    s->buckets = next.buckets;
    s->mask = next.mask;
    return true;
}

struct share *share_get(struct shares *s, uint64_t owner)
{
    struct share **at, *share;

    if (owner == 0 || (s->buckets == NULL && !grow(s)))
        return NULL;
    at = find(s, owner);
    if (*at != NULL)
        return share_use(*at);
    if (s->num > s->mask && grow(s)) /* without memory the chains get longer */
        at = find(s, owner);
    share = calloc(1, sizeof(*share));
    if (share == NULL)
        return NULL;
    share->owner = owner;
    share->shares = s;
    *at = share;
    s->num++;
    return share_use(share);
}

struct share *share_use(struct share *share)
{
    if (share != NULL)
        share->users++;
    return share;
}

void share_put(struct share *share)
{
    struct share **at;

    assert(share == NULL || share->users > 0); /* each of its users lets go once */
    if (share == NULL || --share->users > 0)
        return;
    for (int i = 0; i < SHARE_KINDS; i++)
        assert(share->held[i] == 0); /* who holds something is a user */
    assert(share->flow.first == NULL);
    at = find(share->shares, share->owner);
    assert(*at == share);
    *at = share->next;
    share->shares->num--;
    free(share);
}

bool share_rule(uint64_t held, uint64_t more, uint64_t total, uint64_t limit)
{
    uint64_t after, taken;

    if (limit == 0 || held == 0)
        return true;
    if (__builtin_add_overflow(total, more, &taken) || taken > limit ||
        __builtin_add_overflow(held, more, &after))
        return false;
    return after / SHARE_PARTS + (after % SHARE_PARTS != 0) <= limit - taken;
}

bool share_begins(struct share *share, uint64_t tick)
{
    struct shares *s = share != NULL ? share->shares : NULL;

    if (s == NULL || s->slices == NULL)
        return true;
    if (s->turn == share->owner) {
        s->turn = 0;
        return true;
    }
    if (slices_wait(s->slices, &share->flow))
        return false;
    if (s->tick != tick)
        s->begun = 0;
    s->tick = tick;
    if (share->tick == tick && s->begun >= SHARE_AT_ONCE)
        return false;
    share->tick = tick;
    s->begun++;
    return true;
}

void share_turn(struct share *share)
{
    assert(share->shares->turn == 0);
    share->shares->turn = share->owner;
}

void share_end_turn(struct shares *shares)
{
    shares->turn = 0;
}

bool share_may(const struct share *share, enum share_of what, uint64_t more, uint64_t total,
               uint64_t limit)
{
    return share == NULL || share_rule(share->held[what], more, total, limit);
}

void share_add(struct share *share, enum share_of what, uint64_t more)
{
    if (share != NULL)
        share->held[what] += more;
}

void share_sub(struct share *share, enum share_of what, uint64_t less)
{
    assert(share == NULL || share->held[what] >= less);
    if (share != NULL)
        share->held[what] -= less;
}

void shares_deinit(struct shares *s)
{
    assert(s->num == 0);
    free(s->buckets);
    *s = (struct shares){0};
}
