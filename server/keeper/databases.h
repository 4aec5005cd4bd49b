/* The keeper's databases: its own store, and a LiteLLM's tables. Reads all keys and teams, asks
 * whether they changed, looks one up that a worker does not know, and says when what is known is
 * too old (tenants statements C27, C28). Publishes nothing itself: who owns this does, with the
 * lists of the other sources in front.
 *
 *   databases_look() each second ──► true: databases_lists() are others now ──► rights_publish()
 *   databases_find() for a worker ─► PUBLISHED: the lists have it now       ──► rights_publish()
 *
 * All calls wait for databases, each for some deadlines of theirs at most, and for nothing when one
 * is known to be down. So this is for the keeper's loop, whose clients have deadlines of their own,
 * and for no other. Nothing is opened before the first look. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/rights.h"
#include "common/err.h"
#include "common/rights.h"
#include "core/keeper_door.h"

#define DATABASES_LOOK_MS  1000    /* between two looks: a change is known after two of them */
#define DATABASES_WHOLE_MS 3600000 /* after so long a change has all keys read, not only its own */
#define DATABASES_MISS_MS  5000    /* how long an unknown key is not looked up again */
#define DATABASES_MISSES   65536

struct store;
struct litellm;
struct databases;

struct config_access_group;

struct databases_options {
    /* What names in lists of models stand for several groups; borrowed, outlives all of it */
    const struct config_access_group *access_groups;
    size_t num_access_groups;
    const char *database;   /* as store_new() takes it; NULL: none */
    const char *litellm;    /* as litellm_new() takes it; NULL: none */
    uint32_t deadline_ms;   /* of a statement: `timeouts.database_ms` */
    uint32_t max_stale_ms;  /* `key_max_stale` */
    bool refuse_when_stale; /* `keys_when_down: refuse` */
    bool counts_money;      /* there is a journal, so that budgets are enforced */
};

/** @param options  borrowed for the call
 *  @param error  on ERR_INVALID one line; never has a password
 *  @return 0; ERR_INVALID: a place is none; ERR_NOMEM */
MUST_USE int databases_new(const struct databases_options *options, struct databases **out,
                           char *error, size_t error_size);
void databases_free(struct databases *databases); /* NULL is fine */

/** Bring what is known up to date, when that is due. Changes of state are logged.
 *  @param now_ms  monotonic
 *  @return whether the lists are others than before: also when they became too old to be served */
bool databases_look(struct databases *databases, uint64_t now_ms);

/** Look at once, also when it is not due: something was changed through databases_store(). */
bool databases_look_now(struct databases *databases, uint64_t now_ms);

/** What is served of the databases: at most 2 lists, borrowed until the next call of any other
 * function. @return how many */
size_t databases_lists(const struct databases *databases, const struct rights_list *lists[2]);

/** Whether each database was read at least once. */
bool databases_are_read(const struct databases *databases);

/** Look up a key that the table does not have.
 *  @return what the worker is told; PUBLISHED: the lists have it now, and the table has to */
enum keeper_lookup databases_find(struct databases *databases,
                                  const unsigned char hash[RIGHTS_HASH_BYTES], uint64_t now_ms);

/** The store, for the management API; NULL: none. databases_look_now() after a change. */
/** Number of the last change of keys that is known; 0: none. */
uint64_t databases_generation(const struct databases *databases);

/** Number of the last change of the keys that were read; 0: none were. */
uint64_t databases_generation(const struct databases *databases);

struct store *databases_store(struct databases *databases);
/** A LiteLLM's tables, for the same, which reads them; NULL: none. */
struct litellm *databases_litellm(struct databases *databases);
