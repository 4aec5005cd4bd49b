/* Who asks. Today: the master key, or nobody checks (LiteLLM's behaviour without one). */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "request/relay.h"

/** Check the credential: `Authorization: Bearer` or `api-key`; when both are there one valid one is
 * enough (openai-python before 2.34 sends the same key twice). Sets relay->owner. Answers 401. */
MUST_USE enum answered auth_check(struct relay *relay);

/** Whether a request shows the master key. False when none is set. Answers nothing. */
bool auth_has_key(const struct relay *relay);

/** Two `Authorization` headers are two answers to the question who asks, and a proxy in front may
 * have looked at the other one (RFC 9110 section 5.3: it is no list). Answers 400. */
MUST_USE enum answered auth_check_single(struct relay *relay);

/** What the client sent as its key, right or wrong: the first one. @return bytes of the request, or
 * NULL */
const char *auth_credential(const struct relay *relay, size_t *len);
