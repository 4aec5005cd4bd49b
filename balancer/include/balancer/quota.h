/* The quota ledger: which deployment has how many enqueued tokens, in shared memory that outlives
 * generations. A provider bounds the tokens of a deployment's unfinished batches; the ledger holds
 * one reservation for each batch that we know, so that a create goes only where it fits.
 *
 * A reservation is an entry in a table, and all that happens to it is one word changed by
 * compare-and-swap:
 *
 *                      quota_reserve()         quota_sent()             quota_commit()
 *   FREE ──► RESERVING ────────────► RESERVED ─────────────► SENT ────────────────────────► LIVE
 *    ▲           │                    │    ▲                 │  │                           ▲  │
 *    │           │                    │    └─quota_refused()─┤  │ holder died,               │  │
 *    │           │ does not fit       │                      │  │ quota_abandon()           │  │
 *    │           │                    │                      │  └────────► ORPHAN ──────────┘  │
 *    │           │       holder died,  │                      │               │ quota_adopt()   │
 *    │           │      quota_cancel()│        quota_cancel()│               │                 │
 *    └───────────┴────── RELEASING ◄──┴──────────────────────┴───────────────┴─────────────────┘
 *                                         quota_release(), quota_release_view(), quota_expire()
 *
 * Per column there is one word E, the sum of what is RESERVED, SENT, LIVE or ORPHAN, with a version
 * in it. A process killed at any instruction leaves at worst an entry in RESERVING or RELEASING and
 * an E that is off by it: quota_undo_holder() frees the entry, quota_repair() puts E back to the
 * sum.
 *
 * **A worker that died** leaves what it had not begun to send (RESERVED) as if it had never been. A
 * create on its way (SENT) is never given back at once: the batch may well run. It becomes an
 * ORPHAN, which stays counted, is shown by quota_watch() for reconciliation (at once, then ever
 * more seldom), and ends by quota_adopt() (its batch was found), quota_release_view() (it did not
 * appear) or QUOTA_ORPHAN_KEEP_MS: whoever looks may be kept from it by clocks, by a provider that
 * lists nothing, by thousands of newer batches. A batch that shows itself later is adopted then.
 *
 * **Scopes.** A tenant's reservation counts in up to two scopes besides its column: its key and its
 * key's team (tenants statements A32, A39). They fit together or nothing is counted: what is
 * RESERVED is in E and in both scopes for certain, and every way out takes it out of all three, in
 * the same order of steps. Limits are the caller's, at each reserve: a limit that is set later finds
 * counted what runs already. quota_refund() takes a batch out of its scopes alone, by way of
 * REFUNDING, which stands beside LIVE.
 *
 * Tokens that other clients enqueue on the same deployment are `foreign`: what the provider reports
 * beyond our sum. They drain at the deployment's rate from then on.
 *
 * Columns are those of state_bind(), one per row of the configuration. Rows that are one deployment
 * at the provider share one ledger: quota_alias() makes the later ones another name of the first's
 * column, and everything that is asked of or told about them is its. No locks; monotonic time is an
 * argument; any process may call anything that is not marked as the master's. `holder` is the
 * caller's row (its slot), as for state_begin(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/pick.h"
#include "balancer/quota_learn.h"
#include "common/err.h"
#include "common/rights.h"

#define QUOTA_ID_SIZE        56     /* with its NUL; a longer id is kept by its hash only */
#define QUOTA_MAX_HOLDERS    4094   /* holders are 0..4093 */
#define QUOTA_ASK_MS         60000u /* a reservation is asked about at most once in this time */
#define QUOTA_ORPHAN_MS      1000u  /* a create of unknown outcome is looked for that soon again */
/* ... and that long it stays counted, whatever is or is not seen of it */
#define QUOTA_ORPHAN_KEEP_MS (5u * 60 * 1000)
/* OpenAI's window of 24 h, and 2 h for its clock */
#define QUOTA_LEASE_MS       (26u * 3600 * 1000)
/* After the lease: a last look may still prove that the batch runs */
#define QUOTA_GRACE_MS       (2u * 3600 * 1000)
#define QUOTA_EXTEND_MS      (3600u * 1000) /* by how much an answer "still running" prolongs it */

