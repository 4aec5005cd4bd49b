/* See tenant.h. */
#include "core/tenant.h"

#include <stdio.h>

const struct tenant tenant_anybody = {.kind = TENANT_ANYBODY};
const struct tenant tenant_master = {.kind = TENANT_MASTER};

/* Who is an admin by a token has no row that could say less. */
static bool has_routes(const struct tenant *tenant)
{
    return tenant_is_bound(tenant) ||
           (tenant != NULL && tenant->kind == TENANT_ADMIN && tenant->rights.admin);
}

bool tenant_may_call(const struct tenant *tenant, uint32_t routes)
{
    return !has_routes(tenant) || (tenant->rights.routes & routes) == routes;
}

void tenant_name(const struct tenant *tenant, char out[TENANT_NAME])
{
    out[0] = '\0';
    if (tenant == NULL || (tenant->kind != TENANT_ADMIN && tenant->kind != TENANT_KEY))
        return;
    if (tenant->rights.alias[0] != '\0')
        snprintf(out, TENANT_NAME, "%s", tenant->rights.alias);
    else if (tenant->by_token)
        snprintf(out, TENANT_NAME, "token");
    else
        snprintf(out, TENANT_NAME, "sk-...%s", tenant->rights.tail);
}
