/* See tenant.h. */
#include "core/tenant.h"

#include <stdio.h>
#include <string.h>

#include "common/hex.h"
#include "crypto/sha256.h"

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

#define USER_DIGITS 12

void tenant_log_name(const struct tenant *tenant, char out[TENANT_NAME])
{
    unsigned char hash[SHA256_BYTES];

    tenant_name(tenant, out);
    if (tenant == NULL || !tenant->by_token || tenant->rights.alias[0] == '\0')
        return;
    sha256_of(&(struct sha256_piece){out, strlen(out)}, 1, hash);
    hex_write(hash, USER_DIGITS / 2, stpcpy(out, "user-"));
}
