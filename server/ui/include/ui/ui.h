/* The page for operators, `/ui`: one document that the program carries, which logs in with the master
 * key or an admin key, keeps a session as a cookie, and asks for the state of the gateway again and
 * again. Nothing here waits: the state is of shared memory, and what the journal knows is what the
 * keeper said last (state_text.h). */
#pragma once

#include "request/relay.h"

/** GET /ui: the document itself, which holds nothing of the gateway. At once, for everybody. */
void ui_page(struct relay *relay);

/** Before a login is judged: whether it shows a good key, or its address may fail once more. Answers
 * 429. */
MUST_USE enum answered ui_admit_login(struct relay *relay);

/** POST /ui/login of somebody who has shown a key that may see all (auth_begin(),
 * auth_check_route()): begin a session. At once. */
void ui_login(struct relay *relay);

/** Whether a request of the page has a session, and a POST its token besides: sets relay->tenant and
 * relay->owner. Answers 401, 403. */
MUST_USE enum answered ui_check_session(struct relay *relay);

/** A request that has a session is for the end of a batch: from now on it is one for
 * POST batches/{id}/cancel by who has the session. The log tells who that is. */
void ui_cancel(struct relay *relay);

/** Answer any other request that has a session: the state, the end of the session, or what is done
 * with a deployment or a worker. The answer may come after the return. */
void ui_serve(struct relay *relay);
