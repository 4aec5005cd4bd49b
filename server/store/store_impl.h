/* What the files of this room share: a store's transaction, and rows as they are read. */
#pragma once

#include "store_engine.h"

#include "common/strbuf.h"

struct store {
    struct engine *engine; /* owned */
    char *place;           /* owned; for people */
    uint32_t deadline_ms;
    bool foreign; /* another program's tables: no schema of ours is looked for */
    bool open;
    bool working;               /* a call's transaction is open */
    bool in_batch, batch_broke; /* store_batch_begin(); it cannot be committed any more */
    uint64_t until_ms;          /* of the call that runs */
    uint64_t retry_ms;          /* when a store that is down is tried again */
    uint64_t backoff_ms;        /* the last wait; 0: none */
    uint64_t reached_ms;
    uint64_t sessions;
    enum store_state state;
    char why[STORE_WHY_BYTES];
    store_expand_cb expand; /* NULL: none */
    void *expand_arg;       /* borrowed */
};

enum work { WORK_READ, WORK_WRITE };

/** Open a transaction, with the server's own ends for one that its client has given up. */
MUST_USE int work_open(struct store *store, enum work work);

/** Begin a call's transaction: connect and bring the schema up when that is due. */
MUST_USE int work_begin(struct store *store, enum work work);

/** Commit when `rc` is 0, else roll back, and note what the call found.
 *  @return `rc`, or why the commit failed */
int work_end(struct store *store, int rc);

/** The same without the note: for what runs inside of connecting. */
int work_finish(struct store *store, int rc);

/** A later statement of a long call may take a deadline of its own. */
void work_go_on(struct store *store);

/** Run a statement of the transaction. */
MUST_USE int work_run(struct store *store, const char *sql, const struct value *values, size_t num,
                      row_cb on_row, void *arg);

#define WORK_RUN(store, sql, values, on_row, arg)                                                  \
    work_run(store, sql, values, sizeof(values) / sizeof((values)[0]), on_row, arg)

/** Raise the generation: first in each change, so that changes become visible in its order. */
MUST_USE int work_raise_gen(struct store *store, size_t by, int64_t *gen);

/** The generation as this transaction sees it. */
MUST_USE int work_read_gen(struct store *store, uint64_t *gen);

/* A change of a key or a team under way. */
struct change {
    struct store *store;
    const struct store_actor *by;
    int64_t gen, now_unix_ms;
    /* Owned; what it was, one of the two; empty: there was none */
    struct store_key key;
    struct store_team team;
};

/** Begin its transaction, and raise the generation: by the number of rows where each has one. */
MUST_USE int change_begin_all(struct change *c, struct store *store, const struct store_actor *by,
                              size_t num);
MUST_USE int change_begin(struct change *c, struct store *store, const struct store_actor *by);
/** As work_end(). @param gen  of the database after it; may be NULL */
int change_end(struct change *c, int rc, uint64_t *gen);
/** Put it into the audit. Both texts are let go of. */
MUST_USE int change_audit(const struct change *c, const char *what, const char *target,
                          struct strbuf *before, struct strbuf *after);
/** Move keys to the deleted ones. @param column  of the key: the text is what it has there */
MUST_USE int change_drop_keys(const struct change *c, const char *column, const char *text);

/** The database's own clock, in Unix ms: claims of several nodes are held against it alone. */
MUST_USE int work_now(struct store *store, int64_t *now_ms);

/** Put a change into the audit. `before` and `after` may be NULL. */
MUST_USE int work_audit(struct store *store, int64_t gen, const struct store_actor *by,
                        const char *what, const char *target, const char *before,
                        const char *after);

/** Make room in an array for one item more; it grows by doubling.
 *  @return the array; NULL: out of memory, the old one stays */
void *grow(void *items, size_t num, size_t item_bytes);

/** Add "($1, $2), ($3, $4)": rows of parameters, for an insert. */
void sql_tuples(struct strbuf *sql, size_t rows, size_t columns);

/** Counts rows into a size_t. */
int on_count(void *arg, const struct row *row);

/** Bring the tables of the database up to this program's; connected, outside a transaction. */
MUST_USE int schema_ensure(struct store *store);

/** store_key_rights(), store_team_rights(), with what store_expand() asks for. */
MUST_USE int work_key_rights(const struct store *store, const struct store_key *key,
                             enum rights_source source, struct rights_key *out);
MUST_USE int work_team_rights(const struct store *store, const struct store_team *team,
                              enum rights_source source, struct rights_team *out);

struct store_hook_event;

/** Inside the transaction that writes a batch's end: its event, once for each batch and type. Who
 * writes it a second time changes nothing (webhook statement D28). */
MUST_USE int work_hook_event(struct store *store, const struct store_hook_event *event);

/** Copy a text; NULL stays NULL. @return 0, ERR_NOMEM */
MUST_USE int copy_text(char **out, const char *text);

/** Copy the texts that a key has beside its lists; on an error `out` has some of them. */
MUST_USE int copy_names(struct rights_key *out, const char *id, const char *alias,
                        const char *team_id, const char *user_id);

/** Copy a column; NULL stays NULL.
 *  @return false: out of memory */
bool copy_column(char **out, const struct row *row, size_t column);

/* Columns of keys and teams in the order in which rows are read. */
#define KEY_COLUMNS                                                                                \
    "k.hash, k.id, k.name, k.alias, k.team_id, k.user_id, k.organization_id, k.models, k.aliases," \
    " k.routes, k.metadata, k.fields, k.source, k.admin, k.blocked, k.expires, k.created,"         \
    " k.created_by, k.updated, k.updated_by, k.gen"
#define KEY_NUM_COLUMNS 21
#define TEAM_COLUMNS                                                                               \
    "t.id, t.alias, t.organization_id, t.models, t.aliases, t.metadata, t.fields, t.blocked,"      \
    " t.created, t.created_by, t.updated, t.updated_by, t.gen"
#define TEAM_NUM_COLUMNS 13

/** Read a row of KEY_COLUMNS, of TEAM_COLUMNS; `out` is empty on an error. */
MUST_USE int key_of_row(const struct row *row, struct store_key *out);
MUST_USE int team_of_row(const struct row *row, struct store_team *out);

/** A row as JSON, for the audit: without the hash. */
void key_to_json(const struct store_key *key, struct strbuf *out);
void team_to_json(const struct store_team *team, struct strbuf *out);

/** Whether the texts of a row can be stored: UTF-8, lists and maps that are some. */
MUST_USE int key_check(struct store *store, const struct store_key *key);
MUST_USE int team_check(struct store *store, const struct store_team *team);

/** Whether a text is the hash of a key: 64 lower-case hex digits. */
bool is_hash(const char *text);
void hash_to_hex(const unsigned char hash[RIGHTS_HASH_BYTES], char out[STORE_HASH_DIGITS + 1]);
bool hash_from_hex(const char *text, unsigned char out[RIGHTS_HASH_BYTES]);
