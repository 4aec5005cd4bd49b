/* Keys and teams of a LiteLLM that runs beside us, read from its own database (tenants statements
 * A12 to A14): each key that its admin page makes works here at once. Only read: the transactions
 * say so to the server, and a role that may SELECT is enough.
 *
 * Nothing is asked of LiteLLM's version: rows are read as JSON objects, a column that is missing is
 * not set, one that is unknown is passed over. PostgreSQL alone, as LiteLLM's.
 *
 * Who asks whether something changed costs the server one pass over four tables without their
 * values (litellm_refresh()). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"
#include "store/store.h"
#include "store/store_key.h"

struct json;
struct litellm;

/**
 * Take a place, as store_new() does.
 *
 * @param url  "postgresql://..."; its parameter `schema` says where the tables are, else "public"
 * @param deadline_ms  of a statement; 0: STORE_DEADLINE_MS
 * @return 0; ERR_INVALID with `why`; ERR_NOMEM
 */
MUST_USE int litellm_new(const char *url, uint32_t deadline_ms, struct litellm **out,
                         char why[STORE_WHY_BYTES]);
void litellm_free(struct litellm *litellm); /* NULL is fine */

/** As store_expand(). */
void litellm_expand(struct litellm *litellm, store_expand_cb expand, void *arg);

/** As store_state(), store_why(), store_place(), store_reached_ms(). */
enum store_state litellm_state(const struct litellm *litellm);
const char *litellm_why(const struct litellm *litellm);
const char *litellm_place(const struct litellm *litellm);
uint64_t litellm_reached_ms(const struct litellm *litellm);

/* What the last refresh left out, for an operator to know. */
struct litellm_counts {
    size_t without_hash; /* rows whose token is no SHA-256 */
    size_t of_pages;     /* sessions of LiteLLM's own pages, which are no keys of tenants */
    size_t with_budget;  /* keys and teams with a budget in money */
};

/**
 * Bring the list up to date: all of it the first time, later what changed since. When nothing did,
 * that is one statement.
 *
 * @param list  of litellm; valid until the next call. NULL until one succeeded. An error leaves it
 * @param changed  whether it is another one than after the last call
 * @return 0; the errors of store.h
 */
MUST_USE int litellm_refresh(struct litellm *litellm, const struct rights_list **list,
                             bool *changed);

/** What the last refresh left out; borrowed, as long as `litellm`. */
const struct litellm_counts *litellm_counts(const struct litellm *litellm);

/** Read one key by its hash, as store_find() does. */
MUST_USE int litellm_find(struct litellm *litellm, const unsigned char hash[RIGHTS_HASH_BYTES],
                          struct rights_list *out);

/** Read one key's row by its hash, in hex, as an administrator sees it.
 *  @param out  the caller's to store_key_deinit(); empty on an error
 *  @return 0; ERR_NOT_FOUND; the errors of store.h */
MUST_USE int litellm_get(struct litellm *litellm, const char *hash, struct store_key *out);

/* All of it as rows, for an import: keys, teams, and hashes in their grace. */
struct litellm_grace {
    char hash[STORE_HASH_DIGITS + 1], now_hash[STORE_HASH_DIGITS + 1];
    int64_t until_unix_ms;
};

struct litellm_rows {
    struct store_key *keys; /* owned, and each one */
    size_t num_keys;
    struct store_team *teams; /* owned, and each one */
    size_t num_teams;
    struct litellm_grace *graces; /* owned */
    size_t num_graces;
    struct litellm_counts left_out;
    size_t num_unknown; /* columns that mean nothing here */
};

/** @param out  the caller's to litellm_rows_deinit(); empty on an error */
MUST_USE int litellm_read(struct litellm *litellm, struct litellm_rows *out);
void litellm_rows_deinit(struct litellm_rows *rows);

enum litellm_row { LITELLM_KEY, LITELLM_PAGE, LITELLM_NO_HASH };

/**
 * A row of LiteLLM_VerificationToken as an object of its columns (tenants statement A13), which may
 * be a budget's too, as member "litellm_budgettable". Values may be texts that write them, as CSV
 * has them: arrays as "{a,b}" or JSON, truth as "t".
 *
 * @param unknown  incremented by each column that means nothing here
 * @param kind  what it is; `out` is written for LITELLM_KEY alone
 * @return 0; ERR_NOMEM
 */
MUST_USE int litellm_key_of_row(const struct json *row, struct store_key *out,
                                enum litellm_row *kind, size_t *unknown);

/** A row of LiteLLM_TeamTable. @return 0; ERR_INVALID: without an id; ERR_NOMEM */
MUST_USE int litellm_team_of_row(const struct json *row, struct store_team *out, size_t *unknown);

/** A row of LiteLLM_DeprecatedVerificationToken; one that is over, or cannot be read, is passed
 * over. @return 0, ERR_NOMEM */
MUST_USE int litellm_add_grace(const struct json *row, struct litellm_rows *rows);
