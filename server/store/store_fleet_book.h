/* The rows of `allowance` that a transaction works with: named, locked in one statement, changed in
 * memory, written back in one statement. So a transaction of many intents takes as many statements
 * as one of a single intent does, and the same on both engines. */
#pragma once

#include "lease_rules.h"
#include "store_fleet_impl.h"

#define BOOK_ROWS ((size_t)FLEET_AT_ONCE * FLEET_SCOPES)

struct book_row {
    char scope[SCOPE_NAME];
    bool there; /* the database has it, and it is locked */
    bool changed;
    int64_t used, batches, held_nano, spent_nano;
    int64_t max_tokens, max_batches, max_nano; /* as the last create had them; INT64_MAX: none */
    int64_t period_ms, reset_ms; /* of the budget, and when it begins anew (Unix); 0: never */
    /* leases_read(): what other keepers may grant alone, and what this one may */
    struct lease_worth others, own;
    bool leased; /* `own` has a row, which is good until own_until_ms (Unix) */
    bool own_changed;
    int64_t own_until_ms;
};

/* Sorted by name. */
struct book {
    struct book_row rows[BOOK_ROWS];
    size_t num;
};

/* What a reservation holds, and where. Names are "" where there is none. */
struct holding {
    char scopes[FLEET_SCOPES][SCOPE_NAME]; /* by FLEET_DEPLOYMENT ... */
    int64_t tokens, nano;
    bool refunded; /* its key and its team no longer pay for its tokens */
};

/** Name a scope that will be needed; NULL and "" are passed over. */
void book_name(struct book *book, const char *scope);
void book_name_all(struct book *book, const struct holding *holding);

/** Lock all that were named, and read them. What is not there stays without `there`. */
MUST_USE int book_lock(struct store *store, struct book *book);

/** The same without locks: to look. */
MUST_USE int book_read(struct store *store, struct book *book);

/** Whether all that were named are there. */
bool book_is_whole(const struct book *book);

/** Add the rows that are not there, in a transaction of their own: one that holds locks may not wait
 * for others' new rows. */
MUST_USE int book_make(struct store *store, const struct book *book);

/** @return NULL: it was not named, or is not there */
struct book_row *book_find(struct book *book, const char *scope);

/** Count a reservation in all its scopes, or out of them. */
void book_add(struct book *book, const struct holding *holding);
void book_subtract(struct book *book, const struct holding *holding);

/** The budget of a period that is over begins anew. @param period_ms  0: it has none */
void book_roll(struct book_row *row, int64_t period_ms, int64_t now_ms);

/** Add what a batch has cost to what a scope has spent. */
void book_spend(struct book *book, const char *scope, int64_t nano, int64_t now_ms);

/** Out of its key's and its team's tokens and batches alone. */
void book_refund(struct book *book, const struct holding *holding);

/* ---- leases that are counted (`me->holder`); of no deployment ---- */

/** Read what is leased of the scopes, behind book_lock(): whoever grants or renews locks them first.
 *  @param now_ms  Unix ms of the database; one that ended a moment ago counts still */
MUST_USE int leases_read(struct store *store, const struct fleet_me *me, int64_t now_ms,
                         struct book *book);

/** Take a grant out of the own leases of all scopes that limit it, as its holder does in its memory. */
void leases_spend(struct book *book, const struct fleet_intent *intent,
                  const struct holding *holding);

/** Write the own leases that changed. */
MUST_USE int leases_write(struct store *store, const struct fleet_me *me, const struct book *book);

/** Remove leases that have ended of the scopes behind `behind`, up to `last`. */
MUST_USE int leases_drop_ended(struct store *store, const char *behind, const char *last,
                               int64_t now_ms);

/** Write what changed. */
MUST_USE int book_write(struct store *store, const struct book *book, int64_t now_ms);
