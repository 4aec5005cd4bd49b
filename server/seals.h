/* The seals of ids that a configuration gives, for the gateway and for `tranche id`. */
#pragma once

#include "common/ids.h"
#include "config/config.h"

/**
 * Seal keys of the file; else one made of the master key; else one made of `fallback`.
 *
 * @param fallback  may be unset: then a configuration without both has no seal at all
 * @param out       empty before
 * @return 0, or an error of ids_seals_add()
 */
MUST_USE int seals_derive(const struct config *config, const struct secret *fallback,
                          struct ids_seals *out);
