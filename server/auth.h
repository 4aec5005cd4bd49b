/* Who asks. Today: the master key, or nobody checks (LiteLLM's behaviour without one). */
#pragma once

#include <stdbool.h>

#include "server/relay.h"

/** Check the credential: `Authorization: Bearer` or `api-key`; when both are there one valid one is
 * enough (openai-python before 2.34 sends the same key twice). Sets relay->owner. On failure a 401
 * was answered and false is returned. */
bool auth_check(struct relay *relay);
