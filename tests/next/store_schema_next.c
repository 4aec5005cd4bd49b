/* The steps of the next program: those of this one, and one that adds what steps may add, to the
 * tables that are written most. It stands in the place of the house's own store_schema.c. */
#include <stddef.h>

static const char *const step_next[] = {
    "alter table @api_key add column next_text text",
    "alter table @owned add column next_number bigint not null default 0",
    "alter table @node add column next_text text not null default ''",
    "alter table @allowance add column next_number bigint not null default 0",
    "alter table @idempotency add column next_number bigint not null default 0",
    "alter table @reservation add column next_number bigint not null default 0",
    "alter table @batch add column next_text text",
    "alter table @batch_part add column next_number smallint not null default 0",
    "alter table @usage add column next_text text not null default ''",
    "alter table @hook_event add column next_text text",
    "create index batch_next on @batch(next_text)",
    "create table @next(id text primary key, batch_id text not null, at bigint not null)",
    "create index next_batch on @next(batch_id)",
    NULL};

#define NEXT_STEPS , step_next

#include "server/store/store_schema.c"
