/* What the nodes of a fleet share in the database before a batch has a provider's id: who is there,
 * how many tokens are taken of each limit, and which requests were asked before (journal statements
 * C24 and C29 to C32). For the keeper; all calls are as those of store.h.
 *
 *   node         name, epoch, last sign of life
 *   allowance    one row for each scope (deployment, key, team): what open reservations hold there
 *   reservation  one row for each create, from before it is sent until its batch has ended
 *   idempotency  one row for each create or upload with an Idempotency-Key
 *   lease        what a node may grant alone while the database is away
 *   file_held    how many input files an account has
 *
 * A reservation:
 *
 *   store_fleet_intents() ─► RESERVED ─ store_fleet_live() ─► LIVE ─ work_free_reservation() ─► FREED
 *                               │ outcome unknown               ▲                                 ▲
 *                               └─ store_fleet_drop() ─► UNKNOWN ┘ found       proven absent ─────┤
 *   a certain refusal: store_fleet_drop() ────────────────────────────────────────────────────────┘
 *
 * `used` of a scope is the sum of its reservations that are not FREED. Both change in one
 * transaction, and only by who has locked the scope's row: rows are always locked in the order of
 * their names, before any reservation is touched. No reservation is freed by time alone while its
 * batch may live.
 *
 * A node is known by its name. Its epoch belongs to one life of its shared memory: it is raised when
 * that is new, stays when only the keeper was started again, and so the creates of an epoch that is
 * not the node's any more are known to have ended without a word. Whoever claims a row writes node
 * and epoch into it, and every later writing of it says both again: a node that was paused, and
 * whose rows others took over, changes nothing. Times of claims are the database's.
 *
 * A create may be sent for FLEET_GRANT_MS after it was asked for, and a node is dead when nothing was
 * heard of it for FLEET_DEAD_MS, which is longer: what a node has that was paused it does not send. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "store/store.h"

#define FLEET_DEAD_MS    60000
#define FLEET_GRANT_MS   30000
#define FLEET_NODE       160        /* bytes of a node's name, with the NUL */
#define FLEET_HOLDER     200        /* the same of one that holds leases */
#define FLEET_ID         64         /* of a reservation's id, a nonce, a claim, a scope's name */
#define FLEET_ANSWER     (64 << 10) /* of an answer that is kept; a longer one is not */
#define FLEET_OBJECT     520        /* of an object's id, with the NUL */
#define FLEET_AT_ONCE    64         /* of one call's intents, of its lives, of its drops */
#define FLEET_IDEM_MS    (24 * 3600 * 1000)     /* how long an answer is kept */
#define FLEET_FREED_MS   (2 * 24 * 3600 * 1000) /* how long a freed reservation is */
#define FLEET_EXPIRES_MS (26 * 3600 * 1000)     /* after that no batch of a reservation can live */
#define FLEET_SLICE      500                    /* rows that one transaction removes */

/* ---- nodes ---- */

/* This node, in every call. */
struct fleet_me {
    const char *node; /* its name; borrowed */
    int64_t epoch;    /* of store_fleet_join() */
    /* Where leases are counted: as whom this keeper has them, FLEET_HOLDER bytes at most, "node/..."
     * with something that no other living keeper of the node has; borrowed. NULL: they are not */
    const char *holder;
};

/** The node is there: its epoch is the one that it had when `run` is the same, else one that no node
 *  ever had. What an earlier epoch of it had reserved and not sent word of becomes UNKNOWN.
 *  @param run      of its shared memory: another one after a restart
 *  @param address  where it listens, for people; `version` of its program
 *  @param me       `node` is read, `epoch` written */
MUST_USE int store_fleet_join(struct store *store, uint64_t run, const char *address,
                              const char *version, struct fleet_me *me);

/** A sign of life.
 *  @param now_ms  Unix ms of the database; may be NULL
 *  @return 0; ERR_NOT_FOUND: the epoch is not the node's any more, or the node is not there: join */
