/* See usage_count.h. */
#include "price/usage_count.h"

#include <assert.h>

const char *usage_source_name(enum usage_source source)
{
    static const char *const names[USAGE_SOURCES] = {"none", "batch", "output"};

    assert((unsigned)source < USAGE_SOURCES);
    return names[source];
}
