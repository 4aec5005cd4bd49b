/* POST /files: body -> multipart -> (line checker) -> spool, then to a deployment; the next one
 * when it refuses. Nothing goes upstream before the whole file was checked. */
#pragma once

#include "request/relay.h"

/** Take over a request whose route is POST files and whose caller is known. */
void upload_start(struct relay *relay);
