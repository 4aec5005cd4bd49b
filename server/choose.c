/* See choose.h. The decision itself is pure and lives in balancer/pick.c. */
#include "server/choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW 32 /* candidates that need no allocation */

static void describe(struct worker *w, enum op_class op, uint32_t deployment, uint64_t now_ms,
                     struct pick_candidate *c)
{
    const struct table_deployment *d = table_deployment(w->table, deployment);
    uint32_t column = w->inherit->columns[deployment];
    struct state_sum sum;

    state_read(w->inherit->state, column, now_ms, &sum);
    memset(c, 0, sizeof(*c));
    c->deployment = deployment;
    c->weight = d->weight;
    c->rpm = d->rpm;
    c->tpm = d->tpm;
    c->order = d->order;
    c->admitted = breaker_admits(
        atomic_load_explicit(state_health(w->inherit->state, column, op), memory_order_relaxed),
        now_ms);
    c->requests_minute = sum.requests_minute;
    c->tokens_minute = sum.tokens_minute;
    c->latency_us = sum.latency_us;
    for (int i = 0; i < OP_CLASS_COUNT; i++)
        c->in_flight += sum.in_flight[i];
    quota_describe(w->inherit->quota, column, now_ms, c);
}

/* Another worker won the right to probe this one: for us it is still resting. @return false: we
 * knew that already */
static bool withdraw(struct pick_candidate *all, uint32_t num, uint32_t deployment)
{
    for (uint32_t i = 0; i < num; i++) {
        if (all[i].deployment != deployment || !all[i].admitted)
            continue;
        all[i].admitted = false;
        return true;
    }
    return false;
}

/* Batches are bounded by tokens, not by requests: where the operator says that a group is for them
 * and names no strategy, the quota decides; but shares that he gave in weights are what he wants.
 */
static const struct pick_policy *policy_of(const struct worker *w, const uint32_t *candidates,
                                           uint32_t num)
{
    bool is_batch = false, is_weighted = false;

    if (w->policy != NULL)
        return w->policy;
    for (uint32_t i = 0; i < num; i++) {
        const struct table_deployment *d = table_deployment(w->table, candidates[i]);

        is_batch |= d->batch != 0;
        is_weighted |= d->weight != 0;
    }
    return pick_policy_find(is_batch && !is_weighted ? "quota-aware" : "simple-shuffle");
}

uint32_t choose_deployment(struct worker *w, enum op_class op, const uint32_t *candidates,
                           uint32_t num, const bool *tried, uint64_t tokens)
{
    struct pick_candidate few[FEW], *all = few;
    uint64_t now_ms = loop_now_ms(w->loop);
    const struct pick_policy *policy = policy_of(w, candidates, num);
    uint32_t chosen;

    if (num > FEW && (all = calloc(num, sizeof(*all))) == NULL)
        return MODEL_NO_INDEX;
    for (uint32_t i = 0; i < num; i++) {
        describe(w, op, candidates[i], now_ms, &all[i]);
        all[i].tried = tried[i];
    }
    for (;;) {
        chosen = pick_next(policy, all, num, tokens, worker_random(w));
        if (chosen == MODEL_NO_INDEX ||
            breaker_enter(state_health(w->inherit->state, w->inherit->columns[chosen], op),
                          now_ms) ||
            !withdraw(all, num, chosen))
            break; /* found, nowhere, or the last resort that is never ejected */
    }
    if (all != few)
        free(all);
    return chosen;
}

void choose_give_back(struct worker *w, enum op_class op, uint32_t deployment)
{
    struct breaker_view before, after;

    (void)breaker_record(state_health(w->inherit->state, w->inherit->columns[deployment], op),
                         &w->inherit->breaker, OUTCOME_CANCELLED, -1,
                         table_deployment(w->table, deployment)->fingerprint, loop_now_ms(w->loop),
                         &before, &after);
}

void choose_nowhere(struct worker *w, enum op_class op, const uint32_t *candidates, uint32_t num,
                    struct failure *out)
{
    uint64_t now_ms = loop_now_ms(w->loop), wait_ms = 60000 - now_ms % 60000;
    bool limited = false;

    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < num; i++) {
        struct pick_candidate c;

        describe(w, op, candidates[i], now_ms, &c);
        limited |= (c.rpm > 0 && c.requests_minute >= (uint64_t)c.rpm) ||
                   (c.tpm > 0 && c.tokens_minute >= (uint64_t)c.tpm);
    }
    out->status = limited ? 429 : 503;
    out->retry_after_ms = (int64_t)(limited ? wait_ms : 5000);
    snprintf(out->type, sizeof(out->type), "%s", limited ? "rate_limit_error" : "server_error");
    snprintf(out->code, sizeof(out->code), "%s",
             limited ? "rate_limit_exceeded" : "no_deployment_available");
    snprintf(out->message, sizeof(out->message), "%s",
             limited
                 ? "All deployments of this model are at their rpm or tpm limit for this minute."
                 : "No deployment of this model can take the request now.");
}
