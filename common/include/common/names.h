/* Model names: patterns with `*`, and the path hints that LiteLLM puts before a name. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** Whether a name fits a pattern in which `*` stands for any characters, or none. Takes at most the
 * product of both lengths. @param len  of `name` */
bool names_fit(const char *pattern, const char *name, size_t len);

/** What comes after "responses/", "o_series/" or "gpt5_series/": these choose one of LiteLLM's code
 * paths and are no part of the name. @return into `name` */
const char *names_without_hint(const char *name);

/** Put what the pattern's `*` stands for in a name in the place of the `*` of the name upstream:
 * "azure/" "*", "*" and "azure/gpt-4o" give "gpt-4o".
 *  @return false: the name does not fit, one of both has no `*`, or `out` is too small */
bool names_fill(const char *pattern, const char *upstream, const char *name, char *out,
                size_t size);
