/* Cross-origin calls by browsers (the Fetch standard's CORS protocol): off unless origins are
 * configured. */
#pragma once

#include "common/err.h"
#include "request/relay.h"

/** Whether the request's Origin is one of tranche_settings.cors_origins by that very name: a `*`
 * does not let any page of the world use a gateway that asks for no key. */
bool cors_names(const struct relay *relay);

/** Add what lets the page read the answer, where its origin is allowed. */
void cors_headers(struct relay *relay);

/** Answer a preflight of an allowed origin with 204, without any key: browsers send none. */
MUST_USE enum answered cors_preflight(struct relay *relay);
