/* See leases.h. */
#include "leases.h"

#include <string.h>

int leases_init(struct leases *leases, uint32_t good_ms)
{
    *leases = (struct leases){.good_ms = good_ms};
    return shares_new(good_ms, &leases->shares);
}

void leases_deinit(struct leases *leases)
{
    shares_free(leases->shares);
    memset(leases, 0, sizeof(*leases));
}

/* What a round of renewals came to. */
struct round {
    int64_t first_ms; /* when the first one ends that was renewed; INT64_MAX: none was */
    bool gave_less;   /* than was held, and the database has not been told that it was heard */
};

static void note_renewed(struct round *round, const struct fleet_lease *lease)
{
    if (lease->until_ms < round->first_ms)
        round->first_ms = lease->until_ms;
    round->gave_less = round->gave_less || lease->tokens < lease->held.tokens ||
                       lease->batches < lease->held.batches || lease->nano < lease->held.nano;
}

static int renew(struct leases *l, struct store *store, const struct fleet_me *me, uint64_t now_ms,
                 struct round *round)
{
    struct fleet_lease leases[FLEET_AT_ONCE];
    size_t at = 0, num;
    int rc = 0;

    *round = (struct round){.first_ms = INT64_MAX};
    while (rc == 0 && (num = shares_due(l->shares, &at, now_ms, leases, FLEET_AT_ONCE)) > 0) {
        rc = store_fleet_lease(store, me, l->good_ms, leases, num);
        if (rc == 0)
            shares_renew(l->shares, leases, num, now_ms);
        for (size_t i = 0; rc == 0 && i < num; i++)
            note_renewed(round, &leases[i]);
    }
    return rc;
}

/* What is given back is nobody's before the database is asked: its answer may be lost. Of what became
 * less the database is told at once, and not in 20 s: others wait for it. */
static int renew_counted(struct leases *l, struct store *store, const struct fleet_me *me,
                         uint64_t now_ms)
{
    struct round round;
    int rc;

    shares_forget_unused(l->shares, now_ms);
    rc = renew(l, store, me, now_ms, &round);
    if (rc == 0 && round.gave_less)
        l->due_ms = now_ms;
    return rc == 0 ? store_fleet_give_back(store, me, round.first_ms) : rc;
}

int leases_step(struct leases *l, struct store *store, const struct fleet_me *me, uint64_t now_ms)
{
    struct round round;
    int rc;

    if (l->ending) {
        rc = l->ended ? 0 : store_fleet_give_back(store, me, INT64_MAX);
        l->ended = rc == 0;
        return rc;
    }
    if (now_ms < l->due_ms)
        return 0;
    l->due_ms = now_ms + SHARES_EVERY_MS;
    return me->holder != NULL ? renew_counted(l, store, me, now_ms)
                              : renew(l, store, me, now_ms, &round);
}

static void show(const struct leases *l, unsigned kind, struct lease_words *words, uint64_t now_ms)
{
    struct shares_sum sum;

    shares_add_up(l->shares, kind, now_ms, &sum);
    store_relaxed(&words->scopes, sum.scopes);
    store_relaxed(&words->tokens, sum.tokens);
    store_relaxed(&words->batches, sum.batches);
    store_relaxed(&words->nano, sum.nano);
}

void leases_show(const struct leases *l, const struct fleet_me *me, struct database_words *words,
                 uint64_t now_ms)
{
    if (l->ended) /* another keeper's are shown by now */
        return;
    store_relaxed_32(&words->leases_counted, me->holder != NULL);
    show(l, WIRE_KEY, &words->key_leases, now_ms);
    show(l, WIRE_TEAM, &words->team_leases, now_ms);
}

void leases_are_due(struct leases *l, const struct fleet_me *me)
{
    if (me->holder != NULL)
        l->due_ms = 0;
}

void leases_end(struct leases *l, const struct fleet_me *me)
{
    if (me->holder == NULL)
        return;
    shares_forget_all(l->shares);
    l->ending = true;
}
