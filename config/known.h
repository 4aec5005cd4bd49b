/* Names that LiteLLM understands and tranche has no use for, so that "ignored" and "misspelt" can
 * be told apart; and the nearest name to a misspelt one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/tree.h"

/** Whether LiteLLM knows `key` in the map at `path` ("" the top; "litellm_params" for a row's). */
bool known_litellm(const char *path, const char *key);

/** What is lost with a setting that has a meaning for files and batches at LiteLLM, and none here;
 * NULL: it has none there either. */
const char *known_loss(const char *path, const char *key);

/* Finds the name that a misspelt one was most likely meant to be: a letter or some are wrong, or the
 * last words are missing. */
struct known_guess {
    const char *key;  /* borrowed; the misspelt one */
    const char *best; /* borrowed; NULL: nothing is near */
    size_t distance;
};

void known_guess_init(struct known_guess *guess, const char *key);

/** Offer one candidate. */
void known_guess_offer(struct known_guess *guess, const char *candidate);

/** Offer what LiteLLM knows there. */
void known_guess_offer_litellm(struct known_guess *guess, const char *path);
