/* See placement.h. It asks the same questions as a create, of the same state, and reserves
 * nothing. */
#include "create/placement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/sample.h"
#include "routing/candidates.h"
#include "routing/choose.h"
#include "objects/facts.h"
#include "objects/locate.h"
#include "objects/refusals.h"
#include "request/errors.h"
#include "request/may_use.h"
#include "request/operation.h"
#include "request/resolve.h"
#include "scopes.h"

/* The question about a file. */
struct placement {
    struct operation op;
    struct target target;    /* owned; of the input file */
    uint32_t at;             /* ... candidate in use */
    struct facts_peek *peek; /* owned; NULL: not under way */
};

static void free_placement(struct operation *op)
{
    struct placement *p = (struct placement *)op;

    if (p->peek != NULL)
        facts_peek_cancel(p->peek);
    target_deinit(&p->target);
    free(p);
}

static const struct operation_ops placement_ops = {.free = free_placement};

/* --- the answer --- */

/* One question and its answer. */
struct plan {
    struct runtime *rt;
    bool bound;             /* a tenant asks ... */
    struct scopes scopes;   /* ... whose key and team have these limits */
    bool over_limit;        /* and may not have the job now: */
    struct failure over;    /* what a create would be told */
    uint64_t tokens, least; /* as estimated, and for certain */
    uint64_t unsure_from;   /* choose_unsure_from() */
    uint64_t job;           /* facts_job(); 0: no file */
    uint32_t home;          /* the deployment that holds the file; MODEL_NO_INDEX: no file */
    struct candidates candidates;
    struct pick_candidate *all; /* [candidates.num]; owned; of very many rows the worker's */
    const struct pick_policy *policy;
    uint32_t tier; /* of the candidates that the policy chose among */
    enum quota_fit fit;
    bool hopeless; /* it was refused wherever it could go, with ample room there */
    uint64_t wait_ms;
    uint32_t chosen; /* MODEL_NO_INDEX: none */
};

static struct pick_candidate *candidate_of(const struct plan *plan, uint32_t deployment)
{
    for (uint32_t i = 0; i < plan->candidates.num; i++)
        if (plan->candidates.deployments[i] == deployment)
            return &plan->all[i];
    return NULL;
}

static bool is_very_large(const struct plan *plan)
{
    return plan->candidates.num > SAMPLE_EXACT;
}

/* A deployment that refused this very job a moment ago has no room for it, whatever the ledger
 * says. */
static void note_refusals(struct plan *plan)
{
    const struct runtime *rt = plan->rt;
    uint64_t now_ms = loop_now_ms(rt->loop);
    bool any = plan->job != 0 && refusals_any(rt->inherited->memo, plan->job, now_ms);

    plan->hopeless = any;
    for (uint32_t i = 0; any && i < plan->candidates.num; i++) {
        struct pick_candidate *c = &plan->all[i];
        struct refusal refusal;

        (void)refusals_find(rt->inherited->memo, plan->job,
                            table_deployment(rt->table, c->deployment)->real, now_ms, &refusal);
        plan->hopeless &= refusal.hopeless || (c->limit != 0 && plan->least > c->limit);
        if (refusal.for_ms == 0)
            continue;
        c->full_tokens = 0;
        c->full_for_ms = refusal.for_ms;
    }
}

static int describe(struct plan *plan)
{
    struct runtime *rt = plan->rt;
    struct choose_question q = {.op = OP_CREATE,
                                .candidates = plan->candidates.deployments,
                                .num = plan->candidates.num,
                                .unsure_from = plan->unsure_from};

    if (is_very_large(plan)) {
        plan->all = choose_look_at_all(rt, &q);
        return plan->all != NULL ? 0 : ERR_NOMEM;
    }
    plan->all = calloc(plan->candidates.num + 1, sizeof(*plan->all));
    if (plan->all == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < plan->candidates.num; i++) {
        choose_describe(rt, OP_CREATE, plan->candidates.deployments[i], loop_now_ms(rt->loop),
                        &plan->all[i]);
        plan->all[i].unsure = plan->unsure_from != 0 && plan->all[i].limit >= plan->unsure_from;
    }
    note_refusals(plan);
    return 0;
}

/* As choose_in_tiers(): a fallback is asked when no candidate before it can take the job. */
static void pick_in_tiers(struct plan *plan)
{
    const struct candidates *candidates = &plan->candidates;
    uint32_t first = 0, end;

    plan->chosen = MODEL_NO_INDEX;
    for (; first < candidates->num && plan->chosen == MODEL_NO_INDEX; first = end) {
        for (end = first;
             end < candidates->num && candidates->tiers[end] == candidates->tiers[first];)
            end++;
        plan->tier = candidates->tiers[first];
        plan->policy = choose_policy(plan->rt, candidates->deployments + first, end - first);
        plan->chosen = pick_next(plan->policy, plan->all + first, end - first, plan->tokens,
                                 runtime_random(plan->rt));
    }
}

