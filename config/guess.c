/* See guess.h. */
#include "config/guess.h"

#include <stdint.h>
#include <string.h>

#define MAX_NAME 64 /* longer names are not guessed at */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: inserted, lost, wrong and swapped letters cost one each. Both at most
 * MAX_NAME long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_NAME + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2], *spare;
    size_t len_a = strlen(a), len_b = strlen(b);

    for (size_t j = 0; j <= len_b; j++)
        last[j] = j;
    for (size_t i = 1; i <= len_a; i++) {
        now[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            now[j] = least(last[j - 1] + (a[i - 1] != b[j - 1]), least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[len_b];
}

void guess_init(struct guess *guess, const char *key)
{
    *guess = (struct guess){.key = key};
}

void guess_offer(struct guess *guess, const char *candidate)
{
    size_t len = strlen(guess->key);
    size_t allowed = len < 3 ? 0 : len < 6 ? 1 : len < 12 ? 2 : 3;
    size_t distance;

    if (len > MAX_NAME || strlen(candidate) > MAX_NAME)
        return;
    distance = edit_distance(guess->key, candidate);
    if (distance > allowed && len > 2 && strncmp(candidate, guess->key, len) == 0 &&
        candidate[len] == '_' && guess->best == NULL) {
        guess->best = candidate; /* its first word: "cert" for "cert_file", if nothing is nearer */
        guess->distance = SIZE_MAX;
    }
    if (distance <= allowed && (guess->best == NULL || distance < guess->distance)) {
        guess->best = candidate;
        guess->distance = distance;
    }
}
