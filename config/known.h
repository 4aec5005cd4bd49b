/* Names that LiteLLM understands and tranche has no use for, so that "ignored" and "misspelt" can
 * be told apart. */
#pragma once

#include <stdbool.h>

#include "config/guess.h"
#include "config/tree.h"

/** Whether LiteLLM knows `key` in the map at `path` ("" the top; "litellm_params" for a row's). */
bool known_litellm(const char *path, const char *key);

/** What is lost with a setting that has a meaning for files and batches at LiteLLM, and none here;
 * NULL: it has none there either. */
const char *known_loss(const char *path, const char *key);

/** Offer what LiteLLM knows there. */
void known_guess_litellm(struct guess *guess, const char *path);
