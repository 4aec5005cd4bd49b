/* See order.h. A create in flight outlives its client: the batch exists upstream either way, and
 * the ledger and whoever repeats the request must learn of it. */
#include "order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "upstream/provider.h"
#include "common/log.h"
#include "calls/attempt.h"
#include "objects/batch_view.h"
#include "routing/choose.h"
#include "objects/client_ids.h"
#include "objects/discard.h"
#include "objects/ledger.h"
#include "objects/refusals.h"

static void cancel_reservation(struct order *o)
{
    struct runtime *rt = o->rt;

    quota_cancel(rt->inherited->quota, rt->slot, &o->claim, loop_now_ms(rt->loop));
    o->claim = (struct quota_claim){0};
}

/* Nothing comes of the place that was chosen. */
void order_leave_place(struct order *o)
{
    cancel_reservation(o);
    if (o->entered)
        choose_give_back(o->rt, OP_CREATE, o->deployment);
    o->entered = false;
}

static bool has_copy(const struct order *o)
{
    return o->file[0] != '\0' && strcmp(o->file, o->target.native) != 0;
}

/* The end of an order of which nothing is under way: what it held goes back. */
void order_free(struct order *o)
{
    locate_cancel(o->locate);
    if (o->look != NULL)
        facts_look_cancel(o->look);
    if (o->create != NULL)
        create_cancel(o->create);
    move_free(o->move);
    order_leave_place(o);
    repeat_end(&o->repeat);
    target_deinit(&o->target);
    candidates_deinit(&o->places);
    free(o->tried);
    free(o->barred);
    free(o->file_id);
    free(o);
}

void order_client_gone(void *op)
{
    struct order *o = op;

    o->relay = NULL;
    if (o->create != NULL && !create_abandon(o->create))
        return; /* on_created() ends it */
    o->create = NULL;
    if (has_copy(o))
        discard_file(o->rt, o->deployment, o->file);
    order_free(o);
}

struct relay *order_detach(struct order *o)
{
    struct relay *relay = o->relay;

    o->relay = NULL;
    relay->op = NULL;
    relay->deployment =
        o->deployment != MODEL_NO_INDEX ? o->deployment : o->target.deployments[o->at];
    return relay;
}

void order_fail(struct order *o, const struct failure *failure)
{
    struct failure copy = *failure;
    struct relay *relay = order_detach(o);

    order_free(o);
    relay_failure(relay, &copy);
}

void order_fail_memory(struct order *o)
{
    struct failure failure = {.status = 500,
                              .type = "server_error",
                              .code = "out_of_memory",
                              .message = "The gateway is out of memory.",
                              .retry_after_ms = -1};

    order_fail(o, &failure);
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
    order_fail(o, &failure);
}

/* --- the answer --- */

/* As a provider sent it, to what the client gets. Also when the client has left: whoever repeats
 * the request gets it then. */
static void write_answer(struct order *o, uint32_t deployment, struct json_doc *doc,
                         struct json *batch, struct strbuf *text)
{
    struct viewer viewer = {.rt = o->rt, .owner = o->owner};

    if (o->relay != NULL)
        viewer = relay_viewer(o->relay);
    if (json_get_str(batch, "id") != NULL)
        locate_remember_new(o->rt, ID_BATCH, json_get_str(batch, "id"), deployment);
    batch = batch_view(&viewer, deployment, o->tagged || client_ids_are_tagged(&viewer, deployment),
                       doc, batch);
    json_write(batch, text);
}

/* The batch was made and has an id that no later call could name: so neither it nor a repeat is
 * told as an ordinary success. */
static void fail_unusable(struct order *o, uint32_t deployment, const char *id)
{
    struct failure failure;

    log_warn("request %s: the batch that was made at %s has an id that no call can name: %.128s",
             o->request_id, runtime_account(o->rt, deployment)->name, id);
    repeat_lost(&o->repeat);
    if (o->relay == NULL) {
        order_free(o);
        return;
    }
    relay_fill(&failure, 502, "server_error", "unusable_id", "",
               "The provider made the batch, but named it \"%.128s\", which is no id that a later "
               "call could name. Do not create it again.",
               id);
    failure.should_not_retry = true;
    o->deployment = deployment;
    order_fail(o, &failure);
}

