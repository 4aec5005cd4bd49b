/* Which rows of model_list count: those of our providers, for this environment, and for everybody
 * who may call. */
#pragma once

#include "config/env.h"
#include "config/report.h"

/** Mark the rows that are no business of ours (LiteLLM's files mix providers), that name no model,
 * or that are not for this environment (model_info.supported_environments and the variable
 * LITELLM_ENVIRONMENT) as skipped, before schema_check(): what they contain is then not complained
 * about. Rows get what their litellm_credential_name stands for. */
void rows_mark(struct node *root, const struct env *env, struct reporter *reporter);

/** Whether a row is for everybody who may call here: not blocked, not one team's, and not for an
 * access group where no key is asked for. Otherwise somebody is told, and the row is marked.
 *  @param keyed    a master key is set
 *  @param tenants  keys may name access groups: keys_are_named() */
bool rows_for_all(struct node *row, bool keyed, bool tenants, struct reporter *reporter);
