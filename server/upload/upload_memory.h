/* What uploads hold in memory, a budget for each worker: beginnings of lines above all, since a
 * line is checked when its end has come, then the ids of each file, where its models stand, and
 * the spool's last bytes. Whom the budget has no room for is told to come again: of an upload that
 * is still being received nothing has gone upstream. */
#pragma once

#include "upload_send.h"

#define UPLOAD_MEMORY_BASE  8192 /* bytes: the request, the form's parser, small fields */
/* Bytes held by an upload for which the last quarter of the budget is kept: one client's endless
 * lines leave room for files as people send them */
#define UPLOAD_MEMORY_SMALL (256 << 10)

/** Count what the upload holds now. */
void upload_memory_count(struct upload *up);

/** Whether the upload may take so many more bytes. */
bool upload_memory_has_room(const struct upload *up, size_t more);

/** It holds nothing any more. */
void upload_memory_forget(struct upload *up);
