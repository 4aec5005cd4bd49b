/* Creates before they are sent, and what came of them, as the keeper serves it (journal statements
 * C24, C28 to C30, C32):
 *
 *   KEEPER_DROP    ─┐                       ┌─► database: what waits at a turn of the loop is one
 *   KEEPER_LIVE    ─┼─► queue ─ one turn ───┤   transaction for each kind, and then all are answered
 *   KEEPER_INTENT  ─┘                       └─► while it is away: shares.h, and the outbox
 *
 * What is granted or told while the database is away stands in the outbox, on this node's disk,
 * before it is answered. When the database is back all of that goes there first; until then it
 * counts as away.
 *
 * After a failover to a replica that had not heard everything, what this node wrote in the last
 * minutes is written once more: each reconnection has it said again, which changes nothing that is
 * there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "batches.h"
#include "common/err.h"
#include "core/inherited.h"
#include "crypto/vault.h"
#include "fleet.h"
#include "keeper/calls.h"
#include "pricing.h"

#define INTENTS_AWAY_MS     5000 /* when whoever was refused for want of the database asks again */
#define INTENTS_RUNNING_MS  250  /* the same of who waits for another one's answer */
#define INTENTS_AGAIN_MS    (10 * 60 * 1000) /* what was written since is said again ... */
#define INTENTS_AGAIN_BYTES (8 << 20)        /* ... as much of it */

struct intents;

struct intents_options {
    const struct inherited *inherited; /* borrowed, as all that follows */
    struct loop *loop;
    struct store *store;
    struct fleet *fleet;
    struct pricing *pricing; /* NULL: nothing has a price */
    struct batches *batches; /* NULL: there is no registry (tests) */
    /* For secrets of batches' own endpoints; NULL: such creates are not taken (tests) */
    const struct vault *vault;
    const char *outbox; /* path; copied */
};

/** @return 0, ERR_NOMEM */
MUST_USE int intents_new(const struct intents_options *options, struct intents **out);
void intents_free(struct intents *intents); /* NULL is fine */

/** Serve KEEPER_INTENT, KEEPER_LIVE and KEEPER_DROP. @param calls  borrowed; goes first */
void intents_serve(struct intents *intents, struct calls *calls);

/** Once a second: shares are renewed, and what waits on the disk goes to the database.
 *  @param now_ms  monotonic */
void intents_step(struct intents *intents, uint64_t now_ms);

/** This keeper ends: what it may grant alone it gives back at its next step, where that is counted. */
void intents_end(struct intents *intents);

/** A create or upload that was asked for was not sent, and never will be: it is as if it had never
 * been asked.
 *  @param id  of a create's reservation, which may be there or may come yet; of a key the claim, which
 *         is there or will be held until its time is over
 *  @return 0; else the database is away: say it again */
MUST_USE int intents_were_not_sent(struct intents *intents, enum unsent_kind kind, const char *id);

/** Whether nobody waits for an answer. */
bool intents_are_idle(const struct intents *intents);
