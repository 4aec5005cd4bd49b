/* The part of keys.h that loading a configuration uses. */
#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

/** Whether the file has keys of tenants, or names where they are. */
bool keys_are_named(const struct node *root);

/** Take the access groups of model_list, and the keys and teams of tranche_settings and of its
 * keys_file, after the models. Faults are reported. @return 0, ERR_NOMEM */
MUST_USE int keys_take(const struct node *root, struct reporter *reporter, struct config *config);

/** Free what keys_take() made. */
void keys_deinit(struct config *config);
