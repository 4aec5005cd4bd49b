/* What workers and the prober tell the keeper about creates and batches, and what it answers: the
 * messages of KEEPER_INTENT to KEEPER_MOVE as plain structs, and the bytes that go over the socket
 * (core/keeper_door.h). Pure: no socket, no clock, no database.
 *
 *   worker                                    keeper                               database
 *   INTENT  may this create be sent? ───────► all that wait at a turn together ──► reservation,
 *           ◄─────── granted, or why not                                           idempotency
 *   LIVE    its provider made this batch ───► at its next turn ──────────────────► batch, live
 *   DROP    nothing came of it, or nobody     the same ──────────────────────────► reservation
 *           knows
 *   SEEN    how a batch stands ─────────────► one commit at its end ─────────────► usage, events
 *   DUE     which batches shall be asked? ──► claims some ───────────────────────► claims
 *   STORY   what is known of a batch ───────► reads ─────────────────────────────►
 *   MOVE    it goes elsewhere ──────────────► one commit ────────────────────────► batch, part
 *   DELETION  what became of a file ────────► one commit ────────────────────────► deletion
 *
 * Each message may be said twice, also to another keeper: what names it (`id`, `claim`, the batch)
 * makes the second one change nothing. So a question that a dying keeper may have carried out is put
 * to the next one as it is.
 *
 * Texts are C strings without a NUL inside. Of a decoded message they point into its bytes. NULL is
 * encoded as "". The numbers mean something within one program only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/** What is empty in a message is not known. @return NULL for that, and for NULL */
static inline const char *wire_known(const char *text)
{
    return text != NULL && *text != '\0' ? text : NULL;
}

#define WIRE_UNLIMITED UINT64_MAX
#define WIRE_ID        32 /* hex digits of an `id` or a `claim` */

/* Longest texts, in bytes without the NUL; what is longer is not encoded: ERR_LIMIT. */
#define WIRE_MAX_ID     512   /* files and batches: IDS_MAX */
#define WIRE_MAX_NAME   255   /* aliases, teams, users, groups, models, statuses */
#define WIRE_MAX_TAGS   8192  /* a JSON array of texts */
#define WIRE_MAX_ERRORS 16384 /* what a batch says of itself, as JSON */
#define WIRE_MAX_ANSWER 16384 /* an answer that is kept for whoever repeats the request */

#define WIRE_MAX_URL    2048
#define WIRE_MAX_SECRET 512
#define WIRE_MAX_WHY    120

#define WIRE_MAX_MODELS                                                                            \
    32 /* usage rows of one SEEN; a file with more lines' models adds the rest */
#define WIRE_MAX_DUE 32

/* Statuses of the answers to all of these kinds. */
enum wire_status {
    WIRE_TAKEN = 1, /* it is done: committed, or in what the keeper keeps for the database */
    WIRE_LATER,     /* the keeper cannot do it now: say it again after a while */
    WIRE_UNREADABLE /* the message is none: do not say it again */
};

/* --- who made it, as it was when it was made (journal statement B9) --- */

struct wire_who {
    uint64_t owner;          /* of the objects (struct rights); 0: the master key */
    uint64_t key, team;      /* fingerprints (struct rights); 0: none */
    const char *key_hash;    /* SHA-256 of the key that was used, 64 hex digits; "": none */
    const char *key_alias;   /* cut to size by the table of rights; "": none */
    const char *team_id;     /* the same */
    const char *user_id;     /* "": not known to the worker; the keeper may know the key's */
    const char *tags;        /* JSON array of texts; "": none */
    const char *group;       /* model_name that it is counted for; "": not known */
    const char *endpoint;    /* as the client wrote it */
    const char *file;        /* of the input, as the client wrote it; "": a blob */
    const char *original;    /* the same as its provider knows it: no copy of it ... */
    uint32_t home;           /* ... and the fingerprint of its account; 0: not known */
    uint32_t delete_after_s; /* the batch's files go so long after its end; 0: they stay */
    uint64_t lines;          /* of the input file; 0: not known */
};

