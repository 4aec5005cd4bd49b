/* What a key may call, in LiteLLM's words: allowed_routes and key_type (tenants statement A4). */
#pragma once

#include "config/report.h"
#include "config/tree.h"

/**
 * Read `key_type` and `allowed_routes` of an entry. A path allows its resource as a whole, with all
 * that is below it, since rights are kept by resource.
 *
 * @param entry   the key's mapping
 * @param admin   in: the entry says so; out: it, or its key_type, does
 * @param routes  bits of enum rights_route
 */
void key_routes_take(const struct node *entry, struct reporter *reporter, bool *admin,
                     uint32_t *routes);

/** The same for one list. @param admin  whether what is for admin keys alone may stand in it
 *  @return bits of enum rights_route, RIGHTS_OWN_KEY among them */
uint32_t key_routes_list(const struct node *list, bool admin, struct reporter *reporter);
