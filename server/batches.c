/* See batches.h. A create in flight outlives its client: the batch exists upstream either way, and
 * the counters must say so. */
#include "server/batches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "balancer/retry.h"
#include "common/log.h"
#include "common/upstream/normal.h"
#include "server/attempt.h"
#include "server/batch_view.h"
#include "server/reconcile.h"
#include "server/resolve.h"

#define MAX_CREATE_TRIES 3 /* only ever used when it is known that nothing was sent */
#define PENDING_FIRST_MS                                                                           \
    250 /* between two looks at a file that its provider still processes; doubled each time */
#define PENDING_MAX_MS 4000

struct create {
    struct relay *relay; /* borrowed; NULL once the client is gone */
    struct worker *worker;
    struct target target; /* owned */
    uint32_t at;          /* candidate in use */
    uint32_t tries;
    bool sending;         /* the create itself is under way; before: looking for the file */
    struct failure worst; /* while looking: the most telling failure so far; status 0: none. While
                             the file is pending: the refusal */
    bool pending;         /* the file was seen pending */
    bool looked;          /* ... and its state is known: no further refusal is because of it */
    uint32_t pending_ms;  /* until the next look */
    uint64_t give_up_ms;  /* monotonic; when waiting for the file ends */
    struct strbuf body;
    char endpoint[64];            /* as the client wrote it */
    char nonce[MARKER_NONCE + 1]; /* of the marker that the batch carries; "": it carries none */
    struct reconcile *reconcile;  /* owned; the answer was lost, and we look for the batch */
    struct failure cause;         /* how it was lost */
    char request_id[37];
    char file_id[IDS_MAX + 1]; /* of the input file, as the client wrote it */
    struct attempt *attempt;   /* owned */
    struct loop_timer retry;
};

static void locate(struct create *c);
static void send_create(struct create *c);
static void look_at_file(struct create *c);

static void create_free(struct create *c)
{
    if (c->attempt != NULL)
        attempt_cancel(c->attempt);
    if (c->reconcile != NULL)
        reconcile_cancel(c->reconcile);
    if (c->sending)
        c->worker->operations--;
    loop_timer_stop(c->worker->loop, &c->retry);
    target_deinit(&c->target);
    strbuf_deinit(&c->body);
    free(c);
}

static void on_client_gone(void *op)
{
    struct create *c = op;

    c->relay = NULL;
    if (!c->sending)
        create_free(c);
}

static struct relay *detach(struct create *c)
{
    struct relay *relay = c->relay;

    c->relay = NULL;
    relay->op = NULL;
    relay->deployment = c->target.deployments[c->at];
    return relay;
}

static void fail(struct create *c, const struct failure *failure)
{
    struct failure copy = *failure;
    struct relay *relay = detach(c);

    create_free(c);
    relay_failure(relay, &copy);
}

static void fail_memory(struct create *c)
{
    struct failure failure = {.status = 500,
                              .type = "server_error",
                              .code = "out_of_memory",
                              .message = "The gateway is out of memory.",
                              .retry_after_ms = -1};

    fail(c, &failure);
}

/* Nobody knows whether the batch exists: say so, and keep SDKs from doubling it. */
static void fail_unknown(struct create *c, const struct failure *cause)
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
             cause->message, c->file_id);
    fail(c, &failure);
}

/* --- the answer --- */

static void answer_batch(struct create *c, struct json_doc *doc, struct json *batch)
{
    uint32_t deployment = c->target.deployments[c->at];
    struct relay *relay;

    relay = detach(c);
    batch_view(relay, deployment, c->target.tagged || resolve_mints(relay, deployment), doc, batch,
               c->endpoint);
    create_free(c);
    relay_json(relay, 200, batch);
}

/* --- a lost answer --- */

static void on_reconciled(void *arg, struct json_doc *doc, struct json *batch)
{
    struct create *c = arg;

    c->reconcile = NULL;
    log_warn("request %s: the answer to a create was lost; the batch was %s", c->request_id,
             batch != NULL ? "found" : "not found");
    if (c->relay == NULL)
        create_free(c);
    else if (batch != NULL)
        answer_batch(c, doc, batch);
    else
        fail_unknown(c, &c->cause);
}

static void reconcile(struct create *c, const struct failure *cause)
{
    c->cause = *cause;
    if (c->nonce[0] != '\0')
        c->reconcile =
            reconcile_start(c->worker, c->target.deployments[c->at], c->nonce, on_reconciled, c);
    if (c->reconcile == NULL)
        fail_unknown(c, cause);
}

static void answer(struct create *c, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *batch = doc != NULL ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    struct failure unreadable = {.message = "it was no JSON object"};

    if (json_is(batch, JSON_OBJECT) && json_get_str(batch, "id") != NULL)
        answer_batch(c, doc, batch);
    else
        reconcile(c, &unreadable);
    json_doc_free(doc);
}

