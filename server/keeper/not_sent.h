/* What workers that have died had been granted and had not sent (core/unsent.h): it is given back in
 * the database at once, and its Idempotency-Key with it. While the database is away it waits where it
 * is, also for the next keeper. */
#pragma once

#include "core/inherited.h"
#include "intents.h"

/** Once a second. */
void not_sent_step(const struct inherited *inherited, struct intents *intents);
