/* The way out to the providers: a proxy, and who signs their certificates. Names are those of curl
 * and LiteLLM. */
#pragma once

#include "config/config.h"
#include "config/env.h"
#include "config/report.h"

/** Fill in upstream_proxy, no_proxy and, where tranche_settings.upstream_ca_file is not given,
 * upstream_ca_file: from tranche_settings, litellm_settings.ssl_verify (a path), and the variables
 * HTTPS_PROXY, NO_PROXY (or in lower case) and SSL_CERT_FILE.
 *  @param root  NULL: no file
 *  @return 0, ERR_NOMEM */
MUST_USE int egress_take(const struct node *root, const struct env *env, struct reporter *reporter,
                         struct config *config);
