/* The journal of batches as workers and the prober see it: the keeper is asked or told, over
 * tenants/ask, in the messages of wire.h. There is a journal where a database is configured
 * (`tranche_settings.journal`); where there is none `struct journal *` is NULL, nothing of this is
 * called, and nothing is other than without it.
 *
 *   asked, for ask_deadline_ms(), or patiently       told, and the caller goes on
 *   journal_intent()  before a create is sent         journal_live()   kept until the keeper has it
 *   journal_due()     what shall be polled            journal_drop(), journal_deletion()   the same
 *   journal_story()   what is known of a batch        journal_moved()  the same
 *   journal_move()    a batch goes elsewhere          journal_seen()   lost if it cannot be sent now
 *
 * What is kept while the keeper is away (a new one is started within a second) is bounded; what has
 * no room any more, or dies with its process, is found by others: a create by the marker of its
 * batch, which KEEPER_DUE hands out as WIRE_FIND, a state by the watch's next poll. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "journal/wire.h"

/* How long a create may be sent after it was asked for: a node whose rows others took over because
 * nothing was heard of it for longer sends nothing any more (journal statement C31) */
#define JOURNAL_GRANT_MS 30000

#define JOURNAL_KEPT       1024      /* messages that wait for a keeper, at most ... */
#define JOURNAL_KEPT_BYTES (4 << 20) /* ... and their bytes */
#define JOURNAL_FIRST_MS   500       /* until one is said again; twice as long each time, up to */
#define JOURNAL_LAST_MS    15000

struct ask;          /* tenants/ask.h */
struct journal;      /* a process's */
struct journal_call; /* a question on its way; gone when its callback runs */

/** @param loop, ask  borrowed; outlive it
 *  @return 0, ERR_NOMEM */
MUST_USE int journal_new(struct loop *loop, struct ask *ask, struct journal **out);
/** Nobody is called back any more, and what is kept is forgotten. Not from a callback. NULL is
 * fine. */
void journal_free(struct journal *journal);

/** Whether nothing is kept or on its way that was told: a process that ends waits a while for it. */
bool journal_is_idle(const struct journal *journal);

/** WIRE_ID random hex digits, for an intent's `id` and `claim`. @return 0, ERR_IO (no randomness) */
MUST_USE int journal_new_id(char out[WIRE_ID + 1]);

/* --- questions: each callback runs once unless cancelled, on the loop, never from inside the call
 * that began it. What cannot be asked is answered as if the keeper were away. --- */

/** @param verdict  valid during the call; end WIRE_DOWN also where no keeper answers, and then it is
 *         not known whether the intent was written: journal_drop() takes it back
 *  @param asked  false: it is known that no keeper has seen the intent */
typedef void (*journal_intent_cb)(void *arg, const struct wire_verdict *verdict, bool asked);

/** @param patient  without its answer the client is refused: it has ask_patient_ms(). During a reload one
 *         keeper follows another, and on a busy machine that is longer than ask_deadline_ms()
 *  @return 0; ERR_LIMIT: a text is too long; ERR_FULL: too much is on its way; ERR_NOMEM. Other than
 *          after 0, the callback never runs */
MUST_USE int journal_intent(struct journal *journal, const struct wire_intent *intent, bool patient,
                            journal_intent_cb cb, void *arg, struct journal_call **call);

/** @param list  valid during the call; NULL: no keeper answers */
typedef void (*journal_due_cb)(void *arg, const struct wire_due_list *list);

/** @return as above */
MUST_USE int journal_due(struct journal *journal, const struct wire_due_ask *question,
                         journal_due_cb cb, void *arg, struct journal_call **call);

/** @param end   WIRE_STORY_LATER also where no keeper answers
 *  @param json  of WIRE_STORY, else ""; valid during the call */
typedef void (*journal_story_cb)(void *arg, enum wire_story_end end, const char *json, size_t len);

/** @return as above */
MUST_USE int journal_story(struct journal *journal, const struct wire_story *question,
                           journal_story_cb cb, void *arg, struct journal_call **call);

/** @param end    WIRE_MOVE_LATER also where no keeper answers
 *  @param asked  false: it is known that no keeper has seen it */
typedef void (*journal_move_cb)(void *arg, enum wire_move_end end, bool asked);

/** BEGIN and CANCEL, which wait for their answer. @return as above */
MUST_USE int journal_move(struct journal *journal, const struct wire_move *step, journal_move_cb cb,
                          void *arg, struct journal_call **call);

/** The callback does not run; what was asked may be carried out all the same. NULL is fine; the
 * pointer becomes NULL. */
void journal_cancel(struct journal_call **call);

/* --- told --- */

/** Say it until the keeper has it (WIRE_TAKEN).
 *  @return 0; ERR_LIMIT: a text is too long; ERR_FULL: too much is kept already; ERR_NOMEM. Other
 *          than after 0 it is not said */
int journal_live(struct journal *journal, const struct wire_live *live);
int journal_drop(struct journal *journal, const struct wire_drop *drop);
int journal_deletion(struct journal *journal, const struct wire_deletion *deletion);

int journal_moved(struct journal *journal, const struct wire_move *step); /* the other steps */

/** Say it once, now or never. @return as above */
int journal_seen(struct journal *journal, const struct wire_seen *seen);

/** What was not kept for want of room since the start. */
uint64_t journal_lost(const struct journal *journal);
