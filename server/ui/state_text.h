/* What the page shows, as JSON. One text serves all viewers of a worker for a second: it is written in
 * slices of the loop, and who asks meanwhile waits for the same text. Its size is bounded by the rows
 * that are shown, whatever the configuration has; the rest is counted. */
#pragma once

#include "request/relay.h"

#define STATE_FRESH_MS    1000
#define STATE_DEPLOYMENTS 100 /* rows that are shown: those in trouble first */
#define STATE_BATCHES     100 /* of the ledger */
#define STATE_TENANTS     50
#define STATE_EVENTS      40

struct state_text;

/** @return NULL: out of memory */
struct state_text *state_text_new(struct runtime *rt);

/** Something was changed: who asks next sees it. */
void state_text_outdate(struct state_text *state);

/** Answer with it; perhaps after the return. */
void state_text_answer(struct state_text *state, struct relay *relay);
