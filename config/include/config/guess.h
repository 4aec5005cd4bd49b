/* Finds the name that a misspelt one was most likely meant to be: a letter or some are wrong, or
 * the last words are missing. */
#pragma once

#include <stddef.h>

struct guess {
    const char *key;  /* borrowed; the misspelt one */
    const char *best; /* borrowed; NULL: nothing is near */
    size_t distance;
};

/** @param key  outlives the guess */
void guess_init(struct guess *guess, const char *key);

/** Offer one candidate, which outlives the guess. */
void guess_offer(struct guess *guess, const char *candidate);
