/* The parts of the state, each a member of the one object or some; all written from shared memory.
 * Whatever takes longer than a slice is done some at a time: such a function returns whether there is
 * more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/quota.h"
#include "common/strbuf.h"
#include "core/runtime.h"
#include "state_text.h"

/** Version, workers, spool, what is wrong with keys, database and configuration. Begins the object. */
void state_node_write(const struct runtime *rt, struct strbuf *out);

/** The minutes of the last hour. */
void state_minutes_write(const struct runtime *rt, struct strbuf *out);

/** The last lines of the error log. */
void state_events_write(struct strbuf *out);

/* --- deployments --- */

/* Which rows are shown, and what the ledger holds of each. */
struct state_rows {
    const struct runtime *rt;    /* borrowed */
    struct quota_tally *tallies; /* owned; [quota_max_columns()] */
    uint32_t next, cursor;       /* of the rows that are looked at; of quota_count() */
    uint32_t listed, troubled;   /* rows in all; of these, in trouble */
    uint32_t num_troubled, num_calm, written;
    uint32_t troubled_rows[STATE_DEPLOYMENTS], calm_rows[STATE_DEPLOYMENTS];
};

/** @return false: out of memory */
bool state_rows_begin(struct state_rows *rows, const struct runtime *rt);
bool state_rows_choose(struct state_rows *rows);
bool state_rows_count(struct state_rows *rows);
bool state_rows_write(struct state_rows *rows, struct strbuf *out);
void state_rows_end(struct state_rows *rows);

/** The row of the configuration that is counted in a column; MODEL_NO_INDEX: none. */
uint32_t state_row_of_column(const struct runtime *rt, uint32_t column);

/* --- the ledger's batches --- */

struct state_ledger {
    uint32_t cursor, shown;
    uint64_t total, orphans;
    bool begun;
};

bool state_ledger_write(struct state_ledger *ledger, const struct runtime *rt, struct strbuf *out);

/* --- tenants --- */

struct state_tenant {
    uint64_t name, tokens, batches; /* name: of struct rights */
    uint64_t token_limit, batch_limit;
    bool is_team;
    char text[64];
};

struct state_tenants {
    uint32_t cursor; /* of quota_mark_scopes() */
    bool marked;     /* `marks` has all that hold something */
    struct quota_marks marks;
    uint32_t next, num;
    struct state_tenant rows[STATE_TENANTS]; /* most tokens first */
};

bool state_tenants_write(struct state_tenants *tenants, const struct runtime *rt,
                         struct strbuf *out);
