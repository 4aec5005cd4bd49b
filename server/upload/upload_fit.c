/* See upload_fit.h. */
#include "upload_fit.h"

#include <stdlib.h>

#include "upstream/provider.h"
#include "upload/verdict.h"
#include "request/errors.h"

/* What one provider says of the file. */
struct opinion {
    bool refuses, doubts; /* doubts: its text says no, but it may say yes */
    struct failure why;
};

/* Providers statement 103: what one provider accepts the other refuses. Azure's floor is its own to
 * say unless the operator does: its text names 14 days, and resources take 3. */
static void judge_expiry(const struct upload *up, enum provider provider, struct opinion *opinion)
{
    int64_t min_s, max_s, told_s, value;

    if (up->expires_seconds.len == 0 || opinion->refuses)
        return;
    provider_expiry_range(provider, &min_s, &max_s);
    value = strtoll(strbuf_str(&up->expires_seconds), NULL, 10);
    told_s = provider == PROVIDER_AZURE ? up->op.rt->config->azure_min_expiry_ms / 1000 : min_s;
    told_s = told_s > 0 ? told_s : 1;
    opinion->doubts = value < min_s;
    opinion->refuses = value < told_s || value > max_s;
    if (opinion->refuses)
        error_fill(&opinion->why, EXPIRY_RANGE, "expires_after[seconds]", (long long)told_s,
                   (long long)max_s, provider_name(provider), (long long)value);
}

static void judge(const struct upload *up, enum provider provider, struct opinion *opinion)
{
    struct verdict_rules rules;
    struct jsonl_report report;

    *opinion = (struct opinion){.refuses = false};
    if (up->lines != NULL) {
        jsonl_report(up->lines, &report);
        verdict_rules_of(&up->op.rt->config->limits, provider, &rules);
        opinion->refuses = verdict_unfit(&report, &rules, &opinion->why);
    }
    judge_expiry(up, provider, opinion);
}

bool upload_fit(const struct upload *up, const struct candidates *candidates, bool *unfit,
                struct failure *why)
{
    struct opinion opinions[PROVIDER_COUNT];
    bool any = false, sure = false;

    for (int p = 0; p < PROVIDER_COUNT; p++)
        judge(up, (enum provider)p, &opinions[p]);
    for (uint32_t i = 0; i < candidates->num; i++) {
        const struct opinion *o = &opinions[runtime_rules(up->op.rt, candidates->deployments[i])];

        unfit[i] = o->refuses;
        if (o->refuses && !any && why->status == 0)
            *why = o->why;
        any |= !o->refuses;
        sure |= !o->refuses && !o->doubts;
    }
    for (uint32_t i = 0; sure && i < candidates->num; i++)
        unfit[i] |= opinions[runtime_rules(up->op.rt, candidates->deployments[i])].doubts;
    return any;
}
