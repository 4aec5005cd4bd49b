/* Webhooks in the database: endpoints, events of batches, and the tries to tell them (webhook
 * statements D26 to D28).
 *
 *   terminal commit of a batch ─► hook_event, once for each batch and type (work_hook_event())
 *   store_hooks_spread()       ─► a hook_try for each endpoint that wants it
 *   store_hooks_claim()        ─► this node's for a minute: a try is made, and
 *   store_hooks_report()       ─► delivered, due again, or given up; refused when the claim is another's
 *
 * An event is there with the batch's end, or neither is; it is spread, claimed and reported in
 * transactions of their own, so that whoever is killed anywhere leaves what the next one goes on
 * with. Times of claims and tries are the database's. Secrets come and go sealed: this room knows
 * no keys. All calls are as those of store.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"
#include "webhook/hook_event.h"

#define STORE_HOOK_ID       35    /* characters: "wh_" and 32 hex digits */
#define STORE_HOOK_CLAIM_MS 60000 /* a claim of which nothing was heard for so long is over */
#define STORE_HOOK_KEPT_MS  ((int64_t)30 * 86400000) /* how long events are kept for replay */
#define STORE_HOOKS_EACH    32                       /* endpoints that an owner may have */

/* Whose batches an endpoint is told of, and who may see and change it. */
struct store_hook_owner {
    bool all;       /* all batches; every endpoint. What administrators have */
    uint64_t owner; /* else: 0 is the master key, as in ids.h */
};

/* An endpoint. All texts are owned. */
struct store_hook {
    char *id;
    struct store_hook_owner of;
    char *owner_name; /* "team:alpha"; NULL: all, or not known */
    char *url;
    char *secret;     /* sealed */
    char *old_secret; /* sealed; the one before, which signs too; NULL: none */
    int64_t old_until_ms;
    unsigned types;   /* a bit for each enum hook_type */
    bool from_config; /* of the configuration: only `enabled` may change */
    /* It is told of this one batch, or of what comes of a reservation (STORE_HOOK_INTENT and its
     * id); NULL: of all of its owner's */
    char *batch_id;
    bool enabled;
    char *off_why; /* why it was switched off; NULL: by a person, or it is on */
    int64_t failing_since_ms, last_ok_ms; /* 0: none */
    int64_t created_ms, updated_ms;
    char *created_by;
};

#define STORE_HOOK_INTENT "intent:"

/** Free what an endpoint holds, whose secrets are sealed, and empty it. */
void store_hook_deinit(struct store_hook *hook);

struct store_hook_list {
    struct store_hook *hooks; /* owned, and each one */
    size_t num;
};
void store_hook_list_deinit(struct store_hook_list *list);

/** Add an endpoint. @param hook  with everything but times
 *  @return 0; ERR_LIMIT: its owner has STORE_HOOKS_EACH; ERR_DUPLICATE: the id is taken */
MUST_USE int store_hook_add(struct store *store, const struct store_hook *hook,
                            const struct store_actor *by);

/** Add an endpoint of one batch, before that is made: what comes of nothing goes by itself. One that
 * is there stays as it is.
 *  @param hook  with `batch_id`; its id is its reservation's, so that it may be said twice */
MUST_USE int store_hook_expect(struct store *store, const struct store_hook *hook);

/** @param for_whom  ERR_NOT_FOUND for all that is not theirs
 *  @param out  the caller's to store_hook_deinit(); empty on an error */
MUST_USE int store_hook_get(struct store *store, const char *id,
                            const struct store_hook_owner *for_whom, struct store_hook *out);

/** Those that somebody may see, the oldest first; endpoints of single batches are left out.
 *  @param behind  id of the last one of the page before; NULL: from the first */
MUST_USE int store_hook_list(struct store *store, const struct store_hook_owner *for_whom,
                             const char *behind, size_t max, struct store_hook_list *out);

/** Write URL, types, secrets, `enabled` and `off_why`, as they were read and changed. Switching one
 * on forgets its failures.
 *  @param what  for the audit: "hook.update", "hook.rotate"
 *  @return 0; ERR_NOT_FOUND: it is gone, or has another secret than when it was read */
MUST_USE int store_hook_update(struct store *store, const struct store_hook *hook,
                               const char *secret_before, const char *what,
                               const struct store_actor *by);

/** Remove it, and what was to be told to it. @return 0; ERR_NOT_FOUND */
MUST_USE int store_hook_delete(struct store *store, const char *id, const struct store_actor *by);

/** Make the endpoints of the configuration those that are there, the others of that kind go. One
 * whose secret changed has the one before until `old_until_ms`.
 *  @param is_same  whether two sealed secrets are one text
 *  @param hooks  ids are those of the configuration: the same for the same URL and owner */
MUST_USE int store_hooks_configure(struct store *store, const struct store_hook *hooks, size_t num,
                                   bool (*is_same)(void *arg, const char *id, const char *a,
                                                   const char *b),
                                   void *arg, int64_t old_until_ms);

/** Read some endpoints for their secrets to be sealed anew, by id behind `behind`. */
MUST_USE int store_hooks_sealed(struct store *store, const char *behind, size_t max,
                                struct store_hook_list *out);
