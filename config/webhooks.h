/* Endpoints of webhooks, and whom these may reach (webhook statements D26 and D27). */
#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

/** Take tranche_settings.webhooks, .webhook_allow_http, .webhook_allow_addresses and
 * .webhook_ca_file. After the database. Faults are reported.
 *  @return 0, ERR_NOMEM */
MUST_USE int webhooks_take(const struct node *root, struct reporter *reporter,
                           struct config *config);
void webhooks_deinit(struct config *config);
