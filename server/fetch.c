/* See fetch.h. With a tag there is one place to ask. Without one (master key only) the candidates
 * are asked in turn, likely first; 404 only when all say 404. */
#include "server/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "common/upstream/normal.h"
#include "server/attempt.h"
#include "server/batch_view.h"
#include "server/resolve.h"

#define MAX_READ_TRIES 3 /* at one deployment, unless the operator says otherwise */

struct fetch {
    struct relay *relay; /* borrowed; NULL once the client is gone (a cancel or delete goes on) */
    struct worker *worker;
    enum provider_call call;
    enum id_kind kind;
    struct target target;    /* owned */
    uint32_t at;             /* candidate being asked */
    uint32_t tries;          /* at this candidate */
    bool maybe_done;         /* a try before this one was sent here and its outcome is unknown */
    bool alone;              /* the client is gone, but what it asked for is under way: counted in
                                worker->operations */
    struct attempt *attempt; /* owned */
    struct failure
        worst; /* the most telling failure of the candidates before; status 0: none but 404 */
    struct loop_timer retry;
};

static void ask(struct fetch *f);

static void fetch_free(struct fetch *f)
{
    if (f->attempt != NULL)
        attempt_cancel(f->attempt);
    if (f->alone)
        f->worker->operations--;
    loop_timer_stop(f->worker->loop, &f->retry);
    target_deinit(&f->target);
    free(f);
}

static bool changes_something(const struct fetch *f)
{
    return f->call == CALL_FILE_DELETE || f->call == CALL_BATCH_CANCEL;
}

static void on_client_gone(void *op)
{
    struct fetch *f = op;

    f->relay = NULL;
    if (!changes_something(f) || f->attempt == NULL) {
        fetch_free(f);
        return;
    }
    f->alone = true; /* a worker that drains waits for it */
    f->worker->operations++;
}

static struct relay *detach(struct fetch *f)
{
    struct relay *relay = f->relay;

    f->relay = NULL;
    relay->op = NULL;
    relay->deployment = f->target.deployments[f->at];
    return relay;
}

static void fail(struct fetch *f, const struct failure *failure)
{
    struct relay *relay = detach(f);
    struct failure copy = *failure;

    fetch_free(f);
    relay_failure(relay, &copy);
}

static void not_found(struct fetch *f)
{
    struct relay *relay = detach(f);
    enum id_kind kind = f->kind;

    relay->deployment = MODEL_NO_INDEX;
    fetch_free(f);
    resolve_not_found(relay, kind, relay->route.id);
}

/* The answer in OpenAI's shape; NULL: it is none (reference statement 111). */
static struct json *normalised(struct fetch *f, struct json_doc *doc,
                               const struct upstream_result *res)
{
    uint32_t deployment = f->target.deployments[f->at];
    struct json_error error;
    struct json *object =
        res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;

    if (f->call == CALL_FILE_DELETE && (res->head.status == 404 || res->body_len == 0))
        return normal_deletion(doc, NULL, f->relay->route.id);
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    if (f->call == CALL_FILE_DELETE)
        return normal_deletion(doc, object, f->relay->route.id);
    if (json_get_str(object, "id") == NULL)
        return NULL;
    if (f->call == CALL_FILE_GET) {
        normal_file(doc, object, -1);
        resolve_show_file(f->relay, deployment, f->target.tagged, doc, object);
    } else {
        batch_view(f->relay, deployment, f->target.tagged, doc, object, NULL);
    }
    return object;
}

static void answer(struct fetch *f, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json *object = doc != NULL ? normalised(f, doc, res) : NULL;
    struct relay *relay = detach(f);

    fetch_free(f);
    if (object == NULL)
        relay_problem(relay, 502, "server_error", "bad_upstream_answer", "",
                      "The provider's answer could not be read as JSON.");
    else
        relay_json(relay, 200, object);
    json_doc_free(doc);
}

static void next_candidate(struct fetch *f, const struct failure *failure)
{
    if (failure->status != 404)
        f->worst = *failure;
    if (f->at + 1 < f->target.num) {
        f->at++;
        f->tries = 0;
        f->maybe_done = false;
        ask(f);
    } else if (f->worst.status != 0) {
        fail(f, &f->worst);
    } else {
        not_found(f);
    }
}

static void on_retry_timer(struct loop_timer *timer)
{
    ask(timer->arg);
}

/* Whether the provider may have done what it was asked. */
static bool is_outcome_unknown(const struct retry_question *q)
{
    return q->answered ? q->status == 408 || (q->status >= 500 && q->status != 503)
                       : !q->nothing_sent;
}

static void on_asked(void *arg, const struct attempt_result *result)
{
    struct fetch *f = arg;
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer decision;

    f->attempt = NULL;
    if (f->relay == NULL) {
        fetch_free(f);
        return;
    }
    /* A delete that is asked again and finds nothing: the one before, whose answer was lost, did
     * it. */
    if (result->ok ||
        (f->call == CALL_FILE_DELETE && f->maybe_done && result->upstream->head.status == 404)) {
        answer(f, result->upstream);
        return;
    }
    f->maybe_done |= is_outcome_unknown(&question);
    question.pinned = question.idempotent = true;
    question.tries = f->tries;
    attempt_limits(f->worker, f->target.deployments[f->at], MAX_READ_TRIES, &question);
    decision = retry_decide(&question, worker_random(f->worker));
    if (decision.action == RETRY_SAME) {
        f->retry.cb = on_retry_timer;
        f->retry.arg = f;
        if (loop_timer_start(f->worker->loop, &f->retry, decision.delay_ms) == 0)
            return;
    }
    next_candidate(f, &result->failure);
}

static void ask(struct fetch *f)
{
    struct attempt_spec spec = {.deployment = f->target.deployments[f->at],
                                .call = f->call,
                                .id = f->target.native,
                                .on_done = on_asked,
                                .arg = f};

    f->tries++;
    f->attempt = attempt_start(f->worker, &spec);
    if (f->attempt == NULL) {
        struct relay *relay = detach(f);

        fetch_free(f);
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
    }
}

static enum provider_call call_of(const struct relay *relay)
{
    if (relay->route.kind == ROUTE_FILE)
        return relay->method == METHOD_DELETE ? CALL_FILE_DELETE : CALL_FILE_GET;
    return relay->route.kind == ROUTE_BATCH_CANCEL ? CALL_BATCH_CANCEL : CALL_BATCH_GET;
}

void fetch_start(struct relay *relay)
{
    struct fetch *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    f->relay = relay;
    f->worker = relay->worker;
    f->call = call_of(relay);
    f->kind = relay->route.kind == ROUTE_FILE ? ID_FILE : ID_BATCH;
    if (!resolve_id(relay, f->kind, relay->route.id, relay->route.id_len, &f->target)) {
        free(f);
        return;
    }
    relay_attach(relay, f, on_client_gone);
    ask(f);
}
