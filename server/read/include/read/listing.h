/* GET /files and GET /batches: the lists of all accounts that the question covers, merged newest
 * first, with cursors that stay right under inserts. */
#pragma once

#include "request/relay.h"

/** Take over a list request. */
void listing_start(struct relay *relay);
