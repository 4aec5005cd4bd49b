/* POST /batches: what the client asks for is checked, known repeats get the answer of the first,
 * and the order is carried to a deployment that has room: the one whose lines the file holds, or,
 * when that one is full, another one that gets a copy.
 *
 *   resolve the file ─► known repeat? ─► where is it? ─► how many tokens? ─► reserve ─► create
 *                                                                             ▲  │ no     │ refused
 *                                                                             │  ▼        ▼
 *                                                                             copy ◄─ another one
 *
 * A create in flight outlives its client: the batch exists upstream either way, and the ledger and
 * whoever repeats the request must learn of it. */
#include "server/batches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "common/clock.h"
#include "common/log.h"
#include "server/attempt.h"
#include "server/batch_view.h"
#include "server/choose.h"
#include "server/create.h"
#include "server/discard.h"
#include "server/facts.h"
#include "server/ledger.h"
#include "server/locate.h"
#include "server/move.h"
#include "server/repeat.h"
#include "server/resolve.h"

#define MAX_CREATE_TRIES 8 /* deployments that one order goes through */

struct order {
    struct relay *relay; /* borrowed; NULL once the client is gone */
    struct worker *worker;
    char request_id[37];
    uint64_t owner;
    uint64_t request;     /* fingerprint of what was asked */
    char endpoint[64];    /* as the client wrote it */
    char *file_id;        /* owned; of the input file, as the client wrote it */
    bool tagged;          /* the client's ids carry their place */
    struct target target; /* owned; where the client's file may be */
    uint32_t at;          /* ... candidate in use */
    struct failure worst; /* the most telling failure so far; status 0: none */
    struct repeat repeat; /* this request among those that were made before */
    struct facts facts;   /* of the file */
    bool have_facts;
    uint64_t tokens;              /* of the batch; 0: not known */
    struct places places;         /* owned; where its work may go; none: only where the file is */
    bool *tried;                  /* owned; [places.num] */
    uint32_t stage;               /* of the places in use */
    uint32_t tries, tries_here;   /* in all, and in this stage */
    uint32_t deployment;          /* of the current try */
    bool entered;                 /* chosen, and nothing was sent there yet: choose_give_back() */
    char file[IDS_MAX + 1];       /* native id of the input file there */
    struct quota_claim claim;     /* its reservation; empty: none */
    char nonce[MARKER_NONCE + 1]; /* of the marker that the batch will carry; "": none */
    struct locate *locate;        /* owned, as the next three; one of them at most is under way */
    struct facts_look *look;
    struct create *create;
    struct move *move;
};

static void place(struct order *o);
static void place_elsewhere(struct order *o);
static void nowhere(struct order *o);

static void cancel_reservation(struct order *o)
{
    struct worker *w = o->worker;

    quota_cancel(w->inherit->quota, w->slot, &o->claim, loop_now_ms(w->loop));
    o->claim = (struct quota_claim){0};
}

/* Nothing comes of the place that was chosen. */
static void leave_place(struct order *o)
{
    cancel_reservation(o);
    if (o->entered)
        choose_give_back(o->worker, OP_CREATE, o->deployment);
    o->entered = false;
}

static bool is_copy(const struct order *o)
{
    return o->file[0] != '\0' && strcmp(o->file, o->target.native) != 0;
}

/* The end of an order of which nothing is under way: what it held goes back. */
static void order_free(struct order *o)
{
    locate_cancel(o->locate);
    if (o->look != NULL)
        facts_look_cancel(o->look);
    if (o->create != NULL)
        create_cancel(o->create);
    move_free(o->move);
    leave_place(o);
    repeat_end(&o->repeat);
    target_deinit(&o->target);
    places_deinit(&o->places);
    free(o->tried);
    free(o->file_id);
    free(o);
}

static void on_client_gone(void *op)
{
    struct order *o = op;

    o->relay = NULL;
    if (o->create != NULL && !create_abandon(o->create))
        return; /* on_created() ends it */
    o->create = NULL;
    if (is_copy(o))
        discard_file(o->worker, o->deployment, o->file);
    order_free(o);
}