static void on_retry_timer(struct loop_timer *timer)
{
    send_create(timer->arg);
}

/* --- a file that its provider still processes (statement 104) --- */

/* Azure refuses a create whose file is pending, in words that nobody documents (statement 52): so
 * the file is asked. */
static bool may_be_pending(const struct create *c, const struct attempt_result *result)
{
    return !c->looked && result->upstream->end == UPSTREAM_ANSWERED &&
           result->upstream->head.status == 400 && !failure_is_token_limit(&result->failure) &&
           c->target.native[0] != '\0' &&
           worker_account(c->worker, c->target.deployments[c->at])->provider == PROVIDER_AZURE;
}

static bool is_pending(const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *status = json_get_str(file, "status");
    bool pending = status != NULL &&
                   (strcasecmp(status, "pending") == 0 || strcasecmp(status, "running") == 0);

    json_doc_free(doc);
    return pending;
}

static void look_again(struct loop_timer *timer)
{
    look_at_file(timer->arg);
}

static void wait_for_file(struct create *c)
{
    struct failure late = {
        .status = 503,
        .type = "server_error",
        .code = "file_not_processed",
        .param = "input_file_id",
        .message =
            "The provider still processes the input file. Nothing was created; try again later.",
        .retry_after_ms = 10000};
    uint64_t now_ms = loop_now_ms(c->worker->loop);

    if (!c->pending) {
        c->pending = true;
        c->pending_ms = PENDING_FIRST_MS;
        c->give_up_ms = now_ms + c->worker->config->timeouts.json_total_ms;
    }
    c->retry.cb = look_again;
    c->retry.arg = c;
    if (now_ms >= c->give_up_ms ||
        loop_timer_start(c->worker->loop, &c->retry, c->pending_ms) != 0) {
        fail(c, &late);
        return;
    }
    c->pending_ms = c->pending_ms * 2 < PENDING_MAX_MS ? c->pending_ms * 2 : PENDING_MAX_MS;
}

static void on_looked(void *arg, const struct attempt_result *result)
{
    struct create *c = arg;

    c->attempt = NULL;
    if (c->relay == NULL) {
        create_free(c);
        return;
    }
    if (result->ok && is_pending(result->upstream)) {
        wait_for_file(c);
        return;
    }
    c->looked = true;
    if (c->pending && result->ok)
        send_create(c); /* again: a 400 proves that the one before did nothing */
    else
        fail(c, &c->worst);
}

static void look_at_file(struct create *c)
{
    struct attempt_spec spec = {.deployment = c->target.deployments[c->at],
                                .call = CALL_FILE_GET,
                                .id = c->target.native,
                                .on_done = on_looked,
                                .arg = c};

    if (c->relay == NULL) {
        create_free(c); /* the client left while we waited: nothing was created */
        return;
    }
    c->attempt = attempt_start(c->worker, &spec);
    if (c->attempt == NULL)
        fail_memory(c);
}

/* Nobody is left to answer: the log is where the batch can be found. */
static void log_orphan(const struct create *c, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *batch =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *id = json_get_str(batch, "id");

    log_info(
        "request %s: the client left while its batch was created; status %d, batch %.128s at %s",
        c->request_id, res->head.status, id != NULL ? id : "unknown",
        worker_account(c->worker, c->target.deployments[c->at])->name);
    json_doc_free(doc);
}

static void on_created(void *arg, const struct attempt_result *result)
{
    struct create *c = arg;
    struct retry_question question = attempt_question(OP_CREATE, result);
    struct retry_answer decision;

    c->attempt = NULL;
    if (c->relay == NULL) {
        log_orphan(c, result->upstream);
        create_free(c);
        return;
    }
    if (result->ok) {
        answer(c, result->upstream);
        return;
    }
    if (may_be_pending(c, result)) {
        c->worst = result->failure;
        look_at_file(c);
        return;
    }
    question.pinned = true;
    question.tries = c->tries;
    question.max_tries = MAX_CREATE_TRIES;
    decision = retry_decide(&question, worker_random(c->worker));
    if (decision.action == RETRY_SAME) {
        c->retry.cb = on_retry_timer;
        c->retry.arg = c;
        if (loop_timer_start(c->worker->loop, &c->retry, decision.delay_ms) == 0)
            return;
    }
    if (decision.action == RETRY_RECONCILE)
        reconcile(c, &result->failure);
    else
        fail(c, &result->failure);
}

static void send_create(struct create *c)
{
    struct attempt_spec spec = {.deployment = c->target.deployments[c->at],
                                .call = CALL_BATCH_CREATE,
                                .content_type = "application/json",
                                .body = strbuf_str(&c->body),
                                .body_len = c->body.len,
                                .on_done = on_created,
                                .arg = c};

    if (c->relay == NULL) {
        create_free(c); /* the client left between two tries, of which none did anything */
        return;
    }
    c->tries++;
    c->attempt = attempt_start(c->worker, &spec);
    if (c->attempt == NULL)
        fail_memory(c);
}

