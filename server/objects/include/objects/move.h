/* Copies an input file to other deployments: reads it once from the account that holds it, into a
 * spool, and stores copies, each with that deployment's name in its lines. Memory is constant
 * whatever the size; the line checker reads along, because the splice must know where the names
 * are.
 *
 *   move_to() ──► DESCRIBE ──► READ ──► STORE ──► MOVE_DONE, or MOVE_NOT_THERE:
 *                 │ (name,     │ (into            the next move_to() begins with STORE
 *                 │  expiry)   │  the spool)
 *                 └────────────┴──► MOVE_IMPOSSIBLE, once a read may not be tried again
 */
#pragma once

#include "core/runtime.h"
#include "objects/facts.h"
#include "upstream/failure.h"

struct move;

enum move_end {
    MOVE_DONE,
    MOVE_NOT_THERE, /* this deployment did not take it: another one may */
    MOVE_IMPOSSIBLE /* the file cannot be read, or is none that could be moved */
};

/** @param copy  native id of the copy (DONE), valid during the call
 *  @param why   otherwise; status 0: the copy was stored, and its answer cannot be read
 *  Once per move_to() unless freed, never from inside it. */
typedef void (*move_done_cb)(void *arg, enum move_end end, const char *copy,
                             const struct failure *why);

/** What a copy at `to` of this file would count as among the account's files. */
enum slots_kind move_slot_kind(const struct runtime *rt, const struct facts *facts, uint32_t to);

/** A file that may be moved. @param from     the deployment whose lines they are
 *  @param share   borrowed while the move lives; of the tenant for whom; NULL: it has none
 *  @param native  its id there
 *  @return NULL: out of memory */
struct move *move_new(struct runtime *rt, struct share *share, uint32_t from, const char *native,
                      move_done_cb on_done, void *arg);

/** Cancels what is under way; the spool goes. A copy that was made stays. NULL is fine. */
void move_free(struct move *move);

/** Store a copy at `to`; one at a time. @return 0, ERR_NOMEM */
MUST_USE int move_to(struct move *move, uint32_t to);
