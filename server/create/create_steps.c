/* The machine of create_job.h: its table, the way from step to step, and the steps that find out
 * whether the batch was made before and what is known of its input file. */
#include "create_job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "create/create.h"
#include "create_check.h"
#include "create_prepared.h"
#include "create_rights.h"
#include "objects/discard.h"
#include "read/replay.h"
#include "request/errors.h"
#include "request/limits.h"

static enum create_step ask_whether_repeated(struct create_job *job);
static enum create_step find_file(struct create_job *job);
static enum create_step find_facts(struct create_job *job);

#define TO(step) (1u << STEP_##step)

enum {
    IS_COUNTED = 1, /* tokens are counted at the deployment in use */
    GOES_ON = 2     /* although the client has left */
};

/* What begins each step, what may follow it (DONE always may), and what is true in it. */
static const struct step {
    const char *name;
    enum create_step (*begin)(struct create_job *job);
    unsigned next, flags;
} steps[CREATE_STEPS] = {
    [STEP_NEW] = {"new", NULL, TO(REPEAT) | TO(FIND), 0},
    [STEP_REPEAT] = {"repeat", ask_whether_repeated, TO(FIND), 0},
    [STEP_FIND] = {"find", find_file, TO(FACTS), 0},
    [STEP_FACTS] = {"facts", find_facts, TO(RESERVE), 0},
    [STEP_RESERVE] = {"reserve", create_reserve, TO(WRITE) | TO(ELSEWHERE), 0},
    [STEP_ELSEWHERE] = {"elsewhere", create_elsewhere, TO(COPY), 0},
    [STEP_COPY] = {"copy", create_copy, TO(WRITE) | TO(ELSEWHERE), IS_COUNTED},
    [STEP_WRITE] = {"write", create_write, TO(INTENT) | TO(SEND), IS_COUNTED},
    [STEP_INTENT] = {"intent", create_intend, TO(SEND) | TO(ELSEWHERE), IS_COUNTED},
    [STEP_SEND] = {"send", create_send, TO(ASK_FILE) | TO(LOST) | TO(ELSEWHERE),
                   IS_COUNTED | GOES_ON},
    [STEP_ASK_FILE] = {"ask file", create_ask_file,
                       TO(WAIT_FILE) | TO(INTENT) | TO(SEND) | TO(ELSEWHERE), IS_COUNTED | GOES_ON},
    [STEP_WAIT_FILE] = {"wait for file", create_wait_file, TO(ASK_FILE) | TO(ELSEWHERE),
                        IS_COUNTED},
    [STEP_LOST] = {"lost", create_find_lost, TO(ELSEWHERE), IS_COUNTED | GOES_ON},
    [STEP_DONE] = {"done", NULL, 0, 0},
};

static bool is(const struct create_job *job, unsigned flag)
{
    return (steps[job->step].flags & flag) != 0;
}

/* --- from step to step --- */

/* The invariants: they hold whenever a step begins. */
static void check(const struct create_job *job)
{
    (void)job;
    assert((job->claim.entry != 0) == (is(job, IS_COUNTED) && job->have_facts && !job->uncounted));
    assert(!job->permit || is(job, IS_COUNTED));
    assert(job->op.relay == NULL || !job->op.relay->answered);
    assert(job->step == STEP_DONE ? job->op.relay == NULL
                                  : job->op.relay != NULL || is(job, GOES_ON));
}

static void enter(struct create_job *job, enum create_step next)
{
    const struct step *from = &steps[job->step], *to = &steps[next];

    assert(next == STEP_DONE || (from->next & 1u << next) != 0);
    log_debug("request %s: create: %s -> %s", job->request_id, from->name, to->name);
    job->step = next;
    check(job);
}

void create_go(struct create_job *job, enum create_step next)
{
    while (next != STEP_WAITS && next != STEP_DONE) {
        /* what the step before has begun has ended: one thing at most is under way */
        assert(job->op.locate == NULL && job->op.attempt == NULL);
        assert(job->peek == NULL && job->reconcile == NULL && job->intent.call == NULL);
        enter(job, next);
        next = steps[next].begin(job);
    }
}

void create_ended(struct create_job *job, enum create_step step)
{
    (void)step;
    assert(job->step == step);
    job->peek = NULL;
    job->reconcile = NULL;
}

/* --- ends --- */

