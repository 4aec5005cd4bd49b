/* Who asks. Three callers are told apart (tenants statements A45 to A48): the master key and admin
 * keys, which see and may all, and tenants' keys, which see what their team made, or they
 * themselves. Where no key is asked for, anybody is who has the master key.
 *
 * What a tenant may is a copy of the rights that its key had when its request began. A question
 * about models goes to the table in shared memory again: request/may_use.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/rights.h"

enum tenant_kind {
    TENANT_ANYBODY, /* no key is asked for, or none was looked at yet */
    TENANT_MASTER,
    TENANT_ADMIN, /* a key that may all, of the table */
    TENANT_KEY    /* a key that may what its rights say */
};

struct tenant {
    enum tenant_kind kind;
    bool by_token;        /* it asks by a token of an issuer, not by a key */
    struct rights rights; /* of TENANT_ADMIN and TENANT_KEY, else zero */
};

extern const struct tenant tenant_anybody, tenant_master;

/** Whether somebody asks who may not see all. NULL is nobody of that kind. */
static inline bool tenant_is_bound(const struct tenant *tenant)
{
    return tenant != NULL && tenant->kind == TENANT_KEY;
}

/** Whose objects are made and seen, as relay.h and ids.h want it. */
static inline uint64_t tenant_owner(const struct tenant *tenant)
{
    return tenant_is_bound(tenant) ? tenant->rights.owner : 0;
}

/** Whether it may call what these bits name: an admin key, too, may have fewer routes than all.
 *  @param routes  of enum rights_route; all of them */
bool tenant_may_call(const struct tenant *tenant, uint32_t routes);

enum { TENANT_NAME = 64 }; /* bytes of a name, with the NUL */

/** How refusals and the audit name a key: its alias, else its last characters behind "sk-..."; a
 * token: its user, else "token". Never a hash of a key.
 *  @param out  "": there is no key to name */
void tenant_name(const struct tenant *tenant, char out[TENANT_NAME]);

/** How the access log does: the same, but for a token's user, who is a person and may be known by an
 * address: "user-" and the first 12 digits of the name's SHA-256. */
void tenant_log_name(const struct tenant *tenant, char out[TENANT_NAME]);
