/* Settings of what stands between clients and us: proxies, by their addresses, and the names by which
 * the gateway is reached. */
#pragma once

#include "settings.h"

/** Take tranche_settings.proxies. What is no address is reported. @return 0, ERR_NOMEM */
MUST_USE int neighbours_take_proxies(const struct settings_input *in, struct config *config);

/** Take tranche_settings.allowed_hosts. What is no host name is reported. @return 0, ERR_NOMEM */
MUST_USE int neighbours_take_hosts(const struct settings_input *in, struct config *config);
