/* Tokens of an issuer as keys: general_settings.enable_jwt_auth and litellm_jwtauth, which are
 * LiteLLM's, and tranche_settings.jwt (tenants statements A53, A56). */
#pragma once

#include "config/config.h"
#include "config/env.h"
#include "config/report.h"

/** Fill in config->jwt; after the settings, since addresses in clear text may be allowed there.
 * What LiteLLM would check and is not checked here is an error: a token must not be worth more than
 * who configured it thinks.
 *  @param root  NULL: no file
 *  @return 0, ERR_NOMEM */
MUST_USE int jwt_auth_take(const struct node *root, const struct env *env,
                           struct reporter *reporter, struct config *config);

/** Free what it holds. */
void jwt_auth_deinit(struct config_jwt *jwt);
