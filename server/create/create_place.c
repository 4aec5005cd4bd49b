/* Where a create's batch is made: where its file is, or, when there is no room or the provider
 * refuses, at another deployment of its group (or of those that the group falls back to), which
 * gets a copy of the file. */
#include "create_job.h"
#include "create_rights.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "core/endpoints.h"
#include "objects/file_slots.h"
#include "objects/file_url.h"
#include "objects/refusals.h"
#include "routing/choose.h"
#include "request/errors.h"
#include "request/may_use.h"

/* --- whether a provider would take it --- */

/* Providers statement 103: the output's expiry is refused here when this provider would. */
static bool expiry_is_in_range(const struct create_job *job, enum provider provider,
                               struct failure *failure)
{
    const struct json *seconds =
        json_get(json_get(job->op.relay->request, "output_expires_after"), "seconds");
    int64_t min_s, max_s, value;

    if (!json_int64(seconds, &value))
        return true; /* absent, or for the provider to refuse */
    provider_expiry_range(provider, &min_s, &max_s);
    if (provider == PROVIDER_AZURE) /* its floor is its own to say: upload_fit.c */
        min_s = job->op.rt->config->azure_min_expiry_ms / 1000;
    error_fill(failure, OUTPUT_EXPIRY_RANGE, "output_expires_after.seconds", (long long)min_s,
               (long long)max_s, provider_name(provider), (long long)value);
    return value >= min_s && value <= max_s;
}

/* OpenAI refuses such a batch too, but only hours after it was made; Azure takes it. A file whose
 * lines we did not see passes. */
static bool endpoint_is_that_of_lines(const struct create_job *job, enum provider provider,
                                      struct failure *failure)
{
    if (provider != PROVIDER_OPENAI || job->file_url == NULL ||
        endpoints_are_same(job->endpoint, job->file_url))
        return true;
    error_fill(failure, URL_MISMATCH, "endpoint", job->endpoint, job->file_url);
    return false;
}

/* What one provider accepts the other refuses, OpenAI hours later: its lines' urls begin with /v1,
 * and they are what `endpoint` says (providers 1.3 and 2.5). */
static bool could_take(const struct create_job *job, enum provider provider)
{
    struct failure why;

    return expiry_is_in_range(job, provider, &why) &&
           endpoint_is_that_of_lines(job, provider, &why) &&
           (provider != PROVIDER_OPENAI || strncmp(job->endpoint, "/v1/", 4) == 0);
}

static bool may_go(const struct create_job *job, bool movable, uint32_t deployment)
{
    return movable && facts_may_go(job->op.rt->table, &job->facts, deployment) &&
           could_take(job, runtime_rules(job->op.rt, deployment));
}

/* Rows that cannot take this work are no candidates: their room is of no use to it. */
static void drop_unfit(struct create_job *job)
{
    struct candidates *p = &job->candidates;
    uint32_t num = p->num;
    bool movable = create_can_be_marked(job);

    p->num = 0;
    for (uint32_t i = 0; i < num; i++) {
        uint32_t deployment = p->deployments[i];

        if (deployment != job->facts.deployment && !may_go(job, movable, deployment))
            continue;
        p->deployments[p->num] = deployment;
        p->tiers[p->num++] = p->tiers[i];
    }
}

/* --- candidates, and their room --- */

/* How many tokens the ledger counts for the job at a deployment. */
static uint64_t tokens_at(const struct create_job *job, uint32_t column)
{
    uint64_t limit =
        quota_limit(job->op.rt->inherited->quota, column, loop_now_ms(job->op.rt->loop));
    struct pick_candidate c = {.limit = limit,
                               .unsure = job->unsure_from != 0 && limit >= job->unsure_from};

    return pick_tokens(&c, job->tokens);
}

/* Count the job's tokens at a deployment, and for who asks. @return 0; ERR_LIMIT: it has no room, or
 * with `over_limit` who asks may not have it */
