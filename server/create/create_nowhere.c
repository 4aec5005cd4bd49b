/* Why nobody has room for a batch, and when somebody will. */
#include "create_job.h"
#include "request/errors.h"

#include <stdio.h>
#include <string.h>

#include "objects/ledger.h"
#include "objects/refusals.h"
#include "request/errors.h"
#include "routing/choose.h"

/* The provider refused for want of room, of which the ledger knows nothing: it learns no limit of a
 * wildcard. The provider's own words are answered, as a 429 unless they name a limit that the job
 * exceeds. */
static void repeat_refusal(const struct create_job *job, struct failure *why)
{
    uint64_t limit = ledger_limit_in(job->worst.message);

    *why = job->worst;
    if (limit != 0 && job->least > limit)
        return;
    why->status = 429;
    snprintf(why->type, sizeof(why->type), "rate_limit_error");
    if (why->retry_after_ms < 0)
        why->retry_after_ms = QUOTA_FULL_MS;
}

struct refusal create_refusal_at(const struct create_job *job, uint32_t deployment)
{
    struct runtime *rt = job->op.rt;
    struct refusal refusal;

    (void)refusals_find(rt->inherited->memo, job->refusal_job,
                        table_deployment(rt->table, deployment)->real, loop_now_ms(rt->loop),
                        &refusal);
    return refusal;
}

bool create_any_refusal(const struct create_job *job)
{
    return job->refusal_job != 0 && refusals_any(job->op.rt->inherited->memo, job->refusal_job,
                                                 loop_now_ms(job->op.rt->loop));
}

/* The candidates that refused this very job. */
struct refusers {
    uint32_t num;
    uint64_t wait_ms; /* until the first of them is asked again */
    bool all_hopeless;
    char names[512]; /* cut to size */
};

static void add_refuser(struct refusers *r, const char *name, const struct refusal *refusal)
{
    uint64_t wait_ms = refusal->for_ms > 1000 ? refusal->for_ms : 1000;
    size_t len = strlen(r->names);

    snprintf(r->names + len, sizeof(r->names) - len, "%s%s", r->num > 0 ? ", " : "", name);
    r->wait_ms = r->num == 0 || wait_ms < r->wait_ms ? wait_ms : r->wait_ms;
    r->all_hopeless = refusal->hopeless && (r->num == 0 || r->all_hopeless);
    r->num++;
}

/* The candidates that did not refuse it are moved to the front: the job is about to end. @return
 * how many */
static uint32_t part_candidates(struct create_job *job, struct refusers *r)
{
    struct candidates *p = &job->candidates;
    uint32_t num = 0;

    *r = (struct refusers){0};
    if (!create_any_refusal(job))
        return p->num;
    for (uint32_t i = 0; i < p->num; i++) {
        uint32_t deployment = p->deployments[i];
        const struct table_deployment *d = table_deployment(job->op.rt->table, deployment);
        struct refusal refusal = create_refusal_at(job, deployment);

        if (refusal.for_ms > 0 || refusal.hopeless) {
            add_refuser(r, table_str(job->op.rt->table, d->id), &refusal);
            continue;
        }
        p->deployments[i] = p->deployments[num];
        p->deployments[num++] = deployment;
    }
    return num;
}

/* A deployment that refused the job with next to nothing enqueued will not have more room later: no
 * time is promised then. */
static void explain_refusal(const struct create_job *job, const struct refusers *r,
                            struct failure *why)
{
    unsigned long long tokens = job->tokens, wait_s = (r->wait_ms + 999) / 1000;
    char number[32];
    const char *who = r->names;

    if (job->owner != 0) { /* a tenant hears no names */
        snprintf(number, sizeof(number), "at %u of its model's", r->num);
        who = number;
    }
    if (r->all_hopeless)
        error_fill(why, REFUSED_WITH_ROOM, "", tokens, who, wait_s);
    else
        error_fill(why, REFUSED_FOR_ROOM, "", tokens, who, wait_s);
    why->retry_after_ms = (int64_t)r->wait_ms;
    why->should_not_retry = r->all_hopeless;
}

/* The ledger's verdict: over all candidates when the job never fits, else over those that did not
 * refuse this very job. */
static void explain(struct create_job *job, struct failure *why)
{
    struct refusers refusers;
    struct choose_question q = {.op = OP_CREATE,
                                .candidates = job->candidates.deployments,
                                .num = job->candidates.num,
                                .tokens = job->tokens,
                                .discreet = job->owner != 0};

    q.unsure_from = job->unsure_from =
        choose_unsure_from(job->op.rt, q.candidates, q.num, job->tokens, job->least);
    choose_nowhere(job->op.rt, &q, why);
    q.num = part_candidates(job, &refusers);
    if (why->status == 400 || refusers.num == 0)
        return;
    if (q.num > 0)
        choose_nowhere(job->op.rt, &q, why);
    if (q.num == 0 || why->status == 400)
        explain_refusal(job, &refusers, why);
}

enum create_step create_refuse_tenant(struct create_job *job)
{
    struct runtime *rt = job->op.rt;
    struct failure why;

    if (job->over_limit)
        scopes_explain(&job->scopes, rt->inherited->quota, &job->refusal, job->counted,
                       loop_now_ms(rt->loop), &why);
    else
        error_fill(&why, NOT_COUNTABLE, "input_file_id");
    return create_fail(job, &why);
}

enum create_step create_nowhere(struct create_job *job)
{
    struct failure why;

    explain(job, &why);
    /* What a provider said for other reasons than room is more telling. */
    if (job->worst.status != 0 && !failure_is_token_limit(&job->worst) &&
        (why.status == 503 || job->worst.status >= 500))
        why = job->worst;
    else if (why.status == 503 && failure_is_token_limit(&job->worst))
        repeat_refusal(job, &why);
    return create_fail(job, &why);
}
