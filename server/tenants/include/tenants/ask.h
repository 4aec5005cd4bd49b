/* A worker's side of the socket to the keeper: questions that only the keeper can answer, such as a
 * key that is not in the table, or an admin's call. One connection for each worker, any number of
 * questions on it, answers in any order.
 *
 *                    ask_start()
 *                        │
 *                   ┌────▼────┐  room on the connection   ┌──────┐  its answer   ASK_ANSWERED
 *                   │ waiting ├──────────────────────────►│ sent ├─────────────►
 *                   └─┬──▲────┘                           └┬─┬───┘
 *  its time  ASK_DOWN │  └──── the keeper died with a ─────┘ │  its time, or the keeper died with it:
 *                     ▼        question that changes nothing ▼  ASK_LOST
 *
 * A keeper that is dead or being replaced costs a question the time until the next one accepts, at
 * most until its deadline. Nothing here waits; who asks is called back on the loop.
 *
 * What a worker does with a key that rights_find() does not know:
 *
 *   rights_is_complete()                     certainly unknown; nobody is asked
 *   else ask_key(): KEEPER_KEY_PUBLISHED     rights_find() again
 *                   KEEPER_KEY_UNKNOWN       certainly unknown
 *                   all else                 cannot be told now: 503 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/rights.h"
#include "core/keeper_door.h"

/* The longest wait: a create that is granted then has the rest of its 30 s (JOURNAL_GRANT_MS) */
#define ASK_PATIENT_MOST_MS 20000
#define ASK_MAX_CALLS       1024      /* of a worker at a time */
#define ASK_MAX_BYTES       (8 << 20) /* in all their questions */

struct ask;      /* a worker's connection */
struct ask_call; /* a question on its way; gone when its callback runs */

enum ask_end {
    ASK_ANSWERED, /* the keeper has answered */
    ASK_DOWN,     /* no keeper took it in time: certainly nothing was done */
    ASK_LOST      /* a keeper has taken it and gave no answer: it may have been carried out */
};

struct ask_answer {
    enum ask_end end;
    unsigned status;   /* ASK_ANSWERED: the kind's, or one of enum keeper_status; else 0 */
    const char *bytes; /* the loop's, gone after the callback; never NULL */
    size_t len;
};

/* Once for each call that was not cancelled, on the loop, never from inside ask_start(). */
typedef void (*ask_cb)(void *arg, const struct ask_answer *answer);

/** @param loop, door  borrowed; outlive it
 *  @param deadline_ms  what ask_deadline_ms() gives: `timeouts.database_ms`
 *  @return 0, ERR_NOMEM, ERR_IO (no descriptor: errno) */
MUST_USE int ask_new(struct loop *loop, const struct keeper_door *door, uint32_t deadline_ms,
                     struct ask **out);
/** Nobody is called back any more. Not from a callback. NULL is fine. */
void ask_free(struct ask *ask);

/** How long a question waits for its answer. */
uint32_t ask_deadline_ms(const struct ask *ask);
/** ... one without whose answer its client is refused: four times as long, at most
 * ASK_PATIENT_MOST_MS. */
uint32_t ask_patient_ms(const struct ask *ask);

/**
 * Ask.
 *
 * @param bytes   copied; at most KEEPER_MESSAGE
 * @param wait_ms its time, until ASK_DOWN or ASK_LOST; at least 1. Mostly ask_deadline_ms()
 * @param call    on 0 what ask_cancel() takes; the caller clears his pointer in the callback
 * @return 0; ERR_LIMIT: too long; ERR_FULL: ASK_MAX_CALLS or ASK_MAX_BYTES are on their way;
 *         ERR_NOMEM. Other than after 0, `cb` never runs
 */
MUST_USE int ask_start(struct ask *ask, enum keeper_kind kind, const void *bytes, size_t len,
                       uint32_t wait_ms, ask_cb cb, void *arg, struct ask_call **call);

/** The callback does not run. What was sent may be carried out all the same. NULL is fine; the
 * pointer becomes NULL. */
void ask_cancel(struct ask_call **call);

/** ask_start() for a key that is not in the table: KEEPER_KEY_LOOKUP, for ask_deadline_ms(). */
MUST_USE int ask_key(struct ask *ask, const unsigned char hash[RIGHTS_HASH_BYTES], ask_cb cb,
                     void *arg, struct ask_call **call);

/** What an answer to ask_key() comes to. */
enum keeper_lookup ask_key_result(const struct ask_answer *answer);