MUST_USE int store_fleet_beat(struct store *store, const struct fleet_me *me, int64_t *now_ms);

struct fleet_node {
    char node[FLEET_NODE], address[FLEET_NODE], version[32];
    int64_t epoch;
    int64_t seen_ms; /* Unix ms of the database */
    int64_t age_ms;  /* since then, by its clock */
    bool live;
};

/** All nodes that are known, by name. @param num  written; at most `max` */
MUST_USE int store_fleet_nodes(struct store *store, struct fleet_node *out, size_t max,
                               size_t *num);

/* ---- intents ---- */

enum { FLEET_DEPLOYMENT, FLEET_KEY, FLEET_TEAM, FLEET_SCOPES };

/* A limit that a create counts in. */
struct fleet_scope {
    uint64_t name; /* fingerprint of the deployment, key or team; 0: none */
    /* At most, of all open reservations; RIGHTS_UNLIMITED: none, and it is counted all the same. Of a
     * deployment less what others than us are known to have enqueued there */
    uint64_t tokens, batches;
    int64_t nano;      /* budget in nano-dollars of what is held and spent; INT64_MAX: none */
    int64_t period_ms; /* after which it begins anew; 0: never */
};

struct fleet_intent {
    const char *id; /* of the reservation, another one for each try; NULL: an upload, which reserves
                     * nothing. Borrowed, as all texts here */
    uint64_t token; /* quota_token() of its marker in this node's ledger; 0: none */
    const char *nonce;            /* of its marker; NULL: none */
    uint32_t account, deployment; /* fingerprints of where it goes */
    uint64_t tokens;
    int64_t nano; /* held of budgets */
    struct fleet_scope scopes[FLEET_SCOPES];
    uint64_t owner;
    const char *file;  /* of its input, as its provider knows it: not a copy; NULL: not known */
    const char *claim; /* of the request, the same wherever it tries; NULL: none, and no key */
    const char *key;   /* Idempotency-Key: a hash, of one owner and kind; NULL: there is none */
    uint64_t request;  /* fingerprint of what is asked */
    uint32_t busy_ms;  /* after so long the create or upload has ended for certain */
    bool of_lease;     /* store_fleet_put(): the node took it out of what it may grant alone */
};

enum fleet_verdict {
    FLEET_GRANTED, /* also when this very reservation was there already */
    FLEET_REFUSED, /* by a scope; nothing is counted and no key taken */
    FLEET_DONE,    /* the key was answered before: `status` and `answer` */
    FLEET_RUNNING, /* the key is being answered, somewhere */
    FLEET_OTHER,   /* the key was used for another request */
    /* The key's create or upload ended without a word, or nobody knows what came of it, and the key
     * is this claim's now: look upstream for `nonce` at `deployment` first. Nothing is counted for
     * this intent; the lost reservation is, until it is settled */
    FLEET_LOST,
    FLEET_OVER /* it was dropped before it came: nothing is counted */
};

enum fleet_refuser { FLEET_BY_TOKENS, FLEET_BY_BATCHES, FLEET_BY_BUDGET };

struct fleet_answer {
    enum fleet_verdict verdict;
    /* REFUSED */
    enum fleet_refuser by;
    unsigned scope;      /* FLEET_DEPLOYMENT ... */
    int64_t used, limit; /* tokens, batches or nano-dollars; `used` is what all nodes have */
    /* DONE */
    int status;
    char *body;                /* owned: fleet_answer_deinit(); NULL: it was too long to be kept */
    char object[FLEET_OBJECT]; /* as the client knows it */
    /* DONE, LOST */
    uint32_t deployment; /* fingerprint of where it was sent last */
    char nonce[FLEET_ID];
    int64_t age_ms; /* since the key was asked for first */
};

/** Free what it holds, and empty it. */
void fleet_answer_deinit(struct fleet_answer *answer);

/** Decide intents, in this order, in one transaction: all or none of the scopes of each. What an
 *  earlier one takes the later ones do not get.
 *  @param num      at most FLEET_AT_ONCE
 *  @param answers  [num], written on 0 */
