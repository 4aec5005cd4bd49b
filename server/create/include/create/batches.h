/* POST /batches: one create on the account that holds the input file, never repeated unless nothing
 * can have happened. */
#pragma once

#include "request/relay.h"

/** Take over a create; relay->request is the parsed body (NULL: there was none). */
void batches_create(struct relay *relay);
