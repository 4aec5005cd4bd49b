/* POST /batches/placement (ours): where a batch would go and why, without making it. */
#pragma once

#include "request/relay.h"

/** Answer `{"input_file_id": ...}`, or `{"model": group, "tokens": N}`: the tokens, what is known
 * about each deployment that could take them, and the choice. */
void placement_start(struct relay *relay);
