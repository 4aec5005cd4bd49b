/* What auth.c and token_check.c share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "request/relay.h"

/** The next credential of a request. @param at  0 for the first one
 *  @param text  borrowed from the request
 *  @return false: there is none any more */
bool auth_next_credential(const struct relay *relay, size_t *at, const char **text, size_t *len);

/** Whether one of them is the master key, or a key that may be used. */
bool auth_shows_good_key(const struct relay *relay);