static struct relay *detach(struct order *o)
{
    struct relay *relay = o->relay;

    o->relay = NULL;
    relay->op = NULL;
    relay->deployment =
        o->deployment != MODEL_NO_INDEX ? o->deployment : o->target.deployments[o->at];
    return relay;
}

static void fail(struct order *o, const struct failure *failure)
{
    struct failure copy = *failure;
    struct relay *relay = detach(o);

    order_free(o);
    relay_failure(relay, &copy);
}

static void fail_memory(struct order *o)
{
    struct failure failure = {.status = 500,
                              .type = "server_error",
                              .code = "out_of_memory",
                              .message = "The gateway is out of memory.",
                              .retry_after_ms = -1};

    fail(o, &failure);
}

/* Nobody knows whether the batch exists: say so, and keep SDKs from doubling it. */
static void fail_unknown(struct order *o, const struct failure *cause)
{
    struct failure failure = {.status = 502,
                              .type = "server_error",
                              .code = "create_outcome_unknown",
                              .retry_after_ms = -1,
                              .should_not_retry = true};

    snprintf(failure.message, sizeof(failure.message),
             "The provider's answer to this create was lost (%.200s), so the batch may or may not "
             "exist. It was not repeated. "
             "List the batches and look for input file '%.200s' before creating it again.",
             cause->message, o->file_id != NULL ? o->file_id : "");
    fail(o, &failure);
}

/* --- the answer --- */

/* As a provider sent it, to what the client gets. Also when the client has left: whoever repeats
 * the request gets it then. */
static void write_answer(struct order *o, uint32_t deployment, struct json_doc *doc,
                         struct json *batch, struct strbuf *text)
{
    struct relay nobody = {.worker = o->worker, .owner = o->owner};
    struct relay *relay = o->relay != NULL ? o->relay : &nobody;

    batch_view(relay, deployment, o->tagged || resolve_mints(relay, deployment), doc, batch,
               o->endpoint[0] != '\0' ? o->endpoint : NULL);
    json_write(batch, text);
}

static void answer_batch(struct order *o, uint32_t deployment, struct json_doc *doc,
                         struct json *batch)
{
    struct strbuf text = STRBUF_INIT;
    struct relay *relay;

    write_answer(o, deployment, doc, batch, &text);
    repeat_answered(&o->repeat, table_deployment(o->worker->table, deployment)->fingerprint,
                    json_get_str(batch, "id"), strbuf_str(&text),
                    strbuf_failed(&text) ? 0 : text.len);
    if (o->relay == NULL) {
        log_info("request %s: the client left while its batch was created; batch %.128s at %s",
                 o->request_id, json_get_str(batch, "id"),
                 worker_account(o->worker, deployment)->name);
        order_free(o);
    } else if (strbuf_failed(&text)) {
        fail_memory(o);
    } else {
        o->deployment = deployment;
        relay = detach(o);
        order_free(o);
        relay_bytes(relay, 200, "application/json", strbuf_str(&text), text.len);
    }
    strbuf_deinit(&text);
}

/* --- the create --- */

/* The marker for the batch at this place; "" where it carries none. */
static int make_marker(struct order *o, struct strbuf *text)
{
    const struct table_deployment *d = table_deployment(o->worker->table, o->deployment);
    uint32_t home = table_deployment(o->worker->table, o->target.deployments[o->at])->account;
    struct marker marker = {.owner = o->owner,
                            .request = o->request,
                            .tokens = o->tokens,
                            .deployment = o->have_facts ? d->fingerprint : 0,
                            .origin = is_copy(o) ? o->worker->account_fingerprint[home] : 0};

    snprintf(marker.nonce, sizeof(marker.nonce), "%s", o->nonce);
    snprintf(marker.file, sizeof(marker.file), "%s", o->target.native);
    return marker_write(o->worker->inherit->seals, &marker, text);
}

/* A blob takes no metadata (reference 2.5), 16 pairs of the client's leave no room, and what is no
 * object the provider refuses. */
