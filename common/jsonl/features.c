/* See features.h. Where the numbers come from:
 *
 *   text    four bytes a token (OpenAI's rule of thumb for English); a quarter of that or four
 *           times that is as dense or as thin as languages and program text get; no token of the
 *           vocabularies that OpenAI has published is longer than 128 bytes (a row of blanks)
 *   images  85 tokens for `low`, 85 + 4 tiles of 170 for others (OpenAI's vision guide, gpt-4o);
 *           gpt-4o-mini counts 2,833 and 5,667 a tile, models that count patches a few dozen
 *   audio   10 tokens a second; speech as MP3 of 40 kbit/s is some 5 KiB of base64 a second, WAV of
 *           24 kHz some 63 KiB, so that a KiB is between 0.1 and 4 tokens
 *   files   a page of PDF is some 60 KiB and 1,000 tokens
 *   ids     each is one token, by what it is */
#include "jsonl/features.h"

#include <math.h>
#include <stddef.h>

#define DOMINANT 0.9
#define MOST     0x1p60 /* a file may claim any size: more than this is as much as this */

static const struct feature_rate rates_of[NUM_FEATURES] = {
    [FEATURE_TEXT] = {.prior = 0.25, .min = 1.0 / 16, .max = 1, .least = 1.0 / 128},
    [FEATURE_IMAGES] = {.prior = 85, .min = 1, .max = 2834, .least = 1.0 / FEATURES_IMAGE},
    [FEATURE_AUDIO] = {.prior = 2, .min = 1.0 / 16, .max = 16},
    [FEATURE_FILES] = {.prior = 16, .min = 1, .max = 512},
    [FEATURE_IDS] = {.prior = 1, .least = 1},
};

const struct feature_rate *feature_rate(enum feature feature)
{
    return &rates_of[feature];
}

static double tokens_of(const struct features *features, enum feature f, const double *rates)
{
    return (double)features->units[f] * (rates != NULL ? rates[f] : rates_of[f].prior);
}

/* As much as it could be, whatever is learned of it. */
static double most_of(const struct features *features, enum feature f)
{
    return (double)features->units[f] * fmax(rates_of[f].max, rates_of[f].prior);
}

static double sum_of(const struct features *features, const double *rates)
{
    double sum = 0;

    for (int f = 0; f < NUM_FEATURES; f++)
        sum += tokens_of(features, (enum feature)f, rates);
    return sum;
}

static uint64_t as_tokens(double tokens)
{
    return (uint64_t)fmin(tokens, MOST);
}

uint64_t features_tokens(const struct features *features, const double *rates)
{
    return as_tokens(ceil(sum_of(features, rates)));
}

uint64_t features_least(const struct features *features)
{
    double least[NUM_FEATURES];

    for (int f = 0; f < NUM_FEATURES; f++)
        least[f] = rates_of[f].least;
    return as_tokens(sum_of(features, least));
}

enum feature features_dominant(const struct features *features, const double *rates, double *rest)
{
    double all = sum_of(features, rates), most = 0;

    for (int f = 0; f < NUM_FEATURES; f++)
        most += most_of(features, (enum feature)f);
    for (int f = 0; f < NUM_FEATURES; f++) {
        double part = tokens_of(features, (enum feature)f, rates);
        double others = most - most_of(features, (enum feature)f);

        if (part <= 0 || part < DOMINANT * (part + others))
            continue;
        *rest = all - part;
        return (enum feature)f;
    }
    return NUM_FEATURES;
}
