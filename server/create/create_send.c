/* One create at one deployment, to an end that is known or honestly unknown: the POST, an input
 * file that its provider still processes, a lost answer that is searched for, a refusal that may
 * not be the provider's own. Nothing is sent twice except after a refusal that proves that nothing
 * happened. */
#include "create_job.h"
#include "request/errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "common/log.h"
#include "core/provider_clock.h"

/* The pause before a pending file is asked again; it doubles each time */
#define PENDING_FIRST_MS 250
#define PENDING_MAX_MS   4000
#define YOUNG_S          60  /* age of a file that may just have been processed */
#define CLOCK_SLACK_S    300 /* what our idea of the provider's clock may lack */

/* The refusal stands: nothing more is to be done at this deployment. */
static enum create_step end_refused(struct create_job *job)
{
    return create_was_refused(job, &job->cause, &job->question);
}

/* --- an outcome that is not known --- */

static void log_search(const struct create_job *job, bool found)
{
    log_warn("request %s: %s; the batch was %s", job->request_id,
             job->doubtful ? "a create was refused in words that are not the provider's"
                           : "the answer to a create was lost",
             found ? "found" : "not found");
}

/* Something in front of the provider may refuse what it has passed on. When the batch is not there,
 * it is a refusal as any other. So is one of the request itself (400, 404, 422 ...) where the list
 * cannot be read: servers that only resemble OpenAI's have no list, and errors of their own shape,
 * and nobody asks again because of such an answer. It stays foreign, and nothing is made elsewhere.
 */
static bool is_refused_all_the_same(struct create_job *job, enum reconcile_end end)
{
    if (!job->doubtful)
        return false;
    job->question.foreign = end != RECONCILE_NOTHING;
    return end == RECONCILE_NOTHING ||
           (end == RECONCILE_UNREAD && job->question.outcome == OUTCOME_OK &&
            job->question.status != 409);
}

static void on_searched(void *arg, const struct reconcile_result *found)
{
    struct create_job *job = arg;
    struct create_made made = {
        .doc = found->doc, .batch = found->batch, .enqueued_tokens = -1, .max_enqueued_tokens = -1};

    create_ended(job, STEP_LOST);
    log_search(job, found->end == RECONCILE_FOUND);
    if (is_refused_all_the_same(job, found->end))
        create_go(job, end_refused(job));
    else if (found->end == RECONCILE_FOUND && !job->wanted.unmarked)
        create_go(job, create_was_made(job, &made));
    else /* without a marker it may be an older one that looks the same */
        create_go(job, create_was_lost(job, &job->cause));
}

/* A lost create that carries no marker is not looked for: a batch that looks like it proves
 * nothing, and that there is none proves nothing either. */
enum create_step create_find_lost(struct create_job *job)
{
    uint64_t since_ms = loop_now_ms(job->op.rt->loop) - job->begun_ms;
    struct reconcile_spec spec = {.deployments = &job->op.deployment,
                                  .num = 1,
                                  .wanted = &job->wanted,
                                  .age_s = (uint32_t)(since_ms / 1000) + CLOCK_SLACK_S,
                                  .patient = true};

    if (job->doubtful || !job->wanted.unmarked)
        job->reconcile = reconcile_start(job->op.rt, &spec, on_searched, job);
    return job->reconcile != NULL ? STEP_WAITS : create_was_lost(job, &job->cause);
}

/* --- a file that its provider still processes (providers statement 104) --- */

/* Whether the file's state explains the refusal. */
enum file_state {
    FILE_PENDING,
    FILE_YOUNG, /* processed by now, but so new that it may have been pending a moment ago */
    FILE_READY  /* no reason to refuse */
};

static enum file_state state_of(const struct create_job *job, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *status = json_get_str(file, "status");
    enum file_state state = FILE_READY;
    int64_t created_s;

    if (provider_file_is_pending(status))
        state = FILE_PENDING;
    else if (json_int64(json_get(file, "created_at"), &created_s) &&
             llabs((long long)(provider_clock_now_s(job->op.rt->inherited, job->op.deployment) -
                               created_s)) <= YOUNG_S)
        state = FILE_YOUNG;
    json_doc_free(doc);
    return state;
}

static enum create_step end_pending(struct create_job *job)
{
    struct failure late;

    error_fill(&late, FILE_UNPROCESSED, "input_file_id");
    late.retry_after_ms = 10000;
    return create_was_refused(job, &late, &job->question);
}

static void on_waited(struct operation *op)
{
    struct create_job *job = create_job_of(op);

    create_ended(job, STEP_WAIT_FILE);
    create_go(job, STEP_ASK_FILE);
}

enum create_step create_wait_file(struct create_job *job)
{
    if (!operation_wait(&job->op, job->pending_ms, on_waited))
        return end_pending(job);
    job->pending_ms = job->pending_ms * 2 < PENDING_MAX_MS ? job->pending_ms * 2 : PENDING_MAX_MS;
    return STEP_WAITS;
}

static enum create_step on_pending(struct create_job *job)
{
    uint64_t now_ms = loop_now_ms(job->op.rt->loop);

