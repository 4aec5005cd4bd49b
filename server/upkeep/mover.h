/* Moves a batch that failed late to another deployment (journal statements D13, D14): WIRE_MOVE of the
 * due list. What it is is read from the provider that failed it; its input goes over as a copy; the
 * create is asked for, sent and told of as a client's is.
 *
 *   a create in doubt ─► LOOK for its batch ─┬─ found: MADE
 *                                            └─ not: DOUBT, and the fleet's search decides
 *   else ─► READ the batch ─► PLACE ─► COPY ─► PENDING ─► INTENT ─► BEGIN ─► SEND ─┬─► MADE
 *             │                │         │                  │        │             ├─► DOUBT
 *             └─ OVER          └─ WAIT ──┴──────────────────┴────────┴─────────────┴─► WAIT, OVER
 *
 * The claim of its part is this node's for a minute and is kept while it works. INTENT
 * reserves as a client's create does, with the nonce of the marker, and BEGIN writes that nonce into the
 * part: not beside another one of which something may yet come. The create may be sent for half a minute
 * after INTENT was asked. So whoever has the batch next knows of it, also another task of this node, and
 * nothing is sent beside it. A client's cancel ends the batch before BEGIN, and the new one after it. */
#pragma once

#include "due_impl.h"

#define MOVER_AT_ONCE 2 /* a copy may take long, and holds a file of the spool */
#define MOVER_WAITING 4 /* that wait for one of these; more are given back */

/** Take over a task of WIRE_MOVE, and end it some time. */
void mover_start(struct due_task *task);
