/* The model that an input file was stored for, by the name that decided where it went. A create by
 * a key that may use only some models asks for it: facts.h knows the deployment, but of rows that a
 * pattern takes, and of accounts without groups, not the model. The memo keeps it for all workers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/runtime.h"

enum { FILE_MODEL_SIZE = 257 }; /* bytes of a name, with the NUL */

/** @param deployment  one of the account that holds the file @param name  a longer one is not kept */
void file_model_remember(const struct runtime *rt, uint32_t deployment, const char *native,
                         const char *name);

/** @return false: not known */
bool file_model_recall(const struct runtime *rt, uint32_t deployment, const char *native,
                       char name[FILE_MODEL_SIZE]);
