/* Counters with labels of what workers do for keys and teams (balancer/series.h). Nothing happens
 * where there is no journal. A label never names a person: keys are named by their alias. */
#pragma once

#include "core/inherited.h"
#include "core/tenant.h"

/** A file was stored. @param tenant  who did; NULL: not known any more */
void counters_file(const struct inherited *inherited, uint32_t deployment,
                   const struct tenant *tenant, uint64_t bytes);

/** A file was to be deleted. */
void counters_deleted(const struct inherited *inherited, bool deleted);