void order_answer(struct order *o, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    const char *id = json_get_str(batch, "id");
    int status = o->relay != NULL ? resolve_status(o->relay, deployment, o->status) : 200;
    struct strbuf text = STRBUF_INIT;
    struct relay *relay;

    if (id != NULL && !ids_is_usable(id)) {
        fail_unusable(o, deployment, id);
        return;
    }
    write_answer(o, deployment, doc, batch, &text);
    repeat_answered(&o->repeat, table_deployment(o->rt->table, deployment)->fingerprint,
                    json_get_str(batch, "id"), status, strbuf_str(&text),
                    strbuf_failed(&text) ? 0 : text.len);
    if (o->relay == NULL) {
        log_info("request %s: the client left while its batch was created; batch %.128s at %s",
                 o->request_id, json_get_str(batch, "id"),
                 runtime_account(o->rt, deployment)->name);
        order_free(o);
    } else if (strbuf_failed(&text)) {
        order_fail_memory(o);
    } else {
        o->deployment = deployment;
        relay = order_detach(o);
        order_free(o);
        relay_bytes(relay, status, "application/json", strbuf_str(&text), text.len);
    }
    strbuf_deinit(&text);
}

/* --- the create --- */

int order_marker(const struct order *o, struct strbuf *text)
{
    const struct table_deployment *d = table_deployment(o->rt->table, o->deployment);
    uint32_t home = table_deployment(o->rt->table, o->target.deployments[o->at])->account;
    struct marker marker = {.owner = o->owner,
                            .request = o->request,
                            .tokens = o->claim.place != 0 ? o->claim.tokens : o->tokens,
                            .bare_endpoint = provider_endpoint_v1(o->endpoint) != NULL,
                            .deployment = o->have_facts ? d->fingerprint : 0,
                            .origin = has_copy(o) ? o->rt->account_fingerprint[home] : 0};

    snprintf(marker.nonce, sizeof(marker.nonce), "%s", o->nonce);
    snprintf(marker.file, sizeof(marker.file), "%s", o->target.native);
    return marker_write(o->rt->inherited->seals, &marker, text);
}

/* A blob takes no metadata (providers 2.5), 16 pairs of the client's leave no room, some ids no
 * marker can hold, and what is no object the provider refuses. */
bool order_takes_marker(const struct order *o)
{
    const struct json *metadata = json_get(o->relay->request, "metadata");

    return o->target.native[0] != '\0' && marker_takes_file(o->target.native) &&
           json_size(metadata) < MARKER_PAIRS &&
           (metadata == NULL || json_is(metadata, JSON_NULL) || json_is(metadata, JSON_OBJECT));
}

static int add_marker(struct order *o)
{
    struct relay *relay = o->relay;
    struct json *metadata = json_get(relay->request, "metadata");
    struct strbuf text = STRBUF_INIT;
    int rc = order_marker(o, &text);

    if (rc == 0 && !json_is(metadata, JSON_OBJECT)) {
        metadata = json_new_object(relay->doc);
        json_set(relay->doc, relay->request, "metadata", metadata);
    }
    if (rc == 0)
        json_set_str(relay->doc, metadata, MARKER_KEY, strbuf_str(&text));
    strbuf_deinit(&text);
    return rc;
}

/* The body that goes upstream: the client's, with this place's file and our marker. Never without
 * one where it is what a repeat will be looked for by. */
static int make_body(struct order *o, struct strbuf *body)
{
    struct relay *relay = o->relay;
    int rc = o->nonce[0] != '\0' ? add_marker(o) : 0;

    if (rc != 0)
        return rc;
    rc = provider_batch_body(runtime_account(o->rt, o->deployment), relay->doc, relay->request,
                             o->file[0] != '\0' ? o->file : NULL, body);
    return rc != 0 || strbuf_failed(body) ? ERR_NOMEM : 0;
}

/* What the answer tells about the deployment's quota. */
static void learn(struct order *o, const struct create_result *result)
{
    struct quota *quota = o->rt->inherited->quota;
    uint32_t column = o->rt->inherited->columns[o->deployment];
    enum provider provider = runtime_account(o->rt, o->deployment)->provider;
    uint64_t counted, output;

    if (!o->have_facts)
        return;
    if (result->max_enqueued_tokens > 0)
        quota_learn_limit(quota, column, (uint64_t)result->max_enqueued_tokens);
    if (result->enqueued_tokens < 0)
        return;
    counted = quota_learn_enqueued(quota, column, (uint64_t)result->enqueued_tokens,
                                   loop_now_ms(o->rt->loop));
    output = o->rt->config->count_output_tokens[provider] ? o->facts.output_tokens : 0;
    if (counted > output)
        quota_learn_rate(quota, o->facts.model, &o->facts.prompt, counted - output);
}

static void on_made(struct order *o, const struct create_result *result)
{
    const char *id = json_get_str(result->batch, "id");

    /* First the id, then what the header says: it counts this batch too. */
    if (o->claim.place != 0 &&
        quota_commit(o->rt->inherited->quota, &o->claim, id, strlen(id)) != 0)
        log_warn("quota: the reservation of batch %.128s expired before its create was answered",
                 id);
    o->claim = (struct quota_claim){0};
    if (o->job != 0)
        refusals_forget(o->rt->inherited->memo, o->job,
                        table_deployment(o->rt->table, o->deployment)->real);
    learn(o, result);
    o->status = result->status;
    order_answer(o, o->deployment, result->doc, result->batch);
}

