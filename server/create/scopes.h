/* What a tenant's key and team may have at providers at one time: their limits for the quota ledger
 * (quota.h), and the words in which a create beyond them is refused (tenants statements A32, A39). */
#pragma once

#include "balancer/quota.h"
#include "core/tenant.h"
#include "request/relay.h"

struct scopes {
    struct quota_scope of[QUOTA_SCOPES];   /* names 0: the master key's, which has none */
    char names[QUOTA_SCOPES][TENANT_NAME]; /* for refusals; never a hash */
    /* What they may spend, which the journal alone counts: nano-dollars, RIGHTS_UNLIMITED: any; and
     * after how long all of it anew, 0: never */
    uint64_t budgets[QUOTA_SCOPES];
    uint32_t periods_s[QUOTA_SCOPES];
    uint64_t marker_key; /* struct marker.key of its creates */
};

/** Those of who asks. */
void scopes_of_tenant(const struct tenant *tenant, struct scopes *out);

/** Why a job was refused for its price, in LiteLLM's words (tenants statement A27). Clients do not
 * try again by themselves: nothing is free before money comes or batches end.
 *  @param scope   enum quota_scope_kind
 *  @param used    nano-dollars that are spent, or held for unfinished batches; `limit` of them
 *  @param status  HTTP */
void scopes_explain_budget(const struct scopes *scopes, unsigned scope, uint64_t used,
                           uint64_t limit, int status, struct failure *out);

/** Whether a batch that cannot be counted must be refused. */
bool scopes_are_limited(const struct scopes *scopes);

/** Why a job was refused by a scope, and when there will be room. A job that its limit can never
 * take is a 400.
 *  @param refusal  by tokens, batches or the table
 *  @param tokens   of the job */
void scopes_explain(const struct scopes *scopes, const struct quota *quota,
                    const struct quota_refusal *refusal, uint64_t tokens, uint64_t now_ms,
                    struct failure *out);

/** Whether it never fits, whatever ends. Pure. */
bool scopes_never_fit(const struct quota_refusal *refusal, uint64_t tokens);
