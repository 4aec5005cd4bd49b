/* Between the messages of journal/wire.h and the rows of store/store_fleet.h. Pure. */
#pragma once

#include "config/config.h"
#include "journal/wire.h"
#include "store/store_fleet.h"

/** @param out  its texts are the message's */
void intents_from_wire(const struct wire_intent *wire, const struct config *config,
                       struct fleet_intent *out);
void intents_live_from_wire(const struct wire_live *wire, struct fleet_live *out);
/** What a batch holds that was never reserved. @param out  `id` is NULL where there is no name */
void intents_of_live(const struct wire_live *wire, struct fleet_intent *out);

void intents_drop_from_wire(const struct wire_drop *wire, struct fleet_drop *out);

/** @param answer  not FLEET_OVER
 *  @param out     its texts are the answer's */
void intents_verdict_of(const struct fleet_answer *answer, int64_t epoch, struct wire_verdict *out);