struct quota; /* the region */

/** Room for that many columns and reservations (at most 16 million). Pages that nobody needed yet
 * cost nothing.
 *  @return 0; ERR_INVALID (a number is 0 or too great); ERR_NOMEM */
MUST_USE int quota_new(uint32_t max_columns, uint32_t max_reservations, struct quota **out);
void quota_free(struct quota *quota); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what quota _new()
 * would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int quota_adopt_region(int fd, uint32_t max_columns, uint32_t max_reservations,
                                struct quota **out);

/** What the configuration says about a deployment. */
struct quota_terms {
    uint32_t fingerprint;
    uint64_t limit;    /* tokens; 0: not configured */
    uint64_t lease_ms; /* 0: QUOTA_LEASE_MS */
    /* Azure, where no job ever expires: the end of a lease only makes it asked about once more */
    bool ask_first;
    /* A wildcard, which stands for many deployments: what one of them says is not learned, for the
     * others would be judged by it */
    bool many;
};

/** Tell a column's terms; master only, before the fork, for each deployment of a new table. Another
 * fingerprint than before empties the column: its reservations and all that was learned are
 * dropped. */
void quota_bind(struct quota *quota, uint32_t column, const struct quota_terms *terms);

/** This column's row is the same deployment as the row of column `of`, which is bound. What was
 * counted in it so far is dropped. Master only, before the fork.
 *  @param limit  configured for this row; the lower one counts. 0: none */
void quota_alias(struct quota *quota, uint32_t column, uint32_t of, uint64_t limit);

/* --- a reservation's life --- */

struct quota_claim {
    uint32_t entry; /* 0: holds nothing */
    uint32_t column;
    uint64_t word;
    uint64_t tokens;
};

enum { QUOTA_KEY, QUOTA_TEAM, QUOTA_SCOPES };

/* A key or a team, and what it may have at providers at one time. */
struct quota_scope {
    uint64_t name;            /* its fingerprint (struct rights); 0: none */
    uint64_t tokens, batches; /* limits; RIGHTS_UNLIMITED: counted all the same */
};

/* What is to be created. */
struct quota_job {
    uint64_t tokens;
    uint64_t token; /* quota_token() of its marker; 0: none */
    struct quota_scope scopes[QUOTA_SCOPES];
    bool anyway; /* its deployment takes it whatever is counted there: only scopes bound it */
};

enum quota_refuser {
    QUOTA_BY_DEPLOYMENT, /* it has no room now */
    QUOTA_BY_TOKENS,     /* a scope has not */
    QUOTA_BY_BATCHES,    /* it has as many as it may have */
    QUOTA_BY_TABLE       /* the ledger has no place to count it in */
};

/* Who refused a job. */
struct quota_refusal {
    enum quota_refuser by;
    uint32_t scope; /* BY_TOKENS, BY_BATCHES: QUOTA_KEY or QUOTA_TEAM ... */
    uint64_t used;  /* ... what it has enqueued, in tokens or batches ... */
    uint64_t limit; /* ... and may */
};

/** A marker's hash: what a search among the deployment's batches can find a create by. Never 0. */
uint64_t quota_token(const struct quota *quota, uint32_t column, const char *marker, size_t len);

/** Count `tokens` before the create goes out; RESERVED.
 *  @param token  quota_token() of its marker; 0: none
 *  @param claim  written, all zero on error; the caller hands it to quota_commit() or
 *         quota_cancel(), once
 *  @return 0; ERR_LIMIT: does not fit now; ERR_FULL: the table has no entry left */
MUST_USE int quota_reserve(struct quota *quota, uint32_t holder, uint32_t column, uint64_t tokens,
                           uint64_t token, uint64_t now_ms, struct quota_claim *claim);

/** The same of a tenant's job, in its column and its scopes at once: all of them, or nothing. A scope
 * of which another create holds the room for the moment that it takes to find another place full
 * counts as full.
 *  @param refusal  written when it is not 0
 *  @return as above; ERR_LIMIT also for a scope; ERR_FULL also when a scope that has a limit cannot
 *          be counted. One without a limit is left out then: quota_scope_totals() tells */