/* Statement 103: the output's expiry is refused here when this provider would. */
static bool expiry_is_in_range(const struct create *c, enum provider provider,
                               struct failure *failure)
{
    const struct json *seconds =
        json_get(json_get(c->relay->request, "output_expires_after"), "seconds");
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

/* Put the marker into the metadata of the body that goes upstream. Where there is no room for it
 * (16 pairs are the client's) the create goes without, and the answer says so. */
static int add_marker(struct create *c, const char *native)
{
    struct relay *relay = c->relay;
    struct json *metadata = json_get(relay->request, "metadata");
    struct marker marker = {.owner = relay->owner,
                            .request = marker_fingerprint(strbuf_str(&c->body), c->body.len)};
    struct strbuf text = STRBUF_INIT;
    int rc = 0;

    if (native == NULL ||
        (metadata != NULL && !json_is(metadata, JSON_NULL) && !json_is(metadata, JSON_OBJECT)))
        return 0; /* a blob takes no metadata (reference 2.5); what is no object the provider
                     refuses */
    if (json_size(metadata) >= MARKER_PAIRS) {
        relay_header(relay, "x-tranche-unmarked", "metadata-full");
        return 0;
    }
    snprintf(marker.file, sizeof(marker.file), "%s", native);
    if (marker_new_nonce(marker.nonce) == 0 &&
        marker_write(relay->worker->inherit->seals, &marker, &text) == 0) {
        if (!json_is(metadata, JSON_OBJECT)) {
            metadata = json_new_object(relay->doc);
            json_set(relay->doc, relay->request, "metadata", metadata);
        }
        json_set_str(relay->doc, metadata, MARKER_KEY, strbuf_str(&text));
        memcpy(c->nonce, marker.nonce, sizeof(c->nonce));
        strbuf_reset(&c->body);
        rc = provider_batch_body(worker_account(c->worker, c->target.deployments[c->at]),
                                 relay->doc, relay->request, native, &c->body);
    }
    strbuf_deinit(&text);
    return rc;
}

static void begin_create(struct create *c)
{
    const struct model_account *account = worker_account(c->worker, c->target.deployments[c->at]);
    const char *native = c->target.native[0] != '\0' ? c->target.native : NULL;
    struct failure failure;

    if (!expiry_is_in_range(c, account->provider, &failure)) {
        fail(c, &failure);
        return;
    }
    if (provider_batch_body(account, c->relay->doc, c->relay->request, native, &c->body) != 0 ||
        add_marker(c, native) != 0 || strbuf_failed(&c->body)) {
        fail_memory(c);
        return;
    }
    c->sending = true;
    c->worker->operations++;
    send_create(c);
}

/* --- finding the account of an untagged file --- */

static void on_located(void *arg, const struct attempt_result *result)
{
    struct create *c = arg;

    c->attempt = NULL;
    if (result->ok) {
        begin_create(c);
        return;
    }
    if (c->worst.status == 0 ||
        c->worst.status ==
            404) /* 404 only when all say 404: else the file may be where nobody could look */
        c->worst = result->failure;
    if (c->at + 1 < c->target.num) {
        c->at++;
        locate(c);
        return;
    }
    fail(c, &c->worst);
}

static void locate(struct create *c)
{
    struct attempt_spec spec = {.deployment = c->target.deployments[c->at],
                                .call = CALL_FILE_GET,
                                .id = c->target.native,
                                .on_done = on_located,
                                .arg = c};

    c->attempt = attempt_start(c->worker, &spec);
    if (c->attempt == NULL)
        fail_memory(c);
}

/* --- the request --- */

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

void batches_create(struct relay *relay)
{
    struct create *c;

    if ((!has_blob(relay) && !require_string(relay, "input_file_id")) ||
        !require_string(relay, "endpoint") || !require_string(relay, "completion_window") ||
        !metadata_is_free(relay))
        return;
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    c->relay = relay;
    c->worker = relay->worker;
    memcpy(c->request_id, relay->request_id, sizeof(c->request_id));
    snprintf(c->endpoint, sizeof(c->endpoint), "%s", json_get_str(relay->request, "endpoint"));
    if (!find_target(relay, &c->target)) {
        free(c);
        return;
    }
    if (c->target.native[0] != '\0')
        snprintf(c->file_id, sizeof(c->file_id), "%s",
                 json_get_str(relay->request, "input_file_id"));
    relay_attach(relay, c, on_client_gone);
    if (c->target.num > 1 && c->target.native[0] != '\0')
        locate(c);
    else
        begin_create(c);
}
