/* `tranche check --online`: does what the configuration names work? Each credential of Entra ID is
 * asked for one token, each account for one list, as calls of the gateway would do it: by its proxy,
 * its authorities and its limits. Nothing is made or changed, and no other process is asked. */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "config/config.h"

/**
 * Ask all, eight at a time, and append a line for each: what came, or status, first line and id of
 * what was refused; never a secret or a token. Reads the files of credentials, waits for the answers.
 *
 * @param config  borrowed
 * @param good    whether all of them answered as they should
 * @return 0, ERR_NOMEM, ERR_IO
 */
MUST_USE int check_online(const struct config *config, struct strbuf *out, bool *good);