MUST_USE int quota_reserve_job(struct quota *quota, uint32_t holder, uint32_t column,
                               const struct quota_job *job, uint64_t now_ms,
                               struct quota_claim *claim, struct quota_refusal *refusal);

/** Whether a job would fit in its scopes now; counts nothing.
 *  @return 0; ERR_LIMIT: `refusal` is written */
MUST_USE int quota_scopes_fit(const struct quota *quota, const struct quota_job *job,
                              struct quota_refusal *refusal);

/** From now on something may have happened upstream; before the first byte. An empty claim is fine.
 * @return false: the claim was ended (never while its holder lives); then send nothing */
MUST_USE bool quota_sent(struct quota *quota, struct quota_claim *claim);

/** It is known that nothing has happened so far, and the same deployment is asked once more later:
 * RESERVED again. Does nothing to an empty or ended claim. */
void quota_refused(struct quota *quota, struct quota_claim *claim);

/** The create was answered with this batch. From here on the reservation lives without its holder.
 *  @return 0; ERR_NOT_FOUND: the claim is empty or was ended before */
MUST_USE int quota_commit(struct quota *quota, const struct quota_claim *claim, const char *id,
                          size_t len);

/** The create was refused, or never went out: give the tokens back. Does nothing to an empty or
 * ended claim. */
void quota_cancel(struct quota *quota, uint32_t holder, const struct quota_claim *claim,
                  uint64_t now_ms);

/** Nobody knows whether the create has happened: as if its worker had died, an ORPHAN. Does nothing
 * to an empty or ended claim. */
void quota_abandon(struct quota *quota, const struct quota_claim *claim, uint64_t now_ms);

enum quota_end {
    QUOTA_FINISHED, /* worked off (completed): tells how fast the deployment drains */
    QUOTA_DROPPED   /* failed, expired, cancelled, gone */
};

/** A terminal state was seen, by anybody. Cheap when there is no such reservation. @return whether
 * it was there, and is gone by this call */
bool quota_release(struct quota *quota, uint32_t holder, uint32_t column, const char *id,
                   size_t len, enum quota_end end, uint64_t now_ms);

/** No batch with this marker exists: end its ORPHAN. @return as above */
bool quota_release_token(struct quota *quota, uint32_t holder, uint64_t token, uint64_t now_ms);

/** Prefetch the ledger's cache lines of this batch: its state is recorded some 100 ns later.
 * Changes nothing. @param marker  as of quota_token(); "": it is not looked up by its marker */
void quota_expect(const struct quota *quota, uint32_t column, const char *id, size_t len,
                  const char *marker, size_t marker_len);

/* A batch that runs upstream, as a list tells. */
struct quota_found {
    const char *id;
    size_t len;
    uint64_t token;                /* quota_token() of its marker; 0: none */
    uint64_t tokens;               /* as its marker tells */
    uint64_t scopes[QUOTA_SCOPES]; /* names; 0: none */
    uint64_t age_ms;               /* since it was created */
};

/** Find its reservation, or give an ORPHAN its id, or make a new one whatever the limits (the
 * provider has accepted it). After a restart the ledger is rebuilt by this.
 *  @return 0, also when it was known; ERR_FULL */
MUST_USE int quota_adopt(struct quota *quota, uint32_t holder, uint32_t column,
                         const struct quota_found *found, uint64_t now_ms);

/** Its scopes shall not pay for this batch any longer, although it still counts at its deployment.
 *  @return whether they did, and no longer do by this call */
bool quota_refund(struct quota *quota, uint32_t holder, uint32_t column, const char *id,
                  size_t len);

/** A batch was seen that still runs: it need not be asked about for a minute, a lease that had
 * ended goes on, and progress slower than expected lowers the deployment's drain rate. @param total
 * 0: not known yet. @return whether there is such a reservation, and it needs nothing: an ORPHAN
 * that has got its id is made LIVE by quota_adopt() */
