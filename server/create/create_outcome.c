/* What the end of a create at one deployment means: for the ledger, for what is learned of the
 * deployment, for a repeat of the request, and for where the job goes next. */
#include "create_job.h"
#include "request/errors.h"

#include <stdio.h>
#include <string.h>

#include "balancer/retry.h"
#include "common/log.h"
#include "objects/discard.h"
#include "objects/ledger.h"
#include "objects/refusals.h"
#include "routing/choose.h"

/* --- made --- */

/* What the answer tells about the deployment's quota. */
static void learn(const struct create_job *job, const struct create_made *made)
{
    struct quota *quota = job->op.rt->inherited->quota;
    uint32_t column = job->op.rt->inherited->columns[job->op.deployment];
    enum provider provider = runtime_account(job->op.rt, job->op.deployment)->provider;
    uint64_t counted, output;

    if (!job->have_facts)
        return;
    if (made->max_enqueued_tokens > 0)
        quota_learn_limit(quota, column, (uint64_t)made->max_enqueued_tokens);
    if (made->enqueued_tokens < 0)
        return;
    counted = quota_learn_enqueued(quota, column, (uint64_t)made->enqueued_tokens,
                                   loop_now_ms(job->op.rt->loop));
    output = job->op.rt->config->count_output_tokens[provider] ? job->facts.output_tokens : 0;
    if (counted > output)
        quota_learn_rate(quota, job->facts.model, &job->facts.prompt, counted - output);
}

enum create_step create_was_made(struct create_job *job, const struct create_made *made)
{
    const char *id = json_get_str(made->batch, "id");

    /* First the id, then what the header says: it counts this batch too. */
    if (job->claim.entry != 0 &&
        quota_commit(job->op.rt->inherited->quota, &job->claim, id, strlen(id)) != 0)
        log_warn("quota: the reservation of batch %.128s expired before its create was answered",
                 id);
    job->claim = (struct quota_claim){0};
    if (job->refusal_job != 0)
        refusals_forget(job->op.rt->inherited->memo, job->refusal_job,
                        table_deployment(job->op.rt->table, job->op.deployment)->real);
    learn(job, made);
    return create_answer(job, job->op.deployment, made->status, made->doc, made->batch);
}

/* --- not known --- */

enum create_step create_was_lost(struct create_job *job, const struct failure *cause)
{
    quota_abandon(job->op.rt->inherited->quota, &job->claim, loop_now_ms(job->op.rt->loop));
    job->claim = (struct quota_claim){0};
    create_tell_lost(job);
    repeat_lost(&job->repeat);
    if (job->op.relay != NULL)
        return create_fail_lost(job, cause);
    log_warn("request %s: the client left, and the answer to its create was lost at %s",
             job->request_id, runtime_account(job->op.rt, job->op.deployment)->name);
    operation_free(&job->op);
    return STEP_DONE;
}

/* --- refused --- */

static uint32_t untried(const struct create_job *job)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < job->candidates.num; i++)
        n += !job->tried[i];
    return n;
}

/* The operator's limit of tries holds for each tier: for the group that was asked for, and for each
 * group that it falls back to. */
static void limit_tries(struct create_job *job, struct retry_question *question)
{
    if (job->tries >= CREATE_MAX_TRIES)
        return;
    attempt_limits(job->op.rt, job->op.deployment, CREATE_MAX_TRIES, question);
    question->tries = job->tries_here;
    if (job->tries_here >= question->max_tries &&
        choose_leave_tier(&job->candidates, job->tried, job->op.deployment) > 0)
        question->tries = 0;
}

/* A copy that we stored a moment ago is not found (providers 1.7): that deployment is slow, and the
 * client's file is where it was. */
static bool lost_our_copy(struct create_job *job, const struct failure *failure)
{
    if (!create_has_copy(job) || failure->status != 404)
        return false;
    error_fill(&job->worst, COPY_NOT_FOUND, "");
    job->worst.retry_after_ms = 2000;
    return true;
}

/* The deployment has no room for the job, whose reservation was given back before. */
static void note_refusal(const struct create_job *job, const struct failure *failure)
{
    const struct inherited *inherited = job->op.rt->inherited;
    uint64_t now_ms = loop_now_ms(job->op.rt->loop);

    quota_learn_refused(inherited->quota, inherited->columns[job->op.deployment],
                        ledger_limit_in(failure->message), now_ms);
    ledger_note_refused(inherited, job->op.deployment, job->refusal_job, job->tokens, now_ms);
}

void create_drop_copy(struct create_job *job)
{
    if (create_has_copy(job))
        discard_file(job->op.rt, job->op.deployment, job->file);
    job->file[0] = '\0';
}

/* Tell everybody of the refusal, and give back what was held for the create. */
static void note_refused(struct create_job *job, const struct failure *failure,
                         struct retry_question *question)
{
    repeat_refused(&job->repeat);
    job->may_be_made = question->foreign;
    create_tell_refused(job);
    if (question->foreign)
        repeat_doubt(&job->repeat);
    create_give_back(job);
    if (job->have_facts && !job->unbalanced && failure_is_token_limit(failure))
        note_refusal(job, failure);
    job->worst = *failure;
    if (question->outcome != OUTCOME_AUTH)
        create_rule_out(job);
    if (lost_our_copy(job, failure))
        question->outcome = OUTCOME_BAD_ANSWER;
    create_drop_copy(job);
}

enum create_step create_was_refused(struct create_job *job, const struct failure *failure,
                                    const struct retry_question *refused)
{
    struct retry_question question = *refused;
    bool for_room = failure_is_token_limit(failure); /* that is no fault */

    note_refused(job, failure, &question);
    question.pinned = job->candidates.num == 0;
    question.tries = job->tries;
    question.max_tries = CREATE_MAX_TRIES;
    if (!for_room)
        limit_tries(job, &question);
    question.untried = untried(job);
    if (job->op.relay == NULL) {
        operation_free(&job->op);
        return STEP_DONE;
    }
    if (retry_decide(&question, 0).action == RETRY_NEXT)
        return STEP_ELSEWHERE;
    if (job->have_facts && !job->unbalanced && for_room)
        return create_nowhere(job); /* says when there will be room */
    return create_fail(job, &job->worst);
}

enum create_step create_was_not_sent(struct create_job *job)
{
    create_drop_copy(job);
    return create_fail_memory(job);
}
