/* The management API: keys and teams as LiteLLM's own admin routes serve them (tenants statements
 * A1-A11), so that a script that was written for LiteLLM works. Runs in the keeper's process, which
 * has the database: a worker passes the request on, and the answer back.
 *
 *   worker ─ request ─► manage_call() ─► manage_keys, manage_teams ─► store.h
 *                            └─ 422 and `detail`: manage_fields       └─► manage_show ─ answer ─►
 *
 * A request is one line of JSON, `{"method","path","query":{},"caller":{}}`, and the body as the
 * client sent it behind that line. `caller` is {"admin": true, "name": who, for the audit; "owner":
 * of what it makes, 16 hex digits; "hash": of its key, "" for the master key}. Who may call what is
 * the worker's to know, except that a key may read itself (A1). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"
#include "common/strbuf.h"

struct store;
struct litellm;
struct vault;
struct hook_range;

/* What endpoints of webhooks are judged by, and their secrets sealed with; borrowed. */
struct manage_hooks {
    const struct vault *vault;
    bool allow_http;
    const struct hook_range *ranges; /* addresses that are allowed whatever they are */
    size_t num_ranges;
};

/* The registry of batches is being restored from the providers' lists: the prober reads them, the
 * keeper counts what it finds. */
struct manage_rebuild {
    uint32_t number; /* of the last one; 0: there was none since the keeper's start */
    bool runs;
    uint64_t found, added; /* batches of ours; of these, that the registry did not have */
    uint32_t unread;       /* accounts whose lists could not be read */
    int64_t begun_unix_ms;
};

/* What the answers are made from; all borrowed for the call. */
struct manage {
    struct store *store; /* NULL: no database is configured */
    /* A LiteLLM's own tables, whose keys may read themselves; NULL: none */
    struct litellm *litellm;
    /* Keys and teams that the API may read and not change, of the configuration and of its keys
     * file; NULL: none */
    const struct rights_list *files[2];
    const char *file_names[2]; /* where they stand, for people */
    bool journal;              /* whether the database has batches, so that budgets hold */
    /* What a deployment is called; NULL: nobody knows. Its text lives as long as `arg` */
    const char *(*deployment_name)(void *arg, uint32_t fingerprint);
    void *names_arg;                  /* borrowed */
    struct manage_rebuild *rebuild;   /* changed by a call; NULL: no journal is kept */
    const struct manage_hooks *hooks; /* NULL: there is no journal, and so no webhooks */
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

/* Whose story is asked for: a batch as its provider knows it. */
struct manage_story {
    const char *native; /* borrowed */
    uint32_t account;   /* fingerprint */
    bool all;           /* whoever made it, and all that is known; else `owner`'s own */
    uint64_t owner;
};

/** The events of one batch, as `GET /journal/batches/{id}` has them, for `?expand=events`.
 *  @param manage  with a store
 *  @param out     a JSON array is appended on 0; at most KEEPER_MESSAGE
 *  @return 0; ERR_NOT_FOUND: the journal has no such batch, or it is another one's; the errors of
 *          store.h */
MUST_USE int manage_batch_story(const struct manage *manage, const struct manage_story *story,
                                struct strbuf *out);
