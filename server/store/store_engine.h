/* One open database behind a table of functions: run a statement, see its rows. The two engines
 * speak the same SQL; what differs is written here:
 *
 *   @name   a table: `tranche.name` in PostgreSQL, `name` in SQLite
 *   $1      a parameter; SQLite binds it by its name, for it counts first appearances
 *
 * Values are whole numbers and texts. Rows come as texts, one after the other. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "store/store.h"

#define ENGINE_MAX_COLUMNS 36
#define ENGINE_MAX_VALUES  512 /* of one statement */

enum value_type { VALUE_NULL, VALUE_INT, VALUE_TEXT };

struct value {
    enum value_type type;
    int64_t number;
    const char *text; /* borrowed for the call */
};

/** A parameter. A text that is NULL, and time 0, which means none, are NULL. */
struct value value_int(int64_t number);
struct value value_text(const char *text);
struct value value_time(int64_t unix_ms);

struct row {
    const char *texts[ENGINE_MAX_COLUMNS]; /* borrowed until the callback returns; NULL: NULL */
    size_t num;
};

/** @return the number that a column writes; 0 when it is NULL */
int64_t row_int(const struct row *row, size_t column);

/** One row. What is not 0 ends the statement and is returned by it. */
typedef int (*row_cb)(void *arg, const struct row *row);

struct engine;

struct engine_ops {
    const char *table_prefix;
    bool shared; /* other nodes may have the same database */
    const char *begin_read, *begin_write;
    /* Behind either, each with a number of ms: a statement's end at the server, and that of a
     * transaction in which nothing comes; NULL: there is no server */
    const char *limit_statement, *limit_silence;
    const char *has_table;   /* a query of one row when the table $1 is there */
    const char *lock_schema; /* first in the transaction that changes the schema; NULL: nothing */
    const char *make_room;   /* before the first table; NULL: nothing */
    const char *now_ms;      /* a query of the database's own clock: Unix ms */
    const char *skip_locked; /* behind a select of rows that a transaction takes for itself, and
                                others that it may pass over; "": nobody else writes */
    const char *for_update;  /* behind a select: its rows are locked until the transaction ends */
    int (*connect)(struct engine *engine, uint64_t until_ms);
    /* The statement has no '@' any more. Rows may be NULL. */
    int (*run)(struct engine *engine, const char *sql, const struct value *values, size_t num,
               uint64_t until_ms, row_cb on_row, void *arg);
    void (*disconnect)(struct engine *engine); /* what is not open is fine */
    void (*free)(struct engine *engine);
};

/* The head of each engine's own struct. */
struct engine {
    const struct engine_ops *ops;
    enum store_state state; /* what the last failure means */
    char why[STORE_WHY_BYTES];
    char constraint[128]; /* what a row broke, by name; "": nothing */
};

/** Note a failure and return its code. */
__attribute__((format(printf, 4, 5))) int engine_fail(struct engine *engine, int rc,
                                                      enum store_state state, const char *fmt, ...);

/** Run a statement as it is written above.
 *  @param until_ms  monotonic
 *  @return 0; an enum err, with `state` and `why` set; what `on_row` returned */
MUST_USE int engine_run(struct engine *engine, const char *sql, const struct value *values,
                        size_t num, uint64_t until_ms, row_cb on_row, void *arg);

/** Whether a file system is one that other machines share, where the locks and the shared memory of
 * SQLite's write-ahead log do not hold. Pure. @param file_system  `f_type` of statfs(2) */
bool sqlite_is_network(uint32_t file_system);

/** @param path  a file's */
MUST_USE int sqlite_engine_new(const char *path, bool server, struct engine **out);

/** @param url  with "postgresql://" or "postgres://"
 *  @param place  host and database, for people */
MUST_USE int postgres_engine_new(const char *url, struct engine **out, char *place,
                                 size_t place_size, char why[STORE_WHY_BYTES]);