static bool takes_marker(const struct order *o)
{
    const struct json *metadata = json_get(o->relay->request, "metadata");

    return o->target.native[0] != '\0' && json_size(metadata) < MARKER_PAIRS &&
           (metadata == NULL || json_is(metadata, JSON_NULL) || json_is(metadata, JSON_OBJECT));
}

/* The body that goes upstream: the client's, with this place's file and our marker. */
static int make_body(struct order *o, struct strbuf *body)
{
    struct relay *relay = o->relay;
    struct json *metadata = json_get(relay->request, "metadata");
    struct strbuf text = STRBUF_INIT;
    int rc = 0;

    if (o->nonce[0] != '\0' && make_marker(o, &text) == 0) {
        if (!json_is(metadata, JSON_OBJECT)) {
            metadata = json_new_object(relay->doc);
            json_set(relay->doc, relay->request, "metadata", metadata);
        }
        json_set_str(relay->doc, metadata, MARKER_KEY, strbuf_str(&text));
    } else {
        o->nonce[0] = '\0'; /* an id that no marker can hold */
    }
    rc = provider_batch_body(worker_account(o->worker, o->deployment), relay->doc, relay->request,
                             o->file[0] != '\0' ? o->file : NULL, body);
    strbuf_deinit(&text);
    return rc != 0 || strbuf_failed(body) ? ERR_NOMEM : 0;
}

/* What the answer tells about the deployment's quota. */
static void learn(struct order *o, const struct create_result *result)
{
    struct quota *quota = o->worker->inherit->quota;
    uint32_t column = o->worker->inherit->columns[o->deployment];
    enum provider provider = worker_account(o->worker, o->deployment)->provider;
    uint64_t counted, output;

    if (!o->have_facts)
        return;
    if (result->max_enqueued_tokens > 0)
        quota_learn_limit(quota, column, (uint64_t)result->max_enqueued_tokens);
    if (result->enqueued_tokens < 0)
        return;
    counted = quota_learn_enqueued(quota, column, (uint64_t)result->enqueued_tokens,
                                   loop_now_ms(o->worker->loop));
    output = o->worker->config->count_output_tokens[provider] ? o->facts.output_tokens : 0;
    if (counted > output)
        quota_learn_ratio(quota, o->facts.model, o->facts.prompt_bytes, counted - output);
}

static void on_made(struct order *o, const struct create_result *result)
{
    const char *id = json_get_str(result->batch, "id");

    /* First the id, then what the header says: it counts this batch too. */
    if (o->claim.place != 0 &&
        quota_commit(o->worker->inherit->quota, &o->claim, id, strlen(id)) != 0)
        log_warn("quota: the reservation of batch %.128s ended before its create", id);
    o->claim = (struct quota_claim){0};
    learn(o, result);
    answer_batch(o, o->deployment, result->doc, result->batch);
}

static void on_unknown(struct order *o, const struct create_result *result)
{
    quota_abandon(o->worker->inherit->quota, &o->claim);
    o->claim = (struct quota_claim){0};
    repeat_lost(&o->repeat);
    if (o->relay != NULL) {
        fail_unknown(o, &result->failure);
        return;
    }
    log_warn("request %s: the client left, and the answer to its create was lost at %s",
             o->request_id, worker_account(o->worker, o->deployment)->name);
    order_free(o);
}

static uint32_t untried(const struct order *o)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < o->places.num; i++)
        n += !o->tried[i];
    return n;
}

/* As many tries as the operator allows among those that were asked for, and again among each of
 * what they fall back to. */
static void limit_tries(struct order *o, struct retry_question *question)
{
    if (o->tries >= MAX_CREATE_TRIES)
        return;
    attempt_limits(o->worker, o->deployment, MAX_CREATE_TRIES, question);
    question->tries = o->tries_here;
    if (o->tries_here >= question->max_tries &&
        choose_leave_stage(&o->places, o->tried, o->deployment) > 0)
        question->tries = 0;
}