/* A create would be refused for the limits of its key or team, whatever room there is. */
static void judge_scopes(struct plan *plan)
{
    const struct quota *quota = plan->rt->inherited->quota;
    const struct pick_candidate *at = candidate_of(plan, plan->chosen);
    struct quota_job job = {.tokens = at != NULL ? pick_tokens(at, plan->tokens) : plan->tokens};
    struct quota_refusal refusal;

    memcpy(job.scopes, plan->scopes.of, sizeof(job.scopes));
    if (quota_scopes_fit(quota, &job, &refusal) == 0)
        return;
    plan->over_limit = true;
    scopes_explain(&plan->scopes, quota, &refusal, job.tokens, loop_now_ms(plan->rt->loop),
                   &plan->over);
    plan->chosen = MODEL_NO_INDEX;
    if (scopes_never_fit(&refusal, job.tokens))
        plan->fit = QUOTA_NEVER_FITS;
    else if (plan->fit == QUOTA_FITS)
        plan->fit = QUOTA_NOT_NOW;
    if (plan->over.retry_after_ms > 0 && (uint64_t)plan->over.retry_after_ms > plan->wait_ms)
        plan->wait_ms = (uint64_t)plan->over.retry_after_ms;
}

static int decide(struct plan *plan)
{
    const struct pick_candidate *home;

    plan->unsure_from = choose_unsure_from(plan->rt, plan->candidates.deployments,
                                           plan->candidates.num, plan->tokens, plan->least);
    if (describe(plan) != 0)
        return ERR_NOMEM;
    plan->policy = choose_policy(plan->rt, plan->candidates.deployments, plan->candidates.num);
    plan->fit = quota_verdict(plan->all, plan->candidates.num, plan->tokens, &plan->wait_ms);
    home = plan->home != MODEL_NO_INDEX ? candidate_of(plan, plan->home) : NULL;
    if (home != NULL && pick_fits(home, plan->tokens))
        plan->chosen = plan->home;
    else
        pick_in_tiers(plan);
    judge_scopes(plan);
    return 0;
}

static const char *reason_of(const struct plan *plan)
{
    if (plan->over_limit)
        return plan->over.message;
    if (plan->fit == QUOTA_NEVER_FITS)
        return "It is larger than the limit of every deployment.";
    if (plan->fit == QUOTA_NOT_NOW && plan->hopeless)
        return "It was refused where there is ample room for that: no room can be promised.";
    if (plan->fit == QUOTA_NOT_NOW)
        return "No deployment has room for it now.";
    if (plan->chosen == MODEL_NO_INDEX)
        return "Those that have room are at their rpm or tpm limit for this minute.";
    if (plan->chosen == plan->home)
        return "The file is there, and the tokens fit.";
    if (plan->tier > 0)
        return "What was asked for has no room now; chosen among what it falls back to.";
    if (strcmp(plan->policy->name, "quota-aware") == 0)
        return plan->home == MODEL_NO_INDEX
                   ? "Least expected completion of those where the tokens fit."
                   : "The tokens do not fit where the file is; of the others this one has the "
                     "least expected completion, and would get a copy.";
    return plan->home == MODEL_NO_INDEX
               ? "Chosen by the routing strategy among those where the tokens fit."
               : "The tokens do not fit where the file is; chosen by the routing strategy among "
                 "the others, and would get a copy.";
}

static double seconds(double s)
{
    return isfinite(s) ? round(s * 10) / 10 : 0;
}

/* Rounded to a tenth; a small rate to three digits, so that it does not read as none. */
static double rate(double tokens_per_second)
{
    double scale = 10;

    if (!isfinite(tokens_per_second) || tokens_per_second <= 0)
        return 0;
    while (tokens_per_second * scale < 100 && scale < 1e9)
        scale *= 10;
    return round(tokens_per_second * scale) / scale;
}

static struct json *show_candidate(const struct plan *plan, struct json_doc *doc, uint32_t i)
{
    const struct runtime *rt = plan->rt;
    const struct pick_candidate *c = &plan->all[i];
    uint32_t deployment = plan->candidates.deployments[i];
    const struct table_deployment *d = table_deployment(rt->table, deployment);
    uint64_t room = c->limit > c->enqueued ? c->limit - c->enqueued : 0;
    struct json *row = json_new_object(doc);
    struct json *none = json_new_null(doc);

