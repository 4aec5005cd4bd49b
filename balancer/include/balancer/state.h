/* What is known about deployments while we run, in shared memory that outlives generations: rows
 * [worker][deployment] with one writer each (no locks, no shared gauges; readers sum), one health
 * word per deployment and operation class (compare-and-swap). Keyed by fingerprint, so that it
 * survives reloads. The master clears the row of a dead worker's gauges. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "balancer/skew.h"
#include "balancer/table.h"

/* READ: every call that follows an id (DELETE and cancel, too), and lists. */
enum op_class { OP_UPLOAD, OP_CREATE, OP_READ };
#define OP_CLASS_COUNT 3

/* How one upstream try ended; the failure classes of LiteLLM's policies. */
enum outcome {
    /* 2xx, and 4xx about the object (400, 404, 409, 413, 422, ...): the deployment is fine */
    OUTCOME_OK,
    OUTCOME_AUTH,         /* 401, 403 */
    OUTCOME_RATE_LIMIT,   /* 429, and 400 token_limit_exceeded */
    OUTCOME_TIMEOUT,      /* 408, or our own time-outs */
    OUTCOME_CONNECT,      /* DNS, TCP, TLS: nothing was sent */
    OUTCOME_BROKEN,       /* reset or truncated after something was sent */
    OUTCOME_SERVER_ERROR, /* 5xx */
    OUTCOME_BAD_ANSWER,   /* not JSON, over-long, a redirect */
    OUTCOME_CANCELLED     /* by us: the client went away */
};
#define OUTCOME_COUNT 9

/** Words for the log and for labels of metrics; constants. */
const char *op_class_name(enum op_class op);
const char *outcome_name(enum outcome outcome);

struct state; /* the region */

/** Room for `max_workers` rows of writers (workers of all generations, prober) and
 * `max_deployments` fingerprints.
 *  @return 0, ERR_NOMEM. Pages that nobody writes cost nothing. */
MUST_USE int state_new(uint32_t max_workers, uint32_t max_deployments, struct state **out);
void state_free(struct state *state); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what state _new()
 * would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int state_adopt(int fd, uint32_t max_workers, uint32_t max_deployments,
                         struct state **out);

/** Give each deployment of a new table its column (a known fingerprint keeps its old one). Master
 * only, before the fork. `columns` gets table_num_deployments() entries. When all columns were
 * given away, new deployments take over (emptied) those that neither this table nor the two bound
 * before it name and to which nothing is in flight.
 *  @return 0; ERR_FULL: not even so, and nothing was changed but `columns` */
MUST_USE int state_bind(struct state *state, const struct table *table, uint32_t *columns);

/* --- a writer's row: only the process that owns `worker` calls these --- */

/** An upstream try begins: in flight + 1, requests + 1 (also of this minute, unless it is a read).
 * Each one must be ended by the same process. */
void state_begin(struct state *state, uint32_t worker, uint32_t column, enum op_class op);

/** It ended: in flight - 1, counters, latency EWMA (of OUTCOME_OK, alpha 1/8, a time-out counts as
 * 1000 s; but not of reads, which the balancer does not place), bytes, last error (any outcome but
 * OK and CANCELLED).
 *  @param status  HTTP status or 0 */
void state_end(struct state *state, uint32_t worker, uint32_t column, enum op_class op,
               enum outcome outcome, int status, uint64_t latency_us, uint64_t bytes_sent,
               uint64_t bytes_received);

/** The same two at a given monotonic time; those above ask the clock. */
void state_begin_at(struct state *state, uint32_t worker, uint32_t column, enum op_class op,
                    uint64_t now_ms);
void state_end_at(struct state *state, uint32_t worker, uint32_t column, enum op_class op,
                  enum outcome outcome, int status, uint64_t latency_us, uint64_t bytes_sent,
                  uint64_t bytes_received, uint64_t now_ms);

/** The worker is dead: its gauges (in flight) become 0; its counters are kept. Master only, after
 * the process was reaped and before its slot is used again. Returns what was in flight. */
uint64_t state_clear_worker(struct state *state, uint32_t worker);

/* --- readers --- */

struct state_sum {
    uint64_t requests[OP_CLASS_COUNT];
    uint64_t outcomes[OP_CLASS_COUNT][OUTCOME_COUNT];
    uint64_t in_flight[OP_CLASS_COUNT];
    uint64_t bytes_sent, bytes_received;
    uint64_t rests;
    /* Mean of the workers' EWMAs, weighted by samples (at most 64 count, halved for each minute
     * that a worker's last one is older than the newest); 0: nothing measured */
    uint64_t latency_us;
    /* Uploads and creates begun in the current minute (of the monotonic clock) by all workers: for
     * rpm */
    uint64_t requests_minute;
    uint64_t tokens_minute;    /* counted in the current minute: for tpm */
    int last_status;           /* of the newest failure */
    enum outcome last_outcome; /* of the newest failure; OUTCOME_OK: never failed */
    uint64_t last_error_ms;    /* monotonic; 0: never */
};

/** Sum a deployment over all workers, as of now_ms. */
void state_read(const struct state *state, uint32_t column, uint64_t now_ms, struct state_sum *sum);

/** Tokens placed on a deployment in this minute (own row). */
void state_add_tokens(struct state *state, uint32_t worker, uint32_t column, uint64_t tokens,
                      uint64_t now_ms);

/** A breaker of the deployment started a cooldown (own row). */
void state_add_rest(struct state *state, uint32_t worker, uint32_t column);

/* --- health words --- */

/** The word of (column, op); breaker.h knows its bits. 0: never failed. */
_Atomic uint64_t *state_health(struct state *state, uint32_t column, enum op_class op);

/** How far the provider's clock is from ours. Kept in the column of the account's first deployment
 * (table_deployment.first). */
struct skew *state_skew(struct state *state, uint32_t column);
