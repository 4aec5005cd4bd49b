/* GET /v1/files of a tenant: from what is known of its files here (objects/owned.h), never from a
 * provider's list. What it may lack it says, in the header x-tranche-partial, or as a 502 with
 * ?strict=true. */
#pragma once

#include "request/relay.h"

/** Answer it. @param relay  of a tenant: its owner is not 0 */
void listing_owned_start(struct relay *relay);