/* The job ends in whatever step it is: all that it holds goes back. */
static void free_job(struct operation *op)
{
    struct create_job *job = create_job_of(op);

    if (job->peek != NULL)
        facts_peek_cancel(job->peek);
    job->peek = NULL;
    create_give_back(job);
    create_tell_end(job);
    enter(job, STEP_DONE);
    if (job->own_file && !job->may_be_made)
        discard_file(op->rt, create_home(job), job->target.native);
    move_free(job->move);
    repeat_end(&job->repeat);
    target_deinit(&job->target);
    candidates_deinit(&job->candidates);
    strbuf_deinit(&job->body);
    free(job->tried);
    free(job->barred);
    free(job->file_id);
    free(job->intent.who.tags);
    free(job);
}

/* The client has left. A job that has sent its create goes on; any other one ends. */
static bool goes_on(struct operation *op)
{
    struct create_job *job = create_job_of(op);

    if (is(job, GOES_ON))
        return true;
    if (create_has_copy(job))
        discard_file(op->rt, op->deployment, job->file);
    return false;
}

static const struct operation_ops create_ops = {.free = free_job, .goes_on = goes_on};

/* --- what is known about the file --- */

static void on_peeked(void *arg, const struct facts *facts)
{
    struct create_job *job = arg;

    create_ended(job, STEP_FACTS);
    job->have_facts = facts != NULL;
    if (facts != NULL)
        job->facts = *facts;
    create_go(job, STEP_RESERVE);
}

/* Facts matter for files of balanced accounts: their lines name a row of a group, and the batch may
 * go to other rows of it. And for callers who may use only some models, or have only so many tokens
 * enqueued; other tenants' batches are counted for them where that costs no call. */
static enum create_step find_facts(struct create_job *job)
{
    struct runtime *rt = job->op.rt;
    uint32_t home = create_home(job);
    bool wanted;

    job->unbalanced = !rt->account_balanced[table_deployment(rt->table, home)->account];
    wanted = !job->unbalanced || create_wants_model(job) || scopes_are_limited(&job->scopes);
    if (job->target.native[0] != '\0' && (wanted || create_is_scoped(job))) {
        job->have_facts = facts_recall(rt, home, job->target.native, &job->facts);
        if (!job->have_facts && wanted)
            job->peek = facts_peek_start(rt, share_owner(job->op.share), home, job->target.native,
                                         on_peeked, job);
    }
    return job->peek != NULL ? STEP_WAITS : STEP_RESERVE;
}

/* --- finding the account of an untagged file --- */

static void on_located(struct operation *op, const struct locate_result *result)
{
    struct create_job *job = create_job_of(op);

    create_ended(job, STEP_FIND);
    if (result->found) {
        while (create_home(job) != result->deployment)
            job->at++;
        create_go(job, STEP_FACTS);
    } else if (result->failure.status == 404) {
        operation_fail_not_found(op, ID_FILE, job->file_id);
    } else {
        op->deployment = create_home(job);
        operation_fail(op, &result->failure);
    }
}

static enum create_step find_file(struct create_job *job)
{
    struct target *target = &job->target;

    if (!target->unsure || target->native[0] == '\0')
        return STEP_FACTS;
    operation_locate(&job->op, ID_FILE, target->native, target->deployments, target->num,
                     on_located);
    return STEP_WAITS;
}

/* --- whether it was made before --- */

/* The request is new: nobody has answered it, and nobody is at work on it. */
static void on_new(void *arg)
{
    create_go(arg, STEP_FIND);
}

/* The batch was made before: an account lists it. */
static void on_found(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    struct create_job *job = arg;

    relay_header(job->op.relay, "idempotent-replayed", "true");
    (void)create_answer(job, deployment, 0, doc, batch);
}

/* The request was answered before, and the answer was kept. */
static void on_replay(void *arg, const struct idem_answer *answer)
{
    struct create_job *job = arg;
    struct relay *relay = operation_end(&job->op);

    relay->deployment = table_find_fingerprint(relay->rt->table, answer->deployment);
    replay_answer(relay, ROUTE_BATCH, answer);
}

static void on_repeat_failed(void *arg, const struct failure *failure)
{
    struct create_job *job = arg;

    operation_fail(&job->op, failure);
}

static const struct repeat_ops repeat_ops = {on_new, on_found, on_replay, on_repeat_failed};

/* repeat_begin() may call back at once, and the job may be gone when it returns. */
static enum create_step ask_whether_repeated(struct create_job *job)
{
    repeat_begin(&job->repeat, REPEAT_CREATE, job->op.relay, &job->wanted, job->target.deployments,
                 job->target.num, &repeat_ops, job);
    return STEP_WAITS;
}

