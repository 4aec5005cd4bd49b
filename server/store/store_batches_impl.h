/* What the files of the registry share. */
#pragma once

#include "store/store_batches.h"
#include "store_impl.h"

#define STORE_BATCH_ID       520 /* of an id as a client knows it, with the NUL */
#define STORE_NODE_ID        160
#define STORE_RESERVATION_ID 64

#define STORE_RANK_ENDED 4 /* rank_of() a status that never changes again */
/* `next_at` of one that is claimed, and of which a client saw news: whoever has the claim asks again
 * at once */
#define STORE_POKED      1

/** Within a transaction: of a batch that is done, and whose files shall go, it is known from now on
 * when. Nothing of any other one. */
MUST_USE int deletions_plan(struct store *store, const char *batch);

/** Within a transaction: a batch leaves its place. Where its files shall go, and it ran on a copy of its
 * input there, that copy goes now: nobody uses it any more. */
MUST_USE int deletions_leave(struct store *store, const char *batch, int64_t now_ms);

/** Within a transaction: who worked on this node's claims of files is gone. */
MUST_USE int deletions_let_go(struct store *store, const struct store_claimer *by);

/** Within a transaction: store_batches_note(). */
MUST_USE int batches_note(struct store *store, const char *id, const char *what, const char *node,
                          const char *detail);

/** Within a transaction: store_batches_seen(). */
MUST_USE int batches_see(struct store *store, const struct store_claimer *by,
                         const struct store_seen *seen, enum store_seen_end *end);

/* A batch that failed late, as store_batches_seen() has locked it. */
struct work_want {
    const char *id, *code, *node;
    const char *input; /* native, of what it failed on; NULL: not known */
    int64_t now_ms;
};

/** Within a transaction: it shall run elsewhere. What it held is the caller's to free. */
MUST_USE int work_want_move(struct store *store, const struct work_want *want);
