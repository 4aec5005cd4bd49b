/* See problem.h. */
#include "core/problem.h"

#include <stdio.h>
#include <string.h>

#include "common/shm_words.h"

#define WORDS (PROBLEM_BYTES / sizeof(uint64_t))

/* FNV-1a over words: against accidents. */
static uint64_t sum_of(const uint64_t words[WORDS])
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < WORDS; i++)
        sum = (sum ^ words[i]) * UINT64_C(0x100000001b3);
    return sum;
}

void problem_set(struct problem *problem, const char *text)
{
    uint64_t words[WORDS] = {0};

    snprintf((char *)words, sizeof(words), "%s", text);
    for (size_t i = 0; i < WORDS; i++)
        store_relaxed(&problem->text[i], words[i]);
    store_relaxed(&problem->sum, sum_of(words));
    store_relaxed_32(&problem->found, 1);
}

void problem_clear(struct problem *problem)
{
    store_relaxed_32(&problem->found, 0);
}

bool problem_get(const struct problem *problem, char text[PROBLEM_BYTES])
{
    uint64_t words[WORDS];

    if (load_relaxed_32(&problem->found) == 0)
        return false;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = load_relaxed(&problem->text[i]);
    if (load_relaxed(&problem->sum) == sum_of(words))
        memcpy(text, words, PROBLEM_BYTES);
    else
        snprintf(text, PROBLEM_BYTES, "the log says which");
    return true;
}
