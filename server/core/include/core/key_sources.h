/* Where the keys of tenants come from, and how they get into the table: what the master knows before
 * the fork, and the keeper afterwards. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/rights.h"
#include "config/config.h"

#define KEY_SOURCES_DATABASES 2 /* our own, and a LiteLLM's */

/** Whether keys come from a database, too: then the keeper alone knows them all. */
bool key_sources_have_database(const struct config *config);

/** Whether keys, or those of the tokens' issuer, may change while a generation serves, so that
 * somebody has to look after them. */
bool key_sources_need_keeper(const struct config *config);

/** Whether every key there can be is known once the sources of the configuration were read: then an
 * unknown key is certainly wrong. */
bool key_sources_are_complete(const struct config *config);

/**
 * Publish the keys of the configuration, then those of its file, then those of databases; of equal
 * ones the first holds.
 *
 * @param writer  number of the generation
 * @param file    what the keys file says now
 * @param of_databases  at most KEY_SOURCES_DATABASES
 * @return as rights_publish(); ERR_LIMIT: more keys than tranche_settings.max_keys, too
 */
MUST_USE int key_sources_publish(struct rights_table *table, uint32_t writer,
                                 const struct config *config, const struct rights_list *file,
                                 const struct rights_list *const *of_databases, size_t num);
