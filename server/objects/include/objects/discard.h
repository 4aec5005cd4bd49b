/* Delete a file that nobody needs any more, in the background: a copy whose create was refused, or
 * whose batch has ended. What cannot be deleted is logged and left: it costs a file slot and no
 * money. */
#pragma once

#include "core/runtime.h"

/** Start; a worker that drains waits for it. @param deployment  one of the account that holds it */
void discard_file(struct runtime *rt, uint32_t deployment, const char *native);
