/* Cross-origin calls by browsers (the Fetch standard's CORS protocol): off unless origins are
 * configured. */
#pragma once

#include "request/relay.h"

/** Whether the request's Origin is one of tranche_settings.cors_origins by that very name: a `*` does
 * not let any page of the world use a gateway that asks for no key. */
bool cors_names(const struct relay *relay);

/** Add what lets the page read the answer, where its origin is allowed. */
void cors_headers(struct relay *relay);

/** Whether it is a preflight of an allowed origin; then it was answered (204), without any key, as
 * browsers send none. */
bool cors_preflight(struct relay *relay);
