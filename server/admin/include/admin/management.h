/* The management API, /key/... and /team/..., in a worker: the request goes to the keeper as it is,
 * which has the database (manage/manage.h), and its answer comes back. A worker knows no SQL and
 * waits for nobody: the answer is called back, after ask_deadline_ms() at the latest. */
#pragma once

#include "request/relay.h"

/** Answer a request of route_is_managed(), after auth_check_route(). Takes the body.
 * 503 when no keeper took it (nothing was done), or when one did and gave no answer: then the
 * client reads before it asks again, and is told so. */
void management_start(struct relay *relay);