/* --- KEEPER_INTENT: a create or a keyed upload is about to be sent --- */

enum wire_kind { WIRE_CREATE, WIRE_UPLOAD };

enum wire_scope_kind { WIRE_DEPLOYMENT, WIRE_KEY, WIRE_TEAM, WIRE_SCOPES };

/* Limits are the asker's, at each intent. */
struct wire_scope {
    uint64_t name;     /* fingerprint: table_deployment.real, rights.key, rights.team; 0: none */
    uint64_t tokens;   /* of unfinished batches; WIRE_UNLIMITED: counted all the same */
    uint64_t batches;  /* the same */
    uint64_t nano;     /* what may be spent, in nano-dollars; the same */
    uint64_t period_s; /* seconds after which all of it may be spent again; 0: never */
};

struct wire_intent {
    uint32_t kind;   /* enum wire_kind; an upload has no scopes, and always a name */
    uint32_t anyway; /* 1: the deployment takes it whatever is counted there */
    /* Of the reservation: WIRE_ID random hex digits, other ones each time; "": nothing is reserved,
     * the key alone is taken */
    const char *id;
    const char *claim;   /* of the request: the same wherever it tries */
    const char *name;    /* of its Idempotency-Key: hex, of one owner and kind; "": it has none */
    uint64_t request;    /* fingerprint of all that was asked, which a repeat has as well */
    const char *nonce;   /* of the marker that its batch will carry; "": none */
    uint64_t ledger;     /* quota_token() of the nonce in the asker's ledger; 0: none */
    uint32_t deployment; /* fingerprint of the row that it goes to ... */
    uint32_t account;    /* ... and of its account */
    uint64_t tokens;     /* to be reserved; 0: not known */
    /* For what it will cost (journal statement B10), which the keeper reckons: tokens of the input,
     * and of the output at most; 0: not known, the lines do not bound it */
    uint64_t input, output;
    uint64_t nano; /* to be held, in nano-dollars; written by the keeper, 0: no price is known */
    struct wire_scope scopes[WIRE_SCOPES]; /* by enum wire_scope_kind */
    struct wire_who who;
    /* Of a create whose batch has an endpoint of its own (webhook statement D26) */
    const char *hook_url;    /* "": it has none */
    const char *hook_secret; /* as the client gave it; sealed by the keeper before it keeps it */
    uint32_t hook_types;     /* a bit for each enum hook_type */
};

enum wire_end {
    WIRE_GRANTED = 1,
    WIRE_FULL,    /* a scope has no room: `scope`, `by`, `used`, `limit` */
    WIRE_DONE,    /* the request was answered before: `answer` */
    WIRE_RUNNING, /* it is under way, here or at another node: ask again after `wait_ms` */
    WIRE_OTHER,   /* its Idempotency-Key is that of another request: 409 */
    WIRE_LOST,    /* it was begun, and nobody knows what came of it: look for answer.nonce at
                     answer.deployment. The claim is the asker's */
    WIRE_DOWN     /* the database is away, and this node has no share left for it */
};

enum wire_by { WIRE_BY_TOKENS, WIRE_BY_BATCHES, WIRE_BY_NANO };

/* What a request was answered with, for whoever repeats it. */
struct wire_answer {
    uint32_t status;     /* HTTP; 0: there is none */
    uint32_t deployment; /* fingerprint of the row that served it, or to which it was sent last */
    const char *id;      /* of the object, as the client knows it */
    const char *nonce;   /* of the marker; "": none */
    const char *body;    /* "": too long to be kept, ask for the object */
    uint64_t age_ms;     /* since the request was asked for first; 0: not known */
};

