/* The seals of ids that a configuration gives, for the gateway and for `tranche id`.
 *
 * Whoever has one sealed id can try keys against it without asking anybody. So a key is stretched
 * first: each guess costs what a start costs. Ids of versions that did not do so still open, each
 * key's own seal being among those that open. */
#pragma once

#include "crypto/ids.h"
#include "crypto/vault.h"
#include "config/config.h"

/**
 * Seal keys of the file; else the master key; else `fallback`, which is random. Of n keys there are
 * 2 n seals: first the stretched ones, of which the first mints, then those of the keys as they
 * are, which only open.
 *
 * Takes some 40 ms for each key: once for a configuration, before the fork.
 *
 * @param fallback  may be unset: then a configuration without both has no seal at all
 * @param out       empty before
 * @return 0, ERR_NOMEM, or an error of ids_seals_add()
 */
MUST_USE int seals_derive(const struct config *config, const struct secret *fallback,
                          struct ids_seals *out);

/** The vault of secrets in the database: a key for each of the same texts, stretched with another
 * salt, so that no seal says anything of it. Without seal keys and master key it stays empty: what
 * is random at each start opens nothing.
 *
 * Takes some 40 ms for each key.
 *
 * @param out  empty before
 * @return 0, ERR_NOMEM, ERR_LIMIT: more keys than VAULT_MAX_KEYS */
MUST_USE int seals_vault(const struct config *config, struct vault *out);

/** How many keys the configuration gives for seals. */
size_t seals_num_keys(const struct config *config);
