/* Who asks: the master key, a key of the table (balancer/rights.h), or nobody checks (LiteLLM's
 * behaviour without keys). */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "request/relay.h"

/** Check the credential: `Authorization: Bearer` or `api-key`; when both are there one valid one is
 * enough (openai-python before 2.34 sends the same key twice). No byte of the body is taken
 * before. Sets relay->owner and relay->tenant, the latter for the log also when the key may not be
 * used. Answers 401; 503 where the key may be one that could not be loaded yet. */
MUST_USE enum answered auth_check(struct relay *relay);

/** Find out who asks: auth_check(), and besides tokens and keys that only the keeper may know, for which the request may have to wait
 * (token_check.c, key_wait.c). Answers 401, 403, 503.
 *  @param go_on  called when somebody asks who may; perhaps before this returns. Else it is answered */
void auth_begin(struct relay *relay, void (*go_on)(struct relay *relay));

/** Whether the caller's key may call the route (tenants statement A4); `/health`, `/metrics` and
 * the management API are for the master key and admin keys alone, but a key may read itself. After auth_check(). Answers 403. */
MUST_USE enum answered auth_check_route(struct relay *relay);

/** The same of what a client stored, where another route shows it: whether the caller's key may read
 * files. Answers 403. */
MUST_USE enum answered auth_check_content(struct relay *relay);

/** Take an admin key for who asks, by its hash: sets relay->owner and relay->tenant.
 *  @return false: it is none any more, or may not be used; nothing is set, nothing answered */
MUST_USE bool auth_take_admin(struct relay *relay, const unsigned char hash[RIGHTS_HASH_BYTES]);

/** Whether a request shows the master key. False when none is set. Answers nothing. */
bool auth_has_key(const struct relay *relay);

/** Whether a request shows the master key, or a key of the table that may be used. Answers nothing. */
bool auth_shows_good_key(const struct relay *relay);

/** Two `Authorization` headers are two answers to the question who asks, and a proxy in front may
 * have looked at the other one (RFC 9110 section 5.3: it is no list). Answers 400. */
MUST_USE enum answered auth_check_single(struct relay *relay);

/** What the client sent as its key, right or wrong: the first one. @return bytes of the request, or
 * NULL */
const char *auth_credential(const struct relay *relay, size_t *len);
