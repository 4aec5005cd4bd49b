/* LiteLLM's start flags that mean nothing here: for one-model start lines, other servers, its
 * database and its telemetry. They are taken with a warning, so that a start line may stay as it
 * is. */
#pragma once

#include <stdbool.h>

struct known_flag {
    const char *name; /* with underscores, as LiteLLM writes it; NULL: behind the last one */
    char letter;      /* "-m"; 0: none */
    bool value;       /* takes one */
};

#define KNOWN_FLAGS_MAX 48 /* at most so many, with the end */

extern const struct known_flag known_flags[];
