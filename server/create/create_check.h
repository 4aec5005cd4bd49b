/* What the body of POST /batches has to be, whichever provider gets it. */
#pragma once

#include "request/relay.h"

/** Check relay->request. */
enum answered create_check(struct relay *relay);
