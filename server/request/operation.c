/* See operation.h. */
#include "request/operation.h"

#include <assert.h>
#include <stdlib.h>

#include "calls/attempt.h"
#include "calls/flight.h"
#include "objects/locate.h"
#include "request/errors.h"
#include "request/limits.h"
#include "request/resolve.h"

/* --- its begin --- */

/* The relay's disposer tells, once: it has let go of us. */
static void on_client_gone(void *arg)
{
    struct operation *op = arg;
    struct relay *relay = op->relay;

    assert(relay != NULL);
    op->relay = NULL;
    if (relay->load != NULL) { /* a tenant that leaves again and again does not free its places */
        op->counts = true;
        share_add(op->share, SHARE_CALLS, 1);
    }
    op->limits = relay->limits;
    relay->limits.held = false;
    if (op->ops->goes_on == NULL || !op->ops->goes_on(op))
        operation_free(op);
}

void operation_begin(struct operation *op, struct relay *relay, const struct operation_ops *ops)
{
    op->relay = relay;
    op->rt = relay->rt;
    op->share = share_use(relay->share);
    op->ops = ops;
    op->deployment = relay->deployment;
    relay_attach(relay, op, on_client_gone);
}

void *operation_new(size_t size, struct relay *relay, const struct operation_ops *ops)
{
    struct operation *op = calloc(1, size);

    assert(size >= sizeof(*op));
    if (op == NULL)
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        operation_begin(op, relay, ops);
    return op;
}

/* --- its end --- */

void operation_free(struct operation *op)
{
    struct share *share = op->share;
    bool counts = op->counts;

    assert(op->relay == NULL);
    operation_stop(op);
    locate_cancel(op->locate);
    loop_timer_stop(op->rt->loop, &op->retry);
    op->rt->operations -= op->held;
    limits_release(op->rt, &op->limits);
    op->ops->free(op);
    if (counts)
        share_sub(share, SHARE_CALLS, 1);
    share_put(share);
}

struct relay *operation_detach(struct operation *op)
{
    struct relay *relay = op->relay;

    assert(relay != NULL && relay->op == op);
    op->relay = NULL;
    relay->op = NULL;
    relay->deployment = op->deployment;
    return relay;
}

struct relay *operation_end(struct operation *op)
{
    struct relay *relay = operation_detach(op);

    operation_free(op);
    return relay;
}

void operation_fail(struct operation *op, const struct failure *failure)
{
    struct failure copy = *failure;

    relay_failure(operation_end(op), &copy);
}

void operation_fail_memory(struct operation *op)
{
    relay_error(operation_end(op), OUT_OF_MEMORY, "");
}

void operation_fail_not_found(struct operation *op, enum id_kind kind, const char *id)
{
    struct failure failure;

    resolve_describe_not_found(&failure, kind, id);
    op->deployment = MODEL_NO_INDEX;
    operation_fail(op, &failure);
}

void operation_fail_object(struct operation *op, enum id_kind kind, const struct failure *failure)
{
    if (failure->status == 404)
        operation_fail_not_found(op, kind, op->relay->route.id);
    else
        operation_fail(op, failure);
}

/* The relay may be gone already. */
void operation_answered(struct operation *op)
{
    op->relay = NULL;
    operation_free(op);
}

void operation_hold(struct operation *op)
{
    assert(!op->held);
    op->held = true;
    op->rt->operations++;
}

/* --- what it waits for --- */

static void on_located(void *arg, const struct locate_result *result)
{
    struct operation *op = arg;

    op->locate = NULL;
    op->deployment = result->deployment;
    op->on_located(op, result);
}

void operation_locate(struct operation *op, enum id_kind kind, const char *native,
                      const uint32_t *deployments, uint32_t num, operation_located_cb located)
{
    assert(op->locate == NULL && op->attempt == NULL);
    op->deployment = MODEL_NO_INDEX;
    op->on_located = located;
    op->locate = locate_start(op->rt, kind, native, deployments, num, on_located, op);
    if (op->locate == NULL)
        operation_fail_memory(op);
}

static void on_asked(void *arg, const struct attempt_result *result)
{
    struct operation *op = arg;

    op->attempt = NULL;
    op->flight = NULL;
    op->on_asked(op, result);
}

static void fill_spec(struct operation *op, struct attempt_spec *spec, operation_asked_cb asked)
{
    assert(op->locate == NULL && op->attempt == NULL && op->flight == NULL);
    spec->deployment = op->deployment;
    spec->request_id = op->relay->request_id;
    spec->owner = share_owner(op->share);
    spec->on_done = on_asked;
    spec->arg = op;
    op->on_asked = asked;
    op->tries++;
}

int operation_ask(struct operation *op, struct attempt_spec *spec, operation_asked_cb asked)
{
    fill_spec(op, spec, asked);
    op->attempt = attempt_start(op->rt, spec);
    return op->attempt != NULL ? 0 : ERR_NOMEM;
}

int operation_ask_shared(struct operation *op, struct attempt_spec *spec, operation_asked_cb asked,
                         struct flight_entered *entered)
{
    fill_spec(op, spec, asked);
    op->flight = flight_enter(op->rt, spec, entered);
    return op->flight != NULL ? 0 : ERR_NOMEM;
}

void operation_stop(struct operation *op)
{
    if (op->attempt != NULL)
        attempt_cancel(op->attempt);
    op->attempt = NULL;
    flight_leave(op->flight);
    op->flight = NULL;
}

static void on_retry(struct loop_timer *timer)
{
    struct operation *op = timer->arg;

    op->again(op);
}

bool operation_wait(struct operation *op, uint64_t delay_ms, operation_cb again)
{
    op->again = again;
    op->retry.cb = on_retry;
    op->retry.arg = op;
    return loop_timer_start(op->rt->loop, &op->retry, delay_ms) == 0;
}

bool operation_try_again(struct operation *op, const struct attempt_result *result,
                         uint32_t default_tries, operation_cb again)
{
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer decision;

    question.pinned = question.idempotent = true;
    question.tries = op->tries;
    attempt_limits(op->rt, op->deployment, default_tries, &question);
    decision = attempt_decide(op->rt, op->deployment, &question);
    return decision.action == RETRY_SAME && operation_wait(op, decision.delay_ms, again);
}