static int reserve(struct create_job *job, uint32_t deployment)
{
    struct runtime *rt = job->op.rt;
    uint32_t column = rt->inherited->columns[deployment];
    struct quota_job counted = {.tokens = tokens_at(job, column), .anyway = job->unbalanced};
    int rc;

    assert(job->claim.entry == 0 && job->have_facts); /* once at a time, and of known tokens */
    if (job->nonce[0] != '\0')
        counted.token = quota_token(rt->inherited->quota, column, job->nonce, strlen(job->nonce));
    memcpy(counted.scopes, job->scopes.of, sizeof(counted.scopes));
    job->counted = counted.tokens;
    rc = quota_reserve_job(rt->inherited->quota, rt->slot, column, &counted, loop_now_ms(rt->loop),
                           &job->claim, &job->refusal);
    job->uncounted = rc == ERR_FULL && !scopes_are_limited(&job->scopes);
    job->over_limit = rc != 0 && !job->uncounted && job->refusal.by != QUOTA_BY_DEPLOYMENT;
    if (rc == ERR_FULL)
        log_warn("quota: the ledger is full; a batch is %s",
                 job->uncounted ? "created without a reservation" : "refused");
    return rc == 0 || job->uncounted ? 0 : ERR_LIMIT;
}

void create_give_back(struct create_job *job)
{
    struct runtime *rt = job->op.rt;

    quota_cancel(rt->inherited->quota, rt->slot, &job->claim, loop_now_ms(rt->loop));
    job->claim = (struct quota_claim){0};
    if (job->permit)
        choose_give_back(rt, OP_CREATE, job->op.deployment);
    job->permit = false;
}

/* Mark the rows of a deployment as tried.
 * @param any_key  also its rows with another key, or of another API version */
static void set_tried(struct create_job *job, uint32_t deployment, bool any_key)
{
    const struct table *table = job->op.rt->table;
    uint32_t account = table_deployment(table, deployment)->account;

    for (uint32_t i = 0; i < job->candidates.num; i++) {
        uint32_t other = job->candidates.deployments[i];

        if (table_same_deployment(table, other, deployment) &&
            (any_key || table_deployment(table, other)->account == account))
            job->tried[i] = true;
    }
}

void create_rule_out(struct create_job *job)
{
    set_tried(job, job->op.deployment, true);
}

/* Deployments that refused this very job a moment ago count as tried. */
static void skip_refusers(struct create_job *job)
{
    for (uint32_t i = 0; create_any_refusal(job) && i < job->candidates.num; i++)
        job->tried[i] |= create_refusal_at(job, job->candidates.deployments[i]).for_ms > 0;
}

/* Fill in the rows that may take the job, and which of them count as tried. */
static int find_candidates(struct create_job *job)
{
    const struct runtime *rt = job->op.rt;

    assert(job->tried == NULL && job->barred == NULL); /* they are as long as the candidates */
    if (candidates_of_group(rt, table_deployment(rt->table, job->facts.deployment)->group,
                            &job->candidates) != 0 ||
        (job->tried = calloc(job->candidates.num + 1, sizeof(bool))) == NULL ||
        (job->barred = calloc(job->candidates.num + 1, sizeof(bool))) == NULL)
        return ERR_NOMEM;
    may_use_drop_fallbacks(job->op.relay, &job->candidates);
    drop_unfit(job);
    set_tried(job, job->facts.deployment, false);
    skip_refusers(job);
    job->unsure_from = choose_unsure_from(job->op.rt, job->candidates.deployments,
                                          job->candidates.num, job->tokens, job->least);
    return 0;
}

/* --- where the file is --- */

/* Estimate the job's tokens, find its candidates, and count it where its file is. Where nothing is
 * balanced it goes there in any case, unless who asks may not have it.
 * @return 0; ERR_LIMIT: it has no room there; ERR_NOMEM */
static int reserve_at_home(struct create_job *job)
{
    struct runtime *rt = job->op.rt;
    uint32_t home = create_home(job);
    enum provider provider = runtime_account(rt, home)->provider;

    job->tokens = facts_tokens(rt, &job->facts, provider);
    job->least = facts_least(rt, &job->facts, provider);
    if (job->unbalanced)
        return reserve(job, job->op.deployment);
    job->refusal_job = facts_job(&job->facts, job->owner);
    if (find_candidates(job) != 0)
        return ERR_NOMEM;
    facts_take_expected(rt, home, job->target.native, &job->facts);
    if (create_refusal_at(job, job->op.deployment).for_ms > 0)
        return ERR_LIMIT;
    return reserve(job, job->op.deployment);
}

enum create_step create_reserve(struct create_job *job)
{
    uint32_t home = create_home(job);
    enum provider rules = runtime_rules(job->op.rt, home);
    struct failure why;
    int rc = 0;

