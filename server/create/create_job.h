/* One create, from the checked request to its known end, as a machine: it is in one step at a time,
 * create_go() alone changes it, and at most one thing is under way.
 *
 *     NEW
 *      │
 *   REPEAT ─────────── made before: the answer of then ──────────────────────────────► DONE
 *      │ it is new
 *    FIND ──────────── no account has the file ──────────────────────────────────────► DONE
 *      │ it is there
 *    FACTS
 *      │ its deployment and its tokens, as far as they can be known
 *   RESERVE ────────── no room there ─────────────────────────┐   (its key or team has
 *      │ counted there                                        ▼    none: DONE)
 *      │                                                  ELSEWHERE ── nowhere ──────► DONE
 *      │                                                   │     ▲
 *      │                                           counted │     │ not taken there
 *      │                                                   ▼     │
 *      │                                                    COPY ┴── no file to move ► DONE
 *      │                                                      │
 *    WRITE ◄──────────────── stored there ────────────────────┘
 *      │ the body, with our marker
 *   INTENT, where there is a journal ── other nodes have the room there ──► ELSEWHERE
 *      │ it counts for all nodes    └── its key or team has no room ──────────────► DONE
 *    SEND ─────────── made ──────────────────────────────────────────────────────────► DONE
 *    ▲ │ ├─────────── refused ────────────────────────────────► ELSEWHERE, or DONE
 *    │ │ └─────────── the answer was lost, or is doubtful ─┐
 *    │ │ refused, perhaps because the file is pending      ▼
 *    │ ▼                                                 LOST ── found: made ────────► DONE
 *   ASK_FILE ── it is not ──► refused, as above            │ └── nobody knows ────────► DONE
 *    │ ▲                                                   └──── refused, as above
 *    ▼ │ it is
 *   WAIT_FILE ── for too long ──► refused, as above
 *
 *   Where there is a journal each SEND has an INTENT before it, also the one behind ASK_FILE.
 *
 *   step       under way                       tokens are   the client leaves
 *              (its callback goes on)          counted
 *   REPEAT     repeat (its own struct)         no           it ends
 *   FIND       locate, of an id without a tag  no           it ends
 *   FACTS      peek at the file's first lines  no           it ends
 *   RESERVE    nothing                         no           -
 *   ELSEWHERE  nothing                         no           -
 *   COPY       move                            yes          it ends
 *   WRITE      nothing                         yes          -
 *   INTENT     the question to the keeper      yes          it ends, and deletes the copy
 *   SEND       attempt (the POST)              yes          it goes on: the batch exists anyhow,
 *                                                           and whoever repeats must learn of it
 *   ASK_FILE   attempt (a GET of the file)     yes          it goes on, and then waits no more
 *   WAIT_FILE  timer                           yes          it ends, and deletes the copy
 *   LOST       reconcile                       yes          it goes on
 *
 * Every step may end in DONE for want of memory. The table behind this drawing is in
 * create_steps.c, which asserts with each step: nothing of the step before is under way, tokens are
 * counted exactly where the table says so, and nothing begins after an answer.
 *
 * The files of a create share this one struct on purpose. create_steps.c begins their steps, and
 * they come back to it only by create_go(), from a callback:
 *
 *   create_check    is the body what any provider takes?    create_send      the POST, and its loss
 *   create_place    which deployment, its room, the copy    create_outcome   made, refused, unknown
 *   create_nowhere  why there is no room                    create_answer    what the client gets
 *   create_body     the body upstream, with its marker      move             the copy itself
 *   create_intent   what the journal is asked and told
 */
#pragma once

#include "balancer/quota.h"
#include "calls/attempt.h"
#include "create_hook.h"
#include "create_intent.h"
#include "objects/move.h"
#include "objects/facts.h"
#include "objects/locate.h"
#include "once/reconcile.h"
#include "once/repeat.h"
#include "request/operation.h"
#include "request/resolve.h"
#include "routing/candidates.h"
#include "scopes.h"

#define CREATE_MAX_TRIES 8 /* deployments that one create goes through */

enum create_step {
    STEP_NEW,
    STEP_REPEAT,
    STEP_FIND,
    STEP_FACTS,
    STEP_RESERVE,
    STEP_ELSEWHERE,
    STEP_COPY,
    STEP_WRITE,
    STEP_INTENT,
    STEP_SEND,
    STEP_ASK_FILE,
    STEP_WAIT_FILE,
    STEP_LOST,
    STEP_DONE,
    STEP_WAITS /* no step, but what one says that has begun something: its callback goes on */
};
#define CREATE_STEPS (STEP_DONE + 1)

