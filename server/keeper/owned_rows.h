/* What tenants own, between shared memory and the database: the keeper's part. Changes of the
 * registry are collected and written some hundreds at a time; what the database has is put back
 * after a start, before the lists are called whole; what other nodes wrote is taken over. Nobody
 * waits for any of it.
 *
 *   workers ─► registry ─ registry_follow() ─► pending ─ store_owned_write() ─► database
 *                  ▲                                                              │
 *                  └──── registry_put_back() ◄── store_owned_load(), _follow() ◄──┘
 *
 * Of several keepers the one that came last follows. What is pending when all of a gateway is
 * killed is lost: a second's changes, while the database is up; the next start tells of the gap. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/registry.h"
#include "common/err.h"
#include "store/store.h"

#define OWNED_ROWS_EVERY_MS 1000 /* between two writings */

struct owned_rows;

struct owned_rows_options {
    struct registry *registry; /* borrowed */
    struct store *store;       /* borrowed; the keeper's */
    const char *node;          /* copied; the same after a restart of this node */
    bool tenants_else;         /* keys come from elsewhere, too */
    int64_t born_s;            /* Unix time: since when the registry is there, or earlier */
};

/** It is the one that follows from now on. @return 0, ERR_NOMEM */
MUST_USE int owned_rows_new(const struct owned_rows_options *options, struct owned_rows **out);
void owned_rows_free(struct owned_rows *owned); /* NULL is fine */

/** Do what is next, unless another keeper follows that still lives: at most one reading and one writing of the database, each of a bounded size.
 *  @param now_ms   monotonic
 *  @param unix_ms  of the same moment
 *  @return in how many ms there is more to do; 0: at once */
uint32_t owned_rows_step(struct owned_rows *owned, uint64_t now_ms, int64_t unix_ms);

/** Whether all that is known is in the database, or another keeper follows. */
bool owned_rows_are_kept(const struct owned_rows *owned);

/** Whether another keeper follows by now. */
bool owned_rows_have_gone(const struct owned_rows *owned);

/** Nothing comes any more: write the rest, and say in the database that nothing is missing. */
void owned_rows_end(struct owned_rows *owned, int64_t unix_ms);
