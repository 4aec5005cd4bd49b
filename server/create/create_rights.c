/* See create_rights.h. */
#include "create_rights.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "objects/file_model.h"
#include "request/errors.h"
#include "request/may_use.h"

static bool recall(const struct create_job *job, char name[FILE_MODEL_SIZE])
{
    return file_model_recall(job->op.rt, create_home(job), job->target.native, name);
}

bool create_wants_model(const struct create_job *job)
{
    char name[FILE_MODEL_SIZE];

    return may_use_is_limited(job->op.relay) && !recall(job, name);
}

/* That the lines' deployment is of; MODEL_NO_INDEX: not known. */
static uint32_t group_of(const struct create_job *job)
{
    return job->have_facts ? table_deployment(job->op.rt->table, job->facts.deployment)->group
                           : MODEL_NO_INDEX;
}

/* By the deployment, of which the row may be a guess: two groups may have it. The batch runs there
 * in any case, so it is allowed when either is. */
static enum rights_model judge_facts(const struct create_job *job)
{
    const struct table *table = job->op.rt->table;
    uint32_t group = group_of(job);
    enum rights_model verdict =
        group != MODEL_NO_INDEX ? may_use_group(job->op.relay, group) : RIGHTS_MODEL_NOT_OF_KEY;

    for (uint32_t i = 0; job->facts.guessed && i < table_num_deployments(table); i++) {
        uint32_t other = table_deployment(table, i)->group;

        if (verdict == RIGHTS_MODEL_ALLOWED)
            break;
        if (other != MODEL_NO_INDEX && other != group &&
            table_same_deployment(table, i, job->facts.deployment) &&
            may_use_group(job->op.relay, other) == RIGHTS_MODEL_ALLOWED)
            verdict = RIGHTS_MODEL_ALLOWED;
    }
    return verdict;
}

bool create_is_allowed(const struct create_job *job, struct failure *why)
{
    char name[FILE_MODEL_SIZE] = "";
    enum rights_model verdict = RIGHTS_MODEL_NOT_OF_KEY;
    uint32_t group = group_of(job);

    assert(job->step == STEP_RESERVE && job->claim.entry == 0); /* nothing is counted before */
    if (!may_use_is_limited(job->op.relay))
        return true;
    if (job->have_facts)
        verdict = judge_facts(job);
    if (verdict == RIGHTS_MODEL_ALLOWED)
        return true;
    if (recall(job, name))
        verdict = may_use_either(job->op.relay, name, strlen(name));
    else if (group != MODEL_NO_INDEX)
        snprintf(name, sizeof(name), "%s", table_group_name(job->op.rt->table, group));
    if (verdict == RIGHTS_MODEL_ALLOWED)
        return true;
    if (name[0] != '\0')
        may_use_deny(why, verdict, true, name, strlen(name));
    else
        error_fill(why, FILE_MODEL_UNKNOWN, "input_file_id");
    return false;
}