    json_set_str(doc, row, "deployment", table_str(rt->table, d->id));
    json_set_str(doc, row, "account", runtime_account(rt, deployment)->name);
    json_set_str(doc, row, "model", table_str(rt->table, d->upstream_model));
    json_set(doc, row, "limit_tokens", c->limit > 0 ? json_new_int(doc, (int64_t)c->limit) : none);
    json_set_int(doc, row, "enqueued_tokens", (int64_t)c->enqueued);
    json_set(doc, row, "free_tokens",
             c->limit > 0 ? json_new_int(doc, (int64_t)room) : json_new_null(doc));
    json_set(doc, row, "drain_tokens_per_second", json_new_double(doc, rate(pick_drain_rate(c))));
    json_set(doc, row, "expected_completion_seconds",
             json_new_double(
                 doc, seconds(((double)c->enqueued + (double)plan->tokens) / pick_drain_rate(c))));
    json_set(doc, row, "fits", json_new_bool(doc, pick_fits(c, plan->tokens)));
    json_set(doc, row, "admitted", json_new_bool(doc, c->admitted));
    json_set(doc, row, "fallback", json_new_bool(doc, plan->candidates.tiers[i] > 0));
    json_set(doc, row, "holds_file", json_new_bool(doc, deployment == plan->home));
    json_set(doc, row, "chosen", json_new_bool(doc, deployment == plan->chosen));
    return row;
}

/* Show the candidate that is chosen, the one that holds the file, and the first ones: to show all
 * of 10,000 took 29 ms and 2.8 MB. @return how many are left out */
static uint32_t show_candidates(const struct plan *plan, struct json_doc *doc, struct json *rows)
{
    uint32_t left_out = 0, room = SAMPLE_EXACT;

    for (uint32_t i = 0; i < plan->candidates.num; i++) {
        uint32_t deployment = plan->candidates.deployments[i];
        bool always = deployment == plan->chosen || deployment == plan->home;

        if (always || room > 0)
            json_append(doc, rows, show_candidate(plan, doc, i));
        else
            left_out++;
        room -= !always && room > 0;
    }
    return left_out;
}

/* A tenant hears whether there is room and when, which is what its own creates would find; names and
 * loads of deployments are the host's, and what others have enqueued is theirs. */
static struct json *show(const struct plan *plan, struct json_doc *doc)
{
    static const char *const fits[] = {
        [QUOTA_FITS] = "now", [QUOTA_NOT_NOW] = "later", [QUOTA_NEVER_FITS] = "never"};
    const struct runtime *rt = plan->rt;
    struct json *root = json_new_object(doc), *rows = json_new_array(doc);
    const char *chosen = NULL;
    uint32_t left_out;

    if (plan->chosen != MODEL_NO_INDEX && !plan->bound)
        chosen = table_str(rt->table, table_deployment(rt->table, plan->chosen)->id);
    json_set_str(doc, root, "object", "batch.placement");
    json_set_int(doc, root, "tokens", (int64_t)plan->tokens);
    json_set_str(doc, root, "fits",
                 plan->fit == QUOTA_NOT_NOW && plan->hopeless ? "unlikely" : fits[plan->fit]);
    json_set_str(doc, root, "routing_strategy", plan->policy->name);
    json_set(doc, root, "deployment", json_new_cstring(doc, chosen));
    json_set_str(doc, root, "reason", reason_of(plan));
    json_set(doc, root, "retry_after_ms",
             plan->fit == QUOTA_NOT_NOW && !plan->hopeless
                 ? json_new_int(doc, (int64_t)plan->wait_ms)
                 : json_new_null(doc));
    left_out = plan->bound ? 0 : show_candidates(plan, doc, rows);
    json_set(doc, root, "candidates", rows);
    if (left_out > 0)
        json_set_int(doc, root, "candidates_left_out", left_out);
    return root;
}

static void out_of_memory(struct relay *relay)
{
    relay_error(relay, OUT_OF_MEMORY, "");
}

/* Answer, and free the plan, whose candidates are filled. */
static void answer(struct relay *relay, struct plan *plan)
{
    struct json_doc *doc = json_doc_new();

    if (doc == NULL || decide(plan) != 0)
        out_of_memory(relay);
    else
        relay_json(relay, 200, show(plan, doc));
    json_doc_free(doc);
    if (!is_very_large(plan))
        free(plan->all);
    candidates_deinit(&plan->candidates);
}

/* --- of a file --- */

/* Drop the candidates to which a batch of the file may not go. */
static void drop_other_groups(const struct runtime *rt, const struct facts *facts,
                              struct candidates *candidates)
{
    uint32_t num = candidates->num;

    candidates->num = 0;
    for (uint32_t i = 0; i < num; i++) {
        if (!facts_may_go(rt->table, facts, candidates->deployments[i]))
            continue;
        candidates->deployments[candidates->num] = candidates->deployments[i];
        candidates->tiers[candidates->num++] = candidates->tiers[i];
    }
}