/** Put secrets that were sealed anew into a row, unless it was changed meanwhile.
 *  @param old  NULL where there is none */
MUST_USE int store_hook_reseal(struct store *store, const struct store_hook *before,
                               const char *secret, const char *old);

/* ---- events ---- */

/* What happened to a batch. Borrowed for the call. */
struct store_hook_event {
    const char *batch_id; /* as its client knows it */
    uint64_t owner;       /* whose it is; 0: the master key's */
    enum hook_type type;
    int64_t now_ms; /* Unix; the event's birth */
};

/** Make tries of events that nobody made any of, for all endpoints that want them and are on.
 *  @param num  on 0: how many events; STORE_HOOKS_SPREAD: there are more */
#define STORE_HOOKS_SPREAD 64
MUST_USE int store_hooks_spread(struct store *store, size_t *num);

/** An event for one endpoint alone, which tells of no batch: for testing it.
 *  @param id  written: the event's */
MUST_USE int store_hooks_test(struct store *store, const struct store_hook *hook,
                              char id[HOOK_EVENT_ID + 1]);

/** Have an event told again, from now, to all that want it: one that was told, given up, or under
 * way, and endpoints that came later.
 *  @param num  on 0: to how many endpoints
 *  @return 0; ERR_NOT_FOUND: no such event of theirs */
MUST_USE int store_hooks_replay(struct store *store, const char *event_id,
                                const struct store_hook_owner *for_whom, size_t *num);

enum store_hook_state { STORE_HOOK_DUE, STORE_HOOK_DELIVERED, STORE_HOOK_GIVEN_UP };

/* An event and how it went at one endpoint. All texts are owned. */
struct store_hook_story {
    char *event_id, *type, *batch_id;
    int64_t created_ms;
    enum store_hook_state state;
    int64_t tries, next_ms, last_ms; /* 0: none */
    int64_t last_status;             /* 0: no answer */
    char *last_error;                /* NULL: none */
};

struct store_hook_stories {
    struct store_hook_story *rows; /* owned, and each one */
    size_t num;
};
void store_hook_stories_deinit(struct store_hook_stories *stories);

/** What an endpoint was told, the newest first.
 *  @param before  id of the last event of the page before; NULL: from the newest */
MUST_USE int store_hooks_stories(struct store *store, const char *hook_id, const char *before,
                                 size_t max, struct store_hook_stories *out);

/* ---- tries ---- */

/* Who claims: a node, and the number of its life (journal statement C31). Borrowed. */
struct store_hook_claimer {
    const char *node;
    int64_t epoch;
};

/* A claimed try. All texts are owned. */
struct store_hook_try {
    char *event_id, *hook_id;
    char *body;
    char *url;
    char *secret, *old_secret; /* sealed; `old_secret` NULL: none that still signs */
    int64_t tries;             /* with this one */
    int64_t age_ms;            /* of the event, or since somebody had it told again */
};

struct store_hook_tries {
    struct store_hook_try *rows; /* owned, and each one */
    size_t num;
};
void store_hook_try_deinit(struct store_hook_try *row);
void store_hook_tries_deinit(struct store_hook_tries *tries);

/** Endpoints with something due, of those that are on and need no rest. @param ids  room for `max`,
 * each STORE_HOOK_ID + 1 bytes, the one that waits longest first */
MUST_USE int store_hooks_due(struct store *store, char (*ids)[STORE_HOOK_ID + 1], size_t max,
                             size_t *num);

/** Claim due tries of one endpoint, the oldest first. @param max  at most 8 */
MUST_USE int store_hooks_claim(struct store *store, const struct store_hook_claimer *claimer,
                               const char *hook_id, size_t max, struct store_hook_tries *out);

/* How a claimed try ended. Borrowed for the call. */
struct store_hook_result {
    const char *event_id, *hook_id;
    enum store_hook_state state;
    int64_t wait_ms;     /* STORE_HOOK_DUE: until the next one */
    int64_t rest_ms;     /* the endpoint gets nothing for so long; 0: it does */
    int status;          /* 0: no answer */
    const char *error;   /* NULL: none */
    const char *off_why; /* the endpoint is switched off; NULL: it is not */
};

/** Report it. The endpoint's failures are counted from here: one that had no success for `dead_ms`
 * is switched off.
 *  @param off  on 0: whether it was switched off just now
 *  @return 0; ERR_NOT_FOUND: the claim is not ours any more, nothing changed */
MUST_USE int store_hooks_report(struct store *store, const struct store_hook_claimer *claimer,
                                const struct store_hook_result *result, int64_t dead_ms, bool *off);

/** Claims of this node's earlier lives are over: what they held is due again. */
MUST_USE int store_hooks_take_back(struct store *store, const struct store_hook_claimer *claimer);

/** Drop some of the events that are older than STORE_HOOK_KEPT_MS, and endpoints of single batches
 * that are a week older: by then no event of theirs is left. @param more  written: there may be more */
MUST_USE int store_hooks_tend(struct store *store, bool *more);

/* What waits, for `/health` and `/metrics`. */
struct store_hook_counts {
    int64_t due, overdue_ms; /* tries that are due now, and for how long the oldest one has been */
    int64_t endpoints, off;
};
MUST_USE int store_hooks_count(struct store *store, struct store_hook_counts *out);