MUST_USE int store_fleet_intents(struct store *store, const struct fleet_me *me,
                                 const struct fleet_intent *intents, size_t num,
                                 struct fleet_answer *answers);

/* ---- what became of them ---- */

/* Names a reservation, and the key of its request: by what is known of it, the first that is not
 * NULL. Borrowed. */
struct fleet_name {
    const char *id;
    const char *native; /* the provider's id of its batch, at `account` (a fingerprint) */
    uint32_t account;
    const char *nonce;
    uint64_t token;    /* of a reservation of this node; 0: none */
    const char *claim; /* for the key; NULL: that of the reservation */
};

/* What a request was answered with, for whoever repeats it. Borrowed. */
struct fleet_done {
    const char *key; /* NULL: it has none */
    uint64_t owner, request;
    int status;
    const char *object; /* as the client knows it */
    const char *body;   /* NULL, or longer than FLEET_ANSWER: none is kept */
};

/* The provider has made it. */
struct fleet_live {
    struct fleet_name of;
    const char *batch, *native; /* ids as the client has it, and as the provider; NULL: unchanged */
    uint32_t deployment;        /* fingerprint; 0: not known */
    struct fleet_done done;
};

/** Reservations become LIVE, keys DONE. One that is not there is passed over: it was granted while
 *  the database was away, or the database was restored from a copy.
 *  @param missing  [num], written on 0: there was no reservation; may be NULL */
MUST_USE int store_fleet_live(struct store *store, const struct fleet_me *me,
                              const struct fleet_live *lives, size_t num, bool *missing);

/** The same of one, among others in one transaction: a reservation that was taken for not made, and
 *  has to be counted again, would lock its scopes behind rows of the others, which nobody else does.
 *  @param missing  written on 0, as above
 *  @param freed    written on 0: it is such a one, and nothing was done: store_fleet_live() it alone */
MUST_USE int store_fleet_live_among(struct store *store, const struct fleet_me *me,
                                    const struct fleet_live *live, bool *missing, bool *freed);

enum fleet_end {
    FLEET_REFUSED_THERE, /* nothing was made; the request goes on: FREED, its key stays its own */
    FLEET_NOT_MADE, /* nothing was made, and nothing is tried any more: the key is free again */
    FLEET_NOT_KNOWN /* UNKNOWN, until store_fleet_live() or store_fleet_drop() tells */
};

struct fleet_drop {
    struct fleet_name of;
    enum fleet_end end;
    uint32_t deployment; /* NOT_KNOWN: fingerprint of where it was sent; 0: where it was to go */
};

/** No batch came of them. */
MUST_USE int store_fleet_drop(struct store *store, const struct fleet_me *me,
                              const struct fleet_drop *drops, size_t num);

/** Key and team no longer pay for a batch that still counts at its deployment (`refund_at`). */
MUST_USE int store_fleet_refund(struct store *store, const struct fleet_me *me,
                                const struct fleet_name *name);

/* A reservation whose node has died, or that UNKNOWN left behind. */
struct fleet_lost {
    char id[FLEET_ID], claim[FLEET_ID], nonce[FLEET_ID]; /* "": none */
    uint32_t account, deployment;                        /* fingerprints */
    uint64_t key, team, tokens;
    uint32_t tries;             /* claims before this one */
    int64_t created_ms, now_ms; /* Unix, of the database: of the create, of this claim */
};

/** Claim some of the reservations that nobody settles: those of dead epochs, and UNKNOWN ones whose
 *  claim is over. They are UNKNOWN from now on, and this node's to look for upstream, for
 *  FLEET_DEAD_MS.
 *  @param num  written; at most `max` */
MUST_USE int store_fleet_claim_lost(struct store *store, const struct fleet_me *me,
                                    struct fleet_lost *out, size_t max, size_t *num);

/* ---- sums ---- */

struct fleet_sum {
    unsigned kind; /* FLEET_DEPLOYMENT ... */
    uint64_t name;
    uint64_t tokens, batches; /* of all nodes' open reservations */
    int64_t held_nano, spent_nano;
};