    if (job->pending_ms == 0) {
        job->pending_ms = PENDING_FIRST_MS;
        job->give_up_ms = now_ms + job->op.rt->config->timeouts.json_total_ms;
    }
    if (job->op.relay == NULL || now_ms >= job->give_up_ms)
        return end_pending(job);
    return STEP_WAIT_FILE;
}

static void on_file_asked(struct operation *op, const struct attempt_result *result)
{
    struct create_job *job = create_job_of(op);
    enum file_state state = result->ok ? state_of(job, result->upstream) : FILE_READY;
    bool was_pending = job->pending_ms != 0 || state == FILE_YOUNG;

    create_ended(job, STEP_ASK_FILE);
    if (state == FILE_PENDING) {
        create_go(job, on_pending(job));
        return;
    }
    job->file_known = true;
    if (was_pending && result->ok && job->op.relay != NULL)
        create_go(job,
                  create_then(job)); /* once more: a 400 proves that the one before did nothing */
    else
        create_go(job, end_refused(job));
}

enum create_step create_ask_file(struct create_job *job)
{
    struct attempt_spec spec = {.call = CALL_FILE_GET, .id = job->file};

    return operation_ask(&job->op, &spec, on_file_asked) == 0 ? STEP_WAITS : end_refused(job);
}

/* --- the create itself --- */

static int64_t number_in(const struct upstream_head *head, const char *name)
{
    const char *text = upstream_header_find(head, name);

    return text != NULL && *text >= '0' && *text <= '9' ? strtoll(text, NULL, 10) : -1;
}

static enum create_step read_answer(struct create_job *job, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct create_made made = {.status = res->head.status, .doc = doc};
    enum create_step next = STEP_LOST;

    made.batch = doc != NULL ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    made.enqueued_tokens = number_in(&res->head, "deployment-enqueued-tokens");
    made.max_enqueued_tokens = number_in(&res->head, "deployment-maximum-enqueued-tokens");
    if (json_is(made.batch, JSON_OBJECT) && json_get_str(made.batch, "id") != NULL)
        next = create_was_made(job, &made);
    else
        job->cause = (struct failure){.message = "it was no JSON object", .retry_after_ms = -1};
    json_doc_free(doc);
    return next;
}

/* Azure refuses a create whose file is pending, in words that nobody documents (providers statement
 * 52): so the file is asked. */
static bool may_be_pending(const struct create_job *job, const struct attempt_result *result)
{
    return !job->file_known && job->op.relay != NULL &&
           result->upstream->end == UPSTREAM_ANSWERED && result->upstream->head.status == 400 &&
           !failure_is_token_limit(&result->failure) && !failure_is_refused_key(&result->failure) &&
           job->file[0] != '\0' && runtime_rules(job->op.rt, job->op.deployment) == PROVIDER_AZURE;
}

/* Nothing has happened upstream so far; the same create may be sent again, after a while. */
static enum create_step refused_for_now(struct create_job *job)
{
    quota_refused(job->op.rt->inherited->quota, &job->claim);
    repeat_refused(&job->repeat);
    create_tell_refused(job);
    return STEP_ASK_FILE;
}

static void on_created(struct operation *op, const struct attempt_result *result)
{
    struct create_job *job = create_job_of(op);

    create_ended(job, STEP_SEND);
    if (result->ok) {
        create_go(job, read_answer(job, result->upstream));
        return;
    }
    job->cause = result->failure;
    job->question = attempt_question(OP_CREATE, result);
    job->question.pinned = true; /* whether there is a next one is not asked here */
    job->question.tries = job->question.max_tries = 1;
    job->doubtful = retry_is_doubtful(&job->question);
    if (retry_decide(&job->question, 0).action == RETRY_RECONCILE)
        create_go(job, STEP_LOST);
    else if (may_be_pending(job, result))
        create_go(job, refused_for_now(job));
    else
        create_go(job, end_refused(job));
}

/* From inside curl, just before the first byte. Up to here a death of this worker leaves nothing
 * behind, and a repeat of the request is a new one; from here on nobody could know. Nothing is
 * started or cancelled in here. @return false: nothing is sent, which ends as a refusal */
static bool on_begin(void *arg)
{
    struct create_job *job = arg;

    create_begins_to_be_sent(job);
    return create_may_be_sent(job) && quota_sent(job->op.rt->inherited->quota, &job->claim) &&
           repeat_sent(&job->repeat,
                       table_deployment(job->op.rt->table, job->op.deployment)->fingerprint);
}

enum create_step create_send(struct create_job *job)
{
    struct attempt_spec spec = {.call = CALL_BATCH_CREATE,
                                .content_type = "application/json",
                                .body = strbuf_str(&job->body),
                                .body_len = job->body.len,
                                .on_begin = on_begin};

    if (operation_ask(&job->op, &spec, on_created) != 0)
        return job->file_known ? end_refused(job) /* it was, and is not sent again */
                               : create_was_not_sent(job);
    job->permit = false; /* it is the attempt's now */
    job->may_be_made = true;
    return STEP_WAITS;
}
