/* The due list: with a journal the keeper says which batches of the whole fleet this node shall look
 * at, and which creates it shall find (journal statements C31 to C33). The prober asks the providers
 * and reports what came; what has ended is reported with what it used, from the batch itself or by
 * one pass over its output file (B7, B8). So nobody has to poll for tokens to come free, for usage
 * to be written, for an event to be made.
 *
 *   KEEPER_DUE ─► POLL, MEASURE ─► the batch ─┬─ it runs ───────────────────────────► KEEPER_SEEN
 *                                             ├─ it has ended, and says what it used ─►
 *                                             └─ ... and does not: its output is read ─►
 *                 FIND ─► the account's list ─► the create's batch, or certainly none: KEEPER_DROP
 *                 FILES ─► the batch ─► which files are to go ─► KEEPER_DELETION
 *                 DELETE ─► the file is deleted, or was gone ─►
 *
 * A claim holds for a minute. What takes longer, because its account is quiet or its output long, is
 * named in the next question. What cannot be reported is due again. Nothing is begun at an account
 * that does not answer, and few batches wait for their outputs: what is left alone is due again, and
 * its place is another one's meanwhile.
 *
 * A rebuild reads the lists of all accounts and reports every batch that carries a marker of ours.
 *
 * An output that comes too slowly gives its place to another account's that waits, and is read from
 * its begin another time: each time it may be slower, so that it is measured in the end.
 *
 * While the keeper answers, the watch of the ledger (watch.h) asks seldom: the fleet has one watcher
 * for each batch. */
#pragma once

#include "journal/wire.h"
#include "upkeep.h"
#include "objects/observation.h"

#define DUE_FRESH_MS      30000      /* how long an answer of the keeper counts */
#define DUE_RENEW_MS      20000      /* a claim that is so old is named again */
#define DUE_WAITING       8          /* batches whose output waits to be read */
#define DUE_MOVE          (1u << 20) /* bytes of an output; of one that takes longer than ... */
#define DUE_STILL_MS      (5u * 60 * 1000) /* ... this for as many the place may be another's */
#define DUE_OUTPUT_S      (24 * 3600) /* how long an output file that is missing is asked for */
#define DUE_FIND_MS       60000       /* a create that is younger may still be under way */
#define DUE_FIND_SLACK_MS (2u * 60 * 1000) /* between the clocks, as in watch.h */
#define DUE_FIND_PAGES    50
#define DUE_BUILD_PAGES   200

/** Begin, where a journal is kept; else nothing is done. @return 0, ERR_NOMEM */
MUST_USE int due_start(struct upkeep *upkeep);

/** Whether the keeper gives out what is due: it has answered a moment ago. */
bool due_is_served(const struct upkeep *upkeep);

/** A batch with a marker of ours was found in a list: the registry shall have it.
 *  @param batch  normalised, or as it came */
void due_found(struct upkeep *upkeep, const struct upkeep_account *account,
               const struct observation *s, const struct json *batch);

/* --- decisions, for the tests. Pure. --- */

enum due_usage {
    DUE_IS_KNOWN, /* from the batch itself */
    DUE_READ,     /* its output has to be read */
    DUE_WAIT,     /* its output is not there yet */
    DUE_NOTHING   /* it used nothing, or nobody will ever know */
};

/** What is to be done for the usage of a batch that has ended. */
enum due_usage due_usage_of(const struct wire_seen *seen, bool in_batch, uint64_t now_s);

/** Whether an output that is being read, while another account's waits for its place, comes too
 * slowly. It may need a quarter of the time since its batch has ended for DUE_MOVE bytes, or for the
 * rest, and DUE_STILL_MS at least.
 *  @param still_ms    since when fewer have come
 *  @param finished_s  when its batch ended; 0: nobody knows */
bool due_pass_yields(uint64_t still_ms, uint64_t finished_s, uint64_t now_s);

/** What an answer to a DELETE of a file means. @param gone  its provider knows no such file */
enum wire_deletion_end due_deleted(bool ok, bool gone);

/** Whether a file is not the batch's owner's to delete. @param of_file  owned_by(); 0: not known, or
 * nobody's but the master's */
bool due_is_foreign(uint64_t of_file, uint64_t of_batch);

/** Whether a create that no list has shown was certainly not carried out.
 *  @param whole        the list was read to its end
 *  @param page_age_ms  of the oldest batch that was shown, by its provider's clock */
bool due_was_not_made(const struct wire_due *due, bool whole, uint64_t page_age_ms);