struct wire_verdict {
    uint32_t end;              /* enum wire_end */
    uint32_t local;            /* GRANTED: 1: by this node alone, while the database is away */
    uint64_t epoch;            /* GRANTED: of this node; 0 with `local` */
    uint32_t scope;            /* FULL: enum wire_scope_kind ... */
    uint32_t by;               /* ... enum wire_by ... */
    uint64_t used, limit;      /* ... in that unit */
    uint64_t wait_ms;          /* RUNNING, DOWN: when to ask again; 0: not known */
    struct wire_answer answer; /* DONE, LOST */
};

/* --- KEEPER_LIVE: a provider has made a batch, or has taken an upload --- */

struct wire_live {
    uint32_t kind;     /* enum wire_kind; of an upload only what stands up to `answer` */
    uint32_t local;    /* 1: it is not known that a database has granted it: there may be neither
                          reservation nor claim */
    const char *id;    /* of the intent; "": there was none */
    const char *claim; /* the same */
    const char *name;  /* the same */
    uint64_t request;
    uint64_t owner;
    struct wire_answer answer; /* what the client gets */
    const char *native;        /* id of the batch at its provider; it may be known already, and then
                                  only the answer is new */
    const char *native_file;   /* of its input file there: perhaps a copy */
    const char *nonce;
    const char *status;                    /* as its provider says */
    uint32_t deployment;                   /* fingerprint of the row ... */
    uint32_t account;                      /* ... and of its account */
    uint64_t created_s, expires_s;         /* Unix, as its provider says; 0: it does not */
    uint64_t tokens, nano;                 /* as reserved */
    struct wire_scope scopes[WIRE_SCOPES]; /* as reserved */
    struct wire_who who;
};

/* --- KEEPER_DROP: what an intent has come to that made no batch --- */

enum wire_why {
    WIRE_WAS_REFUSED, /* certainly nothing at this deployment; the request goes on elsewhere */
    WIRE_NOT_MADE,    /* certainly nothing: as if the request had never been asked */
    WIRE_WAS_LOST     /* nobody knows: the reservation stays until somebody does */
};

/* Of one that is found by nonce or ledger, the prober knows neither id nor claim. */
struct wire_drop {
    uint32_t why;        /* enum wire_why */
    const char *id;      /* of the intent; "": by what follows */
    const char *claim;   /* the same */
    const char *nonce;   /* "": by `ledger` alone */
    uint64_t ledger;     /* of an intent of this node; 0: by the nonce alone */
    uint32_t deployment; /* LOST: fingerprint of where it was sent; 0: not known */
};

/* --- KEEPER_SEEN: how a batch stands --- */

enum wire_by_whom { WIRE_BY_POLL, WIRE_BY_WATCH, WIRE_BY_REBUILD };

/* What a batch has used of one model (journal statement B8). */
struct wire_usage {
    const char *model;
    uint64_t ok, bad;        /* lines */
    uint64_t in, cached;     /* tokens; `cached` of `in` */
    uint64_t out, reasoning; /* the same */
    /* Of these, what requests with more than PRICE_LONG_TOKENS of input have */
    uint64_t long_in, long_cached, long_out;
    uint64_t unmeasured; /* lines of `ok` without a usage that can be read */
};

enum wire_usage_source {
    WIRE_USAGE_UNKNOWN, /* not looked at, or not there yet */
    WIRE_USAGE_BATCH,   /* the batch says it itself, whole */
    WIRE_USAGE_OUTPUT,  /* of one pass over its output and error files */
    WIRE_USAGE_NONE     /* there is certainly none: no line was carried out */
};

