/* Keys that LiteLLM made, taken over for good (tenants statement A16): out of a file, or as
 * litellm_read() has them, into the store or as entries of a keys file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "store/litellm.h"
#include "store/store.h"

/**
 * Read what an operator exported: CSV with a head line of LiteLLM's column names, or JSON: an array
 * of rows, an object with "keys", "teams" (arrays of rows) and "deprecated", or one row. A row with
 * a `token` is a key, one with a `team_id` and no `token` column is a team.
 *
 * @param out  the caller's to litellm_rows_deinit(); empty on an error
 * @param why  one line when ERR_SYNTAX is returned: the place and what is wrong
 * @return 0; ERR_SYNTAX; ERR_NOMEM
 */
MUST_USE int import_read(const char *text, size_t len, struct litellm_rows *out,
                         char why[STORE_WHY_BYTES]);

struct import_counts {
    size_t added, there; /* keys, teams and old hashes */
    size_t refused;
};

/** A row that cannot be taken: what it is, and why not. */
typedef void (*import_refused_cb)(void *arg, const char *what, const char *why);

/**
 * Put them into the store, teams first. What is there already stays as it is, so that a second run
 * changes nothing. Up to a thousand rows are one transaction, so that somebody who changes keys
 * meanwhile waits for half a second at most; one that fails adds none of its rows, and is the last.
 *
 * @param on_refused  called for each row that the store refuses; the others are taken all the same
 * @return 0; the errors of store.h: then what was added stays, and the next run adds the rest
 */
MUST_USE int import_into(struct store *store, const struct litellm_rows *rows,
                         const struct store_actor *by, struct import_counts *counts,
                         import_refused_cb on_refused, void *arg);

/** Print them as a keys file (tenants statement A57). Budgets in money and old hashes in their
 * grace have no place there and are left out.
 *  @return 0; ERR_NOMEM */
MUST_USE int import_print(const struct litellm_rows *rows, struct strbuf *out);
