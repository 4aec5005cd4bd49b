/* GET batches/{id}/results: a line for each line of the batch's input, in its order (results README
 * statements D32 to D34). */
#pragma once

#include "request/relay.h"

/** Handle it. */
void results_start(struct relay *relay);