/* A copy that we stored a moment ago is not found (reference 1.7): that place is slow, and the
 * client's file is where it was. */
static bool lost_our_copy(struct order *o, const struct create_result *result)
{
    if (!is_copy(o) || result->failure.status != 404)
        return false;
    o->worst = (struct failure){.status = 503,
                                .type = "server_error",
                                .code = "file_not_processed",
                                .message = "The file's deployment has no room for its batch, and "
                                           "the deployment that got a copy does not find it yet. "
                                           "Nothing was created; try again later.",
                                .retry_after_ms = 2000};
    return true;
}

static void on_refused(struct order *o, const struct create_result *result)
{
    struct retry_question question = result->question;
    struct quota *quota = o->worker->inherit->quota;
    uint32_t column = o->worker->inherit->columns[o->deployment];

    repeat_refused(&o->repeat);
    cancel_reservation(o);
    if (o->have_facts && failure_is_token_limit(&result->failure)) {
        quota_learn_limit(quota, column, ledger_limit_in(result->failure.message));
        quota_full(quota, column, o->tokens, loop_now_ms(o->worker->loop));
    }
    o->worst = result->failure;
    if (lost_our_copy(o, result))
        question.outcome = OUTCOME_BAD_ANSWER;
    if (is_copy(o))
        discard_file(o->worker, o->deployment, o->file);
    o->file[0] = '\0';
    question.pinned = o->places.num == 0;
    question.tries = o->tries;
    question.max_tries = MAX_CREATE_TRIES;
    if (!failure_is_token_limit(&result->failure)) /* that is no fault, but a question of room */
        limit_tries(o, &question);
    question.untried = untried(o);
    if (o->relay == NULL)
        order_free(o);
    else if (retry_decide(&question, 0).action == RETRY_NEXT)
        place_elsewhere(o);
    else if (o->have_facts && failure_is_token_limit(&result->failure))
        nowhere(o); /* says when there will be room */
    else
        fail(o, &o->worst);
}

static void on_created(void *arg, const struct create_result *result)
{
    struct order *o = arg;

    o->create = NULL;
    if (result->end == CREATE_MADE)
        on_made(o, result);
    else if (result->end == CREATE_REFUSED)
        on_refused(o, result);
    else
        on_unknown(o, result);
}

static void send_create(struct order *o)
{
    struct strbuf body = STRBUF_INIT;
    struct create_spec spec = {.deployment = o->deployment,
                               .file = o->file,
                               .nonce = o->nonce,
                               .request_id = o->request_id};

    if (make_body(o, &body) == 0 &&
        repeat_sent(&o->repeat, table_deployment(o->worker->table, o->deployment)->fingerprint)) {
        spec.body = strbuf_str(&body);
        spec.body_len = body.len;
        o->tries++;
        o->tries_here++;
        o->create = create_start(o->worker, &spec, on_created, o);
    }
    strbuf_deinit(&body);
    if (o->create != NULL) {
        o->entered = false;
        return;
    }
    if (is_copy(o))
        discard_file(o->worker, o->deployment, o->file);
    fail_memory(o); /* nothing was sent */
}

/* --- where --- */

/* Count its tokens there. @return 0; ERR_LIMIT: no room */
static int reserve(struct order *o, uint32_t deployment)
{
    struct worker *w = o->worker;
    uint32_t column = w->inherit->columns[deployment];
    uint64_t token = o->nonce[0] != '\0'
                         ? quota_token(w->inherit->quota, column, o->nonce, strlen(o->nonce))
                         : 0;
    int rc = quota_reserve(w->inherit->quota, w->slot, column, o->tokens, token,
                           loop_now_ms(w->loop), &o->claim);

    if (rc == ERR_FULL)
        log_warn("quota: the ledger has no place left; a batch is created uncounted");
    return rc == ERR_LIMIT ? ERR_LIMIT : 0;
}

static void set_tried(struct order *o, uint32_t deployment)
{
    for (uint32_t i = 0; i < o->places.num; i++)
        if (o->places.deployments[i] == deployment)
            o->tried[i] = true;
}

