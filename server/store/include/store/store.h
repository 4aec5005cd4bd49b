/* The database of keys and teams: SQLite in a file, or PostgreSQL; one schema (tenants statements
 * C25, C26, C34, C35). For the keeper's process and for commands that a person starts; a worker
 * never opens one.
 *
 *   keeper, cli ──► store.h ──► store_engine.h ──┬─► store_sqlite.c    libsqlite3
 *                   rows, SQL    run a statement └─► store_postgres.c  libpq
 *
 * A call is synchronous and ends at its deadline at the latest, also when the server is stopped
 * without a word. After a failure the store is down: it answers ERR_IO at once, and a call after
 * the back-off tries to connect again. So the caller's loop goes on in between.
 *
 * Every change raises one number, the generation, in its own transaction, and stands in the audit
 * with who made it. A copy that has another generation than the database is not the newest.
 *
 * In PostgreSQL the tables stand in a schema of their own, `tranche`, which LiteLLM's migrations
 * neither see nor touch in a database that both share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"
#include "store/store_key.h"

struct store;

#define STORE_DEADLINE_MS 2000 /* of one call, when nothing else is asked for */
#define STORE_WHY_BYTES   320

enum store_state {
    STORE_CLOSED,  /* not tried yet */
    STORE_UP,      /* the last call reached it */
    STORE_DOWN,    /* gone, stopped, refused; tried again */
    STORE_LOCKED,  /* SQLite: another server may change it, or another process does; tried again */
    STORE_FULL,    /* the disk is full: reads go on, changes are refused */
    STORE_DAMAGED, /* SQLite: not a database, or not whole; tried again, for it may be restored */
    STORE_FOREIGN  /* a newer program's schema, no right to it, a replica; tried again */
};

struct store_options {
    /* SQLite: whether this is the one server that may change the file: its lock is taken and kept */
    bool server;
    uint32_t deadline_ms; /* of a call; 0: STORE_DEADLINE_MS */
};

/**
 * Take a place. Nothing is opened or asked: the first call does that.
 *
 * @param url  "sqlite:///absolute/path", "sqlite:path", a path, "postgresql://..."
 *             or "postgres://...". Of a PostgreSQL URL the parameters that only Prisma knows are
 *             left out (`schema`, `connection_limit`, ...). Copied; as secret as its password
 * @param options  copied; NULL: defaults
 * @param why  filled with one line when ERR_INVALID is returned; never has the password
 * @return 0; ERR_INVALID; ERR_NOMEM
 */
MUST_USE int store_new(const char *url, const struct store_options *options, struct store **out,
                       char why[STORE_WHY_BYTES]);
void store_free(struct store *store); /* NULL is fine */

/** What the last call found, and one line that says why it failed: without password, key or hash.
 *  "" after one that succeeded. Valid until the next call. */
enum store_state store_state(const struct store *store);
const char *store_state_name(enum store_state state);
const char *store_why(const struct store *store);

/** The place, for people: a path, or scheme, host and database. Never user or password. */
const char *store_place(const struct store *store);

/** Whether other nodes may change the same database: it is a server's. */
bool store_is_shared(const struct store *store);

/** Monotonic ms of the last call that reached the database; 0: none has. */
uint64_t store_reached_ms(const struct store *store);

/** How often it was connected. Another number than before: what answers now may be another server,
 * which lacks the end of what was written (journal statement C29). */
uint64_t store_sessions(const struct store *store);

/* All functions below return, beside what they say themselves:
 *   ERR_IO         the database cannot be reached, is locked, or did not answer in time. A change
 *                  may then have been made: read again
 *   ERR_FULL       its disk is full, or (STORE_LOCKED) another server has the right to change it;
 *                  nothing changed, and reads go on
 *   ERR_BAD_STATE  it is damaged, a newer program's, read-only, or not permitted
 *   ERR_NOMEM */

/* Replaces in a key's or team's models what stands for several groups. @return 0, ERR_NOMEM */
typedef int (*store_expand_cb)(void *arg, struct rights_models *models);

/** Have the models of all keys and teams that are read as rights expanded.
 *  @param arg  borrowed; outlives the store */
void store_expand(struct store *store, store_expand_cb expand, void *arg);

