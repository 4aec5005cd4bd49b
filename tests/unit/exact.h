/* Memory of exactly the size of what is in it: a sanitizer sees the first byte that is read too
 * many, which the NUL of a literal would hide. */
#pragma once

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The caller's. */
static inline char *exact_copy(const char *bytes, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);

    assert(copy != NULL);
    if (len != 0)
        memcpy(copy, bytes, len);
    return copy;
}
