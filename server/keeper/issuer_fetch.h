/* The keeper fetches the public keys of the tokens' issuer, so that no worker ever waits for it
 * (tenants statement A56): at its start, once an hour, and when a token names a key that is not
 * there, but then at most every 30 seconds. What cannot be fetched or read leaves the keys as they
 * were, for a day. */
#pragma once

#include "balancer/issuer_keys.h"
#include "common/err.h"
#include "common/loop.h"
#include "config/config.h"
#include "upstream/client.h"

/** Begin; for as long as the process lives. Nothing to do where tokens are not taken, or the keys
 * are in a file.
 *  @param up, jwt, keys  borrowed; outlive it
 *  @return 0, ERR_NOMEM */
MUST_USE int issuer_fetch_start(struct loop *loop, struct upstream *up,
                                const struct config_jwt *jwt, struct issuer_keys *keys);