static void nowhere(struct order *o)
{
    struct choose_question q = {.op = OP_CREATE,
                                .candidates = o->places.deployments,
                                .num = o->places.num,
                                .tokens = o->tokens};
    struct failure why;

    choose_nowhere(o->worker, &q, &why);
    /* What a provider said for other reasons than room is more telling. */
    if (o->worst.status != 0 && !failure_is_token_limit(&o->worst) &&
        (why.status == 503 || o->worst.status >= 500))
        why = o->worst;
    fail(o, &why);
}

static void on_moved(void *arg, enum move_end end, const char *copy, const struct failure *why)
{
    struct order *o = arg;

    if (end == MOVE_DONE) {
        snprintf(o->file, sizeof(o->file), "%s", copy);
        send_create(o);
        return;
    }
    leave_place(o);
    if (o->worst.status == 0 || failure_is_token_limit(&o->worst))
        o->worst = *why;
    if (end == MOVE_NOT_THERE && ++o->tries < MAX_CREATE_TRIES)
        place_elsewhere(o);
    else
        fail(o, &o->worst);
}

/* The next deployment that has room, with its tokens reserved; MODEL_NO_INDEX: none. */
static uint32_t choose_with_room(struct order *o)
{
    uint32_t chosen, stage = o->stage;

    while (o->places.num > 0 &&
           (chosen = choose_in_stages(o->worker, OP_CREATE, &o->places, o->tried, &o->stage,
                                      o->tokens)) != MODEL_NO_INDEX) {
        set_tried(o, chosen);
        if (reserve(o, chosen) == 0) {
            o->entered = true;
            o->tries_here = o->stage == stage ? o->tries_here : 0;
            return chosen;
        }
        choose_give_back(o->worker, OP_CREATE, chosen); /* somebody was faster */
    }
    return MODEL_NO_INDEX;
}

static void place_elsewhere(struct order *o)
{
    uint32_t chosen = choose_with_room(o);

    if (chosen == MODEL_NO_INDEX) {
        nowhere(o);
        return;
    }
    o->deployment = chosen;
    if (o->move == NULL)
        o->move = move_new(o->worker, o->facts.deployment, o->target.native, on_moved, o);
    if (o->move == NULL || move_to(o->move, chosen) != 0)
        fail_memory(o);
}

/* Statement 103: the output's expiry is refused here when this provider would. */
static bool expiry_is_in_range(const struct order *o, enum provider provider,
                               struct failure *failure)
{
    const struct json *seconds =
        json_get(json_get(o->relay->request, "output_expires_after"), "seconds");
    int64_t min_s, max_s, value;

    if (!json_int64(seconds, &value))
        return true; /* absent, or for the provider to refuse */
    provider_expiry_range(provider, &min_s, &max_s);
    *failure = (struct failure){.status = 400,
                                .type = "invalid_request_error",
                                .code = "invalid_value",
                                .param = "output_expires_after.seconds",
                                .retry_after_ms = -1};
    snprintf(failure->message, sizeof(failure->message),
             "Invalid 'output_expires_after.seconds': expected %lld to %lld for %s, but got %lld "
             "instead.",
             (long long)min_s, (long long)max_s, provider_name(provider), (long long)value);
    return value >= min_s && value <= max_s;
}

/* What one provider accepts the other refuses, OpenAI hours later: its lines' urls begin with /v1,
 * and they are what `endpoint` says (reference 1.3 and 2.5). */
static bool could_take(const struct order *o, enum provider provider)
{
    struct failure why;

    return expiry_is_in_range(o, provider, &why) &&
           (provider != PROVIDER_OPENAI || strncmp(o->endpoint, "/v1/", 4) == 0);
}

/* Rows that cannot take this work are no places: their room is of no use to it. */
static void drop_unfit(struct order *o)
{
    struct places *p = &o->places;
    uint32_t num = p->num;

    p->num = 0;
    for (uint32_t i = 0; i < num; i++) {
        uint32_t deployment = p->deployments[i];

        if (deployment != o->facts.deployment &&
            !could_take(o, worker_account(o->worker, deployment)->provider))
            continue;
        p->deployments[p->num] = deployment;
        p->stages[p->num++] = p->stages[i];
    }
}

