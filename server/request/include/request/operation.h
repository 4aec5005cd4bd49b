/* What every handler that waits for something is made of: the client's request, the search for the
 * object's account, the call to a provider, the pause before the next one, and the one way out.
 *
 * A handler's struct begins with it, and one table says what is the handler's own:
 *
 *     struct fetch {
 *         struct operation op;
 *         ...
 *     };
 *     static const struct operation_ops fetch_ops = {.free = free_fetch, .goes_on = goes_on};
 *
 *     void fetch_start(struct relay *relay)
 *     {
 *         struct fetch *f = operation_new(sizeof(*f), relay, &fetch_ops);
 *
 *         if (f == NULL)
 *             return;                                  it was answered
 *         if (resolve_id(relay, ..., &f->target) == ANSWERED) {
 *             operation_answered(&f->op);
 *             return;
 *         }
 *         ...                                          operation_locate(), operation_ask()
 *     }
 *
 * Its life, of which this file is the only keeper:
 *
 *   operation_new() ─► works, op->relay is set
 *                        │  it answers: operation_fail*(), or operation_end() and relay_*() ► gone
 *                        │  a check has answered (ANSWERED): operation_answered() ─────────► gone
 *                        │  it streams (relay_start()) until the client has all, or leaves ► gone
 *                        ▼  the client leaves: ops->goes_on()? no ─────────────────────────► gone
 *                        │ yes
 *                        ▼
 *                      goes on alone, op->relay is NULL: operation_free() ─────────────────► gone
 *
 * There is one operation to a relay, one answer to an operation, and nothing after it: whoever has
 * ended an operation, or called what may have ended it, touches neither it nor its relay. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "crypto/ids.h"
#include "request/relay.h"

struct attempt; /* attempt.h */
struct attempt_result;
struct attempt_spec;
struct flight_entered; /* flight.h */
struct flight_user;
struct locate; /* locate.h */
struct locate_result;
struct operation;

typedef void (*operation_cb)(struct operation *op);
typedef void (*operation_located_cb)(struct operation *op, const struct locate_result *result);
typedef void (*operation_asked_cb)(struct operation *op, const struct attempt_result *result);

struct operation_ops {
    /* Free what the handler holds besides, and its struct. Answers nothing. */
    void (*free)(struct operation *op);
    /* The client has left, op->relay is NULL: whether the operation goes on to an end of its own.
     * NULL: never */
    bool (*goes_on)(struct operation *op);
};

struct operation {
    struct relay *relay; /* borrowed; NULL: its client has left, or it is about to be answered */
    struct runtime *rt;  /* borrowed */
    struct share *share; /* one user; of the tenant that asked; NULL: it has none */
    const struct operation_ops *ops;
    uint32_t deployment;        /* that serves it, for headers and log; MODEL_NO_INDEX: none yet */
    uint32_t tries;             /* calls begun; the handler may set it back */
    bool held;                  /* see operation_hold() */
    struct limits_place limits; /* of its tenant's, the same */
    bool counts;                /* as a call of its tenant, in place of the client that has left */
    struct locate *locate;      /* owned; NULL: no search is under way */
    struct attempt *attempt;    /* owned; NULL: no call is under way */
    struct flight_user *flight; /* owned; waits for a call that others may share; NULL: for none */
    struct loop_timer retry;    /* the pause before the next call */
    operation_located_cb on_located;
    operation_asked_cb on_asked;
    operation_cb again;
};

/** A handler's zeroed struct, from malloc(), with its operation begun: from now on it is told when
 * the client leaves. `ops->free` frees it.
 *  @param size  of a struct that begins with its operation
 *  @return NULL: out of memory; that was answered */
MUST_USE void *operation_new(size_t size, struct relay *relay, const struct operation_ops *ops);

/** Begin one in the caller's zeroed memory, which cannot fail. */
void operation_begin(struct operation *op, struct relay *relay, const struct operation_ops *ops);

/** Take the relay away: it is answered now, or another operation takes it over. */
struct relay *operation_detach(struct operation *op);

/** The usual way out: the operation is freed, what it held is given back. Whoever reads the answer
 * finds the room free.
 *  @return the relay, to be answered by the caller at once */
struct relay *operation_end(struct operation *op);

/** End it by an error. `failure` may be part of what is freed. */
void operation_fail(struct operation *op, const struct failure *failure);
void operation_fail_memory(struct operation *op);

/** End it by resolve_not_found(). `id` may be part of what is freed. */
void operation_fail_not_found(struct operation *op, enum id_kind kind, const char *id);

/** End it by what came of a call about the object that the path names: a 404 becomes
 * operation_fail_not_found(). */
void operation_fail_object(struct operation *op, enum id_kind kind, const struct failure *failure);

/** A check of the relay has answered by itself (ANSWERED): free the operation. */
void operation_answered(struct operation *op);

/** Free one that has gone on without its client. */
void operation_free(struct operation *op);

/** It goes on although its client may leave: a worker that drains waits until it is freed. */
void operation_hold(struct operation *op);

/** Look for the account of an object without a tag. Ends the operation when there is no memory.
 *  @param deployments  candidates, likely first; copied
 *  @param on_located   once, from the loop; op->deployment is result->deployment then */
void operation_locate(struct operation *op, enum id_kind kind, const char *native,
                      const uint32_t *deployments, uint32_t num, operation_located_cb on_located);

/** Call the provider at op->deployment.
 *  @param spec      deployment, request id, on_done and arg are filled in; its callbacks get `op`
 *  @param on_asked  once, from the loop, unless operation_stop() comes before
 *  @return 0, ERR_NOMEM */
MUST_USE int operation_ask(struct operation *op, struct attempt_spec *spec,
                           operation_asked_cb on_asked);

/** The same of a call that reads one object, which all share who ask for it now (flight.h). The caller
 * may see the object: that was checked for its client.
 *  @param entered  written
 *  @return 0, ERR_NOMEM */
MUST_USE int operation_ask_shared(struct operation *op, struct attempt_spec *spec,
                                  operation_asked_cb on_asked, struct flight_entered *entered);

/** Break off the call that is under way, if there is one. */
void operation_stop(struct operation *op);

/** Call `again` after a while.
 *  @return false: out of memory, it will not be called */
MUST_USE bool operation_wait(struct operation *op, uint64_t delay_ms, operation_cb again);

/** A call that only reads, or may be repeated as if it did, has ended: ask the same account again
 * after a while, if its end and the tries so far say so.
 *  @param default_tries  when the operator says nothing
 *  @return whether `again` will be called; else the operation has to end */
MUST_USE bool operation_try_again(struct operation *op, const struct attempt_result *result,
                                  uint32_t default_tries, operation_cb again);
