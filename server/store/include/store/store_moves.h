/* Batches that failed late and go to another deployment (journal statements D13, D14), in the rows of
 * store_batches.h. Its id stays; its part tells where it is.
 *
 *   store_batches_seen() with `move`                    store_move_cancel()
 *        │ its reservation is free, nothing is told of       │ no create is under way: it has ended
 *        ▼                                                   ▼
 *      WANTED ── store_move_begin(), claimed ─► WANTED with a nonce: its create may be sent
 *        ▲ │                                     │  │ store_move_made(): whoever finds its batch
 *        │ │ store_move_over()                   │  └──► NONE: the part is there, and is watched
 *        │ └──► OVER: its end is written as any   │
 *        └─────── store_move_wait(): certainly nothing came of it
 *
 * A batch that carries the nonce of a part is that part's, whoever comes upon it: so nothing is made
 * that nobody knows of. A nonce is written when its reservation (store_fleet.h) is, and another one not
 * before that is freed: it is certain then that nothing came of the one before. All calls are as those of store.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/store_batches.h"
#include "store/store_followed.h"

enum store_move_end {
    STORE_MOVE_TAKEN,
    STORE_MOVE_STALE, /* it is another one's to move by now, or none that moves */
    STORE_MOVE_SENT   /* cancel: its create is under way: it is cancelled where it comes to be */
};

/** Its create is about to be sent. The claim holds for STORE_CLAIM_MS from now on. STALE also where it is
 * not known what came of the create before, and where its client has cancelled it: then it has ended.
 *  @param of     where it failed
 *  @param nonce  of its marker; @param to  fingerprint of the deployment */
MUST_USE int store_move_begin(struct store *store, const struct store_claimer *by,
                              const struct store_native *of, const char *nonce, uint32_t to,
                              enum store_move_end *end);

/** It is given back, and tried again after a while; where its client has cancelled it, and nothing is
 * in doubt, it has ended.
 *  @param nonce    nothing came of this one, for certain; NULL: none was begun, or it is in doubt, and
 *                  stays
 *  @param wait_ms  until then
 *  @param failed   a try was made in vain: the next wait is longer */
MUST_USE int store_move_wait(struct store *store, const struct store_claimer *by,
                             const struct store_native *of, const char *nonce, uint32_t wait_ms,
                             bool failed, enum store_move_end *end);

/** It is moved no more: the next look ends it as its provider says. STALE also where a create of it is
 * in doubt.
 *  @param nonce  as above
 *  @param why    for its story */
MUST_USE int store_move_over(struct store *store, const struct store_claimer *by,
                             const struct store_native *of, const char *nonce, const char *why,
                             enum store_move_end *end);

/* Where it is from now on. Texts are borrowed. */
struct store_moved {
    const char *nonce;
    struct store_native at;
    uint32_t deployment;
    const char *reservation; /* id; NULL: not known, by the nonce */
    uint64_t tokens;
    int64_t expires_ms; /* Unix; 0: not known */
};

/** Its provider has made it. Whoever says it first; a second time changes nothing.
 *  @param first_ms  until it is looked at
 *  @param taken     whether a part had this nonce */
MUST_USE int store_move_made(struct store *store, const char *node, const struct store_moved *moved,
                             uint32_t first_ms, bool *taken);

/** Its client cancels it.
 *  @param text  how it is shown from then on, if it ends without having been made anywhere */
MUST_USE int store_move_cancel(struct store *store, const struct store_claimer *by,
                               const struct store_native *of, const char *text,
                               enum store_move_end *end);
