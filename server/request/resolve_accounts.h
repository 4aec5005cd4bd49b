/* Which accounts may be meant by what a request says, whatever it asks for: the provider, the model,
 * else the default. For resolve.c, which looks for an object among them, and resolve_models.c, which
 * has lists and uploads. */
#pragma once

#include "request/relay.h"

/** Whether the provider that was asked for, if one was, is served and configured.
 *  @return false: `why` says what to answer */
bool resolve_provider_is_usable(const struct relay *relay, struct failure *why);

/** Whether a deployment is of the provider that was asked for; true where none was. */
bool resolve_provider_matches(const struct relay *relay, uint32_t deployment);

/** The account as a whole that serves when nothing names a model, by its row.
 *  @return MODEL_NO_INDEX: none is configured */
uint32_t resolve_default(const struct relay *relay);

/** What a hint names: the model of the request, or (Azure SDKs) a deployment in the path. */
bool resolve_hinted(const struct relay *relay, struct table_name *name);

/** The rows that a name means. @return borrowed from `name` or the table */
const uint32_t *resolve_members(const struct runtime *rt, const struct table_name *name,
                                uint32_t *num);

/** A list of accounts, each by the deployment that stands for it, with room for all of them.
 *  @return malloc'ed; NULL: out of memory */
uint32_t *resolve_list_new(const struct runtime *rt);

/** Add the account of a deployment, once.
 *  @param list  of resolve_list_new(), all of whose entries were added by this */
void resolve_list_add(const struct runtime *rt, uint32_t deployment, uint32_t *list, uint32_t *num);

/** The accounts of the group that a hint names; without one the default account, and those `among`
 * (by account; NULL: all) that the provider asked for has.
 *  @param list  of resolve_list_new(), still empty
 *  @return how many; the likely ones first */
uint32_t resolve_all_accounts(const struct relay *relay, const bool *among, uint32_t *list);