/* The rows that could take this work instead. */
static int find_places(struct order *o)
{
    const struct worker *w = o->worker;

    if (resolve_group(w, table_deployment(w->table, o->facts.deployment)->group, &o->places) != 0 ||
        (o->tried = calloc(o->places.num + 1, sizeof(bool))) == NULL)
        return ERR_NOMEM;
    drop_unfit(o);
    set_tried(o, o->facts.deployment);
    return 0;
}

/* Where the file is known to be. */
static void place(struct order *o)
{
    enum provider provider = worker_account(o->worker, o->target.deployments[o->at])->provider;
    struct failure why;

    o->deployment = o->have_facts ? o->facts.deployment : o->target.deployments[o->at];
    snprintf(o->file, sizeof(o->file), "%s", o->target.native);
    if (!expiry_is_in_range(o, provider, &why)) {
        fail(o, &why);
        return;
    }
    if (o->have_facts) {
        o->tokens = facts_tokens(o->worker, &o->facts, provider);
        if (find_places(o) != 0) {
            fail_memory(o);
            return;
        }
        quota_redeem(o->worker->inherit->quota, o->worker->inherit->columns[o->deployment],
                     o->tokens, loop_now_ms(o->worker->loop));
        if (reserve(o, o->deployment) == ERR_LIMIT) {
            o->file[0] = '\0';
            place_elsewhere(o);
            return;
        }
    }
    send_create(o);
}

/* --- what is known about the file --- */

static void on_looked(void *arg, const struct facts *facts)
{
    struct order *o = arg;

    o->look = NULL;
    o->have_facts = facts != NULL;
    if (facts != NULL)
        o->facts = *facts;
    place(o);
}

/* Only what the balancer places has a row of its own, and others to go to. */
static void find_facts(struct order *o)
{
    struct worker *w = o->worker;
    uint32_t home = o->target.deployments[o->at];

    if (o->target.native[0] == '\0' ||
        !w->account_balanced[table_deployment(w->table, home)->account]) {
        place(o);
        return;
    }
    o->have_facts = facts_recall(w, home, o->target.native, &o->facts);
    if (!o->have_facts)
        o->look = facts_look_start(w, home, o->target.native, on_looked, o);
    if (o->look == NULL)
        place(o);
}

/* --- finding the account of an untagged file --- */

static void on_located(void *arg, const struct locate_result *result)
{
    struct order *o = arg;
    struct relay *relay;

    o->locate = NULL;
    if (result->found) {
        while (o->target.deployments[o->at] != result->deployment)
            o->at++;
        find_facts(o);
    } else if (result->failure.status == 404) {
        relay = detach(o);
        relay->deployment = MODEL_NO_INDEX;
        resolve_not_found(relay, ID_FILE, o->file_id);
        order_free(o);
    } else {
        fail(o, &result->failure);
    }
}

static void locate(struct order *o)
{
    o->locate = locate_start(o->worker, ID_FILE, o->target.native, o->target.deployments,
                             o->target.num, on_located, o);
    if (o->locate == NULL)
        fail_memory(o);
}

/* --- the request --- */

/* It is new: nobody has answered it, and nobody is at it. */
static void on_new(void *arg)
{
    struct order *o = arg;

    if (o->target.num > 1 && o->target.native[0] != '\0')
        locate(o);
    else
        find_facts(o);
}

/* It was made before, and is found among the batches of an account. */
static void on_found(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    struct order *o = arg;

    relay_header(o->relay, "idempotent-replayed", "true");
    answer_batch(o, deployment, doc, batch);
}

/* It was answered before. */
static void on_replay(void *arg, const struct idem_answer *answer)
{
    struct order *o = arg;
    struct relay *relay = detach(o);

    relay->deployment = table_find_fingerprint(o->worker->table, answer->deployment);
    order_free(o);
    repeat_replay(relay, ROUTE_BATCH, answer);
}

