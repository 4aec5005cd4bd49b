/* What each tenant holds of a worker's budgets (server README 6), so that one tenant's flood leaves
 * room for the others. A tenant is a team, or a key without a team; the master key and admin keys
 * have no share: for them the budgets' own limits are all there is.
 *
 * One rule for all budgets: a tenant may hold at most three times as much as is free. A single one
 * takes three quarters, the next one three quarters of the last quarter, and so on; as the work of
 * those who hold much ends they give way. Who holds nothing may have the last there is.
 *
 * A share lives as long as anybody points to it: requests, operations, connections. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "core/slices.h"

#define SHARE_PARTS   3 /* held for each that is free */
/* Requests that begin at once in one tick of the loop, a millisecond, besides the first of each
 * tenant; each costs 50 to 100 us */
#define SHARE_AT_ONCE 2

/* What is counted. */
enum share_of {
    SHARE_TURNS,       /* requests that wait for their begin */
    SHARE_CALLS,       /* requests and operations that may ask providers */
    SHARE_DOWNLOADS,   /* of these */
    SHARE_WAITING,     /* downloads that wait for a place */
    SHARE_JSON,        /* bytes of JSON bodies and their trees */
    SHARE_UPLOADS,     /* bytes of memory of uploads */
    SHARE_CONNECTIONS, /* that have shown its key, and no other's */
    SHARE_GATHERS,     /* batches whose files are put together */
    SHARE_SPOOL,       /* bytes of these in the spool */
    SHARE_LONG_POLLS,  /* that are held */
    SHARE_KINDS
};

struct share {
    uint64_t owner; /* whose: ids_owner_fingerprint() */
    uint64_t held[SHARE_KINDS];
    struct slice_flow flow; /* its slices take turns with those of others */
    uint64_t tick;          /* in which its last request began at once */
    uint32_t users;
    struct shares *shares; /* borrowed; where it is */
    struct share *next;
};

/* Those of a worker; all zero is none. */
struct shares {
    struct share **buckets; /* owned */
    size_t num, mask;
    struct slices *slices; /* borrowed; where their flows wait; NULL: nothing of them waits */
    uint64_t tick;         /* of the loop, in which */
    uint32_t begun;        /* so many requests began at once */
    uint64_t turn;         /* whose request has its turn now, until it has begun; 0: nobody's */
};

/** The share of a tenant, with one more user.
 *  @param owner  0: none
 *  @return NULL: none, or there is no memory; then it is not bounded */
struct share *share_get(struct shares *shares, uint64_t owner);

/** One more user. NULL is fine. @return `share` */
struct share *share_use(struct share *share);

/** One user less; the last one frees it. NULL is fine. */
void share_put(struct share *share);

/** Whether it may hold so much more of a budget that has room for that.
 *  @param total  of all tenants and others together
 *  @param limit  of the budget; 0: none
 *  @return true also where `share` is NULL */
bool share_may(const struct share *share, enum share_of what, uint64_t more, uint64_t total,
               uint64_t limit);

/** It holds so much more, or less. NULL is fine. */
void share_add(struct share *share, enum share_of what, uint64_t more);
void share_sub(struct share *share, enum share_of what, uint64_t less);

/** Whether the tenant's next request begins at once: of one that has nothing waiting the first one
 * in this tick of the loop, and few more of all. The others take turns in `slices` with other
 * tenants' work, so that a thousand requests of one that come at once make nobody wait for all of
 * them. Asked once for each request: true counts it, but where share_turn() has done that.
 *  @param tick  loop_now_ms()
 *  @return true also where `share` is NULL */
bool share_begins(struct share *share, uint64_t tick);

/** Who has waited for a turn has it now: the next request of this tenant begins at once. */
void share_turn(struct share *share);

/** That turn is over, whether a request has begun or not. */
void share_end_turn(struct shares *shares);

/** The rule alone: for what is counted elsewhere. */
bool share_rule(uint64_t held, uint64_t more, uint64_t total, uint64_t limit);

/** Whose it is; 0 for NULL. */
static inline uint64_t share_owner(const struct share *share)
{
    return share != NULL ? share->owner : 0;
}

/** The flow of its slices; NULL for NULL. */
static inline struct slice_flow *share_flow(struct share *share)
{
    return share != NULL ? &share->flow : NULL;
}

/** Free the table; no share is in use. */
void shares_deinit(struct shares *shares);