typedef void (*fleet_sum_cb)(void *arg, const struct fleet_sum *sum);

/** The sums that changed since a moment, and a little more.
 *  @param since  0: all that are not 0; moved on: what the next call asks with */
MUST_USE int store_fleet_sums(struct store *store, int64_t *since, fleet_sum_cb cb, void *arg);

/** Make some scopes' sums what their reservations add up to.
 *  @param behind  scopes are looked at in the order of their names, some hundreds in a call; ""
 *         at first and when all were; FLEET_ID bytes
 *  @param drift   increased by the tokens that they were off, up or down */
MUST_USE int store_fleet_repair(struct store *store, char *behind, uint64_t *drift);

/** Remove what is kept no longer, FLEET_SLICE rows of each table at most.
 *  @param more  written: there may be more */
MUST_USE int store_fleet_tend(struct store *store, bool *more);

/* ---- leases ----
 *
 * What a node may grant alone while the database is away: a row for each keeper and scope. They are
 * counted where `me->holder` is given (`leases: counted`), and their rows have that name: then every
 * grant finds room beside what other keepers may grant alone, so that the sum of what is used and of
 * all leases that live stays within a limit. What a keeper has that does not count them stands under
 * its node's name, and is counted by nobody. */

#define FLEET_LEASE_SKEW_MS 5000 /* so long after its end one counts, for clocks that differ */

struct fleet_lease {
    unsigned kind;
    uint64_t name;
    uint64_t tokens, batches; /* what this node may grant alone; RIGHTS_UNLIMITED: any */
    int64_t nano;
    /* What it may grant alone by now, if that is counted: until the answer is heard it keeps that */
    struct {
        uint64_t tokens, batches;
        int64_t nano;
    } held;
    int64_t until_ms; /* written where they are counted: of its row, Unix ms of the database */
};

/** Take what is free of limits now, divided by the live nodes, as this node's share of an outage
 *  (C30); what it was is replaced. Where leases are counted (lease_rules.h) it is that at most, and
 *  no more than others' leave; all are taken in one transaction, under the locks of their scopes.
 *  @param for_ms  how long it will be good
 *  @param leases  kind, name and `held` of each are read, the rest is written; a scope without a
 *         limit, or that is not known, gets RIGHTS_UNLIMITED
 *  @param num  at most FLEET_AT_ONCE */
MUST_USE int store_fleet_lease(struct store *store, const struct fleet_me *me, uint32_t for_ms,
                               struct fleet_lease *leases, size_t num);

/** Give counted leases back: of this keeper those that end before a moment, and all of earlier lives
 *  of its node, whose grants have all been put down or are lost with its disk. What it gives back it
 *  may not have any more when it asks: the answer may be lost.
 *  @param before_ms  `until_ms` of the first that stays; INT64_MAX: none does */
MUST_USE int store_fleet_give_back(struct store *store, const struct fleet_me *me,
                                   int64_t before_ms);

/** Put down what was granted while the database was away, whatever the limits, and without keys. One
 *  that is there already stays as it is. @param num  at most FLEET_AT_ONCE */
MUST_USE int store_fleet_put(struct store *store, const struct fleet_me *me,
                             const struct fleet_intent *intents, size_t num);

/** Whether the database has a reservation, in any state: one that this node was told of as committed
 *  and that is not there says that the database is an older one than before. */
MUST_USE int store_fleet_has(struct store *store, const char *id, bool *there);

/* ---- files of accounts ---- */

struct fleet_held {
    uint32_t account; /* fingerprint */
    unsigned kind;    /* enum slots_kind */
    bool counted;     /* `files` is what the account's list has; else what came or went */
    int64_t files;    /* on return: what the account has by now, -1: not known */
};

/** Tell what this node knows of accounts' files, and hear what all nodes have told.
 *  @param held  sorted by the call */
MUST_USE int store_fleet_files(struct store *store, struct fleet_held *held, size_t num);