bool quota_progress(struct quota *quota, uint32_t column, const char *id, size_t len, uint64_t done,
                    uint64_t total, uint64_t now_ms);

/** What a reservation looks like from outside. */
struct quota_view {
    uint32_t entry; /* this and the next are the ledger's own */
    uint64_t word;
    uint32_t column;
    bool orphan;    /* its worker died: without an id look for `token` among the newest batches */
    bool last_call; /* its lease has ended; unless it is seen to run it will be released */
    char id[QUOTA_ID_SIZE]; /* "": not known, or too long */
    uint64_t token;
    uint64_t tokens;
    uint64_t begun_ms, lease_ms;
    uint64_t orphan_ms; /* since when it is an orphan, to the second; 0: it is none */
};

/** How long quota_watch() leaves a reservation alone; QUOTA_ASK_MS until somebody says otherwise.
 * An orphan is due at once, then after QUOTA_ORPHAN_MS and twice, four times ... as long, up to
 * that. */
void quota_ask_every(struct quota *quota, uint32_t ask_ms);

/** The next reservation that nobody has asked about for that long, marked as asked: of several
 * callers one gets it. `cursor` starts at 0. @return false: that was the last one, and the cursor
 * is at 0 again */
bool quota_watch(struct quota *quota, uint32_t *cursor, uint64_t now_ms, struct quota_view *view);

/** The next reservation that lives without its holder, whoever asks about it and when: to show it.
 * `cursor` starts at 0.
 *  @param entries  looked at in this call, at most
 *  @return whether one was found; else that was the last one, when `cursor` is 0 again, or there are
 *          more entries to look at */
bool quota_look(const struct quota *quota, uint32_t *cursor, uint32_t entries, uint64_t now_ms,
                struct quota_view *view);

/** End what was viewed, if nothing has become of it since: its batch is not there. Unlike
 * quota_release() it needs neither an id nor a token. @return whether it is gone by this call */
bool quota_release_view(struct quota *quota, uint32_t holder, const struct quota_view *view,
                        uint64_t now_ms);

/** The deployment's unfinished batches were all adopted: nobody has to do that again as long as the
 * column is this deployment's. */
void quota_note_recovered(struct quota *quota, uint32_t column);
bool quota_is_recovered(const struct quota *quota, uint32_t column);

struct quota_expired {
    uint32_t leases;
    uint32_t orphans;
};

/** Release what is past its lease (with `ask_first`: QUOTA_GRACE_MS past it), and what is an orphan
 * without an id for longer than QUOTA_ORPHAN_KEEP_MS. @return how many */
struct quota_expired quota_expire(struct quota *quota, uint32_t holder, uint64_t now_ms);

/* --- other gateways over the same database; its keeper's, once a second --- */

#define QUOTA_NO_READING UINT32_MAX

/** All gateways together have so many tokens at a deployment, as their database says: what is beyond
 * our own is taken there too, for choosing and for reserving. */
void quota_set_total(struct quota *quota, uint32_t column, uint64_t tokens);

/** The same of a key or a team.
 *  @param reading  number of the reading of all sums that it belongs to */
void quota_set_scope_total(struct quota *quota, uint32_t holder, uint64_t name, uint64_t tokens,
                           uint64_t batches, uint32_t reading);

/** That reading is over: scopes that it did not have have nothing elsewhere. */
void quota_drop_scope_totals(struct quota *quota, uint32_t reading);

/** Nobody tells of other gateways any more. */
void quota_forget_totals(struct quota *quota);

/* --- repair; master only --- */

struct quota_undone {
    uint32_t freed;   /* entries that were half way in or out, and creates that had not been sent */
    uint32_t orphans; /* creates on their way, which stay counted */
};

/** That holder's process is dead (reaped): undo what it had begun. Before its slot is used again;
 * quota_repair() should follow. */
struct quota_undone quota_undo_holder(struct quota *quota, uint32_t holder, uint64_t now_ms);

/** The same of `num` holders from `first` on, all dead. The one of quota_bind() is
 * QUOTA_MAX_HOLDERS. */
