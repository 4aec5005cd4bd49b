/* The prober's process fetches the tokens of Entra ID, so that no worker ever makes a token call
 * (entra statements 10 to 15): at its start, early enough before a token's end, when a worker rings
 * because it has none or got a 401, and otherwise by the waits that the answers ask for. What a
 * call brings goes into the credential's cell (balancer/entra_tokens.h), from which all workers of
 * all generations read. */
#pragma once

#include "common/err.h"
#include "upkeep.h"

/** Begin; for as long as the process lives. Nothing is made where no row uses Entra ID; where one
 * does, this process leaves no core from now on, whatever `core_dumps` says: secrets and tokens
 * pass through buffers of libcurl and OpenSSL.
 *  @param upkeep  borrowed; its runtime is complete
 *  @return 0, ERR_NOMEM, ERR_IO */
MUST_USE int token_fetch_start(struct upkeep *upkeep);