struct create_job {
    struct operation op; /* `deployment`: the one in use; at first that of the client's file */
    enum create_step step;
    struct facts_peek *peek;     /* owned; under way in FACTS, else NULL */
    struct reconcile *reconcile; /* owned; under way in LOST, else NULL */
    struct intent intent;        /* what the journal knows of it; its call is under way in INTENT */

    /* The request. */
    char request_id[37];
    uint64_t owner;
    struct scopes scopes;    /* of who asks: what counts it besides the deployment */
    uint64_t request;        /* fingerprint of what was asked */
    struct create_hook hook; /* who is told of its end besides others; of relay->doc */
    char endpoint[64];       /* as the client wrote it */
    char *file_id;           /* owned; of the input file, as the client wrote it; NULL: a blob */
    bool tagged;             /* answer with signed (tagged) ids */
    struct repeat repeat;    /* this request among those that were made before */
    /* The batch, by what it will be known; its file: that of the deployment it was last sent to */
    struct wanted wanted;
    char nonce[MARKER_NONCE + 1]; /* of the marker that the batch will carry; "": none */

    /* Its input file. */
    struct target target; /* owned; where the client's file may be */
    uint32_t at;          /* ... candidate in use */
    bool have_facts;
    bool unbalanced; /* nothing is: the facts matter for the caller's rights and limits alone */
    struct facts facts;
    const char *file_url; /* constant; that the lines of the file have; NULL: not known */
    uint64_t tokens;      /* of the batch, as estimated; 0: not known */
    uint64_t least;       /* ... and for certain */
    uint64_t unsure_from; /* choose_unsure_from() */
    uint64_t refusal_job; /* facts_job(): what refusals know it by; 0: not known */

    /* Where its batch may be made. */
    struct candidates candidates; /* owned; none: only where the file is */
    bool *tried;                  /* owned; [candidates.num] */
    bool *barred;                 /* owned; the same, and what has no slot for a copy */
    uint32_t tier;                /* of the candidates in use */
    uint32_t tries, tries_here;   /* in all, and in this tier */
    struct move *move;    /* owned; what was read of the file for copies; NULL: nothing yet */
    struct failure worst; /* the most telling failure so far; status 0: none */

    /* The deployment in use. */
    char file[IDS_MAX + 1];       /* native id of the input file there; "": none (a blob) */
    struct quota_claim claim;     /* its reservation; empty: none */
    struct quota_refusal refusal; /* ... why there is none: of the last try */
    bool uncounted;               /* there is none because the ledger is full */
    uint64_t counted;             /* tokens of that try */
    bool over_limit;              /* there is none because its key or team may not have it now */
    bool permit;                  /* the half-open probe permit is held until the create is sent */

    /* The create there. */
    struct strbuf body;             /* owned */
    uint64_t begun_ms;              /* monotonic */
    struct failure cause;           /* ASK_FILE, WAIT_FILE: the refusal; LOST: what came */
    struct retry_question question; /* ... and what it says */
    bool doubtful;                  /* it is a refusal, but perhaps not the provider's */
    bool file_known;     /* the file's state was told: no further refusal is because of it */
    uint32_t pending_ms; /* until the file is asked again; 0: it was not seen pending */
    uint64_t give_up_ms; /* monotonic; when waiting for the file ends */

    /* Of create_prepared.h. */
    bool own_file;    /* the client's file was stored for this create alone */
    bool may_be_made; /* and perhaps there is a batch that needs it */
};

/* What a 2xx, or the batch that was found instead, tells. All borrowed. */
struct create_made {
    int status; /* of the provider's answer; 0: it was found in a list */
    struct json_doc *doc;
    struct json *batch;                           /* as the provider sent it */
    int64_t enqueued_tokens, max_enqueued_tokens; /* of the answer's headers; -1: not told */
};

/* The deployment that stands for the account of the client's file. */
static inline uint32_t create_home(const struct create_job *job)
{
    return job->target.deployments[job->at];
}

static inline struct create_job *create_job_of(struct operation *op)
{
    return (struct create_job *)op;
}

/* Whether the file in use is a copy of ours. */
static inline bool create_has_copy(const struct create_job *job)
{
    return job->file[0] != '\0' && strcmp(job->file, job->target.native) != 0;
}

