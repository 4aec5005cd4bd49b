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
#include "objects/discard.h"
#include "read/replay.h"
#include "routing/choose.h"

static void ask_whether_repeated(struct create_job *job);
static void find_file(struct create_job *job);
static void find_facts(struct create_job *job);
static void free_job(struct create_job *job);

#define TO(step) (1u << STEP_##step)

enum {
    IS_COUNTED = 1, /* tokens are counted at the deployment in use */
    IS_SENT = 2,    /* a POST was begun: a worker that drains waits for the end */
    GOES_ON = 4     /* although the client has left */
};

/* What begins each step, what may follow it (DONE always may), and what is true in it. */
static const struct step {
    const char *name;
    void (*begin)(struct create_job *job);
    unsigned next, flags;
} steps[CREATE_STEPS] = {
    [STEP_NEW] = {"new", NULL, TO(REPEAT), 0},
    [STEP_REPEAT] = {"repeat", ask_whether_repeated, TO(FIND), 0},
    [STEP_FIND] = {"find", find_file, TO(FACTS), 0},
    [STEP_FACTS] = {"facts", find_facts, TO(RESERVE), 0},
    [STEP_RESERVE] = {"reserve", create_reserve, TO(WRITE) | TO(ELSEWHERE), 0},
    [STEP_ELSEWHERE] = {"elsewhere", create_elsewhere, TO(COPY), 0},
    [STEP_COPY] = {"copy", create_copy, TO(WRITE) | TO(ELSEWHERE), IS_COUNTED},
    [STEP_WRITE] = {"write", create_write, TO(SEND), IS_COUNTED},
    [STEP_SEND] = {"send", create_send, TO(ASK_FILE) | TO(LOST) | TO(ELSEWHERE),
                   IS_COUNTED | IS_SENT | GOES_ON},
    [STEP_ASK_FILE] = {"ask file", create_ask_file, TO(WAIT_FILE) | TO(SEND) | TO(ELSEWHERE),
                       IS_COUNTED | IS_SENT | GOES_ON},
    [STEP_WAIT_FILE] = {"wait for file", create_wait_file, TO(ASK_FILE) | TO(ELSEWHERE),
                        IS_COUNTED | IS_SENT},
    [STEP_LOST] = {"lost", create_find_lost, TO(ELSEWHERE), IS_COUNTED | IS_SENT | GOES_ON},
    [STEP_DONE] = {"done", free_job, 0, 0},
};

static bool is(const struct create_job *job, unsigned flag)
{
    return (steps[job->step].flags & flag) != 0;
}

/* --- from step to step --- */

/* What is true whenever a step begins. */
static void check(const struct create_job *job)
{
    assert(job->under_way.any == NULL);
    assert((job->claim.place != 0) == (is(job, IS_COUNTED) && job->have_facts && !job->uncounted));
    assert(!job->permit || is(job, IS_COUNTED));
    assert(job->relay == NULL || !job->relay->answered);
    assert(job->step == STEP_DONE ? job->relay == NULL : job->relay != NULL || is(job, GOES_ON));
}

void create_go(struct create_job *job, enum create_step next)
{
    const struct step *from = &steps[job->step], *to = &steps[next];

    assert(next == STEP_DONE || (from->next & 1u << next) != 0);
    log_debug("request %s: create: %s -> %s", job->request_id, from->name, to->name);
    job->rt->operations -= is(job, IS_SENT);
    job->step = next;
    job->rt->operations += is(job, IS_SENT);
    check(job);
    to->begin(job);
}

void create_ended(struct create_job *job, enum create_step step)
{
    assert(job->step == step);
    job->under_way.any = NULL;
}

/* --- ends --- */

void create_give_back(struct create_job *job)
{
    struct runtime *rt = job->rt;

    quota_cancel(rt->inherited->quota, rt->slot, &job->claim, loop_now_ms(rt->loop));
    job->claim = (struct quota_claim){0};
    if (job->permit)
        choose_give_back(rt, OP_CREATE, job->deployment);
    job->permit = false;
}

static void free_job(struct create_job *job)
{
    move_free(job->move);
    repeat_end(&job->repeat);
    target_deinit(&job->target);
    candidates_deinit(&job->candidates);
    strbuf_deinit(&job->body);
    free(job->tried);
    free(job->barred);
    free(job->file_id);
    free(job);
}

void create_end(struct create_job *job)
{
    create_give_back(job);
    create_go(job, STEP_DONE);
}

static void cancel_step(struct create_job *job)
{
    if (job->step == STEP_FIND)
        locate_cancel(job->under_way.locate);
    else if (job->step == STEP_FACTS && job->under_way.peek != NULL)
        facts_look_cancel(job->under_way.peek);
    else if (job->step == STEP_WAIT_FILE)
        loop_timer_stop(job->rt->loop, &job->timer);
    job->under_way.any = NULL;
}

/* The relay's disposer tells that the client has left. */
static void on_client_gone(void *op)
{
    struct create_job *job = op;

    job->relay = NULL;
    if (is(job, GOES_ON))
        return;
    cancel_step(job);
    if (create_has_copy(job))
        discard_file(job->rt, job->deployment, job->file);
    create_end(job);
}

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

