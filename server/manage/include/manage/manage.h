/* The management API: keys and teams as LiteLLM's own admin routes serve them (tenants statements
 * A1-A11), so that a script that was written for LiteLLM works. Runs in the keeper's process, which
 * has the database: a worker passes the request on, and the answer back.
 *
 *   worker ─ request ─► manage_call() ─► manage_keys, manage_teams ─► store.h
 *                            └─ 422 and `detail`: manage_fields       └─► manage_show ─ answer ─►
 *
 * A request is one line of JSON, `{"method","path","query":{},"caller":{}}`, and the body as the
 * client sent it behind that line. `caller` is {"admin": true, "name": who, for the audit; "hash":
 * of its key, "" for the master key}. Who may call what is the worker's to know, except that a key
 * may read itself (A1). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"
#include "common/strbuf.h"

struct store;

/* What the answers are made from; all borrowed for the call. */
struct manage {
    struct store *store; /* NULL: no database is configured */
    /* Keys and teams that the API may read and not change, of the configuration and of its keys
     * file; NULL: none */
    const struct rights_list *files[2];
    const char *file_names[2]; /* where they stand, for people */
    int64_t now_unix_ms;
};

struct manage_answer {
    int status;
    uint32_t retry_after_s; /* 0: none */
    bool changed;           /* the database has another state now: read it before the answer goes */
    struct strbuf body;     /* the caller's to deinit; JSON */
};

/** Carry a request out. May take as long as the store's calls do.
 *  @param out  filled, whatever is returned
 *  @return 0; ERR_NOMEM (`out` has status 500 and perhaps no body); ERR_SYNTAX: the first line is
 *          not what the worker sends */
MUST_USE int manage_call(const struct manage *manage, const char *message, size_t len,
                         struct manage_answer *out);