/** The generation of the database. A lower one than before: it was restored from a copy. */
MUST_USE int store_generation(struct store *store, uint64_t *gen);

/** Read all keys and teams as they were at one moment. A hash that is replaced, and still in its
 * grace, is a key of its own that expires with it. Takes several statements of a deadline each.
 *  @param gen  the generation of what was read
 *  @param out  the caller's to rights_list_deinit(); empty on an error */
MUST_USE int store_load(struct store *store, struct rights_list *out, uint64_t *gen);

/** Bring a list that store_load() made up to date: what changed since is read, and nothing else.
 *  @param gen  of the list; moved on
 *  @return 0; ERR_LIMIT: what changed cannot be told, or is too much: store_load() it again. Other
 *          than on 0 the list is as it was */
MUST_USE int store_refresh(struct store *store, struct rights_list *list, uint64_t *gen);

/** Read one key by the SHA-256 of its text, and its team.
 *  @param out  one key, and at most one team; the caller's to rights_list_deinit()
 *  @return 0; ERR_NOT_FOUND (`gen` is written as well: no such key as of then) */
MUST_USE int store_find(struct store *store, const unsigned char hash[RIGHTS_HASH_BYTES],
                        struct rights_list *out, uint64_t *gen);

/** The calls until store_batch_end() are one transaction: each of them is carried out or refused as
 * ever, and all that were are kept at the end, or none. While it lasts others cannot write, and
 * what it reads is as of itself. */
MUST_USE int store_batch_begin(struct store *store);
/** @return 0; else nothing of the batch was kept, unless the connection broke at the very end */
MUST_USE int store_batch_end(struct store *store);

/* Who changes something, for the audit. Borrowed for the call. */
struct store_actor {
    const char *who; /* "master key", "key:<alias or id>", "cli"; never a key or a hash */
};

/* How a key is named: the first of them that is not NULL. */
struct store_key_name {
    const char *hash; /* hex; a hash in its grace names the key that replaced it */
    const char *alias;
    const char *id;
};

/** Read one key.
 *  @param out  the caller's to store_key_deinit(); empty on an error
 *  @return 0; ERR_NOT_FOUND */
MUST_USE int store_key_get(struct store *store, const struct store_key_name *name,
                           struct store_key *out);

/** Add a key. Its id is its hash when it has none.
 *  @param gen  of the database after it; may be NULL
 *  @return 0; ERR_DUPLICATE: the hash or the id is taken; ERR_LIMIT: the alias is taken;
 *          ERR_NOT_FOUND: no such team; ERR_INVALID: a text that must be JSON is none */
MUST_USE int store_key_add(struct store *store, const struct store_key *key,
                           const struct store_actor *by, uint64_t *gen);

#define STORE_KEYS_AT_ONCE 20

/** Add several keys, or none of them. @param num  at most STORE_KEYS_AT_ONCE
 *  @return as store_key_add() of one of them; ERR_DUPLICATE also for an alias that is taken */
MUST_USE int store_key_add_all(struct store *store, const struct store_key *keys, size_t num,
                               const struct store_actor *by);

/** Write the whole row that has the key's id, except its hash, name, and who created it when.
 *  @param key  as it was read, with changes: `gen` must still be the row's
 *  @return as store_key_add(); ERR_NOT_FOUND also: no such key, or it was changed since it was
 *          read (`gen`): read it again */
MUST_USE int store_key_update(struct store *store, const struct store_key *key,
                              const struct store_actor *by, uint64_t *gen);

/** @return 0, also when it was so before; ERR_NOT_FOUND: no such key */
MUST_USE int store_key_block(struct store *store, const struct store_key_name *name, bool blocked,
                             const struct store_actor *by, uint64_t *gen);

/** Remove a key and its hashes in grace. What it was stays among the deleted ones
 * (tenants statement A8).
 *  @return 0; ERR_NOT_FOUND: no such key */
MUST_USE int store_key_delete(struct store *store, const struct store_key_name *name,
                              const struct store_actor *by, uint64_t *gen);

/** Give a key another hash. Its id stays, so that what it made stays its own (A9, A47).
 *  @param key_name  "sk-...abcd" of the new one; NULL: not known
 *  @param grace_until_unix_ms  the old hash is good until then; 0: it is not good any more
 *  @return 0; ERR_NOT_FOUND: no such key; ERR_DUPLICATE: the new hash is taken */
