/* GET /metrics, from shared memory alone: what any worker answers is the whole node's. */
#pragma once

#include "request/relay.h"

/** Answer with the page, made in slices. */
void metrics_start(struct relay *relay);
