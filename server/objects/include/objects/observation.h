/* An observation of a batch: the batch as its provider shows it, and what that means for the quota
 * ledger. Pure: no call, no clock. Used wherever batches are seen that no client asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/quota.h"
#include "crypto/ids.h"
#include "json/json.h"
#include "crypto/marker.h"
#include "objects/ledger.h"

struct observation {
    char id[IDS_MAX + 1];
    enum ledger_phase phase;
    bool too_large;  /* failed because the deployment had no room for its tokens */
    bool cancelling; /* it counts at its provider until it has ended */
    /* The operator wants that its key and team pay no longer for it (refund_at); the caller's,
     * observation_refund() */
    bool refund;
    int64_t created_s;    /* Unix; 0: not told */
    uint64_t done, total; /* requests */
    bool marked;          /* `marker` verified */
    struct marker marker;
    char copy[IDS_MAX + 1]; /* the input file of one that was moved: a copy of ours; else "" */
};

/** Read a batch as it came; normalises it in place. @return false: it is none that could be named
 */
bool observation_read(struct json_doc *doc, struct json *batch, const struct ids_seals *seals,
                      struct observation *out);

/** Age of the batch in ms; 0 when it does not tell, or claims to come from the future. */
uint64_t observation_age_ms(const struct observation *s, int64_t now_unix_s);

/** Note whether its key and its team pay for it no longer, as the operator wants it (tenants
 * statement A40). Between observation_read() and observation_record(). */
void observation_refund(const struct config *config, struct observation *s);

enum observation_change {
    OBSERVATION_NOTHING, /* the ledger did not know it, or had seen as much */
    OBSERVATION_SEEN,    /* it runs, and is in the ledger */
    OBSERVATION_ADOPTED, /* it runs; it is in the ledger from now on, or has its id from now on */
    OBSERVATION_RELEASED,
    OBSERVATION_FULL /* it runs, but the ledger has no place for it */
};

/** Tell the ledger. A batch that runs and whose marker tells its tokens is adopted if it is not
 * known yet, also in the scopes that the marker names; one that has ended is released. What it means that one ended as too large is for
 * observation_note_ended() to say, after OBSERVATION_RELEASED.
 *  @param column  of the deployment that it runs on
 *  @param tokens  of its reservation, or of its marker; 0: not known, then it is not adopted */
enum observation_change observation_record(struct quota *quota, uint32_t holder, uint32_t column,
                                           const struct observation *s, uint64_t tokens,
                                           uint64_t age_ms, uint64_t now_ms);

/** It ended as larger than the room: ledger_note_refused(). Nothing when it did not.
 *  @param column   of its reservation
 *  @param account  fingerprint of the account that it ran at
 *  @param tokens   of its reservation, or of its marker; 0: not known */
void observation_note_ended(const struct inherited *inherited, uint32_t column, uint32_t account,
                            const struct observation *s, uint64_t tokens, uint64_t now_ms);

/** A batch was seen, as its provider sent it. When it carries a marker of ours its reservation is
 * released if it has ended; while it has not, it is kept, or made if the ledger did not know the
 * batch.
 *  @param slot     the caller's row
 *  @param account  fingerprint of the account that showed it
 *  @param out      what was seen, all but `copy`; filled in as far as it goes when false
 *  @return whether it carries one, which is in `out` then */
bool observation_of_batch(const struct inherited *inherited, uint32_t slot, uint32_t account,
                          const struct json *batch, uint64_t now_ms, struct observation *out);
