/* POST batches/{id}/retry: a new batch of the lines that can be tried again (results README statements
 * D29 and D30). */
#pragma once

#include "request/relay.h"

/** Take it over; relay->request is the parsed body (NULL: there was none). */
void retry_start(struct relay *relay);
