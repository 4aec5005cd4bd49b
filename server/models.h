/* GET /v1/models (OpenAI's list) and /v1/model/info (LiteLLM's): the groups and deployments of the
 * model table, without secrets. */
#pragma once

#include "server/relay.h"

void models_list(struct relay *relay);
void models_info(struct relay *relay);