struct wire_seen {
    uint32_t by;         /* enum wire_by_whom */
    uint32_t gone;       /* 1: its provider knows no such batch (404) */
    const char *native;  /* id */
    uint32_t deployment; /* fingerprint of a row of its account ... */
    uint32_t account;    /* ... and of the account */
    const char *status;  /* as its provider says; "": nothing was heard of it, it is given back */
    uint64_t total, completed, failed; /* lines */
    /* Unix seconds; 0: its provider does not say */
    uint64_t created_s, in_progress_s, finalizing_s, cancelling_s;
    uint64_t finished_s; /* completed_at, failed_at, expired_at or cancelled_at: of its status */
    uint64_t expires_s;
    const char *endpoint;
    const char *input, *output, *error; /* native file ids; "": none */
    const char *errors;                 /* its `errors`, as JSON, cut to whole entries; "": none */
    /* Of its marker, when that is ours; without one: nonce "", the rest 0 */
    const char *nonce;
    const char *file; /* the client's input file */
    uint64_t owner, key, request, tokens;
    uint32_t placed; /* fingerprint of the deployment that the marker names */
    uint32_t source; /* enum wire_usage_source */
    uint32_t num_usage;
    struct wire_usage usage[WIRE_MAX_MODELS];
};

/* --- KEEPER_DUE: what the prober shall ask providers about --- */

enum wire_task {
    WIRE_POLL,    /* how does this batch stand? answered by SEEN */
    WIRE_MEASURE, /* it has ended, its usage is not known yet: answered by SEEN with usage */
    WIRE_FIND,    /* was this create carried out? SEEN: it was; DROP (NOT_MADE): it was not */
    WIRE_MOVE, /* it failed late, and shall run elsewhere: answered by MOVE. With a nonce: a create of
                     it is in doubt, and is looked for at `placed` */
    WIRE_FILES, /* its files are to go: which are they? answered by DELETION */
    WIRE_DELETE /* delete this file: the same */
};

/* A POLL or MEASURE of before that is still under way: its claim is kept. */
struct wire_held {
    uint32_t account;
    const char *native;
};

struct wire_due_ask {
    uint32_t max;     /* tasks, at most WIRE_MAX_DUE; 0: none, only what follows is told */
    uint32_t fresh;   /* 1: whoever asked for this node before is gone, with what it worked on */
    uint32_t rebuilt; /* the rebuild of this number has read all lists that it could; 0: none */
    uint32_t unread;  /* accounts whose lists it could not read */
    uint32_t num_held;
    struct wire_held held[WIRE_MAX_DUE];
};

struct wire_due {
    uint32_t task;              /* enum wire_task */
    uint32_t deployment;        /* fingerprint of the row ... */
    uint32_t account;           /* ... and of its account */
    uint32_t tries;             /* before this one, in vain */
    const char *native;         /* POLL, MEASURE, FILES: of the batch; DELETE: of the file */
    const char *id;             /* FIND: of the intent */
    const char *claim;          /* FIND */
    const char *nonce;          /* FIND: of the marker to look for */
    const char *status;         /* as it was seen last; "": never */
    const char *output, *error; /* MEASURE: native file ids, as they were seen last */
    uint64_t tokens;            /* POLL: of its reservation; 0: not known */
    uint32_t placed;            /* MOVE: fingerprint of the row where `nonce` was sent */
    uint32_t cancels; /* POLL: its client wants it cancelled, and its provider may not know */
    uint64_t owner;   /* DELETE: of the batch whose file it is */
    /* Unix, of the provider, of a FIND and of `now_s` the database's. 0: not known */
    uint64_t created_s, expires_s, finished_s, now_s;
};

struct wire_due_list {
    uint32_t num;
    uint32_t wait_ms; /* when to ask again */
    uint32_t
        rebuild; /* read all accounts' lists for the rebuild of this number; 0: none is wanted */
    struct wire_due due[WIRE_MAX_DUE];
};

/* --- KEEPER_DELETION: what became of a FILES or DELETE --- */

enum wire_deletion_end {
    WIRE_LISTED,  /* FILES: these are the batch's files */
    WIRE_DELETED, /* DELETE: by this call */
    WIRE_GONE,    /* its provider has no such file, or batch */
    WIRE_FOREIGN, /* it is another owner's: it stays */
    WIRE_NOT_NOW  /* it could not be done: again later */
};

