/* See scopes.h. */
#include "scopes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "price/price.h"
#include "request/errors.h"

static struct quota_scope scope_of(uint64_t name, const struct rights_limits *limits)
{
    return (struct quota_scope){name, limits->enqueued_tokens, limits->open_batches};
}

static void take_budget(struct scopes *scopes, unsigned kind, const struct rights_limits *limits)
{
    scopes->budgets[kind] = limits->budget_nano;
    scopes->periods_s[kind] = limits->budget_period_s;
}

void scopes_of_tenant(const struct tenant *tenant, struct scopes *out)
{
    *out = (struct scopes){0};
    for (unsigned i = 0; i < QUOTA_SCOPES; i++)
        out->budgets[i] = RIGHTS_UNLIMITED;
    if (!tenant_is_bound(tenant))
        return;
    out->of[QUOTA_KEY] = scope_of(tenant->rights.key, &tenant->rights.key_limits);
    take_budget(out, QUOTA_KEY, &tenant->rights.key_limits);
    tenant_name(tenant, out->names[QUOTA_KEY]);
    if (tenant->rights.team == 0)
        return;
    out->of[QUOTA_TEAM] = scope_of(tenant->rights.team, &tenant->rights.team_limits);
    take_budget(out, QUOTA_TEAM, &tenant->rights.team_limits);
    snprintf(out->names[QUOTA_TEAM], sizeof(out->names[QUOTA_TEAM]), "%s",
             tenant->rights.team_name);
    if (tenant->rights.owner != tenant->rights.key)
        out->marker_key = tenant->rights.key;
}

bool scopes_are_limited(const struct scopes *scopes)
{
    for (unsigned i = 0; i < QUOTA_SCOPES; i++)
        if (scopes->of[i].name != 0 &&
            (scopes->of[i].tokens != RIGHTS_UNLIMITED ||
             scopes->of[i].batches != RIGHTS_UNLIMITED || scopes->budgets[i] != RIGHTS_UNLIMITED))
            return true;
    return false;
}

bool scopes_never_fit(const struct quota_refusal *refusal, uint64_t tokens)
{
    return (refusal->by == QUOTA_BY_TOKENS && tokens > refusal->limit) ||
           (refusal->by == QUOTA_BY_BATCHES && refusal->limit == 0);
}

/* Without zeros at the end, but for one: "1.0", as LiteLLM prints a float. */
static void print_dollars(uint64_t nano, char text[PRICE_DOLLARS_BYTES])
{
    size_t len = strlen(price_dollars(nano < INT64_MAX ? (int64_t)nano : INT64_MAX, text));

    while (text[len - 1] == '0' && text[len - 2] != '.')
        text[--len] = '\0';
}

void scopes_explain_budget(const struct scopes *scopes, unsigned scope, uint64_t used,
                           uint64_t limit, int status, struct failure *out)
{
    char cost[PRICE_DOLLARS_BYTES], most[PRICE_DOLLARS_BYTES];

    assert(scope < QUOTA_SCOPES);
    print_dollars(used, cost);
    print_dollars(limit, most);
    error_fill(out, BUDGET_EXCEEDED, "", scope == QUOTA_TEAM ? "Team" : "Key", scopes->names[scope],
               cost, most);
    out->status = status;
    snprintf(out->code, sizeof(out->code), "%d", status);
    out->should_not_retry = true;
}

/* Value of the header `rate_limit_type`. */
static const char *limit_type(const struct quota_refusal *refusal)
{
    return refusal->by == QUOTA_BY_TOKENS ? "tokens" : "batches";
}

static void explain_tokens(const char *kind, const char *name, const struct quota_refusal *refusal,
                           uint64_t tokens, struct failure *out)
{
    uint64_t left = refusal->limit > refusal->used ? refusal->limit - refusal->used : 0;

    if (tokens > refusal->limit)
        error_fill(out, ENQUEUED_NEVER, "", kind, name, (unsigned long long)tokens,
                   (unsigned long long)refusal->limit);
    else
        error_fill(out, ENQUEUED_LIMIT, "", kind, name, (unsigned long long)tokens,
                   (unsigned long long)left, (unsigned long long)refusal->limit);
}

static void explain_batches(const char *kind, const char *name, const struct quota_refusal *refusal,
                            struct failure *out)
{
    if (refusal->limit == 0)
        error_fill(out, OPEN_BATCHES_NONE, "", kind, name);
    else
        error_fill(out, OPEN_BATCHES_LIMIT, "", kind, name, (unsigned long long)refusal->used,
                   (unsigned long long)refusal->limit);
}

void scopes_explain(const struct scopes *scopes, const struct quota *quota,
                    const struct quota_refusal *refusal, uint64_t tokens, uint64_t now_ms,
                    struct failure *out)
{
    const char *kind = refusal->scope == QUOTA_TEAM ? "team" : "api_key";
    const char *name = scopes->names[refusal->scope];
    struct quota_scope_sum sum;

    if (refusal->by == QUOTA_BY_TABLE) {
        error_fill(out, LEDGER_FULL, "");
        out->retry_after_ms = 10000;
        return;
    }
    assert(refusal->by != QUOTA_BY_DEPLOYMENT && scopes->of[refusal->scope].name != 0);
    if (refusal->by == QUOTA_BY_TOKENS)
        explain_tokens(kind, name, refusal, tokens, out);
    else
        explain_batches(kind, name, refusal, out);
    snprintf(out->rate_limit, sizeof(out->rate_limit), "%s", limit_type(refusal));
    (void)quota_read_scope(quota, scopes->of[refusal->scope].name, now_ms, &sum);
    if (!scopes_never_fit(refusal, tokens))
        out->retry_after_ms = (int64_t)quota_scope_wait_ms(&sum, refusal, tokens);
}
