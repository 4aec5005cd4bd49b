/* Probes: each account is asked once in each `health_check_interval` (a minute), and when a worker
 * wants it (probe_word.wanted), for its newest batch (`limit=1`), which needs the address, the
 * version and the credential to be right and costs nothing. What a probe finds stands
 * in the probe words of all deployments of the account; workers and /health only read them. No
 * breaker learns from a probe: breakers learn from real work.
 *
 * The first round begins at once, a few milliseconds between two accounts; later ones drift apart
 * by a random part of the period. At most eight probes are in flight, and an account that never
 * answers is one of them for as long as its call may take, no longer. */
#pragma once

#include "upkeep.h"

/** Begin with all accounts that a deployment uses. What an earlier prober found is not logged anew.
 * @return 0, ERR_NOMEM */
MUST_USE int probes_start(struct upkeep *upkeep);

/** A credential has a token again: accounts with it that were found unhealthy are asked now, since
 * readiness depends on what was found. Before probes_start() nothing happens.
 *  @param credential  index into the configuration's credentials */
void probes_again(struct upkeep *upkeep, uint32_t credential);