static void on_repeat_failed(void *arg, const struct failure *failure)
{
    fail(arg, failure);
}

static const struct repeat_ops repeat_ops = {on_new, on_found, on_replay, on_repeat_failed};

static bool require_string(struct relay *relay, const char *name)
{
    const struct json *value = json_get(relay->request, name);

    if (json_is(value, JSON_STRING) && json_str(value, NULL)[0] != '\0')
        return true;
    if (value == NULL || json_is(value, JSON_NULL) || json_is(value, JSON_STRING))
        relay_problem(relay, 400, "invalid_request_error", "missing_required_parameter", name,
                      "Missing required parameter: '%s'.", name);
    else
        relay_problem(relay, 400, "invalid_request_error", "invalid_type", name,
                      "Invalid type for '%s': expected a string.", name);
    return false;
}

/* The key of our own pair. */
static bool metadata_is_free(struct relay *relay)
{
    if (json_get(json_get(relay->request, "metadata"), MARKER_KEY) == NULL)
        return true;
    relay_problem(relay, 400, "invalid_request_error", "invalid_value", "metadata." MARKER_KEY,
                  "The metadata key '" MARKER_KEY "' is reserved for the gateway.");
    return false;
}

/* Azure takes a batch from blob storage instead of a file (reference 2.5). */
static bool has_blob(const struct relay *relay)
{
    return json_is(json_get(relay->request, "input_blob"), JSON_STRING);
}

static bool find_target(struct relay *relay, struct target *target)
{
    size_t len;
    const char *id = json_str(json_get(relay->request, "input_file_id"), &len);

    if (id != NULL)
        return resolve_id(relay, ID_FILE, id, len, target);
    memset(target, 0, sizeof(*target));
    return resolve_list(relay, &target->deployments, &target->num);
}

/* Of what the client asked, before anything of ours is in it. */
static uint64_t fingerprint_of(const struct relay *relay)
{
    struct strbuf text = STRBUF_INIT;
    uint64_t fingerprint;

    json_write(relay->request, &text);
    fingerprint = marker_fingerprint(strbuf_str(&text), text.len);
    strbuf_deinit(&text);
    return fingerprint;
}

static struct order *order_new(struct relay *relay)
{
    struct order *o = calloc(1, sizeof(*o));
    const char *file_id = json_get_str(relay->request, "input_file_id");

    if (o == NULL)
        return NULL;
    o->relay = relay;
    o->worker = relay->worker;
    o->owner = relay->owner;
    o->request = fingerprint_of(relay);
    o->deployment = MODEL_NO_INDEX;
    memcpy(o->request_id, relay->request_id, sizeof(o->request_id));
    snprintf(o->endpoint, sizeof(o->endpoint), "%s", json_get_str(relay->request, "endpoint"));
    if (file_id != NULL && (o->file_id = strdup(file_id)) == NULL) {
        free(o);
        return NULL;
    }
    return o;
}

void batches_create(struct relay *relay)
{
    struct order *o;

    if ((!has_blob(relay) && !require_string(relay, "input_file_id")) ||
        !require_string(relay, "endpoint") || !require_string(relay, "completion_window") ||
        !metadata_is_free(relay))
        return;
    o = order_new(relay);
    if (o == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    if (!find_target(relay, &o->target)) {
        free(o->file_id);
        free(o);
        return;
    }
    o->tagged = o->target.tagged;
    relay_attach(relay, o, on_client_gone);
    if (takes_marker(o) && repeat_nonce(relay, o->nonce) != 0) {
        fail_memory(o);
        return;
    }
    if (o->nonce[0] == '\0' && o->target.native[0] != '\0' &&
        json_size(json_get(relay->request, "metadata")) >= MARKER_PAIRS)
        relay_header(relay, "x-tranche-unmarked", "metadata-full");
    repeat_begin(&o->repeat, REPEAT_CREATE, relay, o->request, o->nonce, o->target.deployments,
                 o->target.num, &repeat_ops, o);
}
