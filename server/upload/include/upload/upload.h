/* POST /files: body -> multipart -> (line checker) -> spool, then to a deployment; the next one
 * when it refuses. Nothing goes upstream before the whole file was checked. */
#pragma once

#include "request/relay.h"

/** Take over a request whose route is POST files and whose caller is known. */
void upload_start(struct relay *relay);

/** The same for the Uploads API: POST uploads, uploads/{id}/complete and uploads/{id}/cancel, whose
 * JSON body was collected, and uploads/{id}/parts, of whose body nothing was taken. */
void uploads_create(struct relay *relay);
void uploads_part(struct relay *relay);
void uploads_complete(struct relay *relay);
void uploads_cancel(struct relay *relay);