struct wire_deletion {
    uint32_t end;                       /* enum wire_deletion_end */
    uint32_t account;                   /* fingerprint */
    const char *native;                 /* as it was asked for */
    const char *input, *output, *error; /* LISTED: native ids; "": none */
    const char *why;                    /* NOT_NOW: for people; "" else */
};

/* --- KEEPER_STORY: what is known of one batch; the answer is JSON (server README 3) --- */

enum wire_story_end { WIRE_STORY = WIRE_TAKEN, WIRE_STORY_LATER = WIRE_LATER, WIRE_NO_STORY = 16 };

struct wire_story {
    const char *native;
    uint32_t account; /* fingerprint; 0: any */
    uint32_t all;     /* 1: whoever made it */
    uint64_t owner;   /* else it is this one's, or there is none */
};

/* --- KEEPER_MOVE: a batch that failed late goes to another deployment (moves.h) --- */

enum wire_move_step {
    WIRE_MOVE_BEGIN,  /* the create with `nonce` at `to` is granted, and about to be sent */
    WIRE_MOVE_WAIT,   /* certainly nothing came of `nonce`, if one was begun: later again */
    WIRE_MOVE_DOUBT,  /* nobody knows what came of it: whoever finds its batch tells */
    WIRE_MOVE_OVER,   /* it is moved no more: it has failed */
    WIRE_MOVE_MADE,   /* `to_native` is its batch from now on */
    WIRE_MOVE_CANCEL, /* its client cancels it */
};

struct wire_move {
    uint32_t step;    /* enum wire_move_step */
    uint32_t account; /* fingerprint of where it failed ... */
    const char *native;
    const char *nonce; /* of the marker of the new one; WAIT, OVER: "": none was begun */
    uint32_t to;       /* BEGIN, MADE: fingerprint of the row */
    uint32_t wait_ms;  /* WAIT */
    const char *why;   /* WAIT, OVER: for people */
    /* MADE: what its provider says, and the intent's reservation */
    uint32_t to_account;
    const char *to_native, *status, *id;
    uint64_t tokens, expires_s;
    const char *text; /* CANCEL: the batch as it is shown from then on, ids as its provider's */
};

enum wire_move_end {
    WIRE_MOVE_DONE = WIRE_TAKEN, /* CANCEL: it has ended as cancelled */
    WIRE_MOVE_LATER = WIRE_LATER,
    WIRE_MOVE_STALE = 16, /* it is not the asker's to move, or is none that moves */
    WIRE_MOVE_SENT        /* CANCEL: it is being created: it will be cancelled there */
};

/* --- names in the database --- */

#define WIRE_SCOPE_TEXT 24

/** What a scope is called in `allowance`: "d:0123abcd", "k:" or "t:" and 16 digits. */
void wire_scope_text(enum wire_scope_kind kind, uint64_t name, char out[WIRE_SCOPE_TEXT]);

/* --- bytes ---
 *
 * Each pair: the first one appends to `out`; 0, ERR_LIMIT (a text or a number of items is beyond its
 * bound; nothing is appended), ERR_NOMEM. The second one reads `len` bytes back; 0, or ERR_SYNTAX
 * for whatever is not exactly such a message; its texts live as long as `bytes`. */

#define WIRE_PAIR(name)                                                                            \
    MUST_USE int wire_##name##_write(const struct wire_##name *message, struct strbuf *out);       \
    MUST_USE int wire_##name##_read(const char *bytes, size_t len, struct wire_##name *message)

WIRE_PAIR(intent);
WIRE_PAIR(verdict);
WIRE_PAIR(live);
WIRE_PAIR(drop);
WIRE_PAIR(seen);
WIRE_PAIR(due_ask);
WIRE_PAIR(due_list);
WIRE_PAIR(story);
WIRE_PAIR(move);
WIRE_PAIR(deletion);

#undef WIRE_PAIR
