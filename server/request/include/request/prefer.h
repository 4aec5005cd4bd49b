/* What a client would like, as far as it costs nobody else anything: the Prefer header (RFC 7240). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request/relay.h"

#define PREFER_WAIT_MOST 60 /* seconds; who asks for more gets so much */

/** Look for the `wait` preference in one field value (RFC 7240 sections 2 and 4.3). The first one
 * counts, whatever it says. Pure.
 *  @param seconds  written when there is one: 0 to PREFER_WAIT_MOST; 0 also where its value is no
 *                  number: what cannot be understood is passed over
 *  @return whether there is one */
bool prefer_wait(const char *field, size_t len, uint32_t *seconds);

/** How many seconds a request would wait for its answer; 0: none. */
uint32_t prefer_wait_of(const struct relay *relay);
