/* Endpoints of the configuration as rows, and secrets of rows with the gateway's seal keys. */
#pragma once

#include "common/err.h"
#include "config/config.h"
#include "crypto/vault.h"
#include "store/store.h"
#include "webhook/hook_sign.h"

/** Make the database's endpoints of the configuration those of this one. One whose secret is another
 * one than before signs with both for 24 hours.
 *  @return 0, ERR_NOMEM, an error of the store */
MUST_USE int hook_rows_configure(struct store *store, const struct config *config,
                                 const struct vault *vault);

/** Seal anew what another key than the first one sealed. What no key opens is left, and logged.
 *  @return 0, an error of the store */
MUST_USE int hook_rows_reseal(struct store *store, const struct vault *vault);

struct wire_intent;

/** Seal the secret that an intent brings, so that it is nowhere kept as the client gave it.
 *  @param sealed  written: to be freed; the intent has it from now on. NULL: it brings none
 *  @return 0, an error of vault_seal() */
MUST_USE int hook_rows_seal(const struct vault *vault, struct wire_intent *intent, char **sealed);

/** Have the batch that comes of an intent told to its own endpoint. Nothing to do without one; a
 * second time, too.
 *  @param intent  after hook_rows_seal()
 *  @return 0, an error of the store */
MUST_USE int hook_rows_expect(struct store *store, const struct wire_intent *intent);

/** Open the secret of an endpoint. The caller wipes it. @return as vault_open() */
MUST_USE int hook_rows_open(const struct vault *vault, const char *hook_id, const char *sealed,
                            char out[HOOK_SECRET_MAX + 1]);