struct quota_undone quota_undo_holders(struct quota *quota, uint32_t first, uint32_t num,
                                       uint64_t now_ms);

/** Make each column's E the sum of its reservations. Safe at any time; a column that others change
 * meanwhile is right by itself or left for the next call. Meant for every few seconds and after
 * each death.
 *  @param repaired  columns whose E was wrong; may be NULL
 *  @return whether all could be looked at: call again soon otherwise */
bool quota_repair(struct quota *quota, uint32_t *repaired);

/* --- counting --- */

/* A scope's unfinished batches, and the deployments where the last ones were placed. */
struct quota_scope_sum {
    uint64_t tokens, batches;
    double drain_rate; /* tokens/s of those deployments together */
    uint64_t around;   /* tokens enqueued there, everybody's */
};

/** @return false: it has none */
bool quota_read_scope(const struct quota *quota, uint64_t name, uint64_t now_ms,
                      struct quota_scope_sum *sum);

/* Which scopes have unfinished batches, and some that have none: a bit of each name's. */
#define QUOTA_MARKS 512
struct quota_marks {
    uint64_t words[QUOTA_MARKS];
};

/** Mark those that have some, here or at other gateways; some of the table's rows at a time: call it
 * until it says that this was all.
 *  @param cursor  starts at 0
 *  @param marks   zeroes at first
 *  @return whether there are more */
bool quota_mark_scopes(const struct quota *quota, uint32_t *cursor, uint32_t rows,
                       struct quota_marks *marks);

/** @return false: it has none for certain */
bool quota_is_marked(const struct quota_marks *marks, uint64_t name);

struct quota_scope_totals {
    uint32_t scopes;   /* that have unfinished batches */
    uint64_t unscoped; /* batches that were not counted in one of their scopes, for want of a row */
    uint64_t refused_tokens[QUOTA_SCOPES], refused_batches[QUOTA_SCOPES]; /* creates */
};

/** Totals since the region was made. Walks all scopes: 32,768 at most. */
void quota_scope_totals(const struct quota *quota, struct quota_scope_totals *totals);

struct quota_tally {
    uint32_t reservations;
    uint32_t orphans;   /* of these, creates whose outcome nobody knows */
    uint64_t oldest_ms; /* monotonic: when the oldest of their creates began; 0: there is none */
};

/** Count the reservations, some of the table's entries at a time: call it until it says that this
 * was all.
 *  @param cursor   starts at 0
 *  @param entries   looked at in this call
 *  @param tallies  quota_max_columns() entries, zeroes at first; what rows of one deployment share
 *         is in the column that they share
 *  @return whether there are more */
bool quota_count(const struct quota *quota, uint32_t *cursor, uint32_t entries,
                 struct quota_tally *tallies);

/** Columns that the region has room for. */
uint32_t quota_max_columns(const struct quota *quota);

/* --- the verdict on a job; pure --- */

enum quota_fit {
    QUOTA_FITS,      /* somewhere, now: if pick_next() found nothing, it was not for tokens */
    QUOTA_NOT_NOW,   /* 429, with a wait */
    QUOTA_NEVER_FITS /* 400: larger than every limit */
};

/** @param wait_ms  NOT_NOW: until the first of them is expected to have room, 1 s to 24 h;
 * otherwise 0. May be NULL */
enum quota_fit quota_verdict(const struct pick_candidate *candidates, uint32_t n, uint64_t tokens,
                             uint64_t *wait_ms);

/** Until a scope is expected to have room for what it refused, 1 s to 24 h. Its batches take part in
 * what their deployments work off as their tokens do in what is enqueued there.
 *  @param tokens  of the refused job */
uint64_t quota_scope_wait_ms(const struct quota_scope_sum *sum, const struct quota_refusal *refusal,
                             uint64_t tokens);

/** The verdict for the client, naming every limit. `names[i]` is candidate i's; of very many only
 * the first `named` are told, but the verdict is about all. Cut to size with "..." at the end. */
void quota_explain(const struct pick_candidate *candidates, uint32_t n, const char *const *names,
                   uint32_t named, uint64_t tokens, char *text, size_t size);
