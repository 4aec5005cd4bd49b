/* Calls that follow an id: get and delete a file, get and cancel a batch, and finding out where an
 * untagged id lives. One answer, normalised. */
#pragma once

#include "request/relay.h"

/** GET/HEAD/DELETE files/{id}, GET batches/{id}, POST batches/{id}/cancel. */
void fetch_start(struct relay *relay);