static void on_unknown(struct order *o, const struct create_result *result)
{
    quota_abandon(o->rt->inherited->quota, &o->claim, loop_now_ms(o->rt->loop));
    o->claim = (struct quota_claim){0};
    repeat_lost(&o->repeat);
    if (o->relay != NULL) {
        fail_unknown(o, &result->failure);
        return;
    }
    log_warn("request %s: the client left, and the answer to its create was lost at %s",
             o->request_id, runtime_account(o->rt, o->deployment)->name);
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
    if (o->tries >= ORDER_MAX_TRIES)
        return;
    attempt_limits(o->rt, o->deployment, ORDER_MAX_TRIES, question);
    question->tries = o->tries_here;
    if (o->tries_here >= question->max_tries &&
        choose_leave_tier(&o->places, o->tried, o->deployment) > 0)
        question->tries = 0;
}

/* A copy that we stored a moment ago is not found (providers 1.7): that place is slow, and the
 * client's file is where it was. */
static bool lost_our_copy(struct order *o, const struct create_result *result)
{
    if (!has_copy(o) || result->failure.status != 404)
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

/* For want of room. Its reservation is gone. */
static void note_refusal(struct order *o, const struct create_result *result)
{
    const struct inherited *inherited = o->rt->inherited;
    uint64_t now_ms = loop_now_ms(o->rt->loop);

    quota_learn_refused(inherited->quota, inherited->columns[o->deployment],
                        ledger_limit_in(result->failure.message), now_ms);
    ledger_note_refused(inherited, o->deployment, o->job, o->tokens, now_ms);
}

static void on_refused(struct order *o, const struct create_result *result)
{
    struct retry_question question = result->question;

    repeat_refused(&o->repeat);
    if (question.foreign)
        repeat_doubt(&o->repeat);
    cancel_reservation(o);
    if (o->have_facts && failure_is_token_limit(&result->failure))
        note_refusal(o, result);
    o->worst = result->failure;
    if (question.outcome != OUTCOME_AUTH)
        order_rule_out(o);
    if (lost_our_copy(o, result))
        question.outcome = OUTCOME_BAD_ANSWER;
    if (has_copy(o))
        discard_file(o->rt, o->deployment, o->file);
    o->file[0] = '\0';
    question.pinned = o->places.num == 0;
    question.tries = o->tries;
    question.max_tries = ORDER_MAX_TRIES;
    if (!failure_is_token_limit(&result->failure)) /* that is no fault, but a question of room */
        limit_tries(o, &question);
    question.untried = untried(o);
    if (o->relay == NULL)
        order_free(o);
    else if (retry_decide(&question, 0).action == RETRY_NEXT)
        order_place_elsewhere(o);
    else if (o->have_facts && failure_is_token_limit(&result->failure))
        order_nowhere(o); /* says when there will be room */
    else
        order_fail(o, &o->worst);
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

/* Up to here a death of this worker leaves nothing behind, and a repeat of the request is a new
 * one; from here on nobody could know. */
static bool on_begin(void *arg)
{
    struct order *o = arg;

    return quota_sent(o->rt->inherited->quota, &o->claim) &&
           repeat_sent(&o->repeat, table_deployment(o->rt->table, o->deployment)->fingerprint);
}

static void on_refused_for_now(void *arg)
{
    struct order *o = arg;

    quota_refused(o->rt->inherited->quota, &o->claim);
    repeat_refused(&o->repeat);
}

static const struct create_ops create_ops = {
    .on_begin = on_begin, .on_refused = on_refused_for_now, .on_done = on_created};

void order_send(struct order *o)
{
    struct strbuf body = STRBUF_INIT;
    struct wanted wanted = o->wanted;
    struct create_spec spec = {.deployment = o->deployment,
                               .file = o->file,
                               .wanted = &wanted,
                               .request_id = o->request_id};

    snprintf(wanted.file, sizeof(wanted.file), "%s", o->file);
    if (make_body(o, &body) == 0) {
        spec.body = strbuf_str(&body);
        spec.body_len = body.len;
        o->tries++;
        o->tries_here++;
        o->create = create_start(o->rt, &spec, &create_ops, o);
    }
    strbuf_deinit(&body);
    if (o->create != NULL) {
        o->entered = false;
        return;
    }
    if (has_copy(o))
        discard_file(o->rt, o->deployment, o->file);
    order_fail_memory(o); /* nothing was sent */
}