/* Only what the balancer places has a row of its own, and others to go to. */
static void find_facts(struct create_job *job)
{
    struct runtime *rt = job->rt;
    uint32_t home = create_home(job);

    if (job->target.native[0] != '\0' &&
        rt->account_balanced[table_deployment(rt->table, home)->account]) {
        job->have_facts = facts_recall(rt, home, job->target.native, &job->facts);
        if (!job->have_facts)
            job->under_way.peek = facts_look_start(rt, home, job->target.native, on_peeked, job);
    }
    if (job->under_way.peek == NULL)
        create_go(job, STEP_RESERVE);
}

/* --- finding the account of an untagged file --- */

static void fail_not_found(struct create_job *job)
{
    struct relay *relay = create_detach(job);

    relay->deployment = MODEL_NO_INDEX;
    resolve_not_found(relay, ID_FILE, job->file_id);
    create_end(job);
}

static void on_located(void *arg, const struct locate_result *result)
{
    struct create_job *job = arg;

    create_ended(job, STEP_FIND);
    if (result->found) {
        while (create_home(job) != result->deployment)
            job->at++;
        create_go(job, STEP_FACTS);
    } else if (result->failure.status == 404) {
        fail_not_found(job);
    } else {
        create_fail(job, &result->failure);
    }
}

static void find_file(struct create_job *job)
{
    struct target *target = &job->target;

    if (!target->unsure || target->native[0] == '\0') {
        create_go(job, STEP_FACTS);
        return;
    }
    job->under_way.locate = locate_start(job->rt, ID_FILE, target->native, target->deployments,
                                         target->num, on_located, job);
    if (job->under_way.locate == NULL)
        create_fail_memory(job);
}

/* --- whether it was made before --- */

/* Nobody has answered it, and nobody is at it. */
static void on_new(void *arg)
{
    create_go(arg, STEP_FIND);
}

/* It was made before, and is found among the batches of an account. */
static void on_found(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    struct create_job *job = arg;

    relay_header(job->relay, "idempotent-replayed", "true");
    create_answer(job, deployment, 0, doc, batch);
}

/* It was answered before. */
static void on_replay(void *arg, const struct idem_answer *answer)
{
    struct create_job *job = arg;
    struct relay *relay = create_detach(job);

    relay->deployment = table_find_fingerprint(job->rt->table, answer->deployment);
    create_end(job);
    replay_answer(relay, ROUTE_BATCH, answer);
}

static void on_repeat_failed(void *arg, const struct failure *failure)
{
    create_fail(arg, failure);
}

static const struct repeat_ops repeat_ops = {on_new, on_found, on_replay, on_repeat_failed};

static void ask_whether_repeated(struct create_job *job)
{
    repeat_begin(&job->repeat, REPEAT_CREATE, job->relay, &job->wanted, job->target.deployments,
                 job->target.num, &repeat_ops, job);
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

static struct create_job *job_new(struct relay *relay)
{
    struct create_job *job = calloc(1, sizeof(*job));
    const char *file_id = json_get_str(relay->request, "input_file_id");

    if (job == NULL)
        return NULL;
    job->relay = relay;
    job->rt = relay->rt;
    job->owner = relay->owner;
    job->request = fingerprint_of(relay);
    job->deployment = MODEL_NO_INDEX;
    job->timer.arg = job;
    memcpy(job->request_id, relay->request_id, sizeof(job->request_id));
    snprintf(job->endpoint, sizeof(job->endpoint), "%s", json_get_str(relay->request, "endpoint"));
    if (file_id != NULL && (job->file_id = strdup(file_id)) == NULL) {
        free(job);
        return NULL;
    }
    return job;
}

/* By what its batch will be known; and the client is told when that is not a marker. */
static void describe(struct create_job *job)
{
    const struct json *request = job->relay->request;
    bool full = json_size(json_get(request, "metadata")) >= MARKER_PAIRS;

    wanted_describe(&job->wanted, job->target.native, request);
    job->wanted.owner = job->owner;
    job->wanted.request = job->request;
    job->wanted.unmarked = job->nonce[0] == '\0';
    memcpy(job->wanted.nonce, job->nonce, sizeof(job->wanted.nonce));
    if (job->wanted.unmarked && job->target.native[0] != '\0')
        relay_header(job->relay, "x-tranche-unmarked", full ? "metadata-full" : "file-id");
}

void create_start(struct relay *relay)
{
    struct create_job *job;

    if (create_check(relay) == ANSWERED)
        return;
    job = job_new(relay);
    if (job == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    if (find_target(relay, &job->target) == ANSWERED) {
        free(job->file_id);
        free(job);
        return;
    }
    job->tagged = job->target.tagged;
    relay_attach(relay, job, on_client_gone);
    if (create_takes_marker(job) && repeat_nonce(relay, job->nonce) != 0) {
        create_fail_memory(job);
        return;
    }
    describe(job);
    create_go(job, STEP_REPEAT);
}
