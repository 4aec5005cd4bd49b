/* The url that the lines of an input file have: what `endpoint` of its batches has to say. The memo
 * keeps it for all workers; where it is not there nobody guesses. */
#pragma once

#include "core/runtime.h"

/** @param deployment  one of the account that holds the file @param url  NULL or no endpoint: there
 * is nothing to remember */
void file_url_remember(const struct runtime *rt, uint32_t deployment, const char *native,
                       const char *url);

/** @return a constant; NULL: not known */
const char *file_url_recall(const struct runtime *rt, uint32_t deployment, const char *native);