/* --- the begin --- */

static enum answered find_target(struct relay *relay, struct target *target)
{
    size_t len;
    const char *id = json_str(json_get(relay->request, "input_file_id"), &len);

    if (id != NULL)
        return resolve_id(relay, ID_FILE, id, len, target);
    memset(target, 0, sizeof(*target));
    return resolve_list(relay, &target->deployments, &target->num);
}

/* The fingerprint covers the client's body, before our marker is added to it, but for a secret. */
static uint64_t fingerprint_of(const struct relay *relay)
{
    struct strbuf text = STRBUF_INIT;
    uint64_t fingerprint;

    json_write(relay->request, &text);
    fingerprint = marker_fingerprint(strbuf_str(&text), text.len);
    strbuf_deinit(&text);
    return fingerprint;
}

/* What the operator says of a tenant's files goes before what the client says (tenants statement
 * A43). A repeat is known by what the client said. */
static void enforce_expiry(struct relay *relay)
{
    uint32_t seconds = limits_output_expiry(relay);
    struct json *expiry;

    if (seconds == 0)
        return;
    expiry = json_new_object(relay->doc);
    json_set_str(relay->doc, expiry, "anchor", "created_at");
    json_set_int(relay->doc, expiry, "seconds", seconds);
    json_set(relay->doc, relay->request, "output_expires_after", expiry);
}

/* Copy what the request says, and find out which accounts may hold its file. */
static enum answered take_request(struct create_job *job, struct relay *relay)
{
    const char *file_id = json_get_str(relay->request, "input_file_id");

    job->owner = relay->owner;
    scopes_of_tenant(relay->tenant, &job->scopes);
    intent_take_who(&job->intent.who, relay->tenant);
    job->intent.who.delete_after_s = limits_delete_after(relay);
    intent_take_tags(&job->intent.who, relay->rt->config, relay->request);
    create_hook_take(relay, &job->hook);
    job->request = fingerprint_of(relay);
    create_hook_hide(relay);
    enforce_expiry(relay);
    memcpy(job->request_id, relay->request_id, sizeof(job->request_id));
    snprintf(job->endpoint, sizeof(job->endpoint), "%s", json_get_str(relay->request, "endpoint"));
    if (file_id != NULL && (job->file_id = strdup(file_id)) == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return ANSWERED;
    }
    return find_target(relay, &job->target);
}

/* Note by what the batch will be known again, and tell the client when that is not a marker. */
static void describe(struct create_job *job)
{
    const struct json *request = job->op.relay->request;
    bool full = json_size(json_get(request, "metadata")) >= MARKER_PAIRS;

    wanted_describe(&job->wanted, job->target.native, request);
    job->wanted.owner = job->owner;
    job->wanted.request = job->request;
    job->wanted.unmarked = job->nonce[0] == '\0';
    memcpy(job->wanted.nonce, job->nonce, sizeof(job->wanted.nonce));
    if (job->wanted.unmarked && job->target.native[0] != '\0')
        relay_header(job->op.relay, "x-tranche-unmarked", full ? "metadata-full" : "file-id");
}

/* @return NULL: it was answered */
static struct create_job *new_job(struct relay *relay)
{
    struct create_job *job;

    if (create_check(relay) == ANSWERED)
        return NULL;
    job = operation_new(sizeof(*job), relay, &create_ops);
    if (job == NULL)
        return NULL; /* answered */
    if (take_request(job, relay) == ANSWERED) {
        operation_answered(&job->op);
        return NULL;
    }
    job->op.deployment = create_home(job);
    job->tagged = job->target.tagged;
    return job;
}

void create_start(struct relay *relay)
{
    struct create_job *job = new_job(relay);

    if (job == NULL)
        return;
    if (create_takes_marker(job) && repeat_nonce(relay, job->nonce) != 0) {
        operation_fail_memory(&job->op);
        return;
    }
    describe(job);
    create_go(job, STEP_REPEAT);
}

bool create_start_prepared(struct relay *relay, const struct create_prepared *prepared)
{
    struct create_job *job = new_job(relay);

    if (job == NULL)
        return false;
    job->own_file = true;
    job->request = prepared->request;
    if (create_takes_marker(job))
        snprintf(job->nonce, sizeof(job->nonce), "%s", prepared->nonce);
    describe(job);
    repeat_move(&job->repeat, prepared->repeat, &repeat_ops, job);
    create_go(job, STEP_FIND);
    return true;
}