    if (!create_is_allowed(job, &why))
        return create_fail(job, &why);
    if (job->target.native[0] != '\0')
        job->file_url = file_url_recall(job->op.rt, home, job->target.native);
    job->have_facts &= !job->unbalanced || create_is_scoped(job);
    job->op.deployment = job->have_facts && !job->unbalanced ? job->facts.deployment : home;
    snprintf(job->file, sizeof(job->file), "%s", job->target.native);
    if (!expiry_is_in_range(job, rules, &why) || !endpoint_is_that_of_lines(job, rules, &why))
        return create_fail(job, &why);
    if (job->have_facts)
        rc = reserve_at_home(job);
    else if (scopes_are_limited(&job->scopes))
        return create_refuse_tenant(job);
    if (rc == ERR_NOMEM)
        return create_fail_memory(job);
    if (rc == 0)
        return STEP_WRITE;
    if (job->over_limit)
        return create_refuse_tenant(job);
    job->file[0] = '\0';
    return STEP_ELSEWHERE;
}

/* --- elsewhere --- */

/* Candidates that have a slot for the copy come first. When none has, all are asked: the count may
 * be old, and a provider that refuses tells more than we know. */
static uint32_t choose(struct create_job *job)
{
    uint32_t tier = job->tier, chosen;

    for (uint32_t i = 0; i < job->candidates.num; i++) {
        uint32_t deployment = job->candidates.deployments[i];

        job->barred[i] =
            job->tried[i] || !file_slots_open(job->op.rt, deployment,
                                              move_slot_kind(job->op.rt, &job->facts, deployment));
    }
    chosen = choose_in_tiers(job->op.rt, OP_CREATE, &job->candidates, job->barred, &tier,
                             job->tokens, job->unsure_from);
    if (chosen == MODEL_NO_INDEX)
        chosen = choose_in_tiers(job->op.rt, OP_CREATE, &job->candidates, job->tried, &job->tier,
                                 job->tokens, job->unsure_from);
    return chosen;
}

/* The next deployment that has room, with its tokens reserved; MODEL_NO_INDEX: none. */
static uint32_t choose_with_room(struct create_job *job)
{
    uint32_t chosen, tier = job->tier;

    assert(!job->permit); /* the one before was given back */
    while (job->candidates.num > 0 && (chosen = choose(job)) != MODEL_NO_INDEX) {
        set_tried(job, chosen, false);
        if (reserve(job, chosen) == 0) {
            job->permit = true;
            job->tries_here = job->tier == tier ? job->tries_here : 0;
            return chosen;
        }
        choose_give_back(job->op.rt, OP_CREATE, chosen); /* somebody was faster */
        if (job->over_limit)
            break;
    }
    return MODEL_NO_INDEX;
}

enum create_step create_elsewhere(struct create_job *job)
{
    uint32_t chosen = choose_with_room(job);

    if (chosen == MODEL_NO_INDEX)
        return job->over_limit ? create_refuse_tenant(job) : create_nowhere(job);
    job->op.deployment = chosen;
    return STEP_COPY;
}

static void on_moved(void *arg, enum move_end end, const char *copy, const struct failure *why)
{
    struct create_job *job = arg;
    struct failure unreadable;

    create_ended(job, STEP_COPY);
    if (end == MOVE_DONE) {
        snprintf(job->file, sizeof(job->file), "%s", copy);
        create_go(job, STEP_WRITE);
        return;
    }
    if (end != MOVE_DONE && why->status == 0) {
        error_fill(&unreadable, COPY_UNREADABLE, "");
        why = &unreadable;
    }
    create_give_back(job);
    if (why->status != 401 && why->status != 403)
        create_rule_out(job);
    if (job->worst.status == 0 || failure_is_token_limit(&job->worst))
        job->worst = *why;
    if (end == MOVE_NOT_THERE && ++job->tries < CREATE_MAX_TRIES)
        create_go(job, STEP_ELSEWHERE);
    else
        (void)create_fail(job, &job->worst);
}

enum create_step create_copy(struct create_job *job)
{
    if (job->move == NULL)
        job->move = move_new(job->op.rt, job->op.share, job->facts.deployment, job->target.native,
                             on_moved, job);
    if (job->move == NULL || move_to(job->move, job->op.deployment) != 0)
        return create_fail_memory(job);
    return STEP_WAITS;
}
