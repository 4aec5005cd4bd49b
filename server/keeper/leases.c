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

/* @param first_ms  written: when the first one ends that was renewed; INT64_MAX: none was */
static int renew(struct leases *l, struct store *store, const struct fleet_me *me, uint64_t now_ms,
                 int64_t *first_ms)
{
    struct fleet_lease leases[FLEET_AT_ONCE];
    size_t at = 0, num;
    int rc = 0;

    *first_ms = INT64_MAX;
    while (rc == 0 && (num = shares_due(l->shares, &at, now_ms, leases, FLEET_AT_ONCE)) > 0) {
        rc = store_fleet_lease(store, me, l->good_ms, leases, num);
        if (rc == 0)
            shares_renew(l->shares, leases, num, now_ms);
        for (size_t i = 0; rc == 0 && i < num; i++)
            *first_ms = leases[i].until_ms < *first_ms ? leases[i].until_ms : *first_ms;
    }
    return rc;
}

/* What is given back is nobody's before the database is asked: its answer may be lost. */
static int renew_counted(struct leases *l, struct store *store, const struct fleet_me *me,
                         uint64_t now_ms)
{
    int64_t first_ms;
    int rc;

    shares_forget_unused(l->shares, now_ms);
    rc = renew(l, store, me, now_ms, &first_ms);
    return rc == 0 ? store_fleet_give_back(store, me, first_ms) : rc;
}

int leases_step(struct leases *l, struct store *store, const struct fleet_me *me, uint64_t now_ms)
{
    int64_t first_ms;
    int rc;

    if (l->ending) {
        rc = l->ended ? 0 : store_fleet_give_back(store, me, INT64_MAX);
        l->ended = rc == 0;
        return rc;
    }
    if (now_ms < l->due_ms)
        return 0;
    rc = me->holder != NULL ? renew_counted(l, store, me, now_ms)
                            : renew(l, store, me, now_ms, &first_ms);
    l->due_ms = now_ms + SHARES_EVERY_MS;
    return rc;
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
