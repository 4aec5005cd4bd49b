/* What the prompts of a batch file consist of, each kind counted apart: a provider counts an image,
 * a second of speech and a word by different rules, and what one kind taught must not be held
 * against another. Numbers of tokens are guesses but for token ids; the table says how a guess
 * begins, how far it may be learned away from that, and what no provider counts less than. Pure. */
#pragma once

#include <stdint.h>

enum feature {
    FEATURE_TEXT,   /* bytes: decoded strings, and tools and schemas as JSON */
    FEATURE_IMAGES, /* an image of `detail: low` is 1, any other FEATURES_IMAGE */
    FEATURE_AUDIO,  /* KiB of base64, each string's rounded up */
    FEATURE_FILES,  /* the same of other base64: documents, and what nobody knows */
    FEATURE_IDS,    /* integers that are tokens already */
    NUM_FEATURES
};

enum { FEATURES_IMAGE = 9, FEATURES_BASE64_UNIT = 1024 };

struct features {
    uint64_t units[NUM_FEATURES];
};

/** Tokens per unit. */
struct feature_rate {
    double prior;    /* until something was learned */
    double min, max; /* what was learned stays within these; 0: never learned, the prior is exact */
    double least;    /* no provider counts less */
};

/** The table's row of a feature. */
const struct feature_rate *feature_rate(enum feature feature);

/** Add `more` to `sum`. */
static inline void features_add(struct features *sum, const struct features *more)
{
    for (int f = 0; f < NUM_FEATURES; f++)
        sum->units[f] += more->units[f];
}

/** Tokens at these rates, rounded up. @param rates  NUM_FEATURES of them; NULL: the priors */
uint64_t features_tokens(const struct features *features, const double *rates);

/** No provider counts less than this, rounded down: what a final refusal may rest on. */
uint64_t features_least(const struct features *features);

/** The one feature that makes up at least nine tenths of the tokens at these rates even if all the
 * others counted the most that can be learned of them; NUM_FEATURES: none does.
 * @param rest  tokens of all the others; written unless NUM_FEATURES is returned */
enum feature features_dominant(const struct features *features, const double *rates, double *rest);