/* Whether it counts for a key, too. */
static inline bool create_is_scoped(const struct create_job *job)
{
    return job->scopes.of[QUOTA_KEY].name != 0;
}

/* --- create_steps.c --- */

/** The one way from step to step: this one and those that it leads to, until one waits or the job
 * has ended; the last one is operation_free()'s. The job may be gone when it returns. */
void create_go(struct create_job *job, enum create_step next);

/** What the step began has called back: it is no longer under way. */
void create_ended(struct create_job *job, enum create_step step);

/* What follows tells the step that comes next: STEP_WAITS, or STEP_DONE where the job has ended,
 * and is gone. */

/* --- create_place.c: where its batch is made --- */

enum create_step create_reserve(struct create_job *job);   /* STEP_RESERVE */
enum create_step create_elsewhere(struct create_job *job); /* STEP_ELSEWHERE */
enum create_step create_copy(struct create_job *job);      /* STEP_COPY */

/** The deployment in use is given up: its tokens, and the permit to try there, go back. */
void create_give_back(struct create_job *job);

/** What the deployment in use refused it would refuse through all rows that are the same
 * deployment. Not for a refused key: another row may have another one. */
void create_rule_out(struct create_job *job);

/* --- create_nowhere.c --- */

/** What is known of a refusal of this job at a deployment. */
struct refusal create_refusal_at(const struct create_job *job, uint32_t deployment);

/** Whether there is any. */
bool create_any_refusal(const struct create_job *job);

/** Nobody has room: say why, and when there will be, and end. No room is promised at a deployment
 * that has refused this very job. */
enum create_step create_nowhere(struct create_job *job);

/** Its key or its team may not have it now, or never, or it cannot be counted there: say so, and end.
 */
enum create_step create_refuse_tenant(struct create_job *job);

/** The copy of the file at the deployment in use is of no use any more. */
void create_drop_copy(struct create_job *job);

/* --- create_intent.c; the rest of it: create_intent.h --- */

enum create_step create_intend(struct create_job *job); /* STEP_INTENT */

/** What follows when the body is written, or the file is ready. */
static inline enum create_step create_then(const struct create_job *job)
{
    return job->op.rt->journal != NULL ? STEP_INTENT : STEP_SEND;
}

/* --- create_body.c --- */

/** Whether the batch can carry a marker. */
bool create_takes_marker(const struct create_job *job);

/** Whether it can at the deployment in use. */
bool create_can_be_marked(const struct create_job *job);

enum create_step create_write(struct create_job *job); /* STEP_WRITE */

/* --- create_send.c: the POST and what may follow it --- */

enum create_step create_send(struct create_job *job);      /* STEP_SEND */
enum create_step create_ask_file(struct create_job *job);  /* STEP_ASK_FILE */
enum create_step create_wait_file(struct create_job *job); /* STEP_WAIT_FILE */
enum create_step create_find_lost(struct create_job *job); /* STEP_LOST */

/* --- create_outcome.c: what the end of a POST means --- */

/** The batch exists: it is counted, learned from and answered. */
enum create_step create_was_made(struct create_job *job, const struct create_made *made);

/** It does not: another deployment gets it, or the refusal is answered.
 *  @param question  for retry_decide(); op, what was sent, what came */
enum create_step create_was_refused(struct create_job *job, const struct failure *failure,
                                    const struct retry_question *question);

/** Nobody knows. @param cause  what came instead of an answer */
enum create_step create_was_lost(struct create_job *job, const struct failure *cause);

/** It could not be sent for want of memory: nothing has happened. */
enum create_step create_was_not_sent(struct create_job *job);

/* --- create_answer.c: what the client gets --- */

/** Answer with an error and end. `failure` may be the job's own. */
enum create_step create_fail(struct create_job *job, const struct failure *failure);
enum create_step create_fail_memory(struct create_job *job);

/** Nobody knows whether the batch exists: say so, and keep SDKs from doubling it. */
enum create_step create_fail_lost(struct create_job *job, const struct failure *cause);

/** Answer with a batch as its provider sent it, keep the answer for whoever repeats the request,
 * and end. Also when the client has left. @param status  the provider's; 0: not known */
enum create_step create_answer(struct create_job *job, uint32_t deployment, int status,
                               struct json_doc *doc, struct json *batch);
