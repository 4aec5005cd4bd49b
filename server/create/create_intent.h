/* What a create asks and tells the journal of batches (journal statements C28, C29): before it is
 * sent the keeper counts it for all nodes, afterwards it hears what became of it.
 *
 *   create_intend()        STEP_INTENT: granted ─► SEND, no room ─► ELSEWHERE or an answer
 *   create_tell_made()     the batch exists                     LIVE
 *   create_tell_refused()  it does not, the create goes on      DROP
 *   create_tell_lost()     nobody knows                         DROP
 *   create_tell_end()      the create is over; of what was told before nothing is told again
 *
 * Without a journal nothing of this does anything. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/rights.h"
#include "core/tenant.h"
#include "core/unsent.h"
#include "journal/journal.h"

struct config;
struct json;

/* Who asks, kept from the request: the client may have left when its batch is told of. */
struct intent_who {
    uint64_t key, team;                         /* fingerprints; 0: none */
    char key_hash[2 * RIGHTS_HASH_BYTES + 1];   /* "": none */
    char alias[TENANT_NAME], user[TENANT_NAME]; /* "": none */
    char team_name[TENANT_NAME];
    uint32_t delete_after_s; /* limits_delete_after() */
    char *tags;              /* owned; a JSON array of texts; NULL: none */
};

struct intent {
    struct journal_call *call; /* owned; under way in INTENT, else NULL */
    char id[WIRE_ID + 1];
    /* Owned; should this worker die it was not sent, for certain. NULL: it may have been */
    struct unsent_entry *unsent;
    bool stands;            /* the keeper may count it, and hears what becomes of it */
    bool granted;           /* ... as its database has said */
    uint64_t asked_ms;      /* monotonic */
    uint64_t good_until_ms; /* the same; until when it may be sent */
    uint64_t tokens;        /* as counted */
    struct wire_scope scopes[WIRE_SCOPES];
    struct intent_who who;
};

struct create_job;
struct strbuf;

/** At the begin: who asks. */
void intent_take_who(struct intent_who *who, const struct tenant *tenant);

/** ... and by which pairs of its metadata (`usage_tags`) its usage is told.
 *  @param request  the client's body */
void intent_take_tags(struct intent_who *who, const struct config *config,
                      const struct json *request);

/** Whether it may be sent now: a grant is good for a while. From inside curl. */
bool create_may_be_sent(const struct create_job *job);

/** Its first byte goes out now: from here on this worker's death leaves it in doubt. From inside
 * curl. */
void create_begins_to_be_sent(struct create_job *job);

/** The batch was made, or found.
 *  @param native  its provider's id
 *  @param batch   as the client gets it
 *  @param text    the same, written; failed or too long: it is not kept for repeats */
void create_tell_made(struct create_job *job, uint32_t deployment, int status, const char *native,
                      const struct json *batch, const struct strbuf *text);

void create_tell_refused(struct create_job *job);
void create_tell_lost(struct create_job *job);
void create_tell_end(struct create_job *job);