MUST_USE int store_key_regenerate(struct store *store, const struct store_key_name *name,
                                  const char *new_hash, const char *key_name,
                                  int64_t grace_until_unix_ms, const struct store_actor *by,
                                  uint64_t *gen);

/** Add a hash that is good until a time for a key that is there: imported grace (A14, A16).
 *  @return 0, also when it is there; ERR_NOT_FOUND; ERR_DUPLICATE: it is a key's own hash */
MUST_USE int store_key_add_grace(struct store *store, const char *id, const char *old_hash,
                                 int64_t until_unix_ms, const struct store_actor *by,
                                 uint64_t *gen);

enum store_order {
    STORE_BY_CREATED,
    STORE_BY_UPDATED,
    STORE_BY_EXPIRY,
    STORE_BY_ALIAS,
    STORE_BY_TEAM,
    STORE_BY_USER,
    STORE_BY_HASH
};

enum store_expiry { STORE_EXPIRY_ANY, STORE_EXPIRED, STORE_NOT_EXPIRED };

/* Which keys a list has (tenants statement A10). A text that is NULL asks for nothing. */
struct store_key_filter {
    const char *hash, *alias, *team_id, *user_id, *organization_id;
    bool substring; /* alias, user_id: as a part, in any case of letters */
    bool deleted;   /* those that were deleted, instead of those that are */
    enum store_expiry expiry;
    int64_t now_unix_ms; /* for `expiry` */
    enum store_order order;
    bool descending;
    uint32_t page; /* from 1 */
    uint32_t size; /* 1 to 100 */
};

struct store_key_page {
    struct store_key *keys; /* owned, and each one */
    size_t num_keys;
    uint64_t total; /* of all pages */
};

/** Read one page of keys. Of deleted ones `updated` says when and by whom they were.
 *  @param out  the caller's to store_key_page_deinit()
 *  @return 0; ERR_INVALID: a page or a size out of bounds */
MUST_USE int store_key_list(struct store *store, const struct store_key_filter *filter,
                            struct store_key_page *out);
/** Free what a page holds, and empty it. */
void store_key_page_deinit(struct store_key_page *page);

/** Teams, as keys.
 *  @return of add: ERR_DUPLICATE: the id is taken; of delete: ERR_NOT_FOUND. Keys of a team are
 *          deleted with it */
MUST_USE int store_team_get(struct store *store, const char *id, struct store_team *out);
MUST_USE int store_team_add(struct store *store, const struct store_team *team,
                            const struct store_actor *by, uint64_t *gen);
MUST_USE int store_team_update(struct store *store, const struct store_team *team,
                               const struct store_actor *by, uint64_t *gen);
MUST_USE int store_team_block(struct store *store, const char *id, bool blocked,
                              const struct store_actor *by, uint64_t *gen);
MUST_USE int store_team_delete(struct store *store, const char *id, const struct store_actor *by,
                               uint64_t *gen);

struct store_team_filter {
    const char *alias, *organization_id; /* NULL: any */
    uint32_t page, size;                 /* as of keys */
};

struct store_team_page {
    struct store_team *teams; /* owned, and each one */
    size_t num_teams;
    uint64_t total;
};

/** Read one page of teams, the oldest first.
 *  @param out  the caller's to store_team_page_deinit()
 *  @return 0; ERR_INVALID: a page or a size out of bounds */
MUST_USE int store_team_list(struct store *store, const struct store_team_filter *filter,
                             struct store_team_page *out);
/** Free what a page holds, and empty it. */
void store_team_page_deinit(struct store_team_page *page);

/* One change, as the audit has it. */
struct store_audit {
    int64_t seq; /* the generation that the change made */
    int64_t at_unix_ms;
    char *who, *what, *target; /* owned; "key.add", "team.block"...; target: an id */
    char *before, *after;      /* owned; JSON of the row; NULL: none */
};

/** The newest changes, newest first.
 *  @param out  room for `max`; each the caller's to store_audit_deinit() */
MUST_USE int store_audit_read(struct store *store, struct store_audit *out, size_t max,
                              size_t *num);
void store_audit_deinit(struct store_audit *row);
