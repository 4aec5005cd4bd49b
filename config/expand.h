/* Names that other settings use and no row has: those that a wildcard row serves ("azure/gpt-4o" of
 * a row "azure/" "*"), and ids of rows. They become groups of their own, so that fallbacks and
 * aliases work with them. */
#pragma once

#include "models.h"

/** Call `add` with each group's copy of a row that is to be added to the list.
 *  @param add  takes the copy over, on failure too
 *  @return 0, or what `add` returned */
typedef int (*expand_add_cb)(struct models_build *build, struct model_deployment *copy,
                             const struct node *row);
MUST_USE int expand_names(struct models_build *build, expand_add_cb add);
