/* Rules that concern more than one setting, or the machine: what passes here starts. */
#pragma once

#include "config/config.h"
#include "config/report.h"

/** Check a whole configuration. @param root  the file; NULL: none */
void check_config(const struct config *config, const struct node *root, struct reporter *reporter);

/** Warn of each file with a key in it that everybody on this machine may read. */
void check_files(const struct tree *tree, struct reporter *reporter);
