/* See shares.h. */
#include "shares.h"

#include <assert.h>
#include <stdlib.h>

struct share {
    unsigned kind;
    uint64_t name; /* 0: free */
    uint64_t used_ms, until_ms;
    uint64_t tokens, batches; /* left; RIGHTS_UNLIMITED: any */
    int64_t nano;
};

struct shares {
    uint32_t good_ms;
    size_t num;
    struct share of[SHARES_MOST];
};

int shares_new(uint32_t good_ms, struct shares **out)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return ERR_NOMEM;
    (*out)->good_ms = good_ms;
    return 0;
}

void shares_free(struct shares *shares)
{
    free(shares);
}

static bool is_limited(const struct wire_scope *scope)
{
    return scope->name != 0 && (scope->tokens != WIRE_UNLIMITED ||
                                scope->batches != WIRE_UNLIMITED || scope->nano != WIRE_UNLIMITED);
}

bool shares_are_needed(const struct wire_intent *intent)
{
    return is_limited(&intent->scopes[WIRE_KEY]) || is_limited(&intent->scopes[WIRE_TEAM]);
}

static struct share *find(struct shares *shares, unsigned kind, uint64_t name)
{
    for (size_t i = 0; i < shares->num; i++)
        if (shares->of[i].name == name && shares->of[i].kind == kind)
            return &shares->of[i];
    return NULL;
}

/* A new place, or that of the scope which was used longest ago. */
static struct share *place_for(struct shares *shares)
{
    struct share *oldest = &shares->of[0];

    if (shares->num < SHARES_MOST)
        return &shares->of[shares->num++];
    for (size_t i = 1; i < shares->num; i++)
        if (shares->of[i].used_ms < oldest->used_ms)
            oldest = &shares->of[i];
    return oldest;
}

void shares_note(struct shares *shares, const struct wire_intent *intent, uint64_t now_ms)
{
    for (unsigned kind = WIRE_KEY; kind <= WIRE_TEAM; kind++) {
        const struct wire_scope *scope = &intent->scopes[kind];
        struct share *share;

        if (!is_limited(scope))
            continue;
        share = find(shares, kind, scope->name);
        if (share == NULL) {
            share = place_for(shares);
            *share = (struct share){.kind = kind, .name = scope->name};
        }
        share->used_ms = now_ms;
    }
}

static bool is_used(const struct share *share, uint64_t now_ms)
{
    return now_ms - share->used_ms < SHARES_USED_MS;
}

size_t shares_due(struct shares *shares, size_t *at, uint64_t now_ms, struct fleet_lease *out,
                  size_t max)
{
    size_t num = 0;

    for (; *at < shares->num && num < max; ++*at) {
        const struct share *share = &shares->of[*at];

        if (!is_used(share, now_ms))
            continue;
        out[num] = (struct fleet_lease){.kind = share->kind, .name = share->name};
        if (now_ms < share->until_ms) {
            out[num].held.tokens = share->tokens;
            out[num].held.batches = share->batches;
            out[num].held.nano = share->nano;
        }
        num++;
    }
    return num;
}

void shares_renew(struct shares *shares, const struct fleet_lease *leases, size_t num,
                  uint64_t asked_ms)
{
    for (size_t i = 0; i < num; i++) {
        struct share *share = find(shares, leases[i].kind, leases[i].name);

        if (share == NULL)
            continue;
        share->tokens = leases[i].tokens;
        share->batches = leases[i].batches;
        share->nano = leases[i].nano;
        share->until_ms = asked_ms + shares->good_ms - SHARES_SKEW_MS;
    }
}

static int64_t as_nano(uint64_t nano)
{
    return nano < INT64_MAX ? (int64_t)nano : INT64_MAX;
}

/* A limit of which the database knows nothing yet has no share. */
static bool fits(uint64_t limit, uint64_t share, uint64_t more)
{
    return limit == WIRE_UNLIMITED || (share != RIGHTS_UNLIMITED && more <= share);
}

static bool has_room(struct shares *shares, const struct wire_intent *intent, unsigned kind,
                     uint64_t now_ms)
{
    const struct wire_scope *scope = &intent->scopes[kind];
    const struct share *share;

    if (!is_limited(scope))
        return true;
    share = find(shares, kind, scope->name);
    return share != NULL && now_ms < share->until_ms &&
           fits(scope->tokens, share->tokens, intent->tokens) &&
           fits(scope->batches, share->batches, 1) &&
           (scope->nano == WIRE_UNLIMITED ||
            (share->nano != INT64_MAX && as_nano(intent->nano) <= share->nano));
}

static uint64_t less(uint64_t number, uint64_t by)
{
    return number > by ? number - by : 0;
}

static void take(struct share *share, const struct wire_intent *intent)
{
    if (share->tokens != RIGHTS_UNLIMITED)
        share->tokens = less(share->tokens, intent->tokens);
    if (share->batches != RIGHTS_UNLIMITED)
        share->batches = less(share->batches, 1);
    if (share->nano != INT64_MAX)
        share->nano = (int64_t)less((uint64_t)share->nano, (uint64_t)as_nano(intent->nano));
}

void shares_spend(struct shares *shares, const struct wire_intent *intent)
{
    for (unsigned kind = WIRE_KEY; kind <= WIRE_TEAM; kind++) {
        const struct wire_scope *scope = &intent->scopes[kind];
        struct share *share = is_limited(scope) ? find(shares, kind, scope->name) : NULL;

        if (share != NULL)
            take(share, intent);
    }
}

bool shares_take(struct shares *shares, const struct wire_intent *intent, uint64_t now_ms)
{
    if (!has_room(shares, intent, WIRE_KEY, now_ms) || !has_room(shares, intent, WIRE_TEAM, now_ms))
        return false;
    shares_spend(shares, intent);
    return true;
}

void shares_add_up(const struct shares *shares, unsigned kind, uint64_t now_ms,
                   struct shares_sum *out)
{
    *out = (struct shares_sum){0};
    for (size_t i = 0; i < shares->num; i++) {
        const struct share *share = &shares->of[i];

        if (share->kind != kind || now_ms >= share->until_ms)
            continue;
        out->scopes++;
        out->tokens += share->tokens != RIGHTS_UNLIMITED ? share->tokens : 0;
        out->batches += share->batches != RIGHTS_UNLIMITED ? share->batches : 0;
        out->nano += share->nano != INT64_MAX && share->nano > 0 ? (uint64_t)share->nano : 0;
    }
}

static void forget(struct share *share)
{
    share->tokens = share->batches = share->until_ms = 0;
    share->nano = 0;
}

void shares_forget_unused(struct shares *shares, uint64_t now_ms)
{
    for (size_t i = 0; i < shares->num; i++)
        if (!is_used(&shares->of[i], now_ms))
            forget(&shares->of[i]);
}

void shares_forget_all(struct shares *shares)
{
    for (size_t i = 0; i < shares->num; i++)
        forget(&shares->of[i]);
}
