/* POST /batches: one create on the account that holds the input file, or, when that has no room, on
 * another one that gets a copy of it. Never repeated unless nothing can have happened. */
#pragma once

#include "request/relay.h"

/** Take over a create; relay->request is the parsed body (NULL: there was none). */
void create_start(struct relay *relay);
