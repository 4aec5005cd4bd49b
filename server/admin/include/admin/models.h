/* GET /v1/models (OpenAI's list) and /v1/model/info (LiteLLM's): the groups and deployments of the
 * model table, without secrets. A tenant sees the groups that its key may use, without rows,
 * addresses, accounts and numbers of the host's. */
#pragma once

#include "request/relay.h"

/** GET /v1/models: OpenAI's list of the groups. Written in slices: the answer may come later. */
void models_list(struct relay *relay);

/** GET /v1/model/info: LiteLLM's rows, without secrets; written in slices as well. */
void models_info(struct relay *relay);

/** GET /v1/models/{id}: one entry of the list, also of a name that a pattern takes. */
void models_one(struct relay *relay);

/** GET /model_group/info: LiteLLM's summary of each group. */
void models_groups(struct relay *relay);