static void answer_file(struct placement *p, const struct facts *facts)
{
    struct runtime *rt = p->op.rt;
    const struct table_deployment *d = table_deployment(rt->table, facts->deployment);
    struct plan plan = {.rt = rt,
                        .bound = tenant_is_bound(p->op.relay->tenant),
                        .tokens = facts_tokens(rt, facts, (enum provider)d->provider),
                        .least = facts_least(rt, facts, (enum provider)d->provider),
                        .home = facts->deployment};
    struct facts known = *facts;
    struct relay *relay;

    plan.job = facts_job(facts, p->op.relay->owner);
    scopes_of_tenant(p->op.relay->tenant, &plan.scopes);
    relay = operation_end(&p->op);

    if (candidates_of_group(rt, d->group, &plan.candidates) != 0) {
        out_of_memory(relay);
        return;
    }
    may_use_drop_fallbacks(relay, &plan.candidates);
    drop_other_groups(rt, &known, &plan.candidates);
    answer(relay, &plan);
}

static void fail_not_placed(struct placement *p)
{
    struct failure failure;

    error_fill(&failure, FILE_NOT_PLACED, "input_file_id");
    operation_fail(&p->op, &failure);
}

static void on_peeked(void *arg, const struct facts *facts)
{
    struct placement *p = arg;

    p->peek = NULL;
    if (facts != NULL)
        answer_file(p, facts);
    else
        fail_not_placed(p);
}

static void find_facts(struct placement *p)
{
    struct runtime *rt = p->op.rt;
    uint32_t home = p->target.deployments[p->at];
    struct facts facts;

    if (facts_recall(rt, home, p->target.native, &facts)) {
        answer_file(p, &facts);
        return;
    }
    p->peek = facts_peek_start(rt, share_owner(p->op.share), home, p->target.native, on_peeked, p);
    if (p->peek == NULL)
        operation_fail_memory(&p->op);
}

static void on_located(struct operation *op, const struct locate_result *result)
{
    struct placement *p = (struct placement *)op;

    op->deployment = MODEL_NO_INDEX; /* nobody serves it: it is not made */
    if (result->found) {
        while (p->target.deployments[p->at] != result->deployment)
            p->at++;
        find_facts(p);
    } else if (result->failure.status == 404) {
        fail_not_placed(p);
    } else {
        operation_fail(op, &result->failure);
    }
}

static void start_file(struct relay *relay, const char *id, size_t len)
{
    struct placement *p = operation_new(sizeof(*p), relay, &placement_ops);

    if (p == NULL)
        return; /* answered */
    if (resolve_id(relay, ID_FILE, id, len, &p->target) == ANSWERED)
        operation_answered(&p->op);
    else if (p->target.unsure)
        operation_locate(&p->op, ID_FILE, p->target.native, p->target.deployments, p->target.num,
                         on_located);
    else
        find_facts(p);
}

/* --- of a number --- */

/* Answers 403. */
static bool model_is_allowed(struct relay *relay, const char *model)
{
    enum rights_model verdict = may_use_either(relay, model, strlen(model));
    struct failure why;

    if (verdict == RIGHTS_MODEL_ALLOWED)
        return true;
    may_use_deny(&why, verdict, false, model, strlen(model));
    relay_failure(relay, &why);
    return false;
}

static void start_number(struct relay *relay)
{
    const char *model = json_get_str(relay->request, "model");
    struct plan plan = {
        .rt = relay->rt, .bound = tenant_is_bound(relay->tenant), .home = MODEL_NO_INDEX};
    const struct table *table = relay->rt->table;
    char target[RIGHTS_NAME_MAX + 1];
    uint32_t group;
    int64_t tokens;

    scopes_of_tenant(relay->tenant, &plan.scopes);
    if (model != NULL && may_use_alias(relay, model, strlen(model), target))
        model = target;
    group = model != NULL ? table_find_group(table, model, strlen(model)) : MODEL_NO_INDEX;
    if (model == NULL)
        relay_error(relay, PLACEMENT_OF_WHAT, "input_file_id");
    else if (!model_is_allowed(relay, model))
        ; /* then that was all */
    else if (group == MODEL_NO_INDEX)
        relay_error(relay, MODEL_NOT_HERE, "model", model);
    else if (!json_int64(json_get(relay->request, "tokens"), &tokens) || tokens < 1)
        relay_error(relay, TOKENS_TYPE, "tokens");
    else if (candidates_of_group(relay->rt, group, &plan.candidates) != 0)
        out_of_memory(relay);
    else {
        plan.tokens = plan.least = (uint64_t)tokens;
        may_use_drop_fallbacks(relay, &plan.candidates);
        answer(relay, &plan);
    }
}

void placement_start(struct relay *relay)
{
    size_t len;
    const char *id = json_str(json_get(relay->request, "input_file_id"), &len);

    if (id != NULL)
        start_file(relay, id, len);
    else
        start_number(relay);
}
